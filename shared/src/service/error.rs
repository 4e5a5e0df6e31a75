//! Why a request failed, in the words of the domain. [`crate::http`] turns these errors into answers.

use serde::Serialize;

use crate::{
    policy::{Denied, RefusalCode},
    process::telemetry,
    store::StoreError,
    token::KmsError,
};

/// A field of a request that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field, parameter or header.
    pub field: &'static str,
    /// States the rule, and never repeats the value.
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
/// There is no `Display`: clients and logs must not get the same text.
#[derive(Debug)]
pub enum Error {
    /// Fields break rules. All of them are listed.
    Invalid(Vec<FieldError>),
    /// The access key that makes the call is refused.
    KeyRefused(RefusalCode),
    /// The access key to revoke is not genuine, or has expired.
    NotAKey,
    Forbidden(&'static str),
    /// It does not exist, or the caller may not see it.
    NotFound,
    /// The request contradicts the state. A stable code, and what to do.
    Conflict(&'static str, &'static str),
    Store(StoreError),
    Kms(KmsError),
    Random(rand::rngs::SysError),
}

impl Error {
    /// Others kept changing the same items.
    pub(crate) const CHANGED_MEANWHILE: Self = Self::Conflict(
        "changed_meanwhile",
        "other requests are changing the same resource: try again",
    );

    /// The causes in one line, for the log only.
    #[must_use]
    pub fn causes(&self) -> String {
        match self {
            Self::Store(error) => telemetry::chain(error),
            Self::Kms(error) => telemetry::chain(error),
            Self::Random(error) => telemetry::chain(error),
            _ => String::new(),
        }
    }

    /// The error that a single field breaks a rule.
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
