//! The clock: the only place in our code that reads the wall-clock time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// The wall-clock time. Call this once for each request and pass the result on, so that the whole request uses the same
/// time.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
