//! IAM: the requests that each function may send to DynamoDB, KMS and EventBridge, according to the policies of the
//! template. All other requests are denied.

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
    conditions::{Condition, conditions, is_like},
    request::{RESOURCE_ALIASES, Tables},
};
use crate::{
    kms::Kms,
    template::{self, Function, PolicyDocument, Resource, Template},
};

/// A service that functions need permission to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    DynamoDb,
    EventBridge,
    Kms,
}

/// A permission that a statement grants: an action on a resource, or an attribute, leading key or alias that the
/// statement's conditions accept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The logical id of the role, followed by the statement's `Sid` or, if there is no `Sid`, the statement's
    /// position.
    pub statement: String,
    pub action: String,
    pub resource: String,
    /// A condition key and one of its accepted values. `None` if the permission is for the action itself.
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

/// One action that a statement allows on one resource, and the conditions of the statement.
struct Grant {
    statement: String,
    action: String,
    resource: String,
    conditions: Vec<Condition>,
}

impl Grant {
    fn allows(&self, access: &Access) -> bool {
        self.action == access.action
            && is_like(&self.resource, &access.resource)
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

    /// Returns all permissions of this grant or, if an access is given, only those that the access uses.
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

/// The permissions of every function, and a record of the permissions that each function has used.
#[derive(Clone)]
pub(crate) struct Permissions(Arc<Shared>);

struct Shared {
    /// Maps the name of a function's binary, or the logical id of a schedule, to a role.
    roles: BTreeMap<String, Role>,
    used: Mutex<BTreeMap<String, BTreeSet<Permission>>>,
    tables: Tables,
    kms: Arc<Kms>,
}

/// The role of a function or schedule.
struct Role {
    arn: String,
    grants: Vec<Grant>,
}

impl Permissions {
    pub(crate) fn read(template: &Template, kms: &Arc<Kms>) -> Result<Self> {
        let declared = template.of_type::<template::Role>()?;
        let mut roles = BTreeMap::new();
        for function in template.of_type::<Function>()? {
            let role = role_of(template, &function.id, &function.properties.role, &declared)?;
            roles.insert(function.binary()?.to_owned(), role);
        }
        for Resource { id, properties, .. } in template.of_type::<template::Schedule>()? {
            let role = role_of(template, &id, &properties.target.role_arn, &declared)?;
            roles.insert(id, role);
        }
        Ok(Self(Arc::new(Shared {
            roles,
            used: Mutex::default(),
            tables: Tables::read(template)?,
            kms: kms.clone(),
        })))
    }

    /// Returns the permissions of the function's role.
    pub(crate) fn allowed(&self, function: &str) -> BTreeSet<Permission> {
        let role = self.0.roles.get(function);
        let grants = role.iter().flat_map(|role| &role.grants);
        grants.flat_map(|grant| grant.permissions(None)).collect()
    }

    /// Returns the permissions that the function has used.
    pub(crate) fn used(&self, function: &str) -> BTreeSet<Permission> {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(function).cloned().unwrap_or_default()
    }

    /// Returns the first access that a request needs but that the function lacks. Callers that are not functions may do
    /// everything.
    pub(crate) fn missing(
        &self,
        function: &str,
        service: Service,
        action: &str,
        body: &Value,
    ) -> Option<Access> {
        let role = self.0.roles.get(function)?;
        let needed = match service {
            Service::DynamoDb => self.0.tables.accesses(action, body),
            Service::EventBridge => request::to_buses(action, body),
            Service::Kms => return self.missing_for_key(function, role, action, body),
        };
        needed
            .into_iter()
            .find(|access| !self.is_allowed(function, access))
    }

    fn missing_for_key(
        &self,
        function: &str,
        role: &Role,
        action: &str,
        body: &Value,
    ) -> Option<Access> {
        // If the key does not exist, KMS itself refuses the request.
        let key = self.0.kms.access(body["KeyId"].as_str()?)?;
        let access = Access::to_key(action, body, &key, &role.arn);
        let is_allowed =
            key_allows(&key.policy, &access, &role.arn) && self.is_allowed(function, &access);
        (!is_allowed).then_some(access)
    }

    /// Whether the function has a permission for an access. If so, records that the function has used the permission.
    pub(crate) fn is_allowed(&self, function: &str, access: &Access) -> bool {
        let Some(role) = self.0.roles.get(function) else {
            return true;
        };
        let Some(grant) = role.grants.iter().find(|grant| grant.allows(access)) else {
            return false;
        };
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used.entry(function.to_owned()).or_default();
        used.extend(grant.permissions(Some(access)));
        true
    }
}

/// Returns the role that a function or schedule names.
fn role_of(
    template: &Template,
    id: &str,
    arn: &str,
    declared: &[Resource<template::Role>],
) -> Result<Role> {
    let is_named =
        |role: &&Resource<template::Role>| template.attribute(&role.id, "Arn") == Some(arn);
    let role = declared.iter().find(is_named);
    let role = role.with_context(|| format!("{id}: there is no role {arn}"))?;
    let mut allowed = Vec::new();
    for policy in &role.properties.policies {
        allowed.extend(grants(&role.id, &policy.policy_document)?);
    }
    Ok(Role {
        arn: arn.to_owned(),
        grants: allowed,
    })
}

/// Returns the grants of a policy. Refuses `Deny`. Also refuses wildcards, except for the streams of a table and for
/// KMS keys that a condition selects by their aliases.
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
                let is_aliased = |condition: &Condition| condition.key == RESOURCE_ALIASES;
                let is_any_key = resource.ends_with(":key/*") && conditions.iter().any(is_aliased);
                let is_exact = !resource
                    .trim_end_matches(":*")
                    .trim_end_matches("/stream/*")
                    .contains(['*', '?']);
                ensure!(
                    (is_exact || is_any_key) && !action.contains('*'),
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

/// Whether a key's policy allows the access, either to the role itself or to the whole account. If the policy allows
/// the account, the role's IAM policies make the decision. A policy that cannot be evaluated allows nothing.
fn key_allows(policy: &Value, access: &Access, role_arn: &str) -> bool {
    let Ok(policy) = serde_json::from_value::<PolicyDocument>(policy.clone()) else {
        return false;
    };
    policy.statement.iter().any(|statement| {
        let is_principal =
            |principal: &String| principal == role_arn || principal.ends_with(":root");
        let conditions = conditions(statement.condition.as_ref());
        statement.effect == "Allow"
            && statement.principal.aws.iter().any(is_principal)
            && statement
                .action
                .iter()
                .any(|allowed| is_like(allowed, &access.action))
            && conditions.is_ok_and(|all| all.iter().all(|condition| condition.holds(access)))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        kms::{CreateAlias, CreateKey, KeyPolicy},
        template::{Alias, KmsKey},
    };

    /// Returns the permissions of the template's functions, and a KMS with the template's key and aliases.
    fn deployed() -> (Permissions, Arc<Kms>, Template) {
        let yaml = include_str!("../../../template.yaml");
        let parameters = [("ReleaseId", "1"), ("OidcIssuer", "https://idp.example")];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut template = Template::parse(yaml, &parameters).unwrap();
        for (id, attribute) in [("Api", "ApiEndpoint"), ("Table", "StreamArn")] {
            template.set(id, attribute, attribute);
        }
        let kms = Kms::open(None).unwrap();
        let keys = template.of_type::<KmsKey>().unwrap();
        let policy = keys[0].properties.key_policy.to_string();
        let request = CreateKey::to_sign("ECC_NIST_P256", Some(policy));
        let arn = kms.template_key("SigningKey", request).unwrap();
        template.set("SigningKey", "Ref", arn.as_str());
        for Resource { properties, .. } in template.of_type::<Alias>().unwrap() {
            let alias = CreateAlias {
                alias_name: properties.alias_name,
                target_key_id: properties.target_key_id,
            };
            kms.create_alias(alias).unwrap();
        }
        let permissions = Permissions::read(&template, &kms).unwrap();
        (permissions, kms, template)
    }

    fn signing(key: &str, message_type: &str, algorithm: &str) -> Value {
        json!({ "KeyId": key, "MessageType": message_type, "SigningAlgorithm": algorithm })
    }

    #[test]
    fn only_the_functions_that_issue_secrets_may_sign_and_only_digests() {
        let (permissions, ..) = deployed();
        let may = |function: &str, body: &Value| {
            permissions
                .missing(function, Service::Kms, "Sign", body)
                .is_none()
        };
        let digest = signing("alias/local/current", "DIGEST", "ECDSA_SHA_256");
        let functions = permissions.0.roles.keys();
        let signers: Vec<_> = functions
            .filter(|function| may(function, &digest))
            .collect();
        assert_eq!(signers, ["create", "rotate"]);
        for (message_type, algorithm, is_allowed) in [
            ("DIGEST", "RSASSA_PKCS1_V1_5_SHA_256", true),
            ("RAW", "ED25519_SHA_512", true),
            ("RAW", "ECDSA_SHA_256", false),
            ("DIGEST", "ED25519_SHA_512", false),
            ("DIGEST", "RSASSA_PSS_SHA_256", false),
        ] {
            let body = signing("alias/local/current", message_type, algorithm);
            assert_eq!(
                may("create", &body),
                is_allowed,
                "{message_type} {algorithm}"
            );
        }
    }

    #[test]
    fn only_the_function_that_publishes_may_send_events_and_only_with_its_source() {
        let (permissions, ..) = deployed();
        let may = |function: &str, action: &str, entries: &[(&str, &str)]| {
            let entries = entries
                .iter()
                .map(|(bus, source)| json!({ "EventBusName": bus, "Source": source }));
            let body = json!({ "Entries": Vec::from_iter(entries) });
            let missing = permissions.missing(function, Service::EventBridge, action, &body);
            missing.is_none()
        };
        let own = ("default", "access-keys");
        let functions = permissions.0.roles.keys();
        let senders = functions.filter(|function| may(function, "PutEvents", &[own]));
        assert_eq!(Vec::from_iter(senders), ["publish"]);
        for other in [
            ("other", "access-keys"),
            ("default", "orders"),
            ("default", ""),
        ] {
            assert!(!may("publish", "PutEvents", &[own, other]), "{other:?}");
        }
        assert!(!may("publish", "PutRule", &[]));
    }

    #[test]
    fn the_aliases_of_a_key_decide_whether_it_may_sign_or_be_read() {
        let (permissions, kms, template) = deployed();
        let template_key = kms.access("alias/local/current").unwrap().arn;
        let keys = template.of_type::<KmsKey>().unwrap();
        let policy = keys[0].properties.key_policy.to_string();
        let key = CreateKey::to_sign("ECC_NIST_P256", Some(policy));
        let key = kms.create_key(key).unwrap().key_metadata.arn;
        let body = signing(&key, "DIGEST", "ECDSA_SHA_256");
        let may = |function: &str, action: &str| {
            permissions
                .missing(function, Service::Kms, action, &body)
                .is_none()
        };
        let create_or_move = |alias: &str, target: &str| {
            let request = || CreateAlias {
                alias_name: alias.to_owned(),
                target_key_id: target.to_owned(),
            };
            if kms.update_alias(request()).is_err() {
                kms.create_alias(request()).unwrap();
            }
        };
        for (alias, may_sign, may_read) in [
            ("alias/other/current", false, false),
            ("alias/local/current", true, true),
            ("alias/local/next", true, true),
            ("alias/local/previous-1", true, true),
            ("alias/local/previous-2", false, true),
        ] {
            create_or_move(alias, &key);
            assert_eq!(may("create", "Sign"), may_sign, "{alias}");
            assert_eq!(may("create", "GetPublicKey"), may_read, "{alias}");
            assert_eq!(may("validate", "GetPublicKey"), may_read, "{alias}");
            assert!(!may("validate", "Sign") && !may("list", "GetPublicKey"));
            create_or_move(alias, &template_key);
        }
    }

    #[test]
    fn a_key_whose_policy_does_not_name_the_function_cannot_sign() {
        let (permissions, kms, _) = deployed();
        let body = signing("alias/local/current", "DIGEST", "ECDSA_SHA_256");
        let may_sign = || {
            permissions
                .missing("create", Service::Kms, "Sign", &body)
                .is_none()
        };
        assert!(may_sign());
        let policy = kms.get_key_policy("alias/local/current".into()).unwrap();
        let policy = policy.policy.replace("CreateFunctionRole", "AnotherRole");
        kms.put_key_policy(KeyPolicy {
            key_id: "alias/local/current".to_owned(),
            policy,
        })
        .unwrap();
        assert!(!may_sign());
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
        assert!(read(policy("kms:Sign", "arn:aws:kms:r:0:key/*")).is_err());
        assert!(read(json!("AmazonDynamoDBFullAccess")).is_err());
    }
}
