//! Builds responses.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use http::{HeaderValue, Method, StatusCode, header};
use lambda_http::{Body, Request, Response};
use ring::digest;
use serde::Serialize;

use crate::policy::Grant;

/// Builds a response with a JSON body. The body ends with a newline, so that a shell's prompt starts on a new line.
#[must_use]
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    // Serialization cannot fail, because serde_json rejects only maps whose keys are not strings, and no body contains
    // such a map.
    let body = serde_json::to_string(body).unwrap_or_default() + "\n";
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// Builds a response with a public document, which pages from any origin may read. The response has an entity tag. A
/// request whose `If-None-Match` contains this tag gets a 304 response (RFC 9110, section 13.1.2).
#[must_use]
pub fn public_json(
    request: &Request,
    content_type: &'static str,
    body: &impl Serialize,
) -> Response<Body> {
    let mut response = json(StatusCode::OK, body);
    let hash = digest::digest(&digest::SHA256, response.body().as_ref());
    // Parsing cannot fail, because every base64url character is valid in an entity tag.
    let tag = format!("\"{}\"", BASE64URL.encode(hash)).parse::<ETag>();
    let known = request.headers().typed_get::<IfNoneMatch>();
    let is_known = tag.as_ref().is_ok_and(|tag| {
        let known = known.as_ref();
        known.is_some_and(|known| !known.precondition_passes(tag))
    });
    if is_known {
        response = no_body(StatusCode::NOT_MODIFIED);
    } else if request.method() == Method::HEAD {
        *response.body_mut() = Body::Empty;
    }
    let headers = response.headers_mut();
    if let Ok(tag) = tag {
        headers.typed_insert(tag);
    }
    let any = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    let tag = HeaderValue::from_static("ETag");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, tag);
    if !is_known {
        let content_type = HeaderValue::from_static(content_type);
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    response
}

/// Builds the response to `OPTIONS` for a public document. The response allows pages from any origin to read the
/// document.
#[must_use]
pub fn public_options() -> Response<Body> {
    let mut response = no_content();
    for (name, value) in [
        (header::ALLOW, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// Builds a 204 response, which tells a gateway that a key is valid. The headers tell the service behind the gateway
/// what the key permits.
#[must_use]
pub fn allowed(grant: &Grant) -> Response<Body> {
    let mut response = no_content();
    for (name, value) in [
        ("x-auth-tenant", Some(grant.tenant_id.to_string())),
        ("x-auth-user", Some(grant.user_id.to_string())),
        ("x-auth-key-id", Some(grant.key_id.to_string())),
        ("x-auth-role", Some(grant.role.to_string())),
        ("x-auth-scope", Some(grant.scope.to_string())),
        (
            "x-auth-superseded-until",
            grant.superseded_until.map(|end| end.to_string()),
        ),
    ] {
        // The conversion cannot fail, because all values are printable ASCII.
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Builds a 204 response, which has no body.
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
