//! The reasons why a request can fail, independent of HTTP. [`crate::http`] turns these errors into responses.

use serde::Serialize;

use crate::{
    model::KeyId,
    policy::{Denied, RefusalCode},
    process::telemetry,
    store::StoreError,
    token::KmsError,
};

/// An invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The name of the field, parameter or header, or else `body` or `query`.
    pub field: &'static str,
    /// States the rule that was broken. Never repeats the value.
    pub detail: String,
}

impl FieldError {
    #[must_use]
    pub fn new(field: &'static str, detail: impl ToString) -> Self {
        Self {
            field,
            detail: detail.to_string(),
        }
    }
}

/// Why a request failed.
///
/// Does not implement `Display`, because clients and logs must not get the same text.
#[derive(Debug)]
pub enum Error {
    /// All invalid fields.
    Invalid(Vec<FieldError>),
    /// The access key that made the request was refused.
    KeyRefused(RefusalCode),
    /// The access key to revoke is invalid or has expired.
    NotAKey,
    Forbidden(&'static str),
    /// The resource does not exist, or the caller may not see it.
    NotFound,
    /// The request conflicts with the current state. Contains a stable code and a message that says what to do.
    Conflict(&'static str, &'static str),
    /// The key that was created or rotated with this `Idempotency-Key` cannot be issued again.
    IdempotencyKeyCompleted(KeyId),
    /// The tenant has reached its limit of first sign-ins for this hour.
    TooManyFirstSignIns,
    /// Another request is changing the same resource and will finish soon.
    TryAgain,
    Store(StoreError),
    Kms(KmsError),
    Random(rand::rngs::SysError),
}

impl Error {
    /// Other requests kept changing the same items.
    pub(crate) const CHANGED_MEANWHILE: Self = Self::Conflict(
        "changed_meanwhile",
        "other requests are changing the same resource: try again",
    );

    /// Returns the causes as one line, for use in the log only.
    #[must_use]
    pub fn causes(&self) -> String {
        match self {
            Self::Store(error) => telemetry::chain(error),
            Self::Kms(error) => telemetry::chain(error),
            Self::Random(error) => telemetry::chain(error),
            _ => String::new(),
        }
    }

    /// Returns an error for a single invalid field.
    #[must_use]
    pub fn field(field: &'static str, detail: impl ToString) -> Self {
        Self::Invalid(vec![FieldError::new(field, detail)])
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotFound => Self::NotFound,
            Denied::Forbidden(detail) => Self::Forbidden(detail),
            Denied::Conflict(code, detail) => Self::Conflict(code, detail),
        }
    }
}

impl From<RefusalCode> for Error {
    fn from(code: RefusalCode) -> Self {
        Self::KeyRefused(code)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<KmsError> for Error {
    fn from(error: KmsError) -> Self {
        Self::Kms(error)
    }
}

impl From<rand::rngs::SysError> for Error {
    fn from(error: rand::rngs::SysError) -> Self {
        Self::Random(error)
    }
}
