//! The error responses that come from the gateway itself.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::web;

/// Why the gateway responds with an error of its own instead of a function's response.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The error description for `WWW-Authenticate`. `None` if the request has no token.
    Unauthorized(Option<&'static str>),
    Forbidden,
    NoRoute,
    InvalidPath,
    BodyTooLarge,
    TooManyRequests,
    HeadersTooLarge,
    AuthorizerFailed,
    /// The function crashed, exceeded its own timeout, reported an error or returned a malformed response, or the
    /// service could not be reached.
    IntegrationFailed,
    /// The function or the service did not respond within the timeout of the integration.
    IntegrationTimedOut,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "Not Found"),
            Self::InvalidPath => (StatusCode::BAD_REQUEST, "Bad Request"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"),
            Self::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request Header Fields Too Large",
            ),
            Self::AuthorizerFailed | Self::IntegrationFailed => {
                (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            }
            Self::IntegrationTimedOut => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        };
        let response = web::message(status, message);
        let challenge = match self {
            Self::Unauthorized(None) => "Bearer".to_owned(),
            Self::Unauthorized(Some(error)) => {
                format!(r#"Bearer scope="" error="invalid_token" error_description="{error}""#)
            }
            _ => return response,
        };
        ([(header::WWW_AUTHENTICATE, challenge)], response).into_response()
    }
}
