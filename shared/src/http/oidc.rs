//! Verifies tokens from the identity provider (OIDC) on routes that do not use the gateway's JWT authorizer. Performs
//! the same checks as that authorizer: RS256, issuer, audience and times.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use serde_json::{Map, Value};

use super::error::Error;
use crate::process::config::Environment;

/// The minimum time between two fetches of the keys. It limits the requests that tokens with invented key ids can
/// cause, and does not apply after a failed fetch.
const REFETCH_AFTER: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_DOCUMENT: usize = 1 << 20;

const REFUSED: Error =
    Error::Unauthenticated("send a valid access key or a valid token from the identity provider");

type Cause = Box<dyn std::error::Error + Send + Sync>;

pub struct IdentityProvider {
    url: String,
    audience: String,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, DecodingKey>,
    fetched_at: Option<Instant>,
}

impl IdentityProvider {
    /// Reads `OIDC_ISSUER` and `OIDC_AUDIENCE`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            url: environment.required("OIDC_ISSUER"),
            audience: environment.required("OIDC_AUDIENCE"),
            keys: Mutex::default(),
        }
    }

    /// Verifies a token, and returns its claims. All values are strings, as in events from API Gateway.
    ///
    /// # Errors
    /// When the token is not valid, or the identity provider's keys are not available.
    pub async fn verify(&self, token: &str) -> Result<HashMap<String, String>, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| REFUSED)?;
        let key_id = header
            .kid
            .filter(|_| header.alg == Algorithm::RS256)
            .ok_or(REFUSED)?;
        let key = self.key(&key_id).await?.ok_or(REFUSED)?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[&self.url]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        // The audience is checked below, because some issuers, such as Cognito, put it in `client_id`.
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation);
        let claims = claims.map_err(|_| REFUSED)?.claims;
        let is_audience = |audience: &Value| audience.as_str() == Some(&self.audience);
        let has_audience = match claims.get("aud").or_else(|| claims.get("client_id")) {
            Some(Value::Array(audiences)) => audiences.iter().any(is_audience),
            Some(audience) => is_audience(audience),
            None => false,
        };
        if !has_audience {
            return Err(REFUSED);
        }
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(claims
            .into_iter()
            .map(|(name, value)| (name, text(value)))
            .collect())
    }

    /// The key with this id. Fetches the keys if the id is unknown and the last fetch is not recent.
    async fn key(&self, id: &str) -> Result<Option<DecodingKey>, Error> {
        {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fresh = keys
                .fetched_at
                .is_some_and(|at| at.elapsed() < REFETCH_AFTER);
            if is_fresh || keys.by_id.contains_key(id) {
                return Ok(keys.by_id.get(id).cloned());
            }
            keys.fetched_at = Some(Instant::now());
        }
        let fetched = match tokio::time::timeout(PATIENCE, self.fetch()).await {
            Ok(fetched) => fetched,
            Err(elapsed) => Err(elapsed.into()),
        };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(by_id) => keys.by_id = by_id,
            Err(cause) => {
                keys.fetched_at = None;
                return Err(Error::IdentityProvider(cause));
            }
        }
        Ok(keys.by_id.get(id).cloned())
    }

    async fn fetch(&self) -> Result<HashMap<String, DecodingKey>, Cause> {
        let configuration = format!(
            "{}/.well-known/openid-configuration",
            self.url.trim_end_matches('/')
        );
        let configuration = get(&configuration).await?;
        let keys = configuration["jwks_uri"]
            .as_str()
            .ok_or("the configuration of the identity provider has no jwks_uri")?;
        let keys = get(keys).await?;
        // Keys of unknown kinds are ignored.
        let keys = keys["keys"].as_array().into_iter().flatten();
        let keys = keys.filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        Ok(keys
            .filter_map(|key| {
                Some((
                    key.common.key_id.clone()?,
                    DecodingKey::from_jwk(&key).ok()?,
                ))
            })
            .collect())
    }
}

async fn get(url: &str) -> Result<Value, Cause> {
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let response = client.get(url.parse()?).await?;
    if !response.status().is_success() {
        return Err(format!("the identity provider returned {}", response.status()).into());
    }
    let body = Limited::new(response.into_body(), LONGEST_DOCUMENT)
        .collect()
        .await?
        .to_bytes();
    Ok(serde_json::from_slice(&body)?)
}
