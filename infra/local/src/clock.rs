//! The wall clock of the local stack.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time since the Unix epoch.
#[allow(
    clippy::disallowed_methods,
    reason = "the local stack takes the role of AWS, which uses the real clock"
)]
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Returns the number of whole seconds since the Unix epoch.
pub(crate) fn unix_time() -> i64 {
    now().as_secs().try_into().unwrap_or(i64::MAX)
}
