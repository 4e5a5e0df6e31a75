//! Time: the one place that asks the operating system, and RFC 3339 on the wire.

use jiff::Timestamp;

/// Seconds since the Unix epoch: the unit of `iat`, `exp` (RFC 7519 NumericDate) and of the table's TTL attribute.
pub type Seconds = i64;

/// The current second. Operations take it as an argument, so that one request sees one time.
#[must_use]
pub fn now() -> Seconds {
    seconds(unix_millis())
}

/// The second of a time in milliseconds since the Unix epoch.
#[must_use]
pub fn seconds(millis: u64) -> Seconds {
    (millis / 1000) as Seconds
}

/// The current time in milliseconds since the Unix epoch: the unit of Lambda's deadline and of a UUIDv7.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn unix_millis() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Writes `seconds` as RFC 3339 in UTC, such as `2026-01-31T09:30:00Z`.
#[must_use]
pub fn rfc3339(seconds: Seconds) -> String {
    Timestamp::from_second(seconds)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// Reads an RFC 3339 time with any offset. A fraction of a second is dropped: expiry is to the second.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Seconds> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_second() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(parse_rfc3339("1970-01-01T01:00:00.9+01:00"), Some(0));
        assert_eq!(parse_rfc3339("1970-01-01"), None);
        assert_eq!(parse_rfc3339("tomorrow"), None);
    }
}
