//! Wall-clock time, as a client of the API sees it.

use std::time::{Duration, SystemTime};

/// Seconds since the epoch.
#[allow(
    clippy::disallowed_methods,
    reason = "a test uses the clock of a client"
)]
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs() as i64
}

/// Waits until the time `second`, in seconds since the epoch.
pub async fn until(second: i64) {
    while now() < second {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

/// Calls `poll` again and again until it returns a value. This is necessary because the stack collects logs and
/// processes its stream in the background.
pub async fn eventually<T, F>(what: &str, mut poll: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    for _ in 0..500 {
        if let Some(found) = poll().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not true within ten seconds: {what}");
}
