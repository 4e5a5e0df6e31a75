//! API Gateway's authorizers: JWT, which it checks itself, and REQUEST, which is a function.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, anyhow};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Map, Value, json};

use crate::{
    clock,
    function::Function,
    template::{Resource, number},
};

/// What an authorizer says of a request.
pub(crate) enum Verdict {
    /// What `requestContext.authorizer` becomes.
    Allowed(Value),
    /// 401, and the error that `WWW-Authenticate` gives, if a token was there at all.
    Unauthorized(Option<&'static str>),
    /// 403
    Forbidden,
    /// 500: the authorizer itself failed.
    Failed,
}

pub(crate) enum Authorizer {
    Jwt(Jwt),
    Request {
        identity_source: Vec<Source>,
        function: Arc<Function>,
    },
}

/// Where an authorizer finds who is asking.
pub(crate) enum Source {
    Header(String),
    Query(String),
}

/// Checks tokens against the issuer's published keys.
pub(crate) struct Jwt {
    source: Source,
    issuer: String,
    audiences: Vec<String>,
    client: reqwest::Client,
    keys: Mutex<HashMap<String, DecodingKey>>,
}

impl Authorizer {
    /// `function` finds the function with an ARN.
    pub(crate) fn new(
        resource: &Resource,
        function: impl Fn(&str) -> Result<Arc<Function>>,
    ) -> Result<Self> {
        let (id, properties) = (&resource.id, &resource.properties);
        let sources = properties["IdentitySource"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let sources = sources.iter().map(|source| Source::parse(id, source));
        let mut identity_source = sources.collect::<Result<Vec<_>>>()?;
        let refuse = |what: &str| Err(anyhow!("{id}: {what} is not supported"));
        match properties["AuthorizerType"].as_str().unwrap_or_default() {
            "JWT" => {
                let (Some(source), true) = (identity_source.pop(), identity_source.is_empty())
                else {
                    return refuse("a JWT authorizer with other than one identity source");
                };
                let configuration = &properties["JwtConfiguration"];
                let audiences = configuration["Audience"]
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let client = reqwest::Client::builder().no_proxy().build();
                Ok(Self::Jwt(Jwt {
                    source,
                    issuer: configuration["Issuer"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    audiences: audiences
                        .iter()
                        .filter_map(|a| a.as_str().map(str::to_owned))
                        .collect(),
                    client: client.context("cannot make an HTTP client")?,
                    keys: Mutex::default(),
                }))
            }
            "REQUEST" => {
                if number(&properties["AuthorizerResultTtlInSeconds"]) != Some(0) {
                    return refuse("an AuthorizerResultTtlInSeconds other than 0");
                }
                if properties["AuthorizerPayloadFormatVersion"] != "2.0"
                    || properties["EnableSimpleResponses"] != true
                {
                    return refuse("an authorizer without payload format 2.0 and simple responses");
                }
                let uri = properties["AuthorizerUri"].as_str().unwrap_or_default();
                let arn = uri
                    .split_once("/functions/")
                    .and_then(|(_, arn)| arn.strip_suffix("/invocations"));
                Ok(Self::Request {
                    identity_source,
                    function: function(arn.unwrap_or(uri))?,
                })
            }
            other => refuse(&format!("the AuthorizerType {other:?}")),
        }
    }

    /// `event` is the one that the integration would get, `scopes` those of the route.
    pub(crate) async fn check(&self, event: &Value, scopes: &[String]) -> Verdict {
        match self {
            Self::Jwt(jwt) => match jwt.source.find(event) {
                Some(token) => match jwt.check(token).await {
                    Ok(claims) if !has_scope(&claims, scopes) => Verdict::Forbidden,
                    Ok(claims) => {
                        Verdict::Allowed(json!({ "jwt": { "claims": claims, "scopes": null } }))
                    }
                    Err(error) => Verdict::Unauthorized(Some(error)),
                },
                None => Verdict::Unauthorized(None),
            },
            Self::Request {
                identity_source,
                function,
            } => {
                let identity: Option<Vec<_>> = identity_source
                    .iter()
                    .map(|source| source.find(event))
                    .collect();
                let Some(identity) = identity else {
                    return Verdict::Unauthorized(None);
                };
                match function.invoke(authorizer_event(event, &identity)).await {
                    Ok(answer) if answer["isAuthorized"] == true => match &answer["context"] {
                        Value::Null => Verdict::Allowed(json!({ "lambda": {} })),
                        context @ Value::Object(_) => {
                            Verdict::Allowed(json!({ "lambda": context }))
                        }
                        _ => Verdict::Failed,
                    },
                    Ok(answer) if answer["isAuthorized"] == false => Verdict::Forbidden,
                    _ => Verdict::Failed,
                }
            }
        }
    }
}

impl Source {
    fn parse(id: &str, source: &Value) -> Result<Self> {
        let text = source.as_str().unwrap_or_default();
        if let Some(name) = text.strip_prefix("$request.header.") {
            Ok(Self::Header(name.to_ascii_lowercase()))
        } else if let Some(name) = text.strip_prefix("$request.querystring.") {
            Ok(Self::Query(name.to_owned()))
        } else {
            Err(anyhow!(
                "{id}: the identity source {source} is not supported"
            ))
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
    /// The claims, all as text.
    async fn check(&self, value: &str) -> std::result::Result<Map<String, Value>, &'static str> {
        let token = match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => value,
        };
        let header = jsonwebtoken::decode_header(token).map_err(|_| "the token is malformed")?;
        if header.alg != Algorithm::RS256 {
            return Err("signing method is invalid");
        }
        let kid = header.kid.ok_or("unable to find the key id")?;
        let key = self
            .key(&kid)
            .await
            .ok_or("unable to find a signing key that matches")?;
        // The claims are checked below, by the gateway's clock and without the leeway that the crate would add.
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

    fn check_claims(
        &self,
        claims: &Map<String, Value>,
        now: f64,
    ) -> std::result::Result<(), &'static str> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err("the issuer is invalid");
        }
        let audience = claims.get("aud").or_else(|| claims.get("client_id"));
        let ours = |audience: &Value| {
            audience
                .as_str()
                .is_some_and(|a| self.audiences.iter().any(|ours| ours == a))
        };
        let meant = match audience {
            Some(Value::Array(audiences)) => audiences.iter().any(ours),
            Some(audience) => ours(audience),
            None => false,
        };
        if !meant {
            return Err("the audience is invalid");
        }
        let time = |name: &str| {
            claims
                .get(name)
                .map(|time| time.as_f64().ok_or("a time is no number"))
                .transpose()
        };
        match time("exp")? {
            Some(expiry) if now < expiry => {}
            _ => return Err("the token has expired"),
        }
        if time("nbf")?.is_some_and(|start| now < start) {
            return Err("the token is not valid yet");
        }
        // Issued in this very second is not the future.
        if time("iat")?.is_some_and(|issued| now.floor() + 1.0 < issued) {
            return Err("the token was issued in the future");
        }
        Ok(())
    }

    /// The issuer's key, fetched again only for a key id not seen before.
    async fn key(&self, kid: &str) -> Option<DecodingKey> {
        let known = || {
            self.keys
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(kid)
                .cloned()
        };
        if let Some(key) = known() {
            return Some(key);
        }
        let configuration = format!(
            "{}/.well-known/openid-configuration",
            self.issuer.trim_end_matches('/')
        );
        let configuration: Value = self
            .client
            .get(configuration)
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
        let published: JwkSet = self
            .client
            .get(configuration["jwks_uri"].as_str()?)
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
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
}

/// Whether `scope` or `scp` (the older name) has one of these, if there are any.
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

/// The request as a Lambda authorizer sees it in payload format 2.0.
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
    let region = crate::template::REGION;
    let arn = format!("arn:aws:execute-api:{region}:{account}:{api}/$default/{method}{path}");
    request.insert("routeArn".into(), arn.into());
    Value::Object(request)
}

/// A claim as API Gateway hands it on: always text, arrays as `[a b]`, objects as `map[a:1]`.
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
