//! IAM: the requests that each function may send to DynamoDB and KMS, according to the template's policies. All other
//! requests are denied.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::template::{Function, KmsKey, Policy, PolicyDocument, Resource, Table, Template};

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

impl Permission {
    pub(crate) fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
        }
    }
}

/// The permissions of every function, and those that it has used.
#[derive(Clone, Default)]
pub(crate) struct Permissions(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The key is the name of the function's binary.
    allowed: BTreeMap<String, BTreeSet<Permission>>,
    used: Mutex<BTreeMap<String, BTreeSet<Permission>>>,
    table_arns: BTreeMap<String, String>,
}

impl Permissions {
    pub(crate) fn read(template: &Template) -> Result<Self> {
        let mut shared = Shared::default();
        for table in template.of_type::<Table>()? {
            let attribute = |name| template.attribute(&table.id, name).map(str::to_owned);
            let arn = attribute("Ref").zip(attribute("Arn"));
            shared.table_arns.extend(arn);
        }
        let policies = template.of_type::<Policy>()?;
        let keys = template.of_type::<KmsKey>()?;
        for function in template.of_type::<Function>()? {
            let allowed = allowed(template, &function, &policies, &keys)?;
            shared
                .allowed
                .insert(function.binary()?.to_owned(), allowed);
        }
        Ok(Self(Arc::new(shared)))
    }

    /// The permissions of the function's role.
    pub(crate) fn allowed(&self, function: &str) -> BTreeSet<Permission> {
        self.0.allowed.get(function).cloned().unwrap_or_default()
    }

    /// The permissions that the function has used.
    pub(crate) fn used(&self, function: &str) -> BTreeSet<Permission> {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(function).cloned().unwrap_or_default()
    }

    /// The first permission that the function lacks for a request. Callers that are not functions may do everything.
    pub(crate) fn missing(
        &self,
        function: &str,
        service: Service,
        action: &str,
        body: &Value,
    ) -> Option<Permission> {
        let needed = match service {
            Service::DynamoDb => self.needed_for_dynamodb(action, body),
            Service::Kms => {
                let key = body["KeyId"].as_str().unwrap_or_default();
                vec![Permission::new(format!("kms:{action}"), key)]
            }
        };
        needed
            .into_iter()
            .find(|permission| !self.is_allowed(function, permission))
    }

    /// Whether the function has the permission. If so, records its use.
    pub(crate) fn is_allowed(&self, function: &str, permission: &Permission) -> bool {
        let Some(allowed) = self.0.allowed.get(function) else {
            return true;
        };
        let is_allowed = allowed.contains(permission);
        if is_allowed {
            let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
            let used = used.entry(function.to_owned()).or_default();
            used.insert(permission.clone());
        }
        is_allowed
    }

    /// A transaction needs a permission for each item, and a batch needs one for each table.
    fn needed_for_dynamodb(&self, action: &str, body: &Value) -> Vec<Permission> {
        match action {
            "TransactWriteItems" => {
                let items = body["TransactItems"].as_array().into_iter().flatten();
                let items = items.filter_map(Value::as_object).flatten();
                items
                    .map(|(kind, item)| {
                        let action = match kind.as_str() {
                            "ConditionCheck" => "ConditionCheckItem".to_owned(),
                            kind => format!("{kind}Item"),
                        };
                        self.on_table(&action, item)
                    })
                    .collect()
            }
            "BatchGetItem" | "BatchWriteItem" => {
                let tables = body["RequestItems"].as_object().into_iter().flatten();
                tables
                    .map(|(table, _)| self.on_table(action, &json!({ "TableName": table })))
                    .collect()
            }
            _ => vec![self.on_table(action, body)],
        }
    }

    /// The permission for an action on the table, or the index, that `body` names.
    fn on_table(&self, action: &str, body: &Value) -> Permission {
        let table = body["TableName"].as_str().unwrap_or_default();
        let arn = self.0.table_arns.get(table).map_or(table, String::as_str);
        let resource = match body["IndexName"].as_str() {
            Some(index) => format!("{arn}/index/{index}"),
            None => arn.to_owned(),
        };
        Permission::new(format!("dynamodb:{action}"), resource)
    }
}

/// The permissions from a function's own policies and from the policies attached to its role. Excludes permissions on a
/// KMS key that the key's policy does not allow.
fn allowed(
    template: &Template,
    function: &Resource<Function>,
    policies: &[Resource<Policy>],
    keys: &[Resource<KmsKey>],
) -> Result<BTreeSet<Permission>> {
    let role = format!("{}Role", function.id);
    let role_attribute = |name| template.attribute(&role, name).unwrap_or_default();
    let mut allowed = BTreeSet::new();
    for policy in &function.properties.policies {
        allowed.extend(permissions(&function.id, policy)?);
    }
    for Resource { id, properties, .. } in policies {
        let roles = &properties.roles;
        if roles.iter().any(|role| role == role_attribute("Ref")) {
            allowed.extend(permissions(id, &properties.policy_document)?);
        }
    }
    // A key's policy must allow the action, either to the role itself or to the account, which delegates to IAM.
    for key in keys {
        let arn = template.attribute(&key.id, "Arn").unwrap_or_default();
        let policy = &key.properties.key_policy;
        allowed.retain(|permission| {
            permission.resource != arn
                || key_allows(policy, &permission.action, role_attribute("Arn"))
        });
    }
    Ok(allowed)
}

/// The permissions of a policy. Refuses wildcards, `Deny` and conditions, which the local stack does not evaluate.
fn permissions(id: &str, policy: &PolicyDocument) -> Result<Vec<Permission>> {
    let mut permissions = Vec::new();
    for statement in &policy.statement {
        let is_plain = statement.effect == "Allow" && statement.condition.is_none();
        for action in &statement.action {
            for resource in &statement.resource {
                if !is_plain || action.contains('*') || resource.contains('*') {
                    bail!("{id}: {action} on {resource} uses a wildcard, Deny or a condition");
                }
                permissions.push(Permission::new(action, resource));
            }
        }
    }
    if permissions.is_empty() {
        bail!("{id}: the policy allows nothing");
    }
    Ok(permissions)
}

/// Whether a key's policy allows the action, either to the role itself or by delegating to IAM.
fn key_allows(policy: &PolicyDocument, action: &str, role_arn: &str) -> bool {
    policy.statement.iter().any(|statement| {
        let principals = &statement.principal.aws;
        statement.effect == "Allow"
            && principals
                .iter()
                .any(|principal| principal == role_arn || principal.ends_with(":root"))
            && statement.action.iter().any(|allowed| allowed == action)
    })
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
        // No IAM policy can add the permission, because the key's policy does not delegate signing to IAM.
        let keys = template.of_type::<KmsKey>().unwrap();
        let [key] = keys.as_slice() else {
            panic!("expected one key")
        };
        let policy = &key.properties.key_policy;
        let another = template.attribute("ListFunctionRole", "Arn").unwrap();
        assert!(!key_allows(policy, "kms:Sign", another));
        let role = template.attribute("CreateFunctionRole", "Arn").unwrap();
        assert!(key_allows(policy, "kms:Sign", role));
    }

    #[test]
    fn a_policy_with_a_wildcard_is_refused() {
        let read = |policy: Value| -> Result<Vec<Permission>> {
            permissions("F", &serde_json::from_value(policy)?)
        };
        let policy = |action: &str, resource: &str| {
            let statement = json!({ "Effect": "Allow", "Action": action, "Resource": resource });
            json!({ "Statement": [statement] })
        };
        assert!(read(policy("kms:Sign", "arn")).is_ok());
        assert!(read(policy("kms:*", "arn")).is_err());
        assert!(read(policy("kms:Sign", "*")).is_err());
        assert!(read(json!("AmazonDynamoDBFullAccess")).is_err());
    }
}
