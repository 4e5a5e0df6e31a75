//! Names that people give to keys and users.

use std::{fmt, str::FromStr};

use super::text;

/// A name of 1 to 64 characters, without leading or trailing white space. At least one character is visible, and no
/// character hides or moves others. All scripts and emoji are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// Why a string is not a valid name. The message is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("must contain a visible character")]
    Invisible,
    #[error("must have at most 64 characters")]
    TooLong,
    #[error(
        "must not contain control characters, line separators, text direction characters or invisible characters"
    )]
    NotPlain,
}

impl Name {
    /// The maximum number of characters in a name.
    pub const LONGEST: usize = 64;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        if !text::is_visible(text) {
            return Err(InvalidName::Invisible);
        }
        if text.chars().count() > Self::LONGEST {
            return Err(InvalidName::TooLong);
        }
        if !text::is_plain(text) {
            return Err(InvalidName::NotPlain);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_measured_in_characters() {
        assert_eq!(
            "  ci ".parse::<Name>().map(|n| n.to_string()),
            Ok("ci".into())
        );
        assert!("🔑".repeat(64).parse::<Name>().is_ok());
        assert_eq!("🔑".repeat(65).parse::<Name>(), Err(InvalidName::TooLong));
        assert_eq!(" \t ".parse::<Name>(), Err(InvalidName::Invisible));
        assert!("مفتاح".parse::<Name>().is_ok());
    }

    #[test]
    fn a_name_cannot_hide_or_move_characters() {
        for bad in ["a\0b", "a\nb", "a\u{1b}[31m", "\u{202e}nimda", "a\u{200b}b"] {
            assert_eq!(bad.parse::<Name>(), Err(InvalidName::NotPlain), "{bad:?}");
        }
    }
}
