//! Identifiers. Each kind of identifier has its own type. Every identifier is safe in a table key, a header and a log
//! line. Only user ids need encoding in a path.

use std::{fmt, str::FromStr};

use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time::Timestamp;

/// Why a string is not a valid identifier. The message is public: it states the rule and never repeats the string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(&'static str);

fn is_made_of(text: &str, longest: usize, punctuation: &str) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || punctuation.contains(c))
}

/// A tenant's id: 1 to 64 characters, each an ASCII letter, a digit or one of `-._`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

impl FromStr for TenantId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if is_made_of(text, 64, "-._") {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId(
                "must be 1 to 64 letters, digits, '-', '.' or '_'",
            ))
        }
    }
}

/// A user's id, which comes from the identity provider: 1 to 255 printable ASCII characters, like the claim `sub` of
/// `OpenID` Connect (Core 1.0, section 2). The id cannot begin or end with a space, because HTTP strips such spaces
/// from headers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl FromStr for UserId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if is_printable && (1..=255).contains(&text.len()) && text.trim() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId(
                "must be 1 to 255 printable ASCII characters, without a space at the beginning or the end",
            ))
        }
    }
}

/// A key's id, the `jti` of its token: a UUIDv7 (RFC 9562), so that ids sort by creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Uuid);

impl KeyId {
    /// Generates an id from `now`, to the millisecond, and 74 random bits from the operating system.
    pub fn generate(now: Timestamp) -> Result<Self, rand::rngs::SysError> {
        let mut random = [0; 10];
        SysRng.try_fill_bytes(&mut random)?;
        let millis = u64::try_from(now.as_millis()).unwrap_or_default();
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        Ok(Self(uuid))
    }
}

impl FromStr for KeyId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        const RULE: InvalidId = InvalidId("must be a version 7 UUID in lower case with hyphens");
        let uuid = Uuid::try_parse(text).map_err(|_| RULE)?;
        // Each id has exactly one textual form: no braces, no URN prefix, no uppercase.
        if uuid.get_version_num() == 7 && uuid.to_string() == text {
            Ok(Self(uuid))
        } else {
            Err(RULE)
        }
    }
}

const HOST_NAME: InvalidId = InvalidId(
    "must be 1 to 253 letters, digits, '-', '.' or '_', and start with a letter or digit",
);

macro_rules! host_name {
    ($name:ident) => {
        /// A name of 1 to 253 characters, each an ASCII letter, a digit or one of `-._`. The first character is a
        /// letter or digit. Names are case-sensitive. Most names are DNS names, so the maximum length is that of a DNS
        /// name (RFC 1035).
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_host_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(HOST_NAME)
                }
            }
        }
    };
}
host_name!(ClusterName);
host_name!(NodeName);

/// Requiring a letter or digit at the beginning excludes names such as `..`, which is special in a path, and `-f`,
/// which is an option on a command line.
fn is_host_name(text: &str) -> bool {
    is_made_of(text, 253, "-._") && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// The number has 52 random bits, so that programs that read JSON numbers as doubles keep every digit. The
        /// number is never 0.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(u64);

        impl $name {
            /// Generates a random number with the operating system's generator.
            pub fn generate() -> Result<Self, rand::rngs::SysError> {
                let mut random = [0; 8];
                SysRng.try_fill_bytes(&mut random)?;
                Ok(Self((u64::from_be_bytes(random) >> 12).max(1)))
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
number!(
    /// The number of a cluster: AccuKnox's clients identify clusters by number.
    ClusterNumber
);
number!(
    /// The number of a node.
    NodeNumber
);
number!(
    /// Distinguishes one redemption of a join token from another.
    Redemption
);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for KeyId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

macro_rules! text_id {
    ($($id:ident)*) => {$(
        impl $id {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $id {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.0
            }
        }
    )*};
}
text_id!(TenantId UserId ClusterName NodeName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_break_out_of_its_table_key() {
        for bad in ["", "a#b", "a/b", "a b", "a\0", "ü", "a\n", "\u{202e}a"] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(65).parse::<TenantId>().is_err());
    }

    #[test]
    fn a_user_id_is_printable_ascii() {
        for good in [
            "auth0|507f1f77",
            "samlp|adfs|Ab/cD=",
            "oauth2|siwe|eip155%3A5",
            "CORP\\bob",
            "CN=Bob Example,O=Example",
            "a#b",
            "..",
            "me",
            "~",
            &"x".repeat(255),
        ] {
            assert!(good.parse::<UserId>().is_ok(), "{good:?}");
        }
        for bad in [
            "",
            " ",
            " a",
            "a ",
            "a\0",
            "a\tb",
            "a\n",
            "ü",
            "\u{202e}a",
            &"x".repeat(256),
        ] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cluster_or_node_name_is_safe_in_a_path_and_on_a_command_line() {
        for bad in [
            "",
            ".",
            "..",
            "-rf",
            "_x",
            "a b",
            "a/b",
            "a#b",
            "ä",
            &"x".repeat(254),
        ] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad:?}");
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
        for good in [
            "a",
            "0",
            "prod-eu_1.example",
            "host-1732000000",
            "x-",
            &"x".repeat(253),
        ] {
            assert!(good.parse::<ClusterName>().is_ok(), "{good:?}");
            assert!(good.parse::<NodeName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_number_survives_conversion_to_a_double() {
        for _ in 0..1000 {
            let ClusterNumber(number) = ClusterNumber::generate().unwrap();
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss
            )]
            let through_a_double = (number as f64) as u64;
            assert_eq!((number, number > 0), (through_a_double, true));
        }
    }

    #[test]
    fn a_key_id_has_exactly_one_textual_form() {
        let id = KeyId::generate(Timestamp::from_millis(1_800_000_000_000)).unwrap();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(text.to_uppercase().parse::<KeyId>().is_err() || text == text.to_uppercase());
        assert!(format!("{{{text}}}").parse::<KeyId>().is_err());
        assert!(
            "00000000-0000-4000-8000-000000000000"
                .parse::<KeyId>()
                .is_err()
        );
    }
}
