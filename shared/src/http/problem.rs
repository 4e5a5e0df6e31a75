//! Turns errors into responses: problem JSON (RFC 9457) with a stable `code`.

use http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

use super::{answer::json, error::Error};
use crate::{
    model::KeyId,
    policy::RefusalCode,
    service::{Error as ServiceError, FieldError},
};

/// The public part of an error.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    /// The fields that break a rule.
    pub errors: Vec<FieldError>,
    /// The key that an earlier request with the same `Idempotency-Key` created.
    pub key_id: Option<KeyId>,
    /// The challenge of RFC 6750, if credentials are missing or not sufficient.
    pub challenge: Option<&'static str>,
}

type Row<'a> = (StatusCode, &'static str, &'a str);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let key_id = match error {
            Error::Service(ServiceError::IdempotencyKeyCompleted(key_id)) => Some(key_id),
            _ => None,
        };
        let challenge = challenge(&error);
        let (status, code, detail): Row<'_> = match error {
            Error::Service(ServiceError::Invalid(errors)) => return Self::invalid(errors),
            Error::Service(error) => of_service(&error),
            Error::MalformedBody(detail) => (StatusCode::BAD_REQUEST, "malformed_body", detail),
            Error::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body must not exceed 65536 bytes",
            ),
            Error::UnsupportedMediaType(detail) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                detail,
            ),
            Error::Unauthenticated(detail) => (StatusCode::UNAUTHORIZED, "unauthenticated", detail),
            Error::MissingKey(detail) => (StatusCode::UNAUTHORIZED, "invalid_key", detail),
            Error::TenantMismatch => (
                StatusCode::FORBIDDEN,
                "tenant_mismatch",
                "the request, X-Tenant-Id and the credentials must name the same tenant",
            ),
            Error::IdentityProvider | Error::Deadline => UNAVAILABLE,
        };
        Self {
            status,
            code,
            detail: detail.to_owned(),
            errors: Vec::new(),
            key_id,
            challenge,
        }
    }
}

/// Returns the challenge for an error. The challenge has no error code if the request has no credentials (RFC 6750,
/// section 3.1).
fn challenge(error: &Error) -> Option<&'static str> {
    match error {
        Error::Service(ServiceError::KeyRefused(RefusalCode::Forbidden)) => {
            Some("Bearer error=\"insufficient_scope\"")
        }
        Error::Service(ServiceError::KeyRefused(_) | ServiceError::NotAKey) => {
            Some("Bearer error=\"invalid_token\"")
        }
        Error::Unauthenticated(_) | Error::MissingKey(_) => Some("Bearer"),
        _ => None,
    }
}

const INTERNAL: Row<'_> = (
    StatusCode::INTERNAL_SERVER_ERROR,
    "internal",
    "report the request id to the operator",
);
const UNAVAILABLE: Row<'_> = (
    StatusCode::SERVICE_UNAVAILABLE,
    "unavailable",
    "a service that this call depends on failed or did not respond in time: try again",
);

fn of_service(error: &ServiceError) -> Row<'static> {
    match error {
        // Not reached: `Problem::invalid` renders these errors.
        ServiceError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request", ""),
        ServiceError::KeyRefused(code) => of_refusal(*code),
        ServiceError::NotAKey => (
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "the access key is not valid or has expired",
        ),
        ServiceError::Forbidden(detail) => (StatusCode::FORBIDDEN, "forbidden", detail),
        ServiceError::NotFound => (
            StatusCode::NOT_FOUND,
            "not_found",
            "the resource does not exist, or you are not allowed to see it",
        ),
        ServiceError::Conflict(code, detail) => (StatusCode::CONFLICT, code, detail),
        ServiceError::IdempotencyKeyCompleted(_) => (
            StatusCode::CONFLICT,
            "idempotency_key_completed",
            "the key created or rotated with this Idempotency-Key was used or issued again, was revoked or has expired: use \
             a new Idempotency-Key",
        ),
        ServiceError::TooManyFirstSignIns => (
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_first_sign_ins",
            "the tenant has had too many first sign-ins this hour: try again in the next hour, or ask an administrator \
             to add you",
        ),
        ServiceError::TryAgain => UNAVAILABLE,
        ServiceError::Store(error) if error.is_permanent() => INTERNAL,
        ServiceError::Kms(error) if error.is_permanent() => INTERNAL,
        ServiceError::Store(_) | ServiceError::Kms(_) | ServiceError::Random(_) => UNAVAILABLE,
    }
}

/// Returns the problem to report when the caller's access key is refused. The message addresses the holder of the key,
/// unlike the messages of `validate`.
fn of_refusal(code: RefusalCode) -> Row<'static> {
    match code {
        RefusalCode::Invalid => (
            StatusCode::UNAUTHORIZED,
            "invalid_key",
            "the access key is not valid: create a new one",
        ),
        RefusalCode::Expired => (
            StatusCode::UNAUTHORIZED,
            "key_expired",
            "the access key has expired: create a new one",
        ),
        RefusalCode::Superseded => (
            StatusCode::UNAUTHORIZED,
            "key_superseded",
            "the access key was rotated, and this secret is no longer valid: use the new one",
        ),
        RefusalCode::Revoked => (
            StatusCode::UNAUTHORIZED,
            "key_revoked",
            "the access key was revoked: create a new one",
        ),
        RefusalCode::OwnerInactive => (
            StatusCode::UNAUTHORIZED,
            "owner_inactive",
            "the owner of the access key is not an active user: ask an administrator",
        ),
        RefusalCode::Forbidden => (
            StatusCode::FORBIDDEN,
            "forbidden",
            "the role of the access key or of its owner does not permit this call: use another key",
        ),
    }
}

impl Problem {
    fn invalid(errors: Vec<FieldError>) -> Self {
        let detail: Vec<_> = errors
            .iter()
            .map(|error| format!("{} {}", error.field, error.detail))
            .collect();
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_request",
            detail: detail.join("; "),
            errors,
            key_id: None,
            challenge: None,
        }
    }

    /// Builds a response with this body and with the status and headers of the problem.
    #[must_use]
    pub fn answer(&self, body: &impl Serialize) -> Response<Body> {
        let mut response = json(self.status, body);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        let retry_after = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => Some("1"),
            StatusCode::TOO_MANY_REQUESTS => Some("3600"),
            _ => None,
        };
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: &'static str,
    title: Option<&'static str>,
    status: u16,
    detail: &'a str,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<KeyId>,
}

/// Renders an error as problem JSON, regardless of the route.
#[must_use]
pub fn problem_json(_route: &str, request_id: &str, problem: &Problem) -> Response<Body> {
    let mut response = problem.answer(&ProblemBody {
        r#type: "about:blank",
        title: problem.status.canonical_reason(),
        status: problem.status.as_u16(),
        detail: &problem.detail,
        code: problem.code,
        request_id,
        errors: &problem.errors,
        key_id: problem.key_id,
    });
    let content_type = HeaderValue::from_static("application/problem+json");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
