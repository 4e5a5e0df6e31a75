//! KMS, limited to asymmetric signing keys. There is one method for each operation that this project uses.

mod private_key;
mod protocol;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use axum::{Router, extract::State as Shared, response::Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use self::private_key::PrivateKey;
pub(crate) use self::protocol::*;
use crate::{
    clock, files,
    template::{ACCOUNT, REGION},
    web::{self, Closed, Server},
};

/// All keys and aliases, and the file that stores them.
pub(crate) struct Kms {
    state: Mutex<State>,
    path: Option<PathBuf>,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    keys: BTreeMap<Uuid, Key>,
    /// Maps alias names to key ids.
    aliases: BTreeMap<String, Uuid>,
    /// Maps logical ids in the template to key ids.
    resources: BTreeMap<String, Uuid>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Key {
    private: PrivateKey,
    description: String,
    created: f64,
    enabled: bool,
    #[serde(default)]
    multi_region: bool,
    #[serde(default = "default_policy")]
    policy: Value,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// The data that determines who may use a key.
pub(crate) struct KeyAccess {
    pub arn: String,
    /// The names of the aliases that point to the key.
    pub aliases: BTreeSet<String>,
    pub policy: Value,
}

impl Kms {
    /// Reads the keys in `data`, if there are any.
    pub(crate) fn open(data: Option<&Path>) -> Result<Arc<Self>> {
        let path = data.map(|data| data.join("kms.json"));
        let state = match &path {
            Some(path) => read(path)
                .with_context(|| format!("cannot read the KMS keys in {}", path.display()))?,
            None => State::default(),
        };
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            path,
        }))
    }

    /// Serves the operations over KMS's JSON protocol.
    pub(crate) async fn serve(self: &Arc<Self>) -> Result<Server> {
        let router = Router::new().fallback(answer).with_state(self.clone());
        web::serve(web::bind(0).await?, router)
    }

    /// Runs the operation with this name. The request and the response are JSON.
    fn run(&self, operation: &str, body: &[u8]) -> Result<Value, Failure> {
        match operation {
            "CreateKey" => call(body, |request| self.create_key(request)),
            "DescribeKey" => call(body, |request| self.describe_key(request)),
            "GetPublicKey" => call(body, |request| self.get_public_key(request)),
            "Sign" => call(body, |request| self.sign(request)),
            "EnableKey" => call(body, |request| self.enable_key(request)),
            "DisableKey" => call(body, |request| self.disable_key(request)),
            "CreateAlias" => call(body, |request| self.create_alias(request)),
            "UpdateAlias" => call(body, |request| self.update_alias(request)),
            "DeleteAlias" => call(body, |request| self.delete_alias(request)),
            "GetKeyPolicy" => call(body, |request| self.get_key_policy(request)),
            "PutKeyPolicy" => call(body, |request| self.put_key_policy(request)),
            "ListKeys" => call(body, |request| self.list_keys(request)),
            "UntagResource" => call(body, |request| self.untag_resource(request)),
            "TagResource" => call(body, |request| self.tag_resource(request)),
            "ListResourceTags" => call(body, |request| self.list_resource_tags(request)),
            "ListAliases" => call(body, |request| self.list_aliases(request)),
            _ => fail(
                "UnknownOperationException",
                format!("the local KMS does not support {operation}"),
            ),
        }
    }

    /// Returns the ARN of the template's key with this logical id. The first call creates the key, and later calls
    /// update its policy.
    pub(crate) fn template_key(&self, id: &str, request: CreateKey) -> Result<String, Failure> {
        let existing = self.lock().resources.get(id).copied();
        if let Some(key) = existing {
            let policy = policy(request.policy.as_deref())?;
            self.change_key(&key.to_string(), |key| key.policy = policy)?;
            return Ok(arn(&key));
        }
        let key = self.create_key(request)?.key_metadata;
        self.change(|state| {
            state.resources.insert(id.to_owned(), key.key_id);
        })?;
        Ok(key.arn)
    }

    /// Do not call this on an async thread, because generating an RSA key takes a long time.
    pub(crate) fn create_key(&self, request: CreateKey) -> Result<KeyDescription, Failure> {
        if request.key_usage != SIGN_VERIFY {
            return fail(
                "ValidationException",
                "the local KMS creates only keys whose KeyUsage is SIGN_VERIFY",
            );
        }
        let id = Uuid::new_v4();
        let key = Key {
            private: PrivateKey::generate(&request.key_spec)?,
            description: request.description,
            created: clock::now().as_secs_f64(),
            enabled: true,
            multi_region: request.multi_region,
            policy: policy(request.policy.as_deref())?,
            tags: tags(request.tags),
        };
        let description = key.describe(id);
        self.change(|state| {
            state.keys.insert(id, key);
        })?;
        Ok(description)
    }

    pub(crate) fn describe_key(&self, request: KeyReference) -> Result<KeyDescription, Failure> {
        let (id, key) = self.find(&request.key_id)?;
        Ok(key.describe(id))
    }

    pub(crate) fn get_public_key(&self, request: KeyReference) -> Result<PublicKey, Failure> {
        let (id, key) = self.find_enabled(&request.key_id)?;
        let (spec, algorithm) = key.private.spec();
        Ok(PublicKey {
            key_id: arn(&id),
            public_key: Blob(key.private.public_key()?),
            customer_master_key_spec: spec,
            key_spec: spec,
            key_usage: SIGN_VERIFY,
            signing_algorithms: [algorithm],
        })
    }

    pub(crate) fn sign(&self, request: Sign) -> Result<Signature, Failure> {
        let (id, key) = self.find_enabled(&request.key_id)?;
        let signature = key.private.sign(
            &request.message.0,
            &request.message_type,
            &request.signing_algorithm,
        )?;
        Ok(Signature {
            key_id: arn(&id),
            signature: Blob(signature),
            signing_algorithm: request.signing_algorithm,
        })
    }

    pub(crate) fn enable_key(&self, request: KeyReference) -> Result<Empty, Failure> {
        self.set_enabled(&request, true)
    }

    pub(crate) fn disable_key(&self, request: KeyReference) -> Result<Empty, Failure> {
        self.set_enabled(&request, false)
    }

    fn set_enabled(&self, request: &KeyReference, enabled: bool) -> Result<Empty, Failure> {
        self.change_key(&request.key_id, |key| key.enabled = enabled)
    }

    pub(crate) fn get_key_policy(&self, request: KeyReference) -> Result<KeyPolicy, Failure> {
        let (_, key) = self.find(&request.key_id)?;
        Ok(KeyPolicy {
            key_id: request.key_id,
            policy: key.policy.to_string(),
        })
    }

    pub(crate) fn put_key_policy(&self, request: KeyPolicy) -> Result<Empty, Failure> {
        let policy = policy(Some(&request.policy))?;
        self.change_key(&request.key_id, |key| key.policy = policy)
    }

    fn tag_resource(&self, request: Tags) -> Result<Empty, Failure> {
        self.change_key(&request.key_id, |key| key.tags.extend(tags(request.tags)))
    }

    fn untag_resource(&self, request: UntagResource) -> Result<Empty, Failure> {
        self.change_key(&request.key_id, |key| {
            key.tags.retain(|name, _| !request.tag_keys.contains(name));
        })
    }

    fn list_keys(&self, _: ListKeys) -> Result<Keys, Failure> {
        let entry = |id: &Uuid| KeyEntry {
            key_id: *id,
            key_arn: arn(id),
        };
        Ok(Keys {
            keys: self.lock().keys.keys().map(entry).collect(),
            truncated: false,
        })
    }

    fn list_resource_tags(&self, request: KeyReference) -> Result<Tags, Failure> {
        let (_, key) = self.find(&request.key_id)?;
        let tags = key.tags.into_iter();
        let tags = tags.map(|(tag_key, tag_value)| Tag { tag_key, tag_value });
        Ok(Tags {
            key_id: request.key_id,
            tags: tags.collect(),
            truncated: false,
        })
    }

    fn change_key(&self, key: &str, change: impl FnOnce(&mut Key)) -> Result<Empty, Failure> {
        let (id, _) = self.find(key)?;
        self.change(|state| {
            if let Some(key) = state.keys.get_mut(&id) {
                change(key);
            }
        })
    }

    /// Returns the data that determines who may use a key, if the key exists.
    pub(crate) fn access(&self, reference: &str) -> Option<KeyAccess> {
        let (id, key) = self.find(reference).ok()?;
        let state = self.lock();
        let aliases = state.aliases.iter().filter(|(_, target)| **target == id);
        Some(KeyAccess {
            arn: arn(&id),
            aliases: aliases.map(|(name, _)| name.clone()).collect(),
            policy: key.policy,
        })
    }

    /// Whether an alias exists.
    pub(crate) fn has_alias(&self, name: &str) -> bool {
        self.lock().aliases.contains_key(name)
    }

    pub(crate) fn create_alias(&self, request: CreateAlias) -> Result<Empty, Failure> {
        let (id, _) = self.find(&request.target_key_id)?;
        let alias = request.alias_name;
        if !alias.starts_with("alias/") || alias.starts_with("alias/aws/") {
            return fail(
                "InvalidAliasNameException",
                "Alias must start with the prefix \"alias/\"",
            );
        }
        if self.has_alias(&alias) {
            let message = format!(
                "An alias with the name {} already exists",
                alias_arn(&alias)
            );
            return fail("AlreadyExistsException", message);
        }
        self.change(|state| {
            state.aliases.insert(alias, id);
        })
    }

    pub(crate) fn update_alias(&self, request: CreateAlias) -> Result<Empty, Failure> {
        let (id, _) = self.find(&request.target_key_id)?;
        let alias = request.alias_name;
        self.require_alias(&alias)?;
        self.change(|state| {
            state.aliases.insert(alias, id);
        })
    }

    pub(crate) fn delete_alias(&self, request: DeleteAlias) -> Result<Empty, Failure> {
        let alias = request.alias_name;
        self.require_alias(&alias)?;
        self.change(|state| {
            state.aliases.remove(&alias);
        })
    }

    fn require_alias(&self, alias: &str) -> Result<(), Failure> {
        if self.has_alias(alias) {
            return Ok(());
        }
        let message = format!("Alias {} is not found.", alias_arn(alias));
        fail("NotFoundException", message)
    }

    pub(crate) fn list_aliases(&self, request: ListAliases) -> Result<Aliases, Failure> {
        let wanted = match request.key_id {
            Some(key) => Some(self.find(&key)?.0),
            None => None,
        };
        let state = self.lock();
        let aliases = state
            .aliases
            .iter()
            .filter(|(_, id)| wanted.is_none_or(|wanted| **id == wanted))
            .map(|(name, id)| AliasEntry {
                alias_name: name.clone(),
                alias_arn: alias_arn(name),
                target_key_id: *id,
            });
        Ok(Aliases {
            aliases: aliases.collect(),
            truncated: false,
        })
    }

    /// Finds a key by its id, its ARN, an alias or the ARN of an alias.
    fn find(&self, reference: &str) -> Result<(Uuid, Key), Failure> {
        let state = self.lock();
        let name = reference
            .strip_prefix(&format!("arn:aws:kms:{REGION}:{ACCOUNT}:"))
            .unwrap_or(reference);
        let id = match state.aliases.get(name) {
            Some(id) => Some(*id),
            None => name.strip_prefix("key/").unwrap_or(name).parse().ok(),
        };
        match id.and_then(|id| state.keys.get(&id).map(|key| (id, key.clone()))) {
            Some(found) => Ok(found),
            None if name.starts_with("alias/") => fail(
                "NotFoundException",
                format!("Alias {} is not found.", alias_arn(name)),
            ),
            None => fail(
                "NotFoundException",
                format!("Key '{reference}' does not exist"),
            ),
        }
    }

    fn find_enabled(&self, reference: &str) -> Result<(Uuid, Key), Failure> {
        let (id, key) = self.find(reference)?;
        if key.enabled {
            Ok((id, key))
        } else {
            fail("DisabledException", format!("{} is disabled.", arn(&id)))
        }
    }

    /// Changes the state. The new state is written to the file before any caller can see it.
    fn change(&self, change: impl FnOnce(&mut State)) -> Result<Empty, Failure> {
        let mut state = self.lock();
        change(&mut state);
        if let Some(path) = &self.path {
            let bytes = serde_json::to_vec(&*state).map_err(internal)?;
            files::replace(path, &bytes).map_err(internal)?;
        }
        Ok(Empty {})
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handles a request outside the async threads, because generating an RSA key takes a long time.
async fn answer(
    Shared(kms): Shared<Arc<Kms>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Closed> {
    let run = tokio::task::spawn_blocking(move || kms.run(web::operation(&headers), &body));
    Ok(match run.await.map_err(|_| Closed)? {
        Ok(response) => json_1_1(StatusCode::OK, response),
        Err(failure) => error(StatusCode::BAD_REQUEST, failure.code, &failure.message),
    })
}

impl Key {
    fn describe(&self, id: Uuid) -> KeyDescription {
        let (spec, algorithm) = self.private.spec();
        let key_metadata = KeyMetadata {
            aws_account_id: ACCOUNT,
            arn: arn(&id),
            creation_date: self.created,
            customer_master_key_spec: spec,
            description: self.description.clone(),
            enabled: self.enabled,
            key_id: id,
            key_manager: "CUSTOMER",
            key_spec: spec,
            key_state: if self.enabled { "Enabled" } else { "Disabled" },
            key_usage: SIGN_VERIFY,
            multi_region: self.multi_region,
            origin: "AWS_KMS",
            signing_algorithms: [algorithm],
        };
        KeyDescription { key_metadata }
    }
}

fn read(path: &Path) -> Result<State> {
    match files::read(path)? {
        Some(bytes) => Ok(serde_json::from_slice(&bytes)?),
        None => Ok(State::default()),
    }
}

/// Parses a key policy. If `json` is `None`, returns the policy that KMS attaches to a key by default.
fn policy(json: Option<&str>) -> Result<Value, Failure> {
    match json.map(serde_json::from_str) {
        Some(Ok(policy)) => Ok(policy),
        Some(Err(error)) => fail("MalformedPolicyDocumentException", error.to_string()),
        None => Ok(default_policy()),
    }
}

fn default_policy() -> Value {
    let account = json!({ "AWS": format!("arn:aws:iam::{ACCOUNT}:root") });
    json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": account, "Action": "kms:*", "Resource": "*" }],
    })
}

fn tags(tags: Vec<Tag>) -> BTreeMap<String, String> {
    let tags = tags.into_iter();
    tags.map(|tag| (tag.tag_key, tag.tag_value)).collect()
}

fn arn(id: &Uuid) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{id}")
}

fn alias_arn(name: &str) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:{name}")
}

#[cfg(test)]
mod tests {
    use rsa::Pkcs1v15Sign;
    use sha2::{Digest, Sha256};

    use super::*;

    fn is_signature(spec: &str, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        use p256::{ecdsa::signature::Verifier, pkcs8::DecodePublicKey};
        match spec {
            "ECC_NIST_P256" => {
                let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki).unwrap();
                let signature = p256::ecdsa::Signature::from_der(signature).unwrap();
                key.verify(message, &signature).is_ok()
            }
            "ECC_NIST_EDWARDS25519" => {
                let key = ed25519_dalek::VerifyingKey::from_public_key_der(spki).unwrap();
                let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
                key.verify(message, &signature).is_ok()
            }
            _ => {
                let key = rsa::RsaPublicKey::from_public_key_der(spki).unwrap();
                let scheme = Pkcs1v15Sign::new::<Sha256>();
                key.verify(scheme, &Sha256::digest(message), signature)
                    .is_ok()
            }
        }
    }

    #[test]
    fn signatures_of_every_key_spec_verify() {
        let kms = Kms::open(None).unwrap();
        for spec in ["ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "RSA_2048"] {
            let key = kms.create_key(CreateKey::to_sign(spec, None)).unwrap();
            let id = key.key_metadata.key_id.to_string();
            let public = kms.get_public_key(id.as_str().into()).unwrap();
            let sign = |message: &[u8], message_type: &str| {
                kms.sign(Sign {
                    key_id: id.clone(),
                    message: Blob(message.to_vec()),
                    message_type: message_type.to_owned(),
                    signing_algorithm: public.signing_algorithms[0].to_owned(),
                })
            };
            let signature = sign(b"hello", "RAW").unwrap().signature.0;
            let spki = &public.public_key.0;
            assert!(is_signature(spec, spki, b"hello", &signature), "{spec}");
            let code = |message, kind| sign(message, kind).unwrap_err().code;
            assert_eq!(code(&[0; 4097], "RAW"), "ValidationException");
            assert_eq!(code(&[0; 31], "DIGEST"), "ValidationException");
        }
    }

    fn alias(name: &str, key_arn: &str) -> CreateAlias {
        CreateAlias {
            alias_name: name.to_owned(),
            target_key_id: key_arn.to_owned(),
        }
    }

    #[test]
    fn a_moved_alias_stands_for_the_new_key() {
        let kms = Kms::open(None).unwrap();
        let create = || kms.create_key(CreateKey::to_sign("ECC_NIST_P256", None));
        let [old, new] = [create(), create()].map(|key| key.unwrap().key_metadata.arn);
        kms.create_alias(alias("alias/a", &old)).unwrap();
        kms.update_alias(alias("alias/a", &new)).unwrap();
        let found = kms.get_public_key("alias/a".into()).unwrap();
        assert_eq!(found.key_id, new);
    }

    #[test]
    fn a_disabled_or_unknown_key_is_refused_with_the_codes_of_aws() {
        let kms = Kms::open(None).unwrap();
        let key = CreateKey::to_sign("ECC_NIST_P256", None);
        let arn = kms.create_key(key).unwrap().key_metadata.arn;
        kms.create_alias(alias("alias/a", &arn)).unwrap();
        let get = || kms.get_public_key("alias/a".into());
        assert!(get().is_ok());
        kms.disable_key(arn.as_str().into()).unwrap();
        assert_eq!(get().unwrap_err().code, "DisabledException");
        kms.enable_key(arn.as_str().into()).unwrap();
        assert!(get().is_ok());
        let unknown = kms.describe_key("alias/b".into()).unwrap_err();
        assert_eq!(unknown.code, "NotFoundException");
        let unknown = kms.update_alias(alias("alias/b", &arn)).unwrap_err();
        assert_eq!(unknown.code, "NotFoundException");
        let unknown = kms.run("Encrypt", b"{}").unwrap_err();
        assert_eq!(unknown.code, "UnknownOperationException");
    }

    #[test]
    fn operations_use_the_json_of_aws() {
        let kms = Kms::open(None).unwrap();
        let create = br#"{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}"#;
        let key = kms.run("CreateKey", create).unwrap();
        let id = key["KeyMetadata"]["KeyId"].as_str().unwrap();
        let request = format!(
            r#"{{"KeyId":"{id}","Message":"aGVsbG8=","MessageType":"RAW","SigningAlgorithm":"ECDSA_SHA_256"}}"#
        );
        let signed = kms.run("Sign", request.as_bytes()).unwrap();
        assert_eq!(signed["KeyId"], key["KeyMetadata"]["Arn"]);
        assert!(signed["Signature"].is_string());
        assert_eq!(signed["SigningAlgorithm"], "ECDSA_SHA_256");
        let bad = request.replace("aGVsbG8=", "!");
        let code = kms.run("Sign", bad.as_bytes()).unwrap_err().code;
        assert_eq!(code, "SerializationException");
    }
}
