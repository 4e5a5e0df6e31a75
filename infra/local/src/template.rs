//! The CloudFormation template: YAML with its tags, parameters, conditions and intrinsic functions resolved.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

pub(crate) const REGION: &str = "us-east-1";
pub(crate) const ACCOUNT: &str = "000000000000";
pub(crate) const STACK: &str = "local";

/// A template with its parameters; `resolve` needs the attributes of every resource that it meets.
pub(crate) struct Template {
    conditions: Map<String, Value>,
    resources: Map<String, Value>,
    parameters: BTreeMap<String, Value>,
    attributes: BTreeMap<String, BTreeMap<String, Value>>,
}

/// One resource, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub id: String,
    pub metadata: Value,
    pub properties: Value,
}

impl Template {
    pub(crate) fn parse(yaml: &str, overrides: &[(String, String)]) -> Result<Self> {
        let documents = Yaml::load_from_str(yaml).context("the template is not YAML")?;
        let document = documents
            .first()
            .ok_or_else(|| anyhow!("the template is empty"))?;
        let mut document = to_json(document)?;
        let mut section = |name: &str| match document.get_mut(name).map(Value::take) {
            Some(Value::Object(section)) => section,
            _ => Map::new(),
        };
        let parameters = parameters(&section("Parameters"), overrides)?;
        let globals = section("Globals").remove("Function").unwrap_or_default();
        let conditions = section("Conditions");
        let mut resources = section("Resources");
        for resource in resources
            .values_mut()
            .filter(|r| r["Type"] == "AWS::Serverless::Function")
        {
            let mut properties = globals.clone();
            merge(&mut properties, resource["Properties"].take());
            resource["Properties"] = properties;
        }
        let mut template = Self {
            conditions,
            resources,
            parameters,
            attributes: BTreeMap::new(),
        };
        template.drop_disabled()?;
        template.name_resources()?;
        Ok(template)
    }

    /// The resources of one type, resolved, in the order of their logical ids.
    pub(crate) fn of_type(&self, kind: &str) -> Result<Vec<Resource>> {
        let ids = self
            .resources
            .iter()
            .filter(|(_, r)| r["Type"] == kind)
            .map(|(id, _)| id);
        ids.map(|id| self.resource(id)).collect()
    }

    /// Resolves every resource, so that a mistake anywhere in the template is found at the start.
    pub(crate) fn check(&self) -> Result<()> {
        self.resources
            .keys()
            .try_for_each(|id| self.resource(id).map(drop))
    }

    /// What `Ref` (attribute `Ref`) or `Fn::GetAtt` answers for a resource.
    pub(crate) fn set(&mut self, id: &str, attribute: &str, value: impl Into<Value>) {
        self.attributes
            .entry(id.to_owned())
            .or_default()
            .insert(attribute.to_owned(), value.into());
    }

    pub(crate) fn attribute(&self, id: &str, attribute: &str) -> Option<&Value> {
        self.attributes.get(id)?.get(attribute)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name)?.as_str()
    }

    fn resource(&self, id: &str) -> Result<Resource> {
        let resource = &self.resources[id];
        let part = |name: &str| -> Result<Value> {
            Ok(self
                .resolve(resource.get(name).unwrap_or(&Value::Null), id)?
                .unwrap_or_default())
        };

        Ok(Resource {
            id: id.to_owned(),
            metadata: part("Metadata")?,
            properties: part("Properties")?,
        })
    }

    fn drop_disabled(&mut self) -> Result<()> {
        let mut disabled = Vec::new();
        for (id, resource) in &self.resources {
            if let Some(condition) = resource.get("Condition").and_then(Value::as_str)
                && !self.named_condition(condition, id)?
            {
                disabled.push(id.clone());
            }
        }
        disabled
            .iter()
            .for_each(|id| drop(self.resources.remove(id)));
        Ok(())
    }

    /// Gives every resource the names and ARNs that are known before it is created.
    fn name_resources(&mut self) -> Result<()> {
        let resources = self.resources.clone();
        for (id, resource) in &resources {
            self.name_resource(id, resource)?;
        }
        Ok(())
    }

    fn name_resource(&mut self, id: &str, resource: &Value) -> Result<()> {
        let properties = &resource["Properties"];
        match resource["Type"].as_str().unwrap_or_default() {
            "AWS::DynamoDB::Table" => {
                let name = self.physical_name(id, &properties["TableName"])?;
                self.set(id, "Arn", arn("dynamodb", &format!("table/{name}")));
                self.set(id, "Ref", name);
            }
            "AWS::Serverless::Function" => {
                let name = self.physical_name(id, &properties["FunctionName"])?;
                self.set(id, "Arn", arn("lambda", &format!("function:{name}")));
                self.set(id, "Ref", name);
                if properties["Role"].is_null() {
                    let role = format!("{id}Role");
                    self.name_role(&role, &format!("{STACK}-{role}"));
                }
            }
            "AWS::SQS::Queue" => {
                let name = self.physical_name(id, &properties["QueueName"])?;
                let url = format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}");
                self.set(id, "Arn", arn("sqs", &name));
                self.set(id, "Ref", url);
                self.set(id, "QueueName", name);
            }
            "AWS::Logs::LogGroup" => {
                let name = self.physical_name(id, &properties["LogGroupName"])?;
                self.set(id, "Arn", arn("logs", &format!("log-group:{name}:*")));
                self.set(id, "Ref", name);
            }
            "AWS::IAM::Role" => {
                let name = self.physical_name(id, &properties["RoleName"])?;
                self.name_role(id, &name);
            }
            // The local KMS chooses the id when it creates the key.
            "AWS::KMS::Key" => {}
            _ => self.set(id, "Ref", id),
        }
        Ok(())
    }

    /// IAM is global: a role's ARN has no region.
    fn name_role(&mut self, id: &str, name: &str) {
        self.set(id, "Arn", format!("arn:aws:iam::{ACCOUNT}:role/{name}"));
        self.set(id, "Ref", name);
    }

    /// The name that the template gives a resource, or one made of its logical id.
    fn physical_name(&self, id: &str, property: &Value) -> Result<String> {
        match self.resolve(property, id)? {
            Some(Value::String(name)) => Ok(name),
            _ => Ok(format!("{STACK}-{id}")),
        }
    }

    /// Resolves `value`; `None` is `AWS::NoValue`. `at` is the logical id that an error names.
    fn resolve(&self, value: &Value, at: &str) -> Result<Option<Value>> {
        match value {
            Value::Array(items) => {
                let items = items
                    .iter()
                    .filter_map(|item| self.resolve(item, at).transpose());
                Ok(Some(Value::Array(items.collect::<Result<_>>()?)))
            }
            Value::Object(map) => match intrinsic(map) {
                Some((name, argument)) => self.intrinsic(name, argument, at),
                None => {
                    let mut resolved = Map::new();
                    for (key, value) in map {
                        if let Some(value) = self.resolve(value, at)? {
                            resolved.insert(key.clone(), value);
                        }
                    }
                    Ok(Some(Value::Object(resolved)))
                }
            },
            scalar => Ok(Some(scalar.clone())),
        }
    }

    fn intrinsic(&self, name: &str, argument: &Value, at: &str) -> Result<Option<Value>> {
        let wrong = || wrong_argument(name, argument, at);
        match name {
            "Ref" if argument == "AWS::NoValue" => Ok(None),
            "Ref" => {
                let name = argument.as_str().ok_or_else(wrong)?;
                self.reference(name, at).map(Some)
            }
            "Fn::GetAtt" => {
                let path = match argument {
                    Value::String(path) => path.clone(),
                    Value::Array(parts) => parts
                        .iter()
                        .filter_map(Value::as_str)
                        .collect::<Vec<_>>()
                        .join("."),
                    _ => return Err(wrong()),
                };
                self.get_att(&path, at).map(Some)
            }
            "Fn::Sub" => self.substitute(argument, at).map(Some),
            "Fn::Join" => self.join(argument, at).map(Some),
            "Fn::Split" => self.split(argument, at).map(Some),
            "Fn::Select" => self.select(argument, at).map(Some),
            "Fn::If" => {
                let [condition, yes, no] = arguments(argument).ok_or_else(wrong)?;
                let condition = self.named_condition(condition.as_str().ok_or_else(wrong)?, at)?;
                self.resolve(if condition { yes } else { no }, at)
            }
            "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or" => self
                .condition(&json!({ name: argument }), at)
                .map(|holds| Some(holds.into())),
            _ => Err(anyhow!("{at}: the local stack does not know {name}")),
        }
    }

    fn join(&self, argument: &Value, at: &str) -> Result<Value> {
        let wrong = || wrong_argument("Fn::Join", argument, at);
        let [delimiter, items] = arguments(argument).ok_or_else(wrong)?;
        let items = self.list(items, at)?.ok_or_else(wrong)?;
        let items: Option<Vec<_>> = items.iter().map(text).collect();
        let items = items.ok_or_else(wrong)?;
        Ok(items.join(delimiter.as_str().ok_or_else(wrong)?).into())
    }

    fn split(&self, argument: &Value, at: &str) -> Result<Value> {
        let wrong = || wrong_argument("Fn::Split", argument, at);
        let [delimiter, whole] = arguments(argument).ok_or_else(wrong)?;
        let whole = self
            .resolve(whole, at)?
            .as_ref()
            .and_then(text)
            .ok_or_else(wrong)?;
        Ok(whole.split(delimiter.as_str().ok_or_else(wrong)?).collect())
    }

    fn select(&self, argument: &Value, at: &str) -> Result<Value> {
        let wrong = || wrong_argument("Fn::Select", argument, at);
        let [index, items] = arguments(argument).ok_or_else(wrong)?;
        let index: usize = text(index)
            .and_then(|index| index.parse().ok())
            .ok_or_else(wrong)?;
        let items = self.list(items, at)?.ok_or_else(wrong)?;
        items.get(index).cloned().ok_or_else(wrong)
    }

    /// Resolves `value`; `None` if that gives no list.
    fn list(&self, value: &Value, at: &str) -> Result<Option<Vec<Value>>> {
        match self.resolve(value, at)? {
            Some(Value::Array(items)) => Ok(Some(items)),
            _ => Ok(None),
        }
    }

    fn named_condition(&self, name: &str, at: &str) -> Result<bool> {
        let condition = self.conditions.get(name);
        let condition = condition.ok_or_else(|| anyhow!("{at}: there is no condition {name}"))?;
        self.condition(condition, name)
    }

    fn condition(&self, condition: &Value, at: &str) -> Result<bool> {
        let wrong = || anyhow!("{at}: not a condition: {condition}");
        let (name, argument) = condition
            .as_object()
            .and_then(intrinsic)
            .ok_or_else(wrong)?;
        let all = || argument.as_array().ok_or_else(wrong);
        match name {
            "Condition" => self.named_condition(argument.as_str().ok_or_else(wrong)?, at),
            "Fn::Equals" => {
                let [left, right] = arguments(argument).ok_or_else(wrong)?;
                let side =
                    |side| -> Result<_> { Ok(self.resolve(side, at)?.as_ref().and_then(text)) };
                Ok(side(left)? == side(right)?)
            }
            "Fn::Not" => {
                let [inner] = arguments(argument).ok_or_else(wrong)?;
                Ok(!self.condition(inner, at)?)
            }
            "Fn::And" => all()?
                .iter()
                .try_fold(true, |held, inner| Ok(held && self.condition(inner, at)?)),
            "Fn::Or" => all()?
                .iter()
                .try_fold(false, |held, inner| Ok(held || self.condition(inner, at)?)),
            _ => Err(wrong()),
        }
    }

    fn reference(&self, name: &str, at: &str) -> Result<Value> {
        let pseudo = match name {
            "AWS::Region" => Some(REGION),
            "AWS::AccountId" => Some(ACCOUNT),
            "AWS::Partition" => Some("aws"),
            "AWS::StackName" => Some(STACK),
            "AWS::StackId" => Some("arn:aws:cloudformation:us-east-1:000000000000:stack/local/0"),
            "AWS::URLSuffix" => Some("amazonaws.com"),
            _ => None,
        };
        let value = pseudo
            .map(Value::from)
            .or_else(|| self.parameters.get(name).cloned());
        value
            .or_else(|| self.attribute(name, "Ref").cloned())
            .ok_or_else(|| anyhow!("{at}: there is nothing called {name} to refer to"))
    }

    fn get_att(&self, path: &str, at: &str) -> Result<Value> {
        let (id, attribute) = path.split_once('.').unwrap_or((path, ""));
        self.attribute(id, attribute)
            .cloned()
            .ok_or_else(|| anyhow!("{at}: the local stack has no attribute {path}"))
    }

    fn substitute(&self, argument: &Value, at: &str) -> Result<Value> {
        let wrong = || wrong_argument("Fn::Sub", argument, at);
        let (pattern, own) = match argument {
            Value::String(pattern) => (pattern.as_str(), None),
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(pattern), Value::Object(own)] => (pattern.as_str(), Some(own)),
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        let mut parts = pattern.split("${");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').ok_or_else(wrong)?;
            if let Some(literal) = name.strip_prefix('!') {
                whole += &format!("${{{literal}}}");
            } else {
                let value = match own.and_then(|own| own.get(name)) {
                    Some(value) => self.resolve(value, at)?.unwrap_or_default(),
                    None if name.contains('.') => self.get_att(name, at)?,
                    None => self.reference(name, at)?,
                };
                whole += &text(&value).ok_or_else(wrong)?;
            }
            whole += rest;
        }
        Ok(whole.into())
    }
}

/// A scalar the way CloudFormation writes it into a string.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A whole number, also when a parameter made it a string.
pub(crate) fn number(value: &Value) -> Option<u64> {
    text(value)?.parse().ok()
}

/// A flag, also when a parameter made it a string.
pub(crate) fn flag(value: &Value) -> bool {
    text(value).is_some_and(|text| text == "true")
}

fn arn(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}")
}

/// The name and the argument of an intrinsic function, if the object is one.
fn intrinsic(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = map.iter().next().filter(|_| map.len() == 1)?;
    let known =
        name.starts_with("Fn::") || name == "Ref" || (name == "Condition" && argument.is_string());
    known.then_some((name, argument))
}

/// The arguments of an intrinsic function that takes a list of `COUNT`.
fn arguments<const COUNT: usize>(argument: &Value) -> Option<&[Value; COUNT]> {
    argument.as_array()?.as_slice().try_into().ok()
}

fn wrong_argument(name: &str, argument: &Value, at: &str) -> anyhow::Error {
    anyhow!("{at}: {name} is not given what it takes: {argument}")
}

/// Globals as SAM merges them: maps key by key, lists appended, anything else replaced.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over))
            if intrinsic(base).is_none() && intrinsic(&over).is_none() =>
        {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(over)) => base.extend(over),
        (_, Value::Null) => {}
        (base, over) => *base = over,
    }
}

/// The values of the declared parameters. The last of several overrides wins.
fn parameters(
    declared: &Map<String, Value>,
    overrides: &[(String, String)],
) -> Result<BTreeMap<String, Value>> {
    if let Some((name, _)) = overrides
        .iter()
        .find(|(name, _)| !declared.contains_key(name))
    {
        let known: Vec<_> = declared.keys().map(String::as_str).collect();
        bail!(
            "there is no parameter {name}; the template has {}",
            known.join(", ")
        );
    }
    let mut values = BTreeMap::new();
    for (name, declaration) in declared {
        let given = overrides
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.clone());
        let value = given.or_else(|| text(&declaration["Default"]));
        let value =
            value.ok_or_else(|| anyhow!("the parameter {name} has no default: give it a value"))?;
        check_parameter(declaration, &value)
            .map_err(|why| anyhow!("the parameter {name} cannot be {value:?}: {why}"))?;
        let value = match declaration["Type"].as_str() {
            Some("CommaDelimitedList") => value.split(',').map(str::trim).collect(),
            _ => value.into(),
        };
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// Checks a value against its parameter's declaration. The error says which rule the value breaks.
fn check_parameter(declaration: &Value, value: &str) -> Result<(), String> {
    if let Some(allowed) = declaration["AllowedValues"].as_array() {
        let allowed: Vec<_> = allowed.iter().filter_map(text).collect();
        if !allowed.iter().any(|allowed| allowed == value) {
            return Err(format!("it must be one of {}", allowed.join(", ")));
        }
    }
    if declaration["Type"] == "Number" {
        let Ok(number) = value.parse::<f64>() else {
            return Err("it must be a number".into());
        };
        let bound =
            |bound: &str| text(&declaration[bound]).and_then(|bound| bound.parse::<f64>().ok());
        if let Some(least) = bound("MinValue").filter(|least| number < *least) {
            return Err(format!("it must be at least {least}"));
        }
        if let Some(most) = bound("MaxValue").filter(|most| number > *most) {
            return Err(format!("it must be at most {most}"));
        }
    }
    Ok(())
}

/// YAML as JSON, with every tag in its long form.
fn to_json(yaml: &Yaml<'_>) -> Result<Value> {
    Ok(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(flag)) => (*flag).into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Value(Scalar::FloatingPoint(number)) => number.into_inner().into(),
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Sequence(items) => items.iter().map(to_json).collect::<Result<_>>()?,
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = text(&to_json(key)?)
                    .ok_or_else(|| anyhow!("the template has a key that is no text"))?;
                map.insert(key, to_json(value)?);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tag, node) => {
            let name = match tag.suffix.as_str() {
                name @ ("Ref" | "Condition") => name.to_owned(),
                name => format!("Fn::{name}"),
            };
            json!({ name: to_json(node)? })
        }
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => {
            bail!("the template has YAML that CloudFormation does not take: {yaml:?}");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"
Parameters:
  Names: { Type: CommaDelimitedList, Default: "" }
  Size: { Type: Number, Default: 5, MinValue: 1 }
  Mode: { Type: String, Default: on, AllowedValues: [on, off] }
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
"#;

    fn queue(overrides: &[(&str, &str)]) -> Result<Vec<Resource>> {
        let overrides: Vec<_> = overrides
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Template::parse(TEMPLATE, &overrides)?.of_type("AWS::SQS::Queue")
    }

    #[test]
    fn intrinsics_and_conditions_follow_the_parameters() {
        let queues = queue(&[]).unwrap();
        assert_eq!(queues.len(), 1);
        let properties = queues
            .iter()
            .find(|queue| queue.id == "Queue")
            .unwrap()
            .properties
            .clone();
        assert_eq!(properties["First"], "none");
        assert_eq!(text(&properties["Size"]).as_deref(), Some("5"));
        assert_eq!(properties["Text"], "us-east-1-5-${Kept}");
        assert!(properties.get("Gone").is_none());

        let queues = queue(&[("Names", "a,b"), ("Size", "7")]).unwrap();
        assert_eq!(queues.len(), 2);
        let properties = &queues
            .iter()
            .find(|queue| queue.id == "Queue")
            .unwrap()
            .properties;
        assert_eq!(
            (&properties["First"], &properties["Gone"]),
            (&json!("a"), &json!("x"))
        );
    }

    /// Whatever an operator switches on. What only AWS can name is given here.
    #[test]
    fn the_template_resolves_with_every_switch() {
        let yaml = include_str!("../../template.yaml");
        let off = [
            ("KeyIssuer", "https://keys.example.com"),
            ("OidcIssuer", "https://idp.example.com"),
        ];
        let on = [
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
            (
                "RotatedSigningKeys",
                "arn:aws:kms:us-east-1:000000000000:key/1",
            ),
        ];
        for (switches, has_options) in [(&off[..], false), (&on[..], true)] {
            let switches: Vec<_> = switches
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let mut template = Template::parse(yaml, &switches).unwrap();
            for (id, attribute) in [
                ("Api", "ApiEndpoint"),
                ("Domain", "RegionalDomainName"),
                ("Domain", "RegionalHostedZoneId"),
                ("SigningKey", "Arn"),
                ("SigningKey", "Ref"),
                ("Table", "StreamArn"),
                ("UserPool", "Arn"),
                ("UserPoolClaims", "Arn"),
            ] {
                template.set(id, attribute, format!("{id}.{attribute}"));
            }
            template.check().unwrap();
            for kind in [
                "Cognito::UserPool",
                "CloudWatch::Dashboard",
                "ApiGatewayV2::DomainName",
            ] {
                let found = template.of_type(&format!("AWS::{kind}")).unwrap();
                assert_eq!(found.len(), usize::from(has_options), "{kind}");
            }
            let functions = template.of_type("AWS::Serverless::Function").unwrap().len();
            let alarms = template.of_type("AWS::CloudWatch::Alarm").unwrap();
            assert_eq!(alarms.len(), 10);
            for alarm in alarms {
                if alarm.id == "ThrottlesAlarm" {
                    // The sum, and every function but the clean-up. CloudWatch takes ten metrics in an alarm.
                    let metrics = alarm.properties["Metrics"].as_array().unwrap().len();
                    assert!(
                        metrics == functions && metrics <= 11,
                        "{metrics} of {functions}"
                    );
                }
                assert_eq!(
                    alarm.properties.get("AlarmActions").is_some(),
                    has_options,
                    "{}",
                    alarm.id
                );
            }
            for dashboard in template.of_type("AWS::CloudWatch::Dashboard").unwrap() {
                let body = dashboard.properties["DashboardBody"].as_str().unwrap();
                assert!(serde_json::from_str::<Value>(body).unwrap()["widgets"].is_array());
            }
        }
    }

    #[test]
    fn a_parameter_that_breaks_its_rule_is_named() {
        for (name, value) in [
            ("Size", "0"),
            ("Size", "many"),
            ("Mode", "maybe"),
            ("Nmaes", "a"),
        ] {
            let error = queue(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn an_unknown_reference_is_named() {
        let template =
            "Resources:\n  A:\n    Type: AWS::SQS::Queue\n    Properties: { X: !Ref Nothing }\n";
        let error = match Template::parse(template, &[]) {
            Ok(template) => template.check().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("Nothing") && error.contains('A'), "{error}");
    }
}
