//! The clock: the only place that asks the operating system for the time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// The wall-clock time. Call it once for each request and pass it on, so that one request sees one time.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
