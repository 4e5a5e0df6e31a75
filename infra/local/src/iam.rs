//! IAM: which requests to DynamoDB and KMS the template's policies allow each function. All others are denied.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::template::{Template, text};

/// A service that functions need permission to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    DynamoDb,
    Kms,
}

/// An action on a resource, such as `dynamodb:GetItem` on a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    pub action: String,
    pub resource: String,
}

/// What every function's role allows, and what the functions have made use of.
#[derive(Clone, Default)]
pub(crate) struct Permissions(Arc<Tables>);

#[derive(Default)]
struct Tables {
    /// By the name of the function's binary.
    allowed: BTreeMap<String, BTreeSet<Permission>>,
    used: Mutex<BTreeMap<String, BTreeSet<Permission>>>,
    table_arns: BTreeMap<String, String>,
}

impl Permissions {
    pub(crate) fn read(template: &Template) -> Result<Self> {
        let mut tables = Tables::default();
        for table in template.of_type("AWS::DynamoDB::Table")? {
            let attribute = |name: &str| template.attribute(&table.id, name).and_then(text);
            tables
                .table_arns
                .extend(attribute("Ref").zip(attribute("Arn")));
        }
        let policies = template.of_type("AWS::IAM::Policy")?;
        let keys = template.of_type("AWS::KMS::Key")?;
        for function in template.of_type("AWS::Serverless::Function")? {
            let binary = function.metadata["BuildProperties"]["Binary"]
                .as_str()
                .unwrap_or_default();
            let role = format!("{}Role", function.id);
            let role_name = template.attribute(&role, "Ref");
            let mut allowed = BTreeSet::new();
            for policy in list(&function.properties["Policies"]) {
                allowed.extend(permissions(&function.id, policy)?);
            }
            for policy in &policies {
                if list(&policy.properties["Roles"]).any(|role| Some(role) == role_name) {
                    allowed.extend(permissions(
                        &policy.id,
                        &policy.properties["PolicyDocument"],
                    )?);
                }
            }
            // A KMS key's own policy has the last word: it must leave the action to IAM, or name the role.
            for key in &keys {
                let arn = template
                    .attribute(&key.id, "Arn")
                    .and_then(text)
                    .unwrap_or_default();
                let role_arn = template.attribute(&role, "Arn");
                allowed.retain(|permission| {
                    permission.resource != arn
                        || key_allows(&key.properties, &permission.action, role_arn)
                });
            }
            tables.allowed.insert(binary.to_owned(), allowed);
        }
        Ok(Self(Arc::new(tables)))
    }

    /// What the function's role allows.
    pub(crate) fn allowed(&self, function: &str) -> BTreeSet<Permission> {
        self.0.allowed.get(function).cloned().unwrap_or_default()
    }

    /// What has been asked for in the function's name, and was allowed.
    pub(crate) fn used(&self, function: &str) -> BTreeSet<Permission> {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(function).cloned().unwrap_or_default()
    }

    /// The permission that the function lacks for a request; a caller that is no function lacks none.
    pub(crate) fn missing(
        &self,
        function: &str,
        service: Service,
        action: &str,
        body: &Value,
    ) -> Option<Permission> {
        let needed = match service {
            Service::DynamoDb => self.needed_of_dynamodb(action, body),
            Service::Kms => {
                let resource = body["KeyId"].as_str().unwrap_or_default().to_owned();
                vec![Permission {
                    action: format!("kms:{action}"),
                    resource,
                }]
            }
        };
        needed
            .into_iter()
            .find(|permission| !self.is_allowed(function, permission))
    }

    /// Whether the function may; notes that it has made use of it.
    pub(crate) fn is_allowed(&self, function: &str, permission: &Permission) -> bool {
        let Some(allowed) = self.0.allowed.get(function) else {
            return true;
        };
        let is_allowed = allowed.contains(permission);
        if is_allowed {
            let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
            let used = used.entry(function.to_owned()).or_default();
            if !used.contains(permission) {
                used.insert(permission.clone());
            }
        }
        is_allowed
    }

    /// A transaction needs the permission of each of its items, a batch that on each of its tables.
    fn needed_of_dynamodb(&self, action: &str, body: &Value) -> Vec<Permission> {
        let permission = |action: &str, body: &Value| {
            let table = body["TableName"].as_str().unwrap_or_default();
            let arn = self.0.table_arns.get(table).map_or(table, String::as_str);
            let resource = match body["IndexName"].as_str() {
                Some(index) => format!("{arn}/index/{index}"),
                None => arn.to_owned(),
            };
            Permission {
                action: format!("dynamodb:{action}"),
                resource,
            }
        };
        match action {
            "TransactWriteItems" => {
                let items = list(&body["TransactItems"])
                    .filter_map(Value::as_object)
                    .flatten();
                items
                    .map(|(kind, item)| {
                        let action = if kind == "ConditionCheck" {
                            "ConditionCheckItem".to_owned()
                        } else {
                            format!("{kind}Item")
                        };
                        permission(&action, item)
                    })
                    .collect()
            }
            "BatchGetItem" | "BatchWriteItem" => {
                let tables = body["RequestItems"].as_object().into_iter().flatten();
                tables
                    .map(|(table, _)| {
                        permission(action, &serde_json::json!({ "TableName": table }))
                    })
                    .collect()
            }
            _ => vec![permission(action, body)],
        }
    }
}

/// The permissions of a policy document. Only what names its actions and resources is read: no wildcard, no Deny,
/// no condition.
fn permissions(id: &str, document: &Value) -> Result<Vec<Permission>> {
    let mut permissions = Vec::new();
    for statement in list(&document["Statement"]) {
        let plain = statement["Effect"] == "Allow" && statement["Condition"].is_null();
        for action in list(&statement["Action"]).filter_map(text) {
            for resource in list(&statement["Resource"]).filter_map(text) {
                if !plain || action.contains('*') || resource.contains('*') {
                    bail!("{id}: {action} on {resource} is not a plain permission");
                }
                permissions.push(Permission {
                    action: action.clone(),
                    resource,
                });
            }
        }
    }
    if permissions.is_empty() {
        bail!("{id}: the policy allows nothing, or is not written out");
    }
    Ok(permissions)
}

fn key_allows(key: &Value, action: &str, role_arn: Option<&Value>) -> bool {
    list(&key["KeyPolicy"]["Statement"]).any(|statement| {
        let principal = &statement["Principal"]["AWS"];
        let names_it = Some(principal) == role_arn
            || principal
                .as_str()
                .is_some_and(|principal| principal.ends_with(":root"));
        let actions = list(&statement["Action"]);
        statement["Effect"] == "Allow"
            && names_it
            && actions.filter_map(text).any(|allowed| allowed == action)
    })
}

/// A JSON list, or the one thing that stands for it.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    let many = value.as_array().map(Vec::as_slice);
    let one = if value.is_null() || value.is_array() {
        None
    } else {
        Some(value)
    };
    many.into_iter().flatten().chain(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_function_that_creates_keys_may_sign() {
        let yaml = include_str!("../../template.yaml");
        let parameters = [
            ("OidcIssuer", "https://idp.example"),
            ("KeyIssuer", "https://keys.example"),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut template = Template::parse(yaml, &parameters).unwrap();
        for (id, attribute) in [
            ("SigningKey", "Arn"),
            ("SigningKey", "Ref"),
            ("Table", "StreamArn"),
        ] {
            template.set(id, attribute, format!("{id}{attribute}"));
        }
        let permissions = Permissions::read(&template).unwrap();
        let signers: Vec<_> = permissions
            .0
            .allowed
            .iter()
            .filter(|(_, allowed)| {
                allowed
                    .iter()
                    .any(|permission| permission.action == "kms:Sign")
            })
            .map(|(function, _)| function.as_str())
            .collect();
        assert_eq!(signers, ["create"]);
        // Nor can an IAM policy that somebody adds: the key leaves signing to its own policy.
        let [key] = template
            .of_type("AWS::KMS::Key")
            .unwrap()
            .try_into()
            .unwrap();
        assert!(!key_allows(&key.properties, "kms:Sign", None));
        let role = template.attribute("CreateFunctionRole", "Arn");
        assert!(key_allows(&key.properties, "kms:Sign", role));
    }

    #[test]
    fn a_policy_with_a_wildcard_is_not_read() {
        let policy = |action: &str, resource: &str| serde_json::json!({ "Statement": [{ "Effect": "Allow", "Action": action, "Resource": resource }] });
        assert!(permissions("F", &policy("kms:Sign", "arn")).is_ok());
        assert!(permissions("F", &policy("kms:*", "arn")).is_err());
        assert!(permissions("F", &policy("kms:Sign", "*")).is_err());
        assert!(permissions("F", &serde_json::json!("AmazonDynamoDBFullAccess")).is_err());
    }
}
