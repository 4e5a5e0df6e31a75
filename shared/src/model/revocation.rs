//! Revocations: who ended a key, when, and why.

use super::{principal::Principal, time::Timestamp};

/// The revocation of one key, or of all keys of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub at: Timestamp,
    pub by: Principal,
    /// Free text from the caller.
    pub reason: Option<String>,
}

impl Revocation {
    #[must_use]
    pub fn new(at: Timestamp, by: impl Into<Principal>, reason: Option<String>) -> Self {
        let (at, by) = (at.to_second(), by.into());
        Self { at, by, reason }
    }
}
