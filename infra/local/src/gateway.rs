//! API Gateway: an HTTP API with the template's routes, in front of the functions, in payload format 2.0.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use axum::{
    Json, Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    authorizer::{Authorizer, Verdict},
    clock,
    function::Function,
    runtime_api::{InvokeError, LARGEST_PAYLOAD},
    template::{ACCOUNT, Resource, Template, number, text},
    web,
};

const LARGEST_BODY: usize = 10 << 20;
const LARGEST_HEADERS: usize = 10_240;
/// API Gateway's timeout for an integration that sets none.
const INTEGRATION_TIMEOUT_MS: u64 = 30_000;

pub(crate) struct Gateway {
    routes: Vec<Route>,
}

struct Route {
    key: RouteKey,
    integration: Integration,
    authorizer: Option<Arc<Authorizer>>,
    /// Unless this is empty, a token must have one of these scopes.
    scopes: Vec<String>,
    bucket: Option<Mutex<Bucket>>,
}

/// The function that answers a route, and how long the gateway waits for it.
#[derive(Clone)]
struct Integration {
    function: Arc<Function>,
    timeout: Duration,
}

/// `POST /v1/users/{user_id}`, `ANY /{proxy+}` or `$default`.
#[derive(Debug)]
struct RouteKey {
    whole: String,
    method: Option<String>,
    path: Option<Vec<Segment>>,
}

/// In order of precedence.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Static(String),
    Parameter(String),
    Greedy(String),
}

/// The tokens of a throttled route.
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Gateway {
    /// Reads the template's API. `function` finds the function with an ARN.
    pub(crate) fn new(
        template: &Template,
        throttling: bool,
        function: impl Fn(&str) -> Result<Arc<Function>>,
    ) -> Result<Self> {
        let authorizers = authorizers(template, &function)?;
        let integrations = integrations(template, &function)?;
        let limits = throttling_limits(template)?.filter(|_| throttling);
        let mut routes = Vec::new();
        for resource in template.of_type("AWS::ApiGatewayV2::Route")? {
            routes.push(Route::new(&resource, &authorizers, &integrations, limits)?);
        }
        routes.sort_by_key(|route| route.key.precedence());
        Ok(Self { routes })
    }

    pub(crate) fn into_router(self) -> Router {
        Router::new().fallback(answer).with_state(Arc::new(self))
    }

    async fn route(&self, id: &str, parts: &Parts, body: &[u8]) -> Response {
        let headers: usize = parts
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if headers + parts.uri.path().len() > LARGEST_HEADERS {
            return web::message(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request Header Fields Too Large",
            );
        }
        if body.len() > LARGEST_BODY {
            return web::message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        let found = self.routes.iter().find_map(|route| {
            route
                .key
                .matches(parts.method.as_str(), parts.uri.path())
                .map(|parameters| (route, parameters))
        });
        let Some((route, parameters)) = found else {
            return web::message(StatusCode::NOT_FOUND, "Not Found");
        };
        if let Some(bucket) = &route.bucket
            && !bucket.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return web::message(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
        }
        let mut event = event(id, &route.key.whole, parts, parameters, body);
        if let Some(authorizer) = &route.authorizer {
            match authorizer.check(&event, &route.scopes).await {
                Verdict::Allowed(context) => event["requestContext"]["authorizer"] = context,
                Verdict::Unauthorized(error) => return unauthorized(error),
                Verdict::Forbidden => return web::message(StatusCode::FORBIDDEN, "Forbidden"),
                Verdict::Failed => {
                    return web::message(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "Internal Server Error",
                    );
                }
            }
        }
        if event.to_string().len() > LARGEST_PAYLOAD {
            return web::message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        let Integration { function, timeout } = &route.integration;
        let outcome = tokio::time::timeout(*timeout, function.invoke(event)).await;
        match outcome.unwrap_or(Err(InvokeError::TimedOut)) {
            Ok(answer) => response(answer)
                .unwrap_or_else(|| web::message(StatusCode::BAD_GATEWAY, "Bad Gateway")),
            Err(InvokeError::TimedOut) => {
                web::message(StatusCode::GATEWAY_TIMEOUT, "Gateway Timeout")
            }
            Err(InvokeError::Crashed | InvokeError::Function { .. }) => {
                web::message(StatusCode::BAD_GATEWAY, "Bad Gateway")
            }
        }
    }
}

async fn answer(State(gateway): State<Arc<Gateway>>, parts: Parts, body: Bytes) -> Response {
    let id = Uuid::new_v4().to_string();
    let response = gateway.route(&id, &parts, &body).await;
    ([("apigw-requestid", id)], response).into_response()
}

/// The template's authorizers by their logical ids.
fn authorizers(
    template: &Template,
    function: impl Fn(&str) -> Result<Arc<Function>>,
) -> Result<BTreeMap<String, Arc<Authorizer>>> {
    let mut authorizers = BTreeMap::new();
    for resource in template.of_type("AWS::ApiGatewayV2::Authorizer")? {
        let authorizer = Authorizer::new(&resource, &function)?;
        authorizers.insert(resource.id, Arc::new(authorizer));
    }
    Ok(authorizers)
}

/// The template's integrations by the targets of the routes that use them.
fn integrations(
    template: &Template,
    function: impl Fn(&str) -> Result<Arc<Function>>,
) -> Result<BTreeMap<String, Integration>> {
    let mut integrations = BTreeMap::new();
    for resource in template.of_type("AWS::ApiGatewayV2::Integration")? {
        let (id, properties) = (resource.id, resource.properties);
        if properties["IntegrationType"] != "AWS_PROXY"
            || properties["PayloadFormatVersion"] != "2.0"
        {
            bail!("{id}: only AWS_PROXY with payload format 2.0 is supported");
        }
        let timeout = number(&properties["TimeoutInMillis"]).unwrap_or(INTEGRATION_TIMEOUT_MS);
        let integration = Integration {
            function: function(properties["IntegrationUri"].as_str().unwrap_or_default())?,
            timeout: Duration::from_millis(timeout),
        };
        integrations.insert(format!("integrations/{id}"), integration);
    }
    Ok(integrations)
}

/// The stage's default limits for a route: requests per second, and burst.
fn throttling_limits(template: &Template) -> Result<Option<(f64, f64)>> {
    let stages = template.of_type("AWS::ApiGatewayV2::Stage")?;
    let settings = stages
        .first()
        .map(|stage| &stage.properties["DefaultRouteSettings"]);
    let limit = |name: &str| text(&settings?[name])?.parse().ok();
    Ok(limit("ThrottlingRateLimit").zip(limit("ThrottlingBurstLimit")))
}

impl Route {
    fn new(
        resource: &Resource,
        authorizers: &BTreeMap<String, Arc<Authorizer>>,
        integrations: &BTreeMap<String, Integration>,
        limits: Option<(f64, f64)>,
    ) -> Result<Self> {
        let (id, properties) = (&resource.id, &resource.properties);
        let named = |name: &str| properties[name].as_str().unwrap_or_default();
        let missing = |name: &str| anyhow!("{id}: there is no {name} {}", properties[name]);
        let integration = integrations
            .get(named("Target"))
            .ok_or_else(|| missing("Target"))?;
        let authorizer = match named("AuthorizationType") {
            "" | "NONE" => None,
            _ => Some(
                authorizers
                    .get(named("AuthorizerId"))
                    .ok_or_else(|| missing("AuthorizerId"))?,
            ),
        };
        let scopes = properties["AuthorizationScopes"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(Self {
            key: RouteKey::parse(named("RouteKey")).ok_or_else(|| missing("RouteKey"))?,
            integration: integration.clone(),
            authorizer: authorizer.cloned(),
            scopes: scopes.iter().filter_map(text).collect(),
            bucket: limits.map(|(rate, burst)| Mutex::new(Bucket::new(rate, burst))),
        })
    }
}

impl RouteKey {
    fn parse(whole: &str) -> Option<Self> {
        if whole == "$default" {
            return Some(Self {
                whole: whole.to_owned(),
                method: None,
                path: None,
            });
        }
        let (method, path) = whole.split_once(' ')?;
        let segments = path.strip_prefix('/')?.split('/').map(|segment| {
            match segment
                .strip_prefix('{')
                .and_then(|segment| segment.strip_suffix('}'))
            {
                Some(name) => match name.strip_suffix('+') {
                    Some(name) => Segment::Greedy(name.to_owned()),
                    None => Segment::Parameter(name.to_owned()),
                },
                None => Segment::Static(segment.to_owned()),
            }
        });
        Some(Self {
            whole: whole.to_owned(),
            method: Some(method.to_owned()).filter(|method| method != "ANY"),
            path: Some(segments.collect()),
        })
    }

    /// Sorts what is tried first to the front: no greedy part, then static parts, then a method of its own; `$default` last.
    fn precedence(&self) -> impl Ord + use<> {
        let path = self.path.as_deref();
        let greedy = path.is_some_and(|path| path.iter().any(|s| matches!(s, Segment::Greedy(_))));
        let kinds: Vec<u8> = path
            .unwrap_or_default()
            .iter()
            .map(|segment| match segment {
                Segment::Static(_) => 0,
                Segment::Parameter(_) => 1,
                Segment::Greedy(_) => 2,
            })
            .collect();
        (path.is_none(), greedy, kinds, self.method.is_none())
    }

    /// The decoded path parameters, if the route takes this request.
    fn matches(&self, method: &str, path: &str) -> Option<Map<String, Value>> {
        let mut parameters = Map::new();
        let Some(segments) = &self.path else {
            return Some(parameters);
        };
        if self.method.as_deref().is_some_and(|own| own != method) {
            return None;
        }
        let decode =
            |part: &str| Value::from(percent_decode_str(part).decode_utf8_lossy().into_owned());
        let mut rest = Some(path.strip_prefix('/')?);
        for segment in segments {
            let here = rest?;
            let (part, after) = here
                .split_once('/')
                .map_or((here, None), |(part, after)| (part, Some(after)));
            match segment {
                Segment::Static(text) if text == part => {}
                Segment::Parameter(name) if !part.is_empty() => {
                    parameters.insert(name.clone(), decode(part));
                }
                Segment::Greedy(name) if !here.is_empty() => {
                    parameters.insert(name.clone(), decode(here));
                    return Some(parameters);
                }
                _ => return None,
            }
            rest = after;
        }
        rest.is_none().then_some(parameters)
    }
}

impl Bucket {
    fn new(rate: f64, burst: f64) -> Self {
        Self {
            rate,
            burst,
            tokens: burst,
            at: Instant::now(),
        }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        self.tokens = self
            .burst
            .min(self.tokens + self.rate * (now - self.at).as_secs_f64());
        self.at = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

/// The request as an event of payload format 2.0.
fn event(
    id: &str,
    route_key: &str,
    parts: &Parts,
    parameters: Map<String, Value>,
    body: &[u8],
) -> Value {
    let query = parts.uri.query().unwrap_or_default();
    let (headers, cookies) = headers(&parts.headers);
    let (body, encoded) = encode(&parts.headers, body);
    let context = request_context(id, route_key, parts, &headers);
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": parts.uri.path(),
        "rawQueryString": query,
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": encoded,
    });
    // API Gateway omits what the request does not have.
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    if !query.is_empty() {
        let mut pairs = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            append(&mut pairs, &name, &value);
        }
        event["queryStringParameters"] = pairs.into();
    }
    if !parameters.is_empty() {
        event["pathParameters"] = parameters.into();
    }
    if !body.is_empty() {
        event["body"] = body.into();
    }
    event
}

/// The `requestContext` of an event, without its `authorizer`.
fn request_context(
    id: &str,
    route_key: &str,
    parts: &Parts,
    headers: &Map<String, Value>,
) -> Value {
    let now = clock::now();
    let time = jiff::Timestamp::from_second(now.as_secs().try_into().unwrap_or_default())
        .unwrap_or_default();
    let host = headers
        .get("host")
        .and_then(Value::as_str)
        .unwrap_or("localhost");
    json!({
        "accountId": ACCOUNT,
        "apiId": "local",
        "domainName": host,
        "domainPrefix": host.split(['.', ':']).next(),
        "http": {
            "method": parts.method.as_str(),
            "path": parts.uri.path(),
            "protocol": "HTTP/1.1",
            "sourceIp": "127.0.0.1",
            "userAgent": headers.get("user-agent"),
        },
        "requestId": id,
        "routeKey": route_key,
        "stage": "$default",
        "time": time.strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
        "timeEpoch": u64::try_from(now.as_millis()).unwrap_or_default(),
    })
}

/// The headers, joined by commas, and the cookies, which API Gateway keeps apart.
fn headers(all: &HeaderMap) -> (Map<String, Value>, Vec<String>) {
    let (mut headers, mut cookies) = (Map::new(), Vec::new());
    for (name, value) in all {
        let value = String::from_utf8_lossy(value.as_bytes());
        if name == header::COOKIE {
            cookies.extend(value.split("; ").map(str::to_owned));
        } else {
            append(&mut headers, name.as_str(), &value);
        }
    }
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        append(&mut headers, name, value);
    }
    (headers, cookies)
}

fn append(map: &mut Map<String, Value>, name: &str, value: &str) {
    let joined = match map.get(name).and_then(Value::as_str) {
        Some(first) => format!("{first},{value}"),
        None => value.to_owned(),
    };
    map.insert(name.to_owned(), joined.into());
}

/// A body as text where its type says that it is text and it is, otherwise in base64.
fn encode(headers: &HeaderMap, body: &[u8]) -> (String, bool) {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind.map(|kind| {
        kind.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    });
    let textual = kind.is_none_or(|kind| {
        kind.starts_with("text/")
            || ["json", "xml", "javascript", "x-www-form-urlencoded"]
                .iter()
                .any(|text| kind.ends_with(text))
    });
    match std::str::from_utf8(body) {
        Ok(text) if textual => (text.to_owned(), false),
        _ => (STANDARD.encode(body), true),
    }
}

/// A function's answer as an HTTP response; `None` if it is not one.
fn response(answer: Value) -> Option<Response> {
    let Some(status) = answer
        .as_object()
        .and_then(|answer| answer.get("statusCode"))
    else {
        return Some(Json(answer).into_response());
    };
    let status = StatusCode::from_u16(u16::try_from(number(status)?).ok()?).ok()?;
    let body = match &answer["body"] {
        Value::Null => Vec::new(),
        Value::String(body) if answer["isBase64Encoded"] == true => STANDARD.decode(body).ok()?,
        Value::String(body) => body.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &Value| -> Option<()> {
        let value = HeaderValue::from_bytes(text(value)?.as_bytes()).ok()?;
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
        Some(())
    };
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        add(name, value)?;
    }
    for (name, values) in answer["multiValueHeaders"]
        .as_object()
        .into_iter()
        .flatten()
    {
        values
            .as_array()?
            .iter()
            .try_for_each(|value| add(name, value))?;
    }
    for cookie in answer["cookies"].as_array().into_iter().flatten() {
        add("set-cookie", cookie)?;
    }
    // The length is the server's to say.
    headers.remove(header::CONTENT_LENGTH);
    if !body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain;charset=UTF-8"),
        );
    }
    Some((status, headers, Body::from(body)).into_response())
}

fn unauthorized(error: Option<&str>) -> Response {
    let challenge = match error {
        Some(error) => {
            format!(r#"Bearer scope="" error="invalid_token" error_description="{error}""#)
        }
        None => "Bearer".to_owned(),
    };
    let response = web::message(StatusCode::UNAUTHORIZED, "Unauthorized");
    ([(header::WWW_AUTHENTICATE, challenge)], response).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_tried_in_the_order_of_api_gateway() {
        let mut keys: Vec<_> = [
            "$default",
            "ANY /a/{proxy+}",
            "GET /a/{id}",
            "ANY /a/b",
            "GET /a/b",
            "GET /a/{id}/c",
        ]
        .iter()
        .map(|key| RouteKey::parse(key).unwrap())
        .collect();
        keys.sort_by_key(RouteKey::precedence);
        let first = |method: &str, path: &str| {
            keys.iter()
                .find(|key| key.matches(method, path).is_some())
                .map(|key| key.whole.as_str())
        };
        assert_eq!(first("GET", "/a/b"), Some("GET /a/b"));
        assert_eq!(first("PUT", "/a/b"), Some("ANY /a/b"));
        assert_eq!(first("GET", "/a/x"), Some("GET /a/{id}"));
        assert_eq!(first("GET", "/a/x/c"), Some("GET /a/{id}/c"));
        assert_eq!(first("GET", "/a/x/y/z"), Some("ANY /a/{proxy+}"));
        assert_eq!(first("GET", "/"), Some("$default"));
    }

    #[test]
    fn path_parameters_are_decoded() {
        let key = RouteKey::parse("GET /users/{id}").unwrap();
        let parameters = key.matches("GET", "/users/a%7Cb%2Fc").unwrap();
        assert_eq!(parameters["id"], "a|b/c");
        assert!(key.matches("GET", "/users/").is_none());
    }
}
