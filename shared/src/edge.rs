//! The HTTP edge: runs a handler within its time, and says what went wrong as problem JSON (RFC 9457).

use std::{future::Future, time::Duration};

use http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, RequestExt, Response, request::RequestContext};
use serde_json::{Value, json};

use crate::{clock, error::Error, input::LONGEST_BODY, store::StoreError, telemetry};

/// What is kept of the function's time to write the answer.
const RESERVE: Duration = Duration::from_millis(400);
/// The time of a request whose deadline is unknown.
const FALLBACK: Duration = Duration::from_secs(4);

/// Serves requests with `handle` until Lambda ends the process.
///
/// # Errors
/// When the Runtime API cannot be reached.
pub async fn run<F, A>(handle: F) -> Result<(), lambda_http::Error>
where
    F: Fn(Request) -> A + Send + Sync,
    A: Future<Output = Result<Response<Body>, Error>> + Send,
{
    let handle = &handle;
    lambda_http::run(lambda_http::service_fn(
        move |request: Request| async move {
            Ok::<_, std::convert::Infallible>(answer(request, handle).await)
        },
    ))
    .await
}

async fn answer<F, A>(request: Request, handle: F) -> Response<Body>
where
    F: Fn(Request) -> A,
    A: Future<Output = Result<Response<Body>, Error>>,
{
    let started = clock::unix_millis();
    let deadline = request
        .lambda_context_ref()
        .map_or(0, |context| context.deadline);
    let budget = deadline
        .checked_sub(started)
        .map_or(FALLBACK, Duration::from_millis)
        .saturating_sub(RESERVE);
    let route = route(&request).to_owned();
    let request_id = request_id(&request);

    let result = if request.body().len() > LONGEST_BODY {
        Err(Error::TooLarge)
    } else {
        tokio::time::timeout(budget, handle(request))
            .await
            .unwrap_or(Err(Error::Deadline))
    };
    let duration_ms = clock::unix_millis().saturating_sub(started);
    match result {
        Ok(mut response) => {
            let status = response.status().as_u16();
            // API Gateway's access log tells this too; to write it twice would be a good part of a validation's cost.
            tracing::debug!(
                request.id = request_id,
                http.route = route,
                http.status = status,
                duration_ms,
                "answered"
            );
            response
                .headers_mut()
                .entry(header::CACHE_CONTROL)
                .or_insert(HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            let problem = Problem::from(&error);
            let status = problem.status.as_u16();
            let code = problem.code;
            if problem.status.is_server_error() {
                let cause = cause(&error);
                tracing::error!(
                    request.id = request_id,
                    http.route = route,
                    http.status = status,
                    error.code = code,
                    error.cause = cause,
                    duration_ms,
                    "failed"
                );
            } else {
                tracing::info!(
                    request.id = request_id,
                    http.route = route,
                    http.status = status,
                    error.code = code,
                    duration_ms,
                    "refused"
                );
            }
            if is_original(&route) {
                problem.into_original()
            } else {
                problem.into_response(&request_id)
            }
        }
    }
}

/// The route that matched, as the API names it: `GET /v1/users/{user_id}`.
#[must_use]
pub fn route(request: &Request) -> &str {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => {
            context.route_key.as_deref().unwrap_or_default()
        }
        _ => "",
    }
}

fn request_id(request: &Request) -> String {
    let gateway = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    gateway
        .or_else(|| request.lambda_context_ref().map(|c| c.request_id.clone()))
        .unwrap_or_default()
}

/// The bearer token of the request (RFC 6750).
#[must_use]
pub fn bearer(request: &Request) -> Option<&str> {
    request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()
        .and_then(bearer_token)
}

/// The token in the value of an `Authorization` header.
#[must_use]
pub fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

/// A JSON answer.
#[must_use]
pub fn json(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::Text(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// An answer without a body.
#[must_use]
pub fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Value,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        const INTERNAL: (StatusCode, &str, &str) = (
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "report the request id to the operator",
        );
        let (status, code, detail): (_, _, &str) = match error {
            Error::Malformed(detail) => (StatusCode::BAD_REQUEST, "malformed_body", detail),
            Error::Invalid(fields) => {
                let detail: Vec<_> = fields
                    .iter()
                    .map(|e| format!("{} {}", e.field, e.detail))
                    .collect();
                return Self {
                    status: StatusCode::BAD_REQUEST,
                    code: "invalid_request",
                    detail: detail.join("; "),
                    errors: json!(fields),
                };
            }
            Error::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body may have at most 65536 bytes",
            ),
            Error::UnsupportedMediaType(detail) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                detail,
            ),
            Error::Unauthenticated(detail) => (StatusCode::UNAUTHORIZED, "unauthenticated", detail),
            Error::KeyRefused(code, detail) => (StatusCode::UNAUTHORIZED, code, detail),
            Error::Forbidden(detail) => (StatusCode::FORBIDDEN, "forbidden", detail),
            Error::TenantMismatch => (
                StatusCode::FORBIDDEN,
                "tenant_mismatch",
                "the request names another tenant, in X-Tenant-Id or as its workspace, than the credentials do",
            ),
            Error::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "there is no such resource, or you may not see it",
            ),
            Error::Conflict(code, detail) => (StatusCode::CONFLICT, code, detail),
            Error::Store(StoreError::Item(_) | StoreError::Build(_)) => INTERNAL,
            Error::Store(_)
            | Error::Signer(_)
            | Error::IdentityProvider(_)
            | Error::Random(_)
            | Error::Deadline => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "a service that this call depends on did not answer in time: try again",
            ),
        };
        Self {
            status,
            code,
            detail: detail.to_owned(),
            errors: Value::Null,
        }
    }
}

impl Problem {
    fn into_response(self, request_id: &str) -> Response<Body> {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        });
        if !self.errors.is_null() {
            body["errors"] = self.errors;
        }
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = json(self.status, &body);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        with_challenge(response)
    }

    /// The error in the original's words: two strings, which its clients print. A field that breaks a rule gives
    /// the code its name, such as `invalid_cluster_name`.
    fn into_original(self) -> Response<Body> {
        let field = self.errors[0]["field"].as_str();
        let code = field.map_or_else(|| self.code.to_owned(), |field| format!("invalid_{field}"));
        with_challenge(json(
            self.status,
            &json!({ "error_code": code, "error_message": self.detail }),
        ))
    }
}

/// Whether a route is one of the original's, whose clients read its own form of errors.
fn is_original(route: &str) -> bool {
    let path = route.split_once(' ').map_or(route, |(_, path)| path);
    ["/access-token/", "/cluster-onboarding/", "/cm/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// Adds the headers that belong to an error's status.
fn with_challenge(mut response: Response<Body>) -> Response<Body> {
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// What the log reads of a failure.
#[must_use]
pub fn cause(error: &Error) -> String {
    match error {
        Error::Store(error) => telemetry::chain(error),
        Error::Signer(error) => telemetry::chain(error),
        Error::IdentityProvider(error) => telemetry::chain(error.as_ref()),
        Error::Random(error) => telemetry::chain(error),
        Error::Deadline => "the function's time is up".into(),
        _ => String::new(),
    }
}
