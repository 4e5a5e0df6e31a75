//! Names that people give to keys and users.

use std::{fmt, str::FromStr};

/// 1 to 64 characters, trimmed, without characters that affect how the surrounding text is displayed. All scripts and
/// emoji are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// Why a string is not a valid name. The message is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most 64 characters")]
    TooLong,
    #[error(
        "must not contain control characters, line separators, text direction characters or byte order marks"
    )]
    Control,
}

impl Name {
    /// The maximum number of characters in a name.
    pub const LONGEST: usize = 64;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Line and paragraph separators, the bidirectional formatting characters of UAX #9, and the byte order mark. They can
/// make one name look like another in a list. Text in right-to-left scripts needs none of them.
fn affects_surrounding_text(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.chars().count() > Self::LONGEST {
            return Err(InvalidName::TooLong);
        }
        if text
            .chars()
            .any(|c| c.is_control() || affects_surrounding_text(c))
        {
            return Err(InvalidName::Control);
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
        assert_eq!(" \t ".parse::<Name>(), Err(InvalidName::Empty));
        assert!("مفتاح".parse::<Name>().is_ok());
    }

    #[test]
    fn a_name_cannot_affect_how_the_surrounding_text_is_displayed() {
        for bad in ["a\0b", "a\nb", "a\u{1b}[31m", "\u{202e}nimda", "a\u{2028}b"] {
            assert_eq!(bad.parse::<Name>(), Err(InvalidName::Control), "{bad:?}");
        }
    }
}
