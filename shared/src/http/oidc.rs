//! Verifies tokens from the identity provider (OIDC) on routes that do not use the gateway's JWT authorizer. Performs
//! the same checks as that authorizer: RS256, issuer, audience and times. Also refuses tokens with critical extensions
//! (RFC 7515, section 4.1.11), because this module supports none.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use bytes::Bytes;
use jsonwebtoken::{
    Algorithm,
    jwk::{AlgorithmParameters, Jwk, PublicKeyUse},
};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::error::Error;
use crate::{
    model::Timestamp,
    process::{
        client,
        config::{self, Environment},
        telemetry,
    },
};

/// The age at which the provider's keys are fetched again. After that fetch, keys that the provider has withdrawn are
/// no longer accepted.
const REFRESH_AFTER: Duration = Duration::from_secs(300);
/// The age at which keys are no longer used, even if they cannot be fetched again. API Gateway caches keys for the
/// same time.
const LONGEST_USE: Duration = Duration::from_secs(2 * 60 * 60);
/// The minimum time between a successful fetch and a fetch for an unknown key id. This pause limits the number of
/// requests that tokens with invented key ids can cause.
const REFETCH_AFTER: Duration = Duration::from_secs(60);
/// The minimum time between a failed fetch and the next fetch. During an outage, a process therefore waits for the
/// provider at most once in this time.
const RETRY_AFTER: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_DOCUMENT: usize = 1 << 20;

const REFUSED: Error =
    Error::Unauthenticated("send a valid access key or a valid token from the identity provider");

type Cause = Box<dyn std::error::Error + Send + Sync>;

pub struct IdentityProvider {
    url: String,
    audiences: Vec<String>,
    keys: Mutex<Keys>,
}

type PublicKey = RsaPublicKeyComponents<Vec<u8>>;

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, PublicKey>,
    fetched_at: Option<Timestamp>,
    /// When the latest fetch failed; `None` if it succeeded.
    failed_at: Option<Timestamp>,
}

impl IdentityProvider {
    /// Reads `OIDC_ISSUER` and `OIDC_AUDIENCES`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            url: environment.required("OIDC_ISSUER"),
            audiences: config::audiences(environment),
            keys: Mutex::default(),
        }
    }

    /// Verifies a token and returns its claims. All values are strings, as in events from API Gateway, which renders a
    /// list as `[a b]`. Leaves out nulls, objects, and lists of anything but strings.
    ///
    /// # Errors
    /// Fails if the token is not valid, or the identity provider's keys are not available.
    pub async fn verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<HashMap<String, String>, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| REFUSED)?;
        if header.alg != Algorithm::RS256 || header.crit.is_some() {
            return Err(REFUSED);
        }
        let key_id = header.kid.ok_or(REFUSED)?;
        let key = self.key(&key_id, now).await?.ok_or(REFUSED)?;
        let claims = verified_claims(token, &key).ok_or(REFUSED)?;
        if !self.is_meant(&claims) || !is_in_time(&claims, now) {
            return Err(REFUSED);
        }
        let text = |value| match value {
            Value::String(text) => Some(text),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            Value::Array(items) => {
                let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
                Some(format!("[{}]", texts?.join(" ")))
            }
            Value::Null | Value::Object(_) => None,
        };
        let claims = claims.into_iter();
        Ok(claims
            .filter_map(|(name, value)| Some((name, text(value)?)))
            .collect())
    }

    /// Whether the token has the right issuer and audience. Some issuers, such as Cognito, name the audience in
    /// `client_id`.
    fn is_meant(&self, claims: &Map<String, Value>) -> bool {
        let is_audience = |audience: &Value| {
            let mut audiences = self.audiences.iter();
            audiences.any(|accepted| audience == accepted.as_str())
        };
        let has_audience = match claims.get("aud").or_else(|| claims.get("client_id")) {
            Some(Value::Array(audiences)) => audiences.iter().any(is_audience),
            Some(audience) => is_audience(audience),
            None => false,
        };
        has_audience && claims.get("iss").and_then(Value::as_str) == Some(&self.url)
    }

    /// Returns the provider's key with this id, if there is one.
    async fn key(&self, id: &str, now: Timestamp) -> Result<Option<PublicKey>, Error> {
        let mut keys = self.keys.lock().await;
        if keys.is_due(id, now) {
            let fetched = tokio::time::timeout(PATIENCE, self.fetch()).await;
            match fetched.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(by_id) => {
                    *keys = Keys {
                        by_id,
                        fetched_at: Some(now),
                        failed_at: None,
                    }
                }
                Err(cause) => {
                    keys.failed_at = Some(now);
                    tracing::error!(
                        error.cause = telemetry::chain(cause.as_ref()),
                        "could not fetch the keys of the identity provider"
                    );
                }
            }
        }
        let key = keys.get(id, now);
        if key.is_none() && keys.failed_at.is_some() {
            return Err(Error::IdentityProvider);
        }
        Ok(key)
    }

    async fn fetch(&self) -> Result<HashMap<String, PublicKey>, Cause> {
        let configuration = format!(
            "{}/.well-known/openid-configuration",
            self.url.trim_end_matches('/')
        );
        let configuration = get(&configuration).await?;
        let keys = configuration["jwks_uri"]
            .as_str()
            .ok_or("the configuration of the identity provider has no jwks_uri")?;
        let keys = get(keys).await?;
        // Keys of unknown kinds and keys for encryption are ignored.
        let keys = keys["keys"].as_array();
        let keys = keys
            .ok_or("the identity provider's key set has no keys")?
            .iter();
        let keys = keys.filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        let is_for_signatures = |key: &Jwk| {
            let usage = key.common.public_key_use.as_ref();
            usage.is_none_or(|usage| *usage == PublicKeyUse::Signature)
        };
        Ok(keys
            .filter(is_for_signatures)
            .filter_map(|key| Some((key.common.key_id.clone()?, public_key(&key)?)))
            .collect())
    }
}

impl Keys {
    fn is_due(&self, id: &str, now: Timestamp) -> bool {
        // A time in the future counts as old, because it means that the clock was set back.
        let is_old = |at: Option<Timestamp>, wait| {
            at.is_none_or(|at| now.since(at).is_none_or(|age| age >= wait))
        };
        let wait = if self.by_id.contains_key(id) {
            REFRESH_AFTER
        } else {
            REFETCH_AFTER
        };
        is_old(self.fetched_at, wait) && is_old(self.failed_at, RETRY_AFTER)
    }

    fn get(&self, id: &str, now: Timestamp) -> Option<PublicKey> {
        let age = now.since(self.fetched_at?)?;
        self.by_id.get(id).filter(|_| age < LONGEST_USE).cloned()
    }
}

/// Returns the parameters of an RSA key; `None` for keys of other types.
fn public_key(key: &Jwk) -> Option<PublicKey> {
    let AlgorithmParameters::RSA(parameters) = &key.algorithm else {
        return None;
    };
    // Some providers put zero octets before the numbers (RFC 7518, section 6.3.1.1), which ring refuses.
    let number = |text| {
        let octets = BASE64URL.decode(text).ok()?;
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        Some(octets[zeros..].to_vec())
    };
    let n = number(&parameters.n)?;
    let e = number(&parameters.e)?;
    Some(RsaPublicKeyComponents { n, e })
}

/// Verifies the RS256 signature of a token (RFC 7515, section 5.2) and returns its claims. The crate `jsonwebtoken`
/// would use crates other than ring to verify the signature, which would add 0.18 MB to the function's zip file.
fn verified_claims(token: &str, key: &PublicKey) -> Option<Map<String, Value>> {
    let (message, signature) = token.rsplit_once('.')?;
    let signature = BASE64URL.decode(signature).ok()?;
    key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature)
        .ok()?;
    let (_, payload) = message.split_once('.')?;
    serde_json::from_slice(&BASE64URL.decode(payload).ok()?).ok()
}

/// Whether the times in the token's claims allow its use at `now`. Issuers may round `iat` up to the next second.
fn is_in_time(claims: &Map<String, Value>, now: Timestamp) -> bool {
    let now = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or_default());
    let now = now.as_secs_f64();
    let time = |name: &str| claims.get(name).map(Value::as_f64);
    let is_not_before = |name: &str, limit: f64| match time(name) {
        Some(Some(time)) => time <= limit,
        Some(None) => false,
        None => true,
    };
    time("exp").flatten().is_some_and(|expiry| now < expiry)
        && is_not_before("nbf", now)
        && is_not_before("iat", now.floor() + 1.0)
}

async fn get(url: &str) -> Result<Value, Cause> {
    let request = http::Request::get(url).body(Bytes::new())?;
    let response = client::send(request, LONGEST_DOCUMENT).await?;
    if !response.status().is_success() {
        return Err(format!("the identity provider returned {}", response.status()).into());
    }
    Ok(serde_json::from_slice(response.body())?)
}
