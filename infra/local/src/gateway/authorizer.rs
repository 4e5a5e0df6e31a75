//! API Gateway's authorizers. For a JWT authorizer, the gateway itself verifies the token. A REQUEST authorizer is a
//! function.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use crate::{
    clock,
    function::Function,
    template::{self, JwtConfiguration, REGION},
};

pub(super) enum Authorizer {
    Jwt(Jwt),
    Request {
        identity_source: Vec<Source>,
        function: Arc<Function>,
    },
}

/// An identity source: the part of a request that contains the caller's credentials.
pub(super) enum Source {
    Header(String),
    Query(String),
}

/// Checks tokens with the issuer's published keys.
pub(super) struct Jwt {
    source: Source,
    issuer: String,
    audiences: Vec<String>,
    client: reqwest::Client,
    keys: Mutex<HashMap<String, DecodingKey>>,
}

impl Authorizer {
    /// The closure `function` looks up a function by its ARN.
    pub(super) fn new(
        authorizer: template::Authorizer,
        function: impl Fn(&str) -> Result<Arc<Function>>,
    ) -> Result<Self> {
        match authorizer {
            template::Authorizer::Jwt {
                identity_source,
                jwt_configuration,
            } => Jwt::new(&identity_source, jwt_configuration).map(Self::Jwt),
            template::Authorizer::Request {
                authorizer_payload_format_version,
                authorizer_result_ttl_in_seconds,
                authorizer_uri,
                enable_simple_responses,
                identity_source,
            } => {
                if authorizer_result_ttl_in_seconds.is_none_or(|ttl| ttl.0 != 0) {
                    bail!("the local stack supports only an AuthorizerResultTtlInSeconds of 0");
                }
                let simple = enable_simple_responses.is_some_and(|simple| simple.0);
                if authorizer_payload_format_version != "2.0" || !simple {
                    bail!("the local stack supports only payload format 2.0 with simple responses");
                }
                let arn = authorizer_uri
                    .split_once("/functions/")
                    .and_then(|(_, arn)| arn.strip_suffix("/invocations"));
                let sources = identity_source.iter().map(|source| Source::parse(source));
                Ok(Self::Request {
                    identity_source: sources.collect::<Result<_>>()?,
                    function: function(arn.unwrap_or(&authorizer_uri))?,
                })
            }
        }
    }

    /// Authorizes a request and returns its `requestContext.authorizer`. `event` is the event for the integration, and
    /// `scopes` are the scopes of the route.
    pub(super) async fn check(&self, event: &Value, scopes: &[String]) -> Result<Value, Refusal> {
        match self {
            Self::Jwt(jwt) => {
                let token = jwt.source.find(event).ok_or(Refusal::Unauthorized(None))?;
                let claims = jwt.check(token).await;
                let claims = claims.map_err(|error| Refusal::Unauthorized(Some(error)))?;
                if !has_scope(&claims, scopes) {
                    return Err(Refusal::Forbidden);
                }
                Ok(json!({ "jwt": { "claims": claims, "scopes": null } }))
            }
            Self::Request {
                identity_source,
                function,
            } => {
                let identity = identity_source.iter().map(|source| source.find(event));
                let identity = identity.collect::<Option<Vec<_>>>();
                let identity = identity.ok_or(Refusal::Unauthorized(None))?;
                let answer = function.invoke(authorizer_event(event, &identity)).await;
                simple_response(&answer.map_err(|_| Refusal::AuthorizerFailed)?)
            }
        }
    }
}

/// Returns the `requestContext.authorizer` for a simple response.
fn simple_response(answer: &Value) -> Result<Value, Refusal> {
    match (&answer["isAuthorized"], &answer["context"]) {
        (Value::Bool(false), _) => Err(Refusal::Forbidden),
        (Value::Bool(true), Value::Null) => Ok(json!({ "lambda": {} })),
        (Value::Bool(true), context @ Value::Object(_)) => Ok(json!({ "lambda": context })),
        _ => Err(Refusal::AuthorizerFailed),
    }
}

impl Source {
    fn parse(source: &str) -> Result<Self> {
        if let Some(name) = source.strip_prefix("$request.header.") {
            Ok(Self::Header(name.to_ascii_lowercase()))
        } else if let Some(name) = source.strip_prefix("$request.querystring.") {
            Ok(Self::Query(name.to_owned()))
        } else {
            bail!("the local stack does not support the identity source {source}")
        }
    }

    fn find<'event>(&self, event: &'event Value) -> Option<&'event str> {
        let value = match self {
            Self::Header(name) => &event["headers"][name],
            Self::Query(name) => &event["queryStringParameters"][name],
        };
        value.as_str().filter(|value| !value.is_empty())
    }
}

impl Jwt {
    fn new(identity_source: &[String], configuration: JwtConfiguration) -> Result<Self> {
        let [source] = identity_source else {
            bail!("a JWT authorizer needs exactly one identity source");
        };
        let client = reqwest::Client::builder().no_proxy().build();
        Ok(Self {
            source: Source::parse(source)?,
            issuer: configuration.issuer,
            audiences: configuration.audience,
            client: client.context("cannot create an HTTP client")?,
            keys: Mutex::default(),
        })
    }

    /// Checks a token and returns its claims as strings. An `Err` contains the error description for
    /// `WWW-Authenticate`.
    async fn check(&self, value: &str) -> Result<Map<String, Value>, &'static str> {
        let token = match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => value,
        };
        let header = jsonwebtoken::decode_header(token).map_err(|_| "the token is malformed")?;
        if header.alg != Algorithm::RS256 {
            return Err("signing method is invalid");
        }
        if header.crit.is_some() {
            return Err("the token has a critical extension that is not supported");
        }
        let kid = header.kid.ok_or("unable to find the key id")?;
        let key = self
            .key(&kid)
            .await
            .ok_or("unable to find a signing key that matches")?;
        // The crate's own checks of the claims are turned off. `check_claims` checks them instead, with the gateway's
        // clock and without the crate's leeway.
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation);
        let claims = claims.map_err(|_| "the signature is invalid")?.claims;
        self.check_claims(&claims, clock::now().as_secs_f64())?;
        Ok(claims
            .iter()
            .map(|(name, value)| (name.clone(), claim(value).into()))
            .collect())
    }

    fn check_claims(&self, claims: &Map<String, Value>, now: f64) -> Result<(), &'static str> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err("the issuer is invalid");
        }
        let is_accepted = |audience: &Value| {
            let mut accepted = self.audiences.iter();
            accepted.any(|accepted| audience == accepted.as_str())
        };
        let is_accepted = match claims.get("aud").or_else(|| claims.get("client_id")) {
            Some(Value::Array(audiences)) => audiences.iter().any(is_accepted),
            Some(audience) => is_accepted(audience),
            None => false,
        };
        if !is_accepted {
            return Err("the audience is invalid");
        }
        let time = |name: &str| {
            claims
                .get(name)
                .map(|time| time.as_f64().ok_or("a time claim is not a number"))
                .transpose()
        };
        match time("exp")? {
            Some(expiry) if now < expiry => {}
            _ => return Err("the token has expired"),
        }
        if time("nbf")?.is_some_and(|start| now < start) {
            return Err("the token is not valid yet");
        }
        // `iat` is in whole seconds. An `iat` at the start of the next second is still accepted.
        if time("iat")?.is_some_and(|issued| now.floor() + 1.0 < issued) {
            return Err("the token was issued in the future");
        }
        Ok(())
    }

    /// Finds the issuer's key with this id. Fetches the issuer's keys if the id is unknown.
    async fn key(&self, kid: &str) -> Option<DecodingKey> {
        let known = || {
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.get(kid).cloned()
        };
        if let Some(key) = known() {
            return Some(key);
        }
        let published = self.fetch_keys().await.ok()?;
        let keys = published
            .keys
            .iter()
            .filter_map(|jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?)));
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(keys);
        known()
    }

    async fn fetch_keys(&self) -> reqwest::Result<JwkSet> {
        #[derive(Deserialize)]
        struct Configuration {
            jwks_uri: String,
        }
        let issuer = self.issuer.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let configuration = self.client.get(url).send().await?;
        let Configuration { jwks_uri } = configuration.json().await?;
        self.client.get(jwks_uri).send().await?.json().await
    }
}

/// Whether the claim `scope` (or `scp`, its older name) contains at least one of the `wanted` scopes. Also true if
/// `wanted` is empty.
fn has_scope(claims: &Map<String, Value>, wanted: &[String]) -> bool {
    let granted = claims
        .get("scope")
        .or_else(|| claims.get("scp"))
        .and_then(Value::as_str);
    let mut granted = granted
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .split(' ');
    wanted.is_empty() || granted.any(|scope| wanted.iter().any(|wanted| wanted == scope))
}

/// Returns the event for a Lambda authorizer, in payload format 2.0.
fn authorizer_event(event: &Value, identity: &[&str]) -> Value {
    let context = &event["requestContext"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (method, path) = (text(&context["http"]["method"]), text(&event["rawPath"]));
    let account = text(&context["accountId"]);
    let api = text(&context["apiId"]);
    let mut request = event.as_object().cloned().unwrap_or_default();
    request.remove("body");
    request.remove("isBase64Encoded");
    request.insert("type".into(), "REQUEST".into());
    request.insert("identitySource".into(), identity.into());
    let arn = format!("arn:aws:execute-api:{REGION}:{account}:{api}/$default/{method}{path}");
    request.insert("routeArn".into(), arn.into());
    Value::Object(request)
}

/// Converts a claim to the string that API Gateway passes on. For example, the array `["a", "b"]` becomes `[a b]`, and
/// the object `{"a": 1}` becomes `map[a:1]`.
fn claim(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(claim).collect::<Vec<_>>().join(" ")
        ),
        Value::Object(map) => {
            let entries: Vec<_> = map
                .iter()
                .map(|(name, value)| format!("{name}:{}", claim(value)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
        scalar => scalar.to_string(),
    }
}
