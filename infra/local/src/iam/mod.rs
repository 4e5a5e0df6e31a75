//! IAM: the requests that each function may send to DynamoDB and KMS, according to the template's policies. All other
//! requests are denied.

mod conditions;
mod expressions;
mod request;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) use self::request::Access;
use self::{
    conditions::{Condition, conditions},
    request::Tables,
};
use crate::template::{Function, KmsKey, Policy, PolicyDocument, Resource, Template};

/// A service that functions need permission to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    DynamoDb,
    Kms,
}

/// A permission of a statement: an action on a resource, or one attribute or leading key that its conditions accept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The logical id of the function or policy, and the `Sid` of the statement or else its position.
    pub statement: String,
    pub action: String,
    pub resource: String,
    /// A condition key and one of its accepted values. `None` stands for the action itself.
    pub accepted: Option<(String, String)>,
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({} on {}",
            self.statement, self.action, self.resource
        )?;
        if let Some((key, value)) = &self.accepted {
            write!(f, ", {key} {value}")?;
        }
        f.write_str(")")
    }
}

/// One action on one resource that a statement allows under conditions.
struct Grant {
    statement: String,
    action: String,
    resource: String,
    conditions: Vec<Condition>,
}

impl Grant {
    fn allows(&self, access: &Access) -> bool {
        self.action == access.action
            && self.resource == access.resource
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(access))
    }

    fn permission(&self, accepted: Option<(String, String)>) -> Permission {
        Permission {
            statement: self.statement.clone(),
            action: self.action.clone(),
            resource: self.resource.clone(),
            accepted,
        }
    }

    /// The permissions of this grant or, if an access is given, those that the access uses.
    fn permissions(&self, access: Option<&Access>) -> impl Iterator<Item = Permission> {
        let listing = self
            .conditions
            .iter()
            .filter(|condition| condition.is_list());
        let accepted = listing.flat_map(move |condition| {
            let values = condition.values.iter().filter(move |value| {
                access.is_none_or(|access| {
                    let found = access.context.get(condition.key.as_str());
                    let mut found = found.into_iter().flatten();
                    found.any(|found| condition.accepts(value, found))
                })
            });
            values.map(|value| Some((condition.key.clone(), value.clone())))
        });
        [None]
            .into_iter()
            .chain(accepted)
            .map(|accepted| self.permission(accepted))
    }
}

/// The permissions of every function, and those that it has used.
#[derive(Clone, Default)]
pub(crate) struct Permissions(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The key is the name of the function's binary.
    grants: BTreeMap<String, Vec<Grant>>,
    used: Mutex<BTreeMap<String, BTreeSet<Permission>>>,
    tables: Tables,
}

impl Permissions {
    pub(crate) fn read(template: &Template) -> Result<Self> {
        let mut shared = Shared {
            tables: Tables::read(template)?,
            ..Shared::default()
        };
        let policies = template.of_type::<Policy>()?;
        let keys = template.of_type::<KmsKey>()?;
        for function in template.of_type::<Function>()? {
            let grants = grants_of(template, &function, &policies, &keys)?;
            shared.grants.insert(function.binary()?.to_owned(), grants);
        }
        Ok(Self(Arc::new(shared)))
    }

    /// The permissions of the function's role.
    pub(crate) fn allowed(&self, function: &str) -> BTreeSet<Permission> {
        let grants = self.0.grants.get(function).into_iter().flatten();
        grants.flat_map(|grant| grant.permissions(None)).collect()
    }

    /// The permissions that the function has used.
    pub(crate) fn used(&self, function: &str) -> BTreeSet<Permission> {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(function).cloned().unwrap_or_default()
    }

    /// The first access that a request needs and the function lacks. Callers that are not functions may do everything.
    pub(crate) fn missing(
        &self,
        function: &str,
        service: Service,
        action: &str,
        body: &Value,
    ) -> Option<Access> {
        let needed = match service {
            Service::DynamoDb => self.0.tables.accesses(action, body),
            Service::Kms => {
                let key = body["KeyId"].as_str().unwrap_or_default();
                vec![Access::plain(format!("kms:{action}"), key)]
            }
        };
        needed
            .into_iter()
            .find(|access| !self.is_allowed(function, access))
    }

    /// Whether the function has a permission for an access. If so, records its use.
    pub(crate) fn is_allowed(&self, function: &str, access: &Access) -> bool {
        let Some(grants) = self.0.grants.get(function) else {
            return true;
        };
        let Some(grant) = grants.iter().find(|grant| grant.allows(access)) else {
            return false;
        };
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used.entry(function.to_owned()).or_default();
        used.extend(grant.permissions(Some(access)));
        true
    }
}

/// The grants from a function's own policies and from the policies attached to its role. Excludes grants on a KMS key
/// that the key's policy does not allow.
fn grants_of(
    template: &Template,
    function: &Resource<Function>,
    policies: &[Resource<Policy>],
    keys: &[Resource<KmsKey>],
) -> Result<Vec<Grant>> {
    let role = format!("{}Role", function.id);
    let role_attribute = |name| template.attribute(&role, name).unwrap_or_default();
    let mut allowed = Vec::new();
    for policy in &function.properties.policies {
        allowed.extend(grants(&function.id, policy)?);
    }
    for Resource { id, properties, .. } in policies {
        let roles = &properties.roles;
        if roles.iter().any(|role| role == role_attribute("Ref")) {
            allowed.extend(grants(id, &properties.policy_document)?);
        }
    }
    // A key's policy must allow the action, either to the role itself or to the account, which delegates to IAM.
    for key in keys {
        let arn = template.attribute(&key.id, "Arn").unwrap_or_default();
        let policy = &key.properties.key_policy;
        allowed.retain(|grant| {
            grant.resource != arn || key_allows(policy, &grant.action, role_attribute("Arn"))
        });
    }
    Ok(allowed)
}

/// The grants of a policy. Refuses `Deny`, and wildcards in actions and resources, which the local stack does not
/// evaluate.
fn grants(id: &str, policy: &PolicyDocument) -> Result<Vec<Grant>> {
    let mut grants = Vec::new();
    for (position, statement) in policy.statement.iter().enumerate() {
        let name = statement.sid.clone();
        let name = format!(
            "{id} {}",
            name.unwrap_or_else(|| (position + 1).to_string())
        );
        let conditions = conditions(statement.condition.as_ref()).with_context(|| name.clone())?;
        ensure!(
            statement.effect == "Allow",
            "{name}: only Allow is evaluated"
        );
        for action in &statement.action {
            for resource in &statement.resource {
                let has_wildcard = action.contains('*') || resource.contains('*');
                ensure!(
                    !has_wildcard,
                    "{name}: wildcards in {action} on {resource} are not evaluated"
                );
                grants.push(Grant {
                    statement: name.clone(),
                    action: action.clone(),
                    resource: resource.clone(),
                    conditions: conditions.clone(),
                });
            }
        }
    }
    ensure!(!grants.is_empty(), "{id}: the policy allows nothing");
    Ok(grants)
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
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_function_that_creates_keys_may_sign() {
        let yaml = include_str!("../../../template.yaml");
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
            .grants
            .iter()
            .filter(|(_, grants)| grants.iter().any(|grant| grant.action == "kms:Sign"))
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
        let read =
            |policy: Value| -> Result<Vec<Grant>> { grants("F", &serde_json::from_value(policy)?) };
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
