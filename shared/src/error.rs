//! What can go wrong, in the words of the domain. The edge turns it into problem JSON (RFC 9457), once.

use crate::{signer::SignerError, store::StoreError};

/// One field of a request that breaks a rule. The detail states the rule; it never repeats the value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// The field, parameter or header.
    pub field: &'static str,
    /// What the field must be.
    pub detail: String,
}

impl FieldError {
    /// A field and the rule that it breaks.
    #[must_use]
    pub fn new(field: &'static str, detail: impl ToString) -> Self {
        Self {
            field,
            detail: detail.to_string(),
        }
    }
}

/// Why a request has no better answer.
///
/// It has no `Display`: what the client reads is written at the edge, and what the log reads is the source chain.
#[derive(Debug)]
pub enum Error {
    /// The body cannot be read at all.
    Malformed(&'static str),
    /// Fields break rules: all of them are listed.
    Invalid(Vec<FieldError>),
    /// The body is longer than the limit.
    TooLarge,
    /// The body has a type that the call does not take.
    UnsupportedMediaType(&'static str),
    /// Nobody we know is calling.
    Unauthenticated(&'static str),
    /// The access key that calls is not good: a stable code and what to do.
    KeyRefused(&'static str, &'static str),
    /// The caller is known and may not do this.
    Forbidden(&'static str),
    /// Another tenant is named than the one that calls.
    TenantMismatch,
    /// It does not exist, or the caller may not see it: nobody can tell which.
    NotFound,
    /// The request contradicts the state: a stable code and what to do.
    Conflict(&'static str, &'static str),
    /// DynamoDB did not do what was asked, in time.
    Store(StoreError),
    /// KMS did not do what was asked, in time.
    Signer(SignerError),
    /// The identity provider's keys cannot be had.
    IdentityProvider(Box<dyn std::error::Error + Send + Sync>),
    /// The operating system gave no randomness.
    Random(rand::rngs::SysError),
    /// The function's time is up.
    Deadline,
}

impl Error {
    /// One field breaks a rule.
    #[must_use]
    pub fn field(field: &'static str, detail: impl ToString) -> Self {
        Self::Invalid(vec![FieldError::new(field, detail)])
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SignerError> for Error {
    fn from(error: SignerError) -> Self {
        Self::Signer(error)
    }
}

impl From<rand::rngs::SysError> for Error {
    fn from(error: rand::rngs::SysError) -> Self {
        Self::Random(error)
    }
}
