//! Revocations: who ended a key, when, and why.

use std::fmt;

use super::time::Timestamp;

/// A revocation of one key, or of all keys of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub at: Timestamp,
    /// The id of the user who revoked, or `key:<id>` if the key itself was presented for revocation. `unknown` if the
    /// details are no longer stored.
    pub by: String,
    /// Free text from the caller.
    pub reason: Option<String>,
}

impl Revocation {
    #[must_use]
    pub fn new(at: Timestamp, by: impl fmt::Display, reason: Option<String>) -> Self {
        let by = by.to_string();
        Self { at, by, reason }
    }
}
