//! Cursors: positions in lists, encoded as text and bound to their list.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::digest;

use crate::service::Position;

const SUM: usize = 16;

/// A checksum that detects cursors that were truncated, changed or used with another list. It is not a security
/// measure. None is needed, because the list contains only items that the caller may see, whatever the position.
fn sum(list: &str, position: &str) -> [u8; SUM] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(list.as_bytes());
    context.update(&[0]);
    context.update(position.as_bytes());
    let mut sum = [0; SUM];
    sum.copy_from_slice(&context.finish().as_ref()[..SUM]);
    sum
}

/// The cursor for a position in `list`, a string that identifies the tenant, the list and its filters.
pub(super) fn encode(Position(position): &Position, list: &str) -> String {
    BASE64URL.encode([&sum(list, position)[..], position.as_bytes()].concat())
}

/// The position that a cursor of `list` encodes; `None` if the cursor was changed or belongs to another list.
pub(super) fn decode(cursor: &str, list: &str) -> Option<Position> {
    let bytes = BASE64URL.decode(cursor).ok()?;
    let (found, position) = bytes.split_at_checked(SUM)?;
    let position = std::str::from_utf8(position).ok()?;
    (found == sum(list, position)).then(|| Position(position.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let position = Position("key 1".into());
        let cursor = encode(&position, "acme#editor");
        assert_eq!(decode(&cursor, "acme#editor"), Some(position));
        assert_eq!(decode(&cursor, "acme#viewer"), None);
        assert_eq!(decode(&cursor[1..], "acme#editor"), None);
        assert_eq!(decode("", "acme#editor"), None);
    }
}
