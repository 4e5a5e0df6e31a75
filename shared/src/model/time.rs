//! Points in time, and their text and JSON forms.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, in milliseconds since the Unix epoch.
///
/// `Serialize` writes a NumericDate (RFC 7519). `Display` writes an RFC 3339 time in UTC, with a year from 0000 to
/// 9999. Both forms drop the fraction of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Converts seconds since the Unix epoch. Saturates if the milliseconds do not fit in an `i64`.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Returns the milliseconds since the Unix epoch, the unit of UUIDv7 and of CloudWatch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Rounds this time down to a whole second. Use this for times that are stored, signed, or compared with a signed
    /// time.
    #[must_use]
    pub const fn to_second(self) -> Self {
        Self::from_seconds(self.as_seconds())
    }

    /// Returns the time in UTC as RFC 3339, with milliseconds. For the years 0000 to 9999, the texts sort in the same
    /// order as the times.
    #[must_use]
    pub fn to_millis_text(self) -> String {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        format!("{time:.3}")
    }

    /// Parses the output of [`Self::to_millis_text`].
    #[must_use]
    pub fn from_millis_text(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        let time = Self(time.as_millisecond());
        (time.to_millis_text() == text).then_some(time)
    }

    /// Returns the day in UTC, such as `2026-11-27`.
    #[must_use]
    pub fn day(self) -> String {
        let text = self.to_millis_text();
        text.get(..10).unwrap_or_default().to_owned()
    }

    /// Returns the month in UTC, such as `2026-11`.
    #[must_use]
    pub fn month(self) -> String {
        let text = self.to_millis_text();
        text.get(..7).unwrap_or_default().to_owned()
    }

    /// Returns the time since `earlier`; `None` if `self` is before `earlier`, or if the difference is out of range.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Duration> {
        let millis = self.0.checked_sub(earlier.0)?;
        u64::try_from(millis).ok().map(Duration::from_millis)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Saturates.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// Saturates.
impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const YEAR_0: i64 = -62_167_219_200;
        let last = jiff::Timestamp::MAX.as_second();
        let time = jiff::Timestamp::from_second(self.as_seconds().clamp(YEAR_0, last));
        time.unwrap_or_default().fmt(f)
    }
}

/// Why a string is not an RFC 3339 time. The message is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an RFC 3339 time such as 2030-01-31T00:00:00Z")]
pub struct InvalidTime;

impl FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `jiff` also accepts other forms of ISO 8601.
        let time = is_rfc_3339(text).then(|| text.parse::<jiff::Timestamp>());
        let time = time.and_then(Result::ok).ok_or(InvalidTime)?;
        Ok(Self::from_millis(time.as_millisecond()))
    }
}

/// Whether a string has the form of a date-time in RFC 3339, section 5.6, which also allows `t` and `z` in lower case.
fn is_rfc_3339(text: &str) -> bool {
    let has_form = |text: &str, form: &str| {
        let is_like = |(byte, form): (u8, u8)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte.eq_ignore_ascii_case(&form),
        };
        text.len() == form.len() && text.bytes().zip(form.bytes()).all(is_like)
    };
    let Some((seconds, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else {
        return false;
    };
    let offset = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => match fraction.trim_start_matches(|c: char| c.is_ascii_digit()) {
            offset if offset.len() < fraction.len() => offset,
            _ => return false,
        },
    };
    let has_offset =
        has_form(offset, "Z") || has_form(offset, "+00:00") || has_form(offset, "-00:00");
    has_form(seconds, "0000-00-00T00:00:00") && has_offset
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.as_seconds())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self::from_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_in_utc_to_the_second() {
        assert_eq!(
            Timestamp::from_millis(999).to_string(),
            "1970-01-01T00:00:00Z"
        );
        let parse = |text: &str| text.parse().ok();
        assert_eq!(
            parse("1970-01-01t00:00:00z"),
            Some(Timestamp::from_seconds(0))
        );
    }

    #[test]
    fn a_time_in_milliseconds_has_one_text() {
        let time = Timestamp::from_millis(1_796_000_000_007);
        assert_eq!(time.to_millis_text(), "2026-11-30T00:53:20.007Z");
        assert_eq!(time.month(), "2026-11");
        assert_eq!(
            Timestamp::from_millis_text("2026-11-30T00:53:20.007Z"),
            Some(time)
        );
        for text in ["2026-11-30T00:53:20Z", "2026-11-30T00:53:20.007+00:00", ""] {
            assert_eq!(Timestamp::from_millis_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_keeps_its_milliseconds() {
        for (text, millis) in [
            ("1970-01-01T00:00:01.5Z", 1500),
            ("1970-01-01T02:00:01.0079+02:00", 1007),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn only_the_form_of_rfc_3339_is_a_time() {
        for text in [
            "1970-01-01",
            "tomorrow",
            "1970-01-01 00:00:00Z",
            "19700101T000000Z",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00Z",
            "1970-01-01T00:00:00,5Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+02",
            "1970-01-01T00:00:00+0200",
            "1970-01-01T00:00:00Z[UTC]",
            "1970-01-01T00:00:00+02:00:00",
            " 1970-01-01T00:00:00Z",
            "1970-02-30T00:00:00Z",
            "1970-01-01T25:00:00Z",
            "+001970-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTime), "{text}");
        }
    }

    #[test]
    fn arithmetic_and_display_never_panic_at_the_ends_of_the_range() {
        let (start, end) = (
            Timestamp::from_seconds(i64::MIN),
            Timestamp::from_seconds(i64::MAX),
        );
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(start - Duration::MAX, start);
        assert_eq!(end.since(start), None, "the difference is out of range");
        assert_eq!(start.to_string(), "0000-01-01T00:00:00Z");
        assert_eq!(end.to_string(), "9999-12-30T22:00:00Z");
        for time in [start, end] {
            assert_eq!(Timestamp::from_seconds(time.as_seconds()), time.to_second());
        }
    }

    #[test]
    fn there_is_no_duration_since_a_later_time() {
        let (early, late) = (Timestamp::from_millis(1), Timestamp::from_millis(4));
        assert_eq!(late.since(early), Some(Duration::from_millis(3)));
        assert_eq!(early.since(late), None);
    }
}
