//! KMS: asymmetric signing keys behind the real JSON 1.1 protocol, for the operations that this project uses.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ed25519_dalek::Signer as _;
use http::{Response, StatusCode, request::Parts};
use http_body_util::Full;
use p256::{
    ecdsa::signature::hazmat::PrehashSigner,
    elliptic_curve::rand_core::OsRng,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey},
};
use rsa::Pkcs1v15Sign;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    clock, files,
    template::{ACCOUNT, REGION},
    web::{self, Answer, Closed, Server},
};

/// The largest message that KMS hashes itself.
const LARGEST_RAW_MESSAGE: usize = 4096;

/// Every key, and where they are kept.
pub(crate) struct Kms {
    state: Mutex<State>,
    path: Option<PathBuf>,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    keys: BTreeMap<Uuid, Key>,
    /// Alias name to key id.
    aliases: BTreeMap<String, Uuid>,
    /// Logical id in the template to key id.
    resources: BTreeMap<String, Uuid>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Key {
    #[serde(with = "pkcs8")]
    private: Arc<Private>,
    description: String,
    created: f64,
    enabled: bool,
}

enum Private {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
    Rsa(rsa::RsaPrivateKey),
}

/// An AWS error: its code and its message.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Failure {
    code: &'static str,
    message: String,
}

fn fail<T>(code: &'static str, message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure {
        code,
        message: message.into(),
    })
}

impl Kms {
    /// The keys kept in `data`, or none yet.
    pub(crate) fn open(data: Option<&Path>) -> Result<Arc<Self>> {
        let path = data.map(|data| data.join("kms.json"));
        let state = match &path {
            Some(path) => {
                let context = || format!("cannot read the KMS keys in {}", path.display());
                let bytes = files::read(path).with_context(context)?;
                let state = bytes
                    .map(|bytes| serde_json::from_slice(&bytes))
                    .transpose();
                state.with_context(context)?.unwrap_or_default()
            }
            None => State::default(),
        };
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            path,
        }))
    }

    /// The ARN of the template's key `id`. The first call creates the key.
    pub(crate) async fn resource(
        self: &Arc<Self>,
        id: &str,
        spec: &str,
        description: &str,
    ) -> Result<String> {
        if let Some(key) = self.lock().resources.get(id) {
            return Ok(arn(key));
        }
        let (kms, logical) = (self.clone(), id.to_owned());
        let request =
            json!({ "KeySpec": spec, "KeyUsage": "SIGN_VERIFY", "Description": description });
        let created = tokio::task::spawn_blocking(move || {
            let (key, _) = kms.add_key(&request)?;
            kms.change(|state| {
                state.resources.insert(logical, key);
            })?;
            Ok::<_, Failure>(arn(&key))
        });
        let created = created.await.context("KMS ended")?;
        created.with_context(|| format!("cannot create the key {id}"))
    }

    /// Runs one operation off the async threads, because generating an RSA key takes long.
    pub(crate) async fn call(self: &Arc<Self>, operation: &str, request: Value) -> Result<Value> {
        let (kms, name) = (self.clone(), operation.to_owned());
        let answer = tokio::task::spawn_blocking(move || kms.execute(&name, &request)).await;
        let answer = answer.context("KMS ended")?;
        answer.with_context(|| format!("KMS refused {operation}"))
    }

    pub(crate) async fn serve(self: &Arc<Self>) -> Result<Server> {
        let kms = self.clone();
        web::serve(web::bind(0).await?, move |parts, body| {
            kms.clone().answer(parts, body)
        })
    }

    async fn answer(self: Arc<Self>, parts: Parts, body: Bytes) -> Answer {
        let answer = tokio::task::spawn_blocking(move || match serde_json::from_slice(&body) {
            Ok(request) => self.execute(web::operation(&parts), &request),
            Err(error) => fail("SerializationException", error.to_string()),
        });
        let mut response = match answer.await.map_err(|_| Closed)? {
            Ok(answer) => web::json(StatusCode::OK, &answer),
            Err(failure) => error(StatusCode::BAD_REQUEST, failure.code, &failure.message),
        };
        let json = http::HeaderValue::from_static("application/x-amz-json-1.1");
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, json);
        Ok(response)
    }

    fn execute(&self, operation: &str, request: &Value) -> Result<Value, Failure> {
        match operation {
            "CreateKey" => self.create_key(request),
            "DescribeKey" => self.describe_key(request),
            "GetPublicKey" => self.get_public_key(request),
            "Sign" => self.sign(request),
            "EnableKey" => self.set_enabled(request, true),
            "DisableKey" => self.set_enabled(request, false),
            "CreateAlias" => self.create_alias(request),
            "DeleteAlias" => self.delete_alias(request),
            "ListAliases" => self.list_aliases(request),
            _ => fail(
                "UnknownOperationException",
                format!("the local KMS has no {operation}"),
            ),
        }
    }

    fn create_key(&self, request: &Value) -> Result<Value, Failure> {
        let (id, key) = self.add_key(request)?;
        Ok(json!({ "KeyMetadata": key.metadata(&id) }))
    }

    fn describe_key(&self, request: &Value) -> Result<Value, Failure> {
        let (id, key) = self.find(text(request, "KeyId"))?;
        Ok(json!({ "KeyMetadata": key.metadata(&id) }))
    }

    fn get_public_key(&self, request: &Value) -> Result<Value, Failure> {
        let (id, key) = self.find_enabled(text(request, "KeyId"))?;
        let (spec, algorithm) = key.private.spec();
        Ok(json!({
            "KeyId": arn(&id),
            "PublicKey": STANDARD.encode(key.private.public()?),
            "CustomerMasterKeySpec": spec,
            "KeySpec": spec,
            "KeyUsage": "SIGN_VERIFY",
            "SigningAlgorithms": [algorithm],
        }))
    }

    fn sign(&self, request: &Value) -> Result<Value, Failure> {
        let (id, key) = self.find_enabled(text(request, "KeyId"))?;
        let Ok(message) = STANDARD.decode(text(request, "Message")) else {
            return fail("SerializationException", "Message is not base64");
        };
        let algorithm = text(request, "SigningAlgorithm");
        let signature = key
            .private
            .sign(&message, text(request, "MessageType"), algorithm)?;
        Ok(json!({
            "KeyId": arn(&id),
            "Signature": STANDARD.encode(signature),
            "SigningAlgorithm": algorithm,
        }))
    }

    /// `EnableKey` and `DisableKey`.
    fn set_enabled(&self, request: &Value, enabled: bool) -> Result<Value, Failure> {
        let (id, _) = self.find(text(request, "KeyId"))?;
        self.change(|state| {
            if let Some(key) = state.keys.get_mut(&id) {
                key.enabled = enabled;
            }
        })?;
        Ok(json!({}))
    }

    fn create_alias(&self, request: &Value) -> Result<Value, Failure> {
        let (id, _) = self.find(text(request, "TargetKeyId"))?;
        let alias = text(request, "AliasName");
        if !alias.starts_with("alias/") || alias.starts_with("alias/aws/") {
            return fail(
                "InvalidAliasNameException",
                "Alias must start with the prefix \"alias/\"",
            );
        }
        if self.lock().aliases.contains_key(alias) {
            let message = format!("An alias with the name {} already exists", alias_arn(alias));
            return fail("AlreadyExistsException", message);
        }
        self.change(|state| {
            state.aliases.insert(alias.to_owned(), id);
        })?;
        Ok(json!({}))
    }

    fn delete_alias(&self, request: &Value) -> Result<Value, Failure> {
        let alias = text(request, "AliasName");
        if !self.lock().aliases.contains_key(alias) {
            return fail(
                "NotFoundException",
                format!("Alias {} is not found.", alias_arn(alias)),
            );
        }
        self.change(|state| {
            state.aliases.remove(alias);
        })?;
        Ok(json!({}))
    }

    fn list_aliases(&self, request: &Value) -> Result<Value, Failure> {
        let wanted = match request["KeyId"].as_str() {
            Some(key) => Some(self.find(key)?.0),
            None => None,
        };
        let state = self.lock();
        let aliases = state
            .aliases
            .iter()
            .filter(|(_, id)| wanted.is_none_or(|wanted| **id == wanted));
        let aliases: Vec<_> = aliases
            .map(|(name, id)| {
                json!({ "AliasName": name, "AliasArn": alias_arn(name), "TargetKeyId": id })
            })
            .collect();
        Ok(json!({ "Aliases": aliases, "Truncated": false }))
    }

    /// Generates the key that a `CreateKey` request describes, and stores it.
    fn add_key(&self, request: &Value) -> Result<(Uuid, Key), Failure> {
        if request["KeyUsage"] != "SIGN_VERIFY" {
            return fail(
                "ValidationException",
                "the local KMS only makes keys whose KeyUsage is SIGN_VERIFY",
            );
        }
        let id = Uuid::new_v4();
        let key = Key {
            private: Arc::new(Private::generate(text(request, "KeySpec"))?),
            description: text(request, "Description").to_owned(),
            created: clock::now().as_secs_f64(),
            enabled: true,
        };
        self.change(|state| {
            state.keys.insert(id, key.clone());
        })?;
        Ok((id, key))
    }

    /// Finds a key by its id, its ARN, an alias or an alias's ARN.
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

    /// Changes the state and keeps it before anyone can be told.
    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), Failure> {
        let mut state = self.lock();
        change(&mut state);
        match &self.path {
            Some(path) => {
                let bytes = serde_json::to_vec(&*state).map_err(internal)?;
                files::replace(path, &bytes).map_err(internal)
            }
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn metadata(&self, id: &Uuid) -> Map<String, Value> {
        let (spec, algorithm) = self.private.spec();
        let metadata = json!({
            "AWSAccountId": ACCOUNT,
            "Arn": arn(id),
            "CreationDate": self.created,
            "CustomerMasterKeySpec": spec,
            "Description": self.description,
            "Enabled": self.enabled,
            "KeyId": id,
            "KeyManager": "CUSTOMER",
            "KeySpec": spec,
            "KeyState": if self.enabled { "Enabled" } else { "Disabled" },
            "KeyUsage": "SIGN_VERIFY",
            "MultiRegion": false,
            "Origin": "AWS_KMS",
            "SigningAlgorithms": [algorithm],
        });
        metadata.as_object().cloned().unwrap_or_default()
    }
}

impl Private {
    fn generate(spec: &str) -> Result<Self, Failure> {
        Ok(match spec {
            "ECC_NIST_P256" => Self::P256(p256::ecdsa::SigningKey::random(&mut OsRng)),
            "ECC_NIST_EDWARDS25519" => {
                Self::Ed25519(ed25519_dalek::SigningKey::generate(&mut OsRng))
            }
            "RSA_2048" => Self::Rsa(rsa::RsaPrivateKey::new(&mut OsRng, 2048).map_err(internal)?),
            _ => {
                return fail(
                    "ValidationException",
                    format!("the local KMS has no KeySpec {spec:?}"),
                );
            }
        })
    }

    /// The key spec, and the one signing algorithm that the local KMS has for it.
    fn spec(&self) -> (&'static str, &'static str) {
        match self {
            Self::P256(_) => ("ECC_NIST_P256", "ECDSA_SHA_256"),
            Self::Ed25519(_) => ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
            Self::Rsa(_) => ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256"),
        }
    }

    /// The public key as a DER SubjectPublicKeyInfo.
    fn public(&self) -> Result<Vec<u8>, Failure> {
        let document = match self {
            Self::P256(key) => key.verifying_key().to_public_key_der(),
            Self::Ed25519(key) => key.verifying_key().to_public_key_der(),
            Self::Rsa(key) => key.to_public_key().to_public_key_der(),
        };
        Ok(document.map_err(internal)?.into_vec())
    }

    fn sign(&self, message: &[u8], kind: &str, algorithm: &str) -> Result<Vec<u8>, Failure> {
        let (spec, own) = self.spec();
        if algorithm != own {
            let message = format!("Algorithm {algorithm} is incompatible with key spec {spec}.");
            return fail("InvalidKeyUsageException", message);
        }
        let raw = match kind {
            "" | "RAW" if message.len() <= LARGEST_RAW_MESSAGE => true,
            "" | "RAW" => {
                return fail(
                    "ValidationException",
                    "1 validation error detected: Value at 'message' failed to satisfy constraint: \
                     Member must have length less than or equal to 4096",
                );
            }
            "DIGEST" if matches!(self, Self::Ed25519(_)) => {
                return fail(
                    "ValidationException",
                    "MessageType DIGEST is invalid for ED25519_SHA_512.",
                );
            }
            "DIGEST" if message.len() == 32 => false,
            "DIGEST" => {
                return fail(
                    "ValidationException",
                    format!("Digest is invalid length for algorithm {algorithm}."),
                );
            }
            _ => {
                return fail(
                    "ValidationException",
                    format!("{kind} is not a MessageType of the local KMS"),
                );
            }
        };
        let digest: Vec<u8> = if raw {
            Sha256::digest(message).to_vec()
        } else {
            message.to_vec()
        };
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(&digest).map_err(internal)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Self::Ed25519(key) => Ok(key.sign(message).to_vec()),
            Self::Rsa(key) => key
                .sign(Pkcs1v15Sign::new::<Sha256>(), &digest)
                .map_err(internal),
        }
    }
}

/// An error answer in the form that KMS gives it.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    web::json(status, &json!({ "__type": code, "message": message }))
}

/// A text field of a request, or `""` if the request has no such text.
fn text<'request>(request: &'request Value, name: &str) -> &'request str {
    request[name].as_str().unwrap_or_default()
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure {
        code: "KMSInternalException",
        message: error.to_string(),
    }
}

fn arn(id: &Uuid) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{id}")
}

fn alias_arn(name: &str) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:{name}")
}

/// A private key in a state file: its spec, and its PKCS #8 in base64.
mod pkcs8 {
    use serde::{Deserializer, Serializer, de::Error as _, ser::Error as _};

    use super::*;

    pub(super) fn serialize<S: Serializer>(
        private: &Private,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let document = match private {
            Private::P256(key) => key.to_pkcs8_der(),
            Private::Ed25519(key) => key.to_pkcs8_der(),
            Private::Rsa(key) => key.to_pkcs8_der(),
        };
        let document = document.map_err(S::Error::custom)?;
        (private.spec().0, STANDARD.encode(document.as_bytes())).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Private>, D::Error> {
        let (spec, document) = <(String, String)>::deserialize(deserializer)?;
        let der = STANDARD.decode(document).map_err(D::Error::custom)?;
        let private = match spec.as_str() {
            "ECC_NIST_P256" => p256::ecdsa::SigningKey::from_pkcs8_der(&der).map(Private::P256),
            "ECC_NIST_EDWARDS25519" => {
                ed25519_dalek::SigningKey::from_pkcs8_der(&der).map(Private::Ed25519)
            }
            "RSA_2048" => rsa::RsaPrivateKey::from_pkcs8_der(&der).map(Private::Rsa),
            _ => return Err(D::Error::custom(format!("unknown key spec {spec}"))),
        };
        private.map(Arc::new).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code(answer: Result<Value, Failure>) -> &'static str {
        answer.unwrap_err().code
    }

    #[test]
    fn signatures_of_every_key_spec_verify() {
        use jsonwebtoken::crypto::verify;
        let kms = Kms::open(None).unwrap();
        for spec in ["ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "RSA_2048"] {
            let key = kms
                .execute(
                    "CreateKey",
                    &json!({ "KeySpec": spec, "KeyUsage": "SIGN_VERIFY" }),
                )
                .unwrap();
            let id = key["KeyMetadata"]["KeyId"].clone();
            let public = kms
                .execute("GetPublicKey", &json!({ "KeyId": id }))
                .unwrap();
            let algorithm = public["SigningAlgorithms"][0].clone();
            let sign = |message: &[u8], kind: &str| {
                let message = STANDARD.encode(message);
                kms.execute(
                    "Sign",
                    &json!({ "KeyId": id, "Message": message, "MessageType": kind, "SigningAlgorithm": algorithm }),
                )
            };
            let signature = STANDARD
                .decode(
                    sign(b"hello", "RAW").unwrap()["Signature"]
                        .as_str()
                        .unwrap(),
                )
                .unwrap();
            let spki = STANDARD
                .decode(public["PublicKey"].as_str().unwrap())
                .unwrap();
            let is_good = match spec {
                "ECC_NIST_P256" => {
                    use p256::{ecdsa::signature::Verifier, pkcs8::DecodePublicKey};
                    let key = p256::ecdsa::VerifyingKey::from_public_key_der(&spki).unwrap();
                    key.verify(
                        b"hello",
                        &p256::ecdsa::Signature::from_der(&signature).unwrap(),
                    )
                    .is_ok()
                }
                "RSA_2048" => {
                    use rsa::pkcs8::DecodePublicKey;
                    let key = rsa::RsaPublicKey::from_public_key_der(&spki).unwrap();
                    key.verify(
                        Pkcs1v15Sign::new::<Sha256>(),
                        &Sha256::digest(b"hello"),
                        &signature,
                    )
                    .is_ok()
                }
                _ => {
                    let key = jsonwebtoken::DecodingKey::from_ed_der(&spki[12..]);
                    let signature =
                        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&signature);
                    verify(&signature, b"hello", &key, jsonwebtoken::Algorithm::EdDSA).unwrap()
                }
            };
            assert!(is_good, "{spec}");
            assert_eq!(code(sign(&[0; 4097], "RAW")), "ValidationException");
            assert_eq!(code(sign(&[0; 31], "DIGEST")), "ValidationException");
        }
    }

    #[test]
    fn a_disabled_or_unknown_key_is_refused_with_awss_codes() {
        let kms = Kms::open(None).unwrap();
        let key = json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" });
        let arn = kms.execute("CreateKey", &key).unwrap()["KeyMetadata"]["Arn"].clone();
        kms.execute(
            "CreateAlias",
            &json!({ "AliasName": "alias/a", "TargetKeyId": arn }),
        )
        .unwrap();
        let by_alias = json!({ "KeyId": "alias/a" });
        assert!(kms.execute("GetPublicKey", &by_alias).is_ok());
        kms.execute("DisableKey", &json!({ "KeyId": arn })).unwrap();
        assert_eq!(
            code(kms.execute("GetPublicKey", &by_alias)),
            "DisabledException"
        );
        kms.execute("EnableKey", &json!({ "KeyId": arn })).unwrap();
        assert!(kms.execute("GetPublicKey", &by_alias).is_ok());
        assert_eq!(
            code(kms.execute("DescribeKey", &json!({ "KeyId": "alias/b" }))),
            "NotFoundException"
        );
        assert_eq!(
            code(kms.execute("Encrypt", &json!({}))),
            "UnknownOperationException"
        );
    }
}
