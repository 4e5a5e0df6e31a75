//! API Gateway: an HTTP API with the template's routes, in front of the functions.

mod authorizer;
mod cors;
mod http_proxy;
mod path;
mod payload;
mod refusal;
mod route_key;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{Method, StatusCode, request::Parts};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use uuid::Uuid;

use self::{
    authorizer::Authorizer, cors::Cors, http_proxy::HttpProxy, path::RequestPath,
    payload::Received, refusal::Refusal, route_key::RouteKey,
};
use crate::{
    function::Function,
    runtime_api::{LARGEST_PAYLOAD, Outcome},
    template::{self, InvokePermission, Resource, RouteSettings, Template},
    web::{self, Server, TimeLimits},
};

const LARGEST_BODY: usize = 10 << 20;
const LARGEST_HEADERS: usize = 10_240;
/// API Gateway's default timeout for an integration.
const INTEGRATION_TIMEOUT_MS: u64 = 30_000;
const TIME_LIMITS: TimeLimits = TimeLimits {
    headers: Duration::from_secs(10),
    next_headers: Duration::from_secs(180),
    body: Duration::from_secs(30),
};

pub(crate) struct Gateway {
    routes: Vec<Route>,
    cors: Option<Cors>,
    /// The port on which clients reach the gateway.
    port: u16,
}

struct Route {
    key: RouteKey,
    integration: Integration,
    authorizer: Option<Arc<Authorizer>>,
    /// A token must have at least one of these scopes. If the list is empty, no scope is required.
    scopes: Vec<String>,
    bucket: Option<Mutex<Bucket>>,
}

/// The backend that handles the requests of a route.
#[derive(Clone)]
enum Integration {
    Function {
        function: Arc<Function>,
        timeout: Duration,
    },
    Http(HttpProxy),
}

/// The token bucket of a throttled route.
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Gateway {
    /// Reads the template's API. The closure `function` looks up a function by its ARN.
    pub(crate) fn new(
        template: &Template,
        port: u16,
        throttling: bool,
        function: impl Fn(&str) -> Result<Arc<Function>>,
    ) -> Result<Self> {
        let permissions = template.of_type::<InvokePermission>()?;
        let function = |arn: &str| {
            // API Gateway responds with 500 if it is not permitted to invoke the function or alias.
            let may_invoke = |permission: &Resource<InvokePermission>| {
                let permission = &permission.properties;
                permission.action == "lambda:InvokeFunction"
                    && permission.principal == "apigateway.amazonaws.com"
                    && permission.function_name == arn
            };
            ensure!(
                permissions.iter().any(may_invoke),
                "the API has no permission to invoke {arn}"
            );
            function(arn)
        };
        let authorizers = authorizers(template, function)?;
        let integrations = integrations(template, function)?;
        let limits = Limits::new(template)?;
        let mut routes = Vec::new();
        for Resource { id, properties, .. } in template.of_type()? {
            let route = Route::new(properties, &authorizers, &integrations);
            let mut route = route.with_context(|| id.clone())?;
            if throttling {
                route.bucket = limits.bucket(route.key.as_str());
            }
            routes.push(route);
        }
        routes.sort_by_key(|route| route.key.precedence());
        let cors = Cors::read(template)?;
        Ok(Self { routes, cors, port })
    }

    /// Serves the API until the returned server is dropped.
    pub(crate) fn serve(self, listener: TcpListener) -> Result<Server> {
        let router = Router::new().fallback(answer).with_state(Arc::new(self));
        web::serve_within(TIME_LIMITS, listener, router)
    }

    fn find(&self, method: &str, path: &RequestPath) -> Option<(&Route, Map<String, Value>)> {
        self.routes.iter().find_map(|route| {
            let parameters = route.key.matches(method, &path.routed)?;
            Some((route, parameters))
        })
    }

    async fn route(&self, id: &str, parts: &Parts, body: &Bytes) -> Result<Response, Refusal> {
        check_size(parts, body)?;
        let path = RequestPath::parse(parts.uri.path()).ok_or(Refusal::InvalidPath)?;
        let Some((route, parameters)) = self.find(parts.method.as_str(), &path) else {
            return self.without_route(&parts.method);
        };
        route.throttle()?;
        let received = Received {
            id,
            parts,
            path: &path.raw,
            body,
            port: self.port,
        };
        let mut event = payload::event(&received, route.key.as_str(), parameters);
        if let Some(authorizer) = &route.authorizer {
            let context = authorizer.check(&event, &route.scopes).await?;
            event["requestContext"]["authorizer"] = context;
        }
        match &route.integration {
            Integration::Function { function, timeout } => invoke(function, *timeout, event).await,
            Integration::Http(proxy) => proxy.forward(parts, body, &event).await,
        }
    }

    /// If the API has a CORS configuration, the gateway itself responds to `OPTIONS` requests that match no route.
    /// Routes with `ANY`, and the route `$default`, match `OPTIONS` requests too, so a preflight for such a route goes
    /// to the authorizer and the integration of that route.
    fn without_route(&self, method: &Method) -> Result<Response, Refusal> {
        if self.cors.is_some() && method == Method::OPTIONS {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Err(Refusal::NoRoute)
    }
}

async fn answer(State(gateway): State<Arc<Gateway>>, parts: Parts, body: Bytes) -> Response {
    let id = Uuid::new_v4().to_string();
    let response = gateway.route(&id, &parts, &body).await;
    let mut response = ([("apigw-requestid", id)], response).into_response();
    if let Some(cors) = &gateway.cors {
        cors.apply(&parts, response.headers_mut());
    }
    response
}

fn check_size(parts: &Parts, body: &[u8]) -> Result<(), Refusal> {
    let headers = parts.headers.iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers + parts.uri.path().len() > LARGEST_HEADERS {
        return Err(Refusal::HeadersTooLarge);
    }
    if body.len() > LARGEST_BODY {
        return Err(Refusal::BodyTooLarge);
    }
    Ok(())
}

/// Returns the template's authorizers, keyed by logical id.
fn authorizers(
    template: &Template,
    function: impl Fn(&str) -> Result<Arc<Function>>,
) -> Result<BTreeMap<String, Arc<Authorizer>>> {
    let mut authorizers = BTreeMap::new();
    for Resource { id, properties, .. } in template.of_type()? {
        let authorizer = Authorizer::new(properties, &function);
        let authorizer = authorizer.with_context(|| id.clone())?;
        authorizers.insert(id, Arc::new(authorizer));
    }
    Ok(authorizers)
}

/// Returns the template's integrations, keyed by the `Target` of the routes that use them.
fn integrations(
    template: &Template,
    function: impl Fn(&str) -> Result<Arc<Function>>,
) -> Result<BTreeMap<String, Integration>> {
    let mut integrations = BTreeMap::new();
    for resource in template.of_type::<template::Integration>()? {
        let Resource { id, properties, .. } = resource;
        let integration = Integration::new(properties, &function);
        integrations.insert(format!("integrations/{id}"), integration.context(id)?);
    }
    Ok(integrations)
}

/// The throttling limits of the stage.
struct Limits {
    of_route: BTreeMap<String, RouteSettings>,
    default: RouteSettings,
}

impl Limits {
    /// Refuses settings for a route that might not exist yet when the stage is created.
    fn new(template: &Template) -> Result<Self> {
        let stage = template.of_type::<template::Stage>()?.into_iter().next();
        let stage = stage.context("the API has no stage")?;
        let routes = template.of_type::<template::Route>()?;
        for key in stage.properties.route_settings.keys() {
            let mut routes = routes.iter();
            let route = routes.find(|route| route.properties.route_key == *key);
            if !route.is_some_and(|route| stage.depends_on.contains(&route.id)) {
                bail!(
                    "{}: RouteSettings name {key}, but DependsOn does not name its route",
                    stage.id
                );
            }
        }
        Ok(Self {
            of_route: stage.properties.route_settings,
            default: stage.properties.default_route_settings,
        })
    }

    fn bucket(&self, route_key: &str) -> Option<Mutex<Bucket>> {
        let settings = self.of_route.get(route_key).unwrap_or(&self.default);
        let rate = settings.throttling_rate_limit.as_ref()?.0;
        let burst = settings.throttling_burst_limit.as_ref()?.0;
        Some(Mutex::new(Bucket::new(rate, burst)))
    }
}

impl Route {
    fn new(
        route: template::Route,
        authorizers: &BTreeMap<String, Arc<Authorizer>>,
        integrations: &BTreeMap<String, Integration>,
    ) -> Result<Self> {
        let template::Route {
            authorization_scopes,
            authorization_type,
            authorizer_id,
            route_key,
            target,
        } = route;
        let integration = integrations
            .get(&target)
            .with_context(|| format!("there is no Target {target}"))?;
        let authorizer = match authorization_type.as_deref() {
            None | Some("NONE") => None,
            Some(_) => {
                let id = authorizer_id.unwrap_or_default();
                let authorizer = authorizers.get(&id);
                Some(authorizer.with_context(|| format!("there is no AuthorizerId {id}"))?)
            }
        };
        Ok(Self {
            key: RouteKey::parse(&route_key)
                .with_context(|| format!("the RouteKey {route_key} is malformed"))?,
            integration: integration.clone(),
            authorizer: authorizer.cloned(),
            scopes: authorization_scopes,
            bucket: None,
        })
    }

    fn throttle(&self) -> Result<(), Refusal> {
        let Some(bucket) = &self.bucket else {
            return Ok(());
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take().then_some(()).ok_or(Refusal::TooManyRequests)
    }
}

impl Integration {
    fn new(
        properties: template::Integration,
        function: impl Fn(&str) -> Result<Arc<Function>>,
    ) -> Result<Self> {
        let kind = properties.integration_type.as_str();
        let timeout = properties.timeout_in_millis.as_ref();
        let timeout = timeout.map_or(INTEGRATION_TIMEOUT_MS, |timeout| timeout.0);
        let timeout = Duration::from_millis(timeout);
        match (kind, properties.payload_format_version.as_str()) {
            ("AWS_PROXY", "2.0") => Ok(Self::Function {
                function: function(&properties.integration_uri)?,
                timeout,
            }),
            ("HTTP_PROXY", "1.0") => HttpProxy::new(properties, timeout).map(Self::Http),
            _ => bail!(
                "the local stack supports only AWS_PROXY with payload format 2.0, and HTTP_PROXY with 1.0"
            ),
        }
    }
}

async fn invoke(
    function: &Arc<Function>,
    timeout: Duration,
    event: Value,
) -> Result<Response, Refusal> {
    if event.to_string().len() > LARGEST_PAYLOAD {
        return Err(Refusal::BodyTooLarge);
    }
    let outcome = tokio::time::timeout(timeout, function.invoke(event)).await;
    let outcome = outcome.map_err(|_| Refusal::IntegrationTimedOut)?;
    response(outcome)
}

/// Converts the outcome of an invocation into a response. A function that exceeds its own timeout is treated like one
/// that crashes, because HTTP APIs return 503 only if the integration's timeout expires first.
fn response(outcome: Outcome) -> Result<Response, Refusal> {
    let answer = outcome.ok();
    answer
        .and_then(payload::response)
        .ok_or(Refusal::IntegrationFailed)
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

    /// Takes a token. Returns `false` if the bucket has none.
    fn take(&mut self) -> bool {
        let now = Instant::now();
        let refilled = self.tokens + self.rate * (now - self.at).as_secs_f64();
        self.tokens = self.burst.min(refilled);
        self.at = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;
    use crate::runtime_api::InvokeError;

    async fn status_and_message(response: impl IntoResponse) -> (u16, Value) {
        let response = response.into_response();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_failed_function_returns_500() {
        for outcome in [
            Err(InvokeError::Crashed),
            Err(InvokeError::TimedOut),
            Err(InvokeError::function("Error", "a secret")),
            Ok(json!({ "statusCode": "none" })),
            Ok(json!({ "statusCode": 200, "headers": { "a b": "c" } })),
            Ok(json!({ "statusCode": 200, "body": "?", "isBase64Encoded": true })),
        ] {
            let expected = (500, json!({ "message": "Internal Server Error" }));
            assert_eq!(status_and_message(response(outcome)).await, expected);
        }
    }

    #[tokio::test]
    async fn the_gateway_refuses_as_an_http_api_does() {
        for (refusal, status, message) in [
            (Refusal::NoRoute, 404, "Not Found"),
            (Refusal::InvalidPath, 400, "Bad Request"),
            (Refusal::TooManyRequests, 429, "Too Many Requests"),
            (Refusal::IntegrationTimedOut, 503, "Service Unavailable"),
        ] {
            let expected = (status, json!({ "message": message }));
            assert_eq!(status_and_message(refusal).await, expected);
        }
    }
}
