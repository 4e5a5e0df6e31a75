//! Why a request failed: a domain error or an HTTP error.

use crate::{policy::RefusalCode, service::Error as ServiceError};

/// Why a request failed.
///
/// The type has no `Display`: the client gets a [`super::Problem`], and the log gets the chain of causes.
#[derive(Debug)]
pub enum Error {
    Service(ServiceError),
    /// The body cannot be parsed.
    MalformedBody(&'static str),
    BodyTooLarge,
    UnsupportedMediaType(&'static str),
    Unauthenticated(&'static str),
    /// The request has no access key but requires one.
    MissingKey(&'static str),
    /// The request names a tenant other than that of its credentials, or names two different tenants.
    TenantMismatch,
    /// The identity provider's keys are not available.
    IdentityProvider,
    /// The handler did not finish in time.
    Deadline,
}

impl Error {
    /// The resource does not exist, or the caller may not see it.
    pub const NOT_FOUND: Self = Self::Service(ServiceError::NotFound);

    /// Returns an error for a single field that is invalid.
    #[must_use]
    pub fn field(field: &'static str, detail: impl ToString) -> Self {
        ServiceError::field(field, detail).into()
    }
}

impl From<ServiceError> for Error {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl From<RefusalCode> for Error {
    fn from(code: RefusalCode) -> Self {
        Self::Service(code.into())
    }
}

impl Error {
    /// Returns the causes in one line, for the log only.
    #[must_use]
    pub fn causes(&self) -> String {
        match self {
            Self::Service(error) => error.causes(),
            Self::IdentityProvider => "the identity provider's keys are not available".into(),
            Self::Deadline => "the handler did not finish in time".into(),
            _ => String::new(),
        }
    }
}
