//! The CloudFormation template, with parameters, conditions and intrinsic functions resolved.

mod intrinsics;
mod parameters;
mod resources;
mod scalar;
mod yaml;

use std::{collections::BTreeMap, mem};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use self::{parameters::Parameter, yaml::intrinsic};
pub(crate) use self::{resources::*, scalar::Scalar};

pub(crate) const REGION: &str = "us-east-1";
pub(crate) const ACCOUNT: &str = "000000000000";
pub(crate) const STACK: &str = "local";

/// A template and the values of its parameters.
pub(crate) struct Template {
    conditions: Map<String, Value>,
    resources: BTreeMap<String, Declaration>,
    parameters: BTreeMap<String, Value>,
    /// The attributes of each resource, including the value of `Ref`.
    attributes: BTreeMap<String, BTreeMap<String, String>>,
}

/// A template as it is written, before anything is resolved.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
    #[serde(default)]
    globals: Globals,
    #[serde(default)]
    conditions: Map<String, Value>,
    #[serde(default)]
    rules: BTreeMap<String, Rule>,
    resources: BTreeMap<String, Declaration>,
}

/// A condition on the parameters, which CloudFormation checks before it creates anything.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    rule_condition: Option<Value>,
    assertions: Vec<Assertion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assertion {
    assert: Value,
    assert_description: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Globals {
    #[serde(default)]
    function: Value,
}

/// A resource as it is written, before anything is resolved.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Declaration {
    #[serde(rename = "Type")]
    kind: String,
    condition: Option<String>,
    #[serde(default, deserialize_with = "resources::one_or_many")]
    depends_on: Vec<String>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    properties: Value,
}

impl Template {
    /// `overrides` replace the defaults of parameters.
    pub(crate) fn parse(yaml: &str, overrides: &[(String, String)]) -> Result<Self> {
        let document: Document = typed(yaml::parse(yaml)?).context("the template is malformed")?;
        let mut template = Self {
            conditions: document.conditions,
            resources: document.resources,
            parameters: parameters::values(&document.parameters, overrides)?,
            attributes: BTreeMap::new(),
        };
        template.check_rules(&document.rules)?;
        template.drop_disabled()?;
        for resource in template.resources.values_mut() {
            if resource.kind == Function::TYPE {
                let globals = document.globals.function.clone();
                let own = mem::replace(&mut resource.properties, globals);
                merge(&mut resource.properties, own);
            }
        }
        template.name_resources()?;
        Ok(template)
    }

    /// Returns the resources of one type, in the order of their logical ids.
    ///
    /// # Errors
    ///
    /// Fails if a property is missing, has the wrong type, or refers to an attribute that is not set.
    pub(crate) fn of_type<P: Properties>(&self) -> Result<Vec<Resource<P>>> {
        let declarations = self.resources.iter();
        let of_type = declarations.filter(|(_, resource)| resource.kind == P::TYPE);
        of_type
            .map(|(id, resource)| {
                let properties = self.resolve(&resource.properties, id)?;
                Ok(Resource {
                    id: id.clone(),
                    depends_on: resource.depends_on.clone(),
                    metadata: resource.metadata.clone(),
                    properties: typed(properties.unwrap_or_default())
                        .with_context(|| format!("{id} ({})", P::TYPE))?,
                })
            })
            .collect()
    }

    /// Resolves every resource, to find mistakes even in resources that the stack does not use.
    pub(crate) fn check(&self) -> Result<()> {
        for (id, resource) in &self.resources {
            self.resolve(&resource.properties, id)?;
        }
        Ok(())
    }

    /// Sets the value that `Fn::GetAtt` returns for an attribute of a resource. `Ref` returns the attribute named
    /// `Ref`.
    pub(crate) fn set(&mut self, id: &str, attribute: &str, value: impl Into<String>) {
        let attributes = self.attributes.entry(id.to_owned()).or_default();
        attributes.insert(attribute.to_owned(), value.into());
    }

    pub(crate) fn attribute(&self, id: &str, attribute: &str) -> Option<&str> {
        self.attributes.get(id)?.get(attribute).map(String::as_str)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name)?.as_str()
    }

    fn check_rules(&self, rules: &BTreeMap<String, Rule>) -> Result<()> {
        for (name, rule) in rules {
            let applies = match &rule.rule_condition {
                Some(condition) => self.condition(condition, name)?,
                None => true,
            };
            for assertion in rule.assertions.iter().filter(|_| applies) {
                if !self.condition(&assertion.assert, name)? {
                    bail!(
                        "the rule {name} is broken: {}",
                        assertion.assert_description
                    );
                }
            }
        }
        Ok(())
    }

    /// Removes the resources whose condition is false.
    fn drop_disabled(&mut self) -> Result<()> {
        let mut disabled = Vec::new();
        for (id, resource) in &self.resources {
            if let Some(condition) = &resource.condition
                && !self.named_condition(condition, id)?
            {
                disabled.push(id.clone());
            }
        }
        self.resources.retain(|id, _| !disabled.contains(id));
        Ok(())
    }

    /// Sets the names and ARNs that are known before a resource is created.
    fn name_resources(&mut self) -> Result<()> {
        for (id, resource) in self.resources.clone() {
            for (attribute, value) in self.known_attributes(&id, &resource)? {
                self.set(&id, attribute, value);
            }
        }
        Ok(())
    }

    fn known_attributes(
        &self,
        id: &str,
        resource: &Declaration,
    ) -> Result<Vec<(&'static str, String)>> {
        // Returns the name that the template gives the resource, or a name derived from the resource's logical id.
        let name = |property: &str| -> Result<String> {
            let name = self.text(&resource.properties[property], id)?;
            Ok(name.unwrap_or_else(|| format!("{STACK}-{id}")))
        };
        let named = |service: &str, prefix: &str, name: String, suffix: &str| {
            let arn = format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{prefix}{name}{suffix}");
            vec![("Arn", arn), ("Ref", name)]
        };
        Ok(match resource.kind.as_str() {
            Table::TYPE => named("dynamodb", "table/", name("TableName")?, ""),
            Function::TYPE => {
                let mut attributes = named("lambda", "function:", name("FunctionName")?, "");
                // SAM publishes a version for each release and points the alias to that version.
                if let Some(alias) = self.text(&resource.properties["AutoPublishAlias"], id)? {
                    attributes.push(("Alias", format!("{}:{alias}", attributes[0].1)));
                }
                attributes
            }
            "AWS::Logs::LogGroup" => named("logs", "log-group:", name("LogGroupName")?, ":*"),
            // IAM is global, so the ARN of a role contains no region.
            Role::TYPE => {
                let name = name("RoleName")?;
                let arn = format!("arn:aws:iam::{ACCOUNT}:role/{name}");
                vec![("Arn", arn), ("Ref", name)]
            }
            "AWS::SQS::Queue" => {
                let name = name("QueueName")?;
                let url = format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}");
                let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}");
                vec![("Arn", arn), ("Ref", url), ("QueueName", name)]
            }
            // The attributes are unknown until the local KMS creates the key and generates its id.
            KmsKey::TYPE => Vec::new(),
            _ => vec![("Ref", id.to_owned())],
        })
    }
}

/// Deserializes a value. The error contains the path to the invalid part.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_path_to_error::deserialize(value)?)
}

/// Merges a function's own properties into SAM's `Globals`. Maps are merged key by key, lists are concatenated, and
/// other values are replaced.
fn merge(base: &mut Value, own: Value) {
    match (base, own) {
        (Value::Object(base), Value::Object(own))
            if intrinsic(base).is_none() && intrinsic(&own).is_none() =>
        {
            for (key, value) in own {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(own)) => base.extend(own),
        (_, Value::Null) => {}
        (base, own) => *base = own,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Queue {
        first: String,
        size: Scalar<u64>,
        text: String,
        gone: Option<String>,
    }

    impl Properties for Queue {
        const TYPE: &str = "AWS::SQS::Queue";
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Alarm {
        metrics: Option<Vec<Value>>,
        alarm_actions: Option<Value>,
    }

    impl Properties for Alarm {
        const TYPE: &str = "AWS::CloudWatch::Alarm";
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Dashboard {
        dashboard_body: String,
    }

    impl Properties for Dashboard {
        const TYPE: &str = "AWS::CloudWatch::Dashboard";
    }

    const TEMPLATE: &str = r#"
Parameters:
  Names: { Type: CommaDelimitedList, Default: "" }
  Size: { Type: Number, Default: 5, MinValue: 1 }
  Mode: { Type: String, Default: on, AllowedValues: [on, off] }
  Host: { Type: String, Default: "", AllowedPattern: "[a-z]*", MaxLength: 3 }
  Secret: { Type: String, Default: long enough, MinLength: 5 }
Rules:
  Mode:
    RuleCondition: !Not [!Equals [!Ref Host, ""]]
    Assertions:
      - Assert: !Equals [!Ref Mode, on]
        AssertDescription: Host requires Mode.
Conditions:
  Named: !Not [!Equals [!Join ["", !Ref Names], ""]]
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      First: !If [Named, !Select [0, !Ref Names], none]
      Size: !Ref Size
      Text: !Sub "${AWS::Region}-${Size}-${!Kept}"
      Gone: !If [Named, x, !Ref AWS::NoValue]
  Off:
    Type: AWS::SQS::Queue
    Condition: Named
    Properties: { First: a, Size: 1, Text: b }
"#;

    /// Returns the queue that has no condition, and the number of queues.
    fn queue(overrides: &[(&str, &str)]) -> Result<(Queue, usize)> {
        let overrides: Vec<_> = overrides
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let template = Template::parse(TEMPLATE, &overrides)?;
        let mut queues = template.of_type::<Queue>()?;
        let count = queues.len();
        queues.retain(|queue| queue.id == "Queue");
        Ok((queues.remove(0).properties, count))
    }

    #[test]
    fn intrinsics_and_conditions_follow_the_parameters() {
        let (queue_by_default, count) = queue(&[]).unwrap();
        assert_eq!(count, 1);
        assert_eq!(queue_by_default.first, "none");
        assert_eq!(queue_by_default.size, Scalar(5));
        assert_eq!(queue_by_default.text, "us-east-1-5-${Kept}");
        assert_eq!(queue_by_default.gone, None);

        let (named, count) = queue(&[("Names", "a,b"), ("Size", "7")]).unwrap();
        assert_eq!(count, 2);
        assert_eq!(
            (named.first.as_str(), named.gone.as_deref()),
            ("a", Some("x"))
        );
    }

    #[test]
    fn the_error_names_a_property_that_is_missing_or_has_a_wrong_type() {
        for (properties, named) in [
            ("{ First: a, Size: 1 }", "Text"),
            ("{ First: a, Size: many, Text: b }", "Size"),
            ("{ First: [a], Size: 1, Text: b }", "First"),
        ] {
            let yaml = format!(
                "Resources: {{ Q: {{ Type: AWS::SQS::Queue, Properties: {properties} }} }}"
            );
            let template = Template::parse(&yaml, &[]).unwrap();
            let error = format!("{:#}", template.of_type::<Queue>().unwrap_err());
            assert!(error.starts_with("Q ") && error.contains(named), "{error}");
        }
    }

    const SWITCHES_OFF: [(&str, &str); 2] = [
        ("ReleaseId", "1"),
        ("OidcIssuer", "https://idp.example.com"),
    ];
    const SWITCHES_ON: [(&str, &str); 15] = [
        ("ReleaseId", "1"),
        ("CanaryDeployments", "true"),
        ("ValidateProvisionedConcurrency", "5"),
        ("AuthorizeProvisionedConcurrency", "5"),
        (
            "PermissionsBoundary",
            "arn:aws:iam::000000000000:policy/boundary",
        ),
        ("DeletionProtection", "true"),
        ("KeyIssuer", "https://keys.example.com"),
        ("CreateUserPool", "true"),
        ("CreateDashboard", "true"),
        ("Tracing", "Active"),
        ("AlarmTopicArn", "arn:aws:sns:us-east-1:000000000000:alarms"),
        ("DomainName", "keys.example.com"),
        (
            "CertificateArn",
            "arn:aws:acm:us-east-1:000000000000:certificate/1",
        ),
        ("HostedZoneId", "Z1"),
        ("CorsOrigins", "https://app.example.com"),
    ];
    /// The attributes that are known only after AWS or the local stack has created the resource.
    const CREATED: [(&str, &str); 8] = [
        ("Api", "ApiEndpoint"),
        ("Domain", "RegionalDomainName"),
        ("Domain", "RegionalHostedZoneId"),
        ("SigningKey", "Arn"),
        ("SigningKey", "Ref"),
        ("Table", "StreamArn"),
        ("UserPool", "Arn"),
        ("UserPoolClaims", "Arn"),
    ];

    fn deployed(switches: &[(&str, &str)]) -> Template {
        let yaml = include_str!("../../../template.yaml");
        let switches: Vec<_> = switches
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut template = Template::parse(yaml, &switches).unwrap();
        for (id, attribute) in CREATED {
            template.set(id, attribute, format!("{id}.{attribute}"));
        }
        template
    }

    #[test]
    fn the_template_resolves_with_every_switch() {
        for (switches, has_options) in [(&SWITCHES_OFF[..], false), (&SWITCHES_ON[..], true)] {
            let template = deployed(switches);
            template.check().unwrap();
            for kind in [
                "Cognito::UserPool",
                "CloudWatch::Dashboard",
                "ApiGatewayV2::DomainName",
            ] {
                let kind = format!("AWS::{kind}");
                let resources = template.resources.values();
                let found = resources.filter(|resource| resource.kind == kind).count();
                assert_eq!(found, usize::from(has_options), "{kind}");
            }
            for dashboard in template.of_type::<Dashboard>().unwrap() {
                let body = dashboard.properties.dashboard_body;
                assert!(serde_json::from_str::<Value>(&body).unwrap()["widgets"].is_array());
            }
        }
    }

    #[test]
    fn the_permissions_boundary_of_the_example_allows_what_the_roles_do() {
        let template = deployed(&SWITCHES_ON);
        let roles = template.of_type::<Role>().unwrap().into_iter();
        let policies = roles.flat_map(|role| role.properties.policies);
        let statements = policies.flat_map(|policy| policy.policy_document.statement);
        let mut actions: BTreeSet<_> = statements.flat_map(|statement| statement.action).collect();
        let nested = include_str!("../../../secret-rotation.yaml").lines();
        let nested = nested.filter_map(|line| line.trim().strip_prefix("- "));
        let nested = nested.filter(|action| action.starts_with("secretsmanager:"));
        actions.extend(nested.map(str::to_owned));

        let example = include_str!("../../../examples/deploy-role.yaml");
        let example = yaml::parse(example).unwrap();
        let boundary = &example["Resources"]["Boundary"]["Properties"]["PolicyDocument"];
        let one_or_many = |actions: &Value| match actions.as_array() {
            Some(actions) => actions.clone(),
            None => vec![actions.clone()],
        };
        let statements = boundary["Statement"].as_array().unwrap().iter();
        let allowed = statements.flat_map(|statement| one_or_many(&statement["Action"]));
        let allowed: BTreeSet<_> = allowed
            .map(|action| action.as_str().unwrap().to_owned())
            // The roles get their X-Ray and CodeDeploy actions from AWS managed policies.
            .filter(|action| {
                let mut managed = ["xray:", "lambda:", "cloudwatch:"].iter();
                action == "lambda:InvokeFunction" || !managed.any(|it| action.starts_with(it))
            })
            .collect();
        assert_eq!(allowed, actions);
    }

    /// The period that an export of the audit trail covers begins 25 hours before the end of the previous period, so a
    /// notice must be written within 25 hours after it became due. It can already be 24 hours late at the scheduled
    /// time of the run that writes it. The run must therefore end within an hour after its scheduled time.
    #[test]
    fn a_run_of_the_schedule_ends_within_an_hour() {
        let template = yaml::parse(include_str!("../../../template.yaml")).unwrap();
        let properties = |id: &str| &template["Resources"][id]["Properties"];
        let (schedule, function) = (properties("NotifySchedule"), properties("NotifyFunction"));
        let seconds = [
            &schedule["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"],
            &function["EventInvokeConfig"]["MaximumEventAgeInSeconds"],
            &function["Timeout"],
        ];
        let sum: u64 = seconds.iter().map(|limit| limit.as_u64().unwrap()).sum();
        assert!(sum <= 3600, "{sum}");
    }

    #[test]
    fn the_alarms_notify_a_topic_if_there_is_one() {
        for (switches, has_topic) in [(&SWITCHES_OFF[..], false), (&SWITCHES_ON[..], true)] {
            let alarms = deployed(switches).of_type::<Alarm>().unwrap();
            assert_eq!(alarms.len(), 19);
            for alarm in alarms {
                let has_actions = alarm.properties.alarm_actions.is_some();
                assert_eq!(has_actions, has_topic, "{}", alarm.id);
            }
        }
    }

    #[test]
    fn the_throttles_of_each_function_that_callers_wait_for_are_in_one_alarm() {
        let template = deployed(&SWITCHES_OFF);
        let functions = template.of_type::<Function>().unwrap().into_iter();
        let has_no_callers = [
            "CleanupFunction",
            "NotifyFunction",
            "PublishFunction",
            "RepairFunction",
        ];
        let functions =
            functions.filter(|function| !has_no_callers.contains(&function.id.as_str()));
        let expected: Vec<_> = functions.map(|f| format!("{STACK}-{}", f.id)).collect();
        let mut watched = Vec::new();
        for alarm in template.of_type::<Alarm>().unwrap() {
            let metrics = alarm.properties.metrics.unwrap_or_default();
            let metrics: Vec<_> = metrics
                .iter()
                .filter_map(|m| m.pointer("/MetricStat/Metric"))
                .collect();
            assert!(metrics.len() <= 10, "CloudWatch refuses {}", alarm.id);
            let throttles = metrics.iter().filter(|m| m["MetricName"] == "Throttles");
            let names = throttles.map(|m| &m["Dimensions"][0]["Value"]);
            watched.extend(names.map(|name| name.as_str().unwrap().to_owned()));
        }
        watched.sort();
        assert_eq!(watched, expected);
    }

    #[test]
    fn the_error_names_an_unknown_or_invalid_parameter() {
        for (name, value) in [
            ("Size", "0"),
            ("Size", "many"),
            ("Mode", "maybe"),
            ("Nmaes", "a"),
            ("Host", "A"),
            ("Host", "abcd"),
            ("Secret", "abc"),
        ] {
            let error = queue(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    /// Whether the template of the deployment accepts these values.
    fn accepts(values: &[(&str, &str)]) -> bool {
        let yaml = include_str!("../../../template.yaml");
        // If a parameter has several values, the last one applies.
        let values = SWITCHES_OFF.iter().chain(values);
        let values: Vec<_> = values
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Template::parse(yaml, &values).is_ok()
    }

    #[test]
    fn the_template_refuses_what_the_functions_would_refuse() {
        for (name, good, bad) in [
            ("MinExpirySeconds", "1 86400", "0 -1 1.5 soon"),
            ("MaxExpirySeconds", "31536000", "0 1e3 31536000.0"),
            ("DefaultExpirySeconds", "86400", "0 one"),
            ("MaxKeysPerUser", "1 99 1000", "0 1001 1.0"),
            ("MaxFirstSignInsPerHour", "1 1000000", "0 1000001"),
            ("MaxNodesPerCluster", "1 10000", "0 10001"),
            ("HistoryDays", "1 365 3599 3650", "0 3651 90.5"),
            (
                "ClusterInactiveAfterSeconds",
                "7200 9999 86400",
                "7199 10 0",
            ),
            ("MaxStalenessSeconds", "0 9 60 299 300", "301 1000 -1 0.5"),
            ("ThrottlingRateLimit", "1 1000", "0 0.5"),
            ("RevokeBurstLimit", "1 5000", "0 1.5"),
            ("MemorySize", "128 256 10240", "127 10241 512.0"),
            ("ReleaseId", "1795000000 a1", "2026-11-26 12345678901"),
            (
                "BootstrapAdmins",
                "acme/ann acme/sub:a|b acme/email:ann@x.example,b/c",
                "ann /ann acme/ a#b/ann",
            ),
            (
                "OidcIssuer",
                "https://idp.example/realm/ http://127.0.0.1:8080 http://localhost:1/x",
                "http://idp.example http://127.0.0.1.example.com https://idp.example?x ftp://x",
            ),
            (
                "KeyIssuer",
                "https://keys.example.com keys.example.com",
                "https://keys.example.com/ keys.example.com/x https://a?b",
            ),
            (
                "CorsOrigins",
                "https://a.example https://a.example:8443,http://localhost:5173,http://127.0.0.1",
                "* https://*.example https://a.example/ https://a.example/x http://a.example a.example \
                 https://A.example https://a.example, ,https://a.example https://a.example,,https://b.example https://a.example;https://b.example \
                 http://localhost.example https://u@a.example https://a.example:0 null",
            ),
            ("TenantClaim", "tid", ""),
            (
                "ConsoleResource",
                "https://keys.example/api urn:example:api",
                "keys /keys https://keys.example/#f",
            ),
            (
                "PermissionsBoundary",
                "arn:aws:iam::000000000000:policy/b",
                "boundary",
            ),
        ] {
            for good in good.split(' ') {
                assert!(accepts(&[(name, good)]), "{name}={good}");
            }
            for bad in bad.split(' ') {
                assert!(!accepts(&[(name, bad)]), "{name}={bad}");
            }
        }
    }

    #[test]
    fn the_rules_of_the_template_hold() {
        let certificate = (
            "CertificateArn",
            "arn:aws:acm:us-east-1:000000000000:certificate/1",
        );
        let domain = ("DomainName", "keys.example.com");
        let issuer = ("KeyIssuer", "https://keys.example.com");
        let (no_issuer, pool) = (("OidcIssuer", ""), ("CreateUserPool", "true"));
        assert!(accepts(&[domain, certificate, issuer]));
        assert!(!accepts(&[domain, certificate]), "keys of the old issuer");
        assert!(!accepts(&[domain, issuer]));
        assert!(!accepts(&[certificate]));
        assert!(accepts(&[no_issuer, pool]));
        assert!(!accepts(&[no_issuer]) && !accepts(&[pool]));
    }

    #[test]
    fn a_broken_rule_is_refused() {
        assert!(queue(&[("Host", "abc")]).is_ok());
        assert!(queue(&[("Mode", "off")]).is_ok());
        let error = queue(&[("Host", "abc"), ("Mode", "off")]).unwrap_err();
        assert!(
            error.to_string().ends_with("Host requires Mode."),
            "{error}"
        );
    }

    #[test]
    fn the_error_names_an_unknown_reference() {
        let template =
            "Resources:\n  A:\n    Type: AWS::SQS::Queue\n    Properties: { X: !Ref Nothing }\n";
        let error = match Template::parse(template, &[]) {
            Ok(template) => template.check().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("Nothing") && error.contains('A'), "{error}");
    }
}
