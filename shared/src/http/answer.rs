//! Builds responses.

use http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::policy::Grant;

/// A response with a JSON body.
#[must_use]
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    // This cannot fail. serde_json rejects only maps whose keys are not strings, and no body contains such a map.
    let body = serde_json::to_string(body).unwrap_or_default();
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// Tells a gateway that a key is good, and what it permits: a 204 response with headers for the service behind the
/// gateway.
#[must_use]
pub fn allowed(grant: &Grant) -> Response<Body> {
    let mut response = no_content();
    for (name, value) in [
        ("x-auth-tenant", grant.tenant_id.to_string()),
        ("x-auth-user", grant.user_id.to_string()),
        ("x-auth-key-id", grant.key_id.to_string()),
        ("x-auth-role", grant.role.to_string()),
        ("x-auth-scope", grant.scope.to_string()),
    ] {
        // This cannot fail, because identifiers are visible ASCII.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A 204 response, which has no body.
#[must_use]
pub fn no_content() -> Response<Body> {
    no_body(StatusCode::NO_CONTENT)
}

#[must_use]
pub fn no_body(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}
