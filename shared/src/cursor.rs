//! Cursors: where a list goes on, bound to the list that they came from.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::digest;

use crate::error::Error;

/// The sort key of the last item of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position(pub String);

const SUM: usize = 16;

/// The sum catches mistakes: a cursor that was cut, changed or used with another list. It guards no secret,
/// because a position only ever moves within the list that its caller may see.
fn sum(list: &str, position: &str) -> [u8; SUM] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(list.as_bytes());
    context.update(&[0]);
    context.update(position.as_bytes());
    let mut sum = [0; SUM];
    sum.copy_from_slice(&context.finish().as_ref()[..SUM]);
    sum
}

impl Position {
    /// The cursor of this position in `list`: tenant, user and filters, in one text.
    #[must_use]
    pub fn to_cursor(&self, list: &str) -> String {
        BASE64URL.encode([&sum(list, &self.0)[..], self.0.as_bytes()].concat())
    }

    /// Reads a cursor of `list`.
    ///
    /// # Errors
    /// When the cursor was changed or belongs to another list.
    pub fn from_cursor(cursor: &str, list: &str) -> Result<Self, Error> {
        const RULE: &str =
            "must be the next_cursor of the same list with the same filters, unchanged";
        let bytes = BASE64URL
            .decode(cursor)
            .map_err(|_| Error::field("cursor", RULE))?;
        let (found, position) = bytes
            .split_at_checked(SUM)
            .ok_or_else(|| Error::field("cursor", RULE))?;
        let position = std::str::from_utf8(position).map_err(|_| Error::field("cursor", RULE))?;
        if found == sum(list, position) {
            Ok(Self(position.to_owned()))
        } else {
            Err(Error::field("cursor", RULE))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let position = Position("KEY#1".into());
        let cursor = position.to_cursor("acme#editor");
        assert_eq!(
            Position::from_cursor(&cursor, "acme#editor").unwrap(),
            position
        );
        assert!(Position::from_cursor(&cursor, "acme#viewer").is_err());
        assert!(Position::from_cursor(&cursor[1..], "acme#editor").is_err());
        assert!(Position::from_cursor("", "acme#editor").is_err());
    }
}
