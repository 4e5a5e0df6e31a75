//! Cursors: positions in lists, encoded as text. A cursor is valid only for its own list.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::digest;

use crate::service::{List, Position};

const SUM: usize = 16;

/// Returns a checksum that detects cursors of another list, or of the same list with other filters. The checksum is not
/// a security measure: anyone can compute it. No security measure is needed: [`Position::parse`] checks every position,
/// and the list contains only items that the caller may see, no matter where reading starts.
fn sum(name: &str, position: &str) -> [u8; SUM] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(name.as_bytes());
    context.update(&[0]);
    context.update(position.as_bytes());
    let mut sum = [0; SUM];
    sum.copy_from_slice(&context.finish().as_ref()[..SUM]);
    sum
}

/// Encodes a position as a cursor. `name` identifies the tenant, the list and its filters.
pub(super) fn encode(Position(position): &Position, name: &str) -> String {
    BASE64URL.encode([&sum(name, position)[..], position.as_bytes()].concat())
}

/// Decodes a cursor to a position. Returns `None` if the cursor belongs to a list with another name, or if `list`
/// cannot contain the position.
pub(super) fn decode(cursor: &str, list: List, name: &str) -> Option<Position> {
    let bytes = BASE64URL.decode(cursor).ok()?;
    let (found, position) = bytes.split_at_checked(SUM)?;
    let position = std::str::from_utf8(position).ok()?;
    let is_of_list = found == sum(name, position);
    Position::parse(position, list).filter(|_| is_of_list)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "keys of acme?None&None";
    const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn position() -> Position {
        Position(format!("editor#{KEY}"))
    }

    fn decode_key(cursor: &str, name: &str) -> Option<Position> {
        decode(cursor, List::TenantKeys, name)
    }

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let cursor = encode(&position(), NAME);
        assert_eq!(decode_key(&cursor, NAME), Some(position()));
        assert_eq!(decode_key(&cursor, "keys of acme?Some(Active)&None"), None);
        assert_eq!(decode_key(&cursor[1..], NAME), None);
        assert_eq!(decode_key("", NAME), None);
    }

    #[test]
    fn a_forged_cursor_cannot_name_a_position_that_the_list_does_not_have() {
        for text in ["", "KEY", "editor", "editor#", "editor#x"] {
            let forged = encode(&Position(text.into()), NAME);
            assert_eq!(decode_key(&forged, NAME), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_valid_position_or_refused(text in ".*") {
            for cursor in [text.clone(), encode(&Position(text), NAME)] {
                let lists = [List::UserKeys, List::TenantKeys, List::Users, List::FoundUsers, List::Clusters];
                for list in lists {
                    if let Some(position) = decode(&cursor, list, NAME) {
                        prop_assert_eq!(Position::parse(&position.0, list), Some(position));
                    }
                }
            }
        }

        #[test]
        fn a_changed_cursor_is_refused(index: prop::sample::Index, byte in "[ -~]") {
            let cursor = encode(&position(), NAME);
            let index = index.index(cursor.len());
            let mut changed = cursor.clone();
            changed.replace_range(index..=index, &byte);
            let expected = (changed == cursor).then(position);
            prop_assert_eq!(decode_key(&changed, NAME), expected);
        }
    }
}
