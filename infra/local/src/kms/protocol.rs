//! The JSON 1.1 protocol of KMS: requests, responses and errors.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{StatusCode, header};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

/// The only key usage that the local KMS supports.
pub(crate) const SIGN_VERIFY: &str = "SIGN_VERIFY";

/// An AWS error: its code and its message.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Failure {
    pub code: &'static str,
    pub message: String,
}

pub(super) fn fail<T>(code: &'static str, message: impl Into<String>) -> Result<T, Failure> {
    let message = message.into();
    Err(Failure { code, message })
}

pub(super) fn internal(error: impl std::fmt::Display) -> Failure {
    Failure {
        code: "KMSInternalException",
        message: error.to_string(),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateKey {
    pub key_spec: String,
    pub key_usage: String,
    pub description: String,
    pub multi_region: bool,
    /// The key policy as JSON. Without a key policy, the account's IAM policies determine who may use the key.
    pub policy: Option<String>,
    pub tags: Vec<Tag>,
}

impl CreateKey {
    pub(crate) fn to_sign(key_spec: &str, policy: Option<String>) -> Self {
        Self {
            key_spec: key_spec.to_owned(),
            key_usage: SIGN_VERIFY.to_owned(),
            policy,
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub tag_key: String,
    pub tag_value: String,
}

/// The request and the response of `ListResourceTags`, and the request of `TagResource`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tags {
    #[serde(default, skip_serializing)]
    pub key_id: String,
    #[serde(default)]
    pub tags: Vec<Tag>,
    #[serde(default)]
    pub truncated: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UntagResource {
    pub key_id: String,
    pub tag_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListKeys {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Keys {
    pub keys: Vec<KeyEntry>,
    pub truncated: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyEntry {
    pub key_id: Uuid,
    pub key_arn: String,
}

/// The request of `PutKeyPolicy` and the response of `GetKeyPolicy`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyPolicy {
    #[serde(default, skip_serializing)]
    pub key_id: String,
    /// The key policy as JSON.
    pub policy: String,
}

/// The request of each operation whose only parameter is a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyReference {
    pub key_id: String,
}

impl From<&str> for KeyReference {
    fn from(key_id: &str) -> Self {
        let key_id = key_id.to_owned();
        Self { key_id }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyDescription {
    pub key_metadata: KeyMetadata,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyMetadata {
    #[serde(rename = "AWSAccountId")]
    pub aws_account_id: &'static str,
    pub arn: String,
    pub creation_date: f64,
    pub customer_master_key_spec: &'static str,
    pub description: String,
    pub enabled: bool,
    pub key_id: Uuid,
    pub key_manager: &'static str,
    pub key_spec: &'static str,
    pub key_state: &'static str,
    pub key_usage: &'static str,
    pub multi_region: bool,
    pub origin: &'static str,
    pub signing_algorithms: [&'static str; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PublicKey {
    pub key_id: String,
    /// DER SubjectPublicKeyInfo.
    pub public_key: Blob,
    pub customer_master_key_spec: &'static str,
    pub key_spec: &'static str,
    pub key_usage: &'static str,
    pub signing_algorithms: [&'static str; 1],
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Sign {
    pub key_id: String,
    pub message: Blob,
    /// `RAW` (the default) or `DIGEST`.
    #[serde(default)]
    pub message_type: String,
    pub signing_algorithm: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Signature {
    pub key_id: String,
    pub signature: Blob,
    pub signing_algorithm: String,
}

/// The request of `CreateAlias` and of `UpdateAlias`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreateAlias {
    pub alias_name: String,
    pub target_key_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeleteAlias {
    pub alias_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListAliases {
    pub key_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Aliases {
    pub aliases: Vec<AliasEntry>,
    pub truncated: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AliasEntry {
    pub alias_name: String,
    pub alias_arn: String,
    pub target_key_id: Uuid,
}

/// The response of each operation that returns no data.
#[derive(Debug, Serialize)]
pub(crate) struct Empty {}

/// Bytes, in base64 on the wire.
#[derive(Debug)]
pub(crate) struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// Returns an error response in the JSON 1.1 protocol.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    json_1_1(status, json!({ "__type": code, "message": message }))
}

pub(crate) fn json_1_1(status: StatusCode, body: Value) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    (status, content_type, Json(body)).into_response()
}

pub(super) fn call<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> Result<A, Failure>,
) -> Result<Value, Failure> {
    match serde_json::from_slice(body) {
        Ok(request) => serde_json::to_value(operation(request)?).map_err(internal),
        Err(error) => fail("SerializationException", error.to_string()),
    }
}
