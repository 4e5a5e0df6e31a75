//! The value of a secret: one access key, as text.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::Value;
use zeroize::Zeroizing;

pub(crate) struct Key(Zeroizing<String>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Parses an access key and ignores white space around it. Returns `None` for any other text, such as a database
    /// password, which must not be sent to the service.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let key = Self(Zeroizing::new(text.trim().to_owned()));
        key.id().is_some().then_some(key)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the id from the key's claims, without verifying them. All secrets of a key have the same id.
    fn id(&self) -> Option<String> {
        let parts: Vec<&str> = self.0.split('.').collect();
        let [_, claims, _] = parts[..] else {
            return None;
        };
        let claims: Value = serde_json::from_slice(&BASE64URL.decode(claims).ok()?).ok()?;
        Some(claims["jti"].as_str()?.to_owned())
    }

    /// Whether `self` and `other` are different secrets of the same key.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        self.id() == other.id() && *self.0 != *other.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(claims: &str, signature: &str) -> String {
        format!("e30.{}.{signature}", BASE64URL.encode(claims))
    }

    #[test]
    fn only_an_access_key_is_read() {
        let text = key(r#"{"jti":"1"}"#, "c2ln");
        let read = Key::parse(&format!(" {text}\n")).unwrap();
        assert_eq!(read.reveal(), text);
        assert_eq!(format!("{read:?}"), "Key");
        for other in [
            "",
            "hunter2",
            "a.b.c",
            r#"{"password":"x"}"#,
            &key("{}", "c2ln"),
            &key(r#"{"jti":1}"#, "c2ln"),
            &format!("{text}.x"),
        ] {
            assert!(Key::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn another_secret_of_the_same_key_replaces_it() {
        let parse =
            |id: &str, signature| Key::parse(&key(&format!(r#"{{"jti":"{id}"}}"#), signature));
        let old = parse("1", "b2xk").unwrap();
        assert!(parse("1", "bmV3").unwrap().replaces(&old));
        assert!(!parse("2", "bmV3").unwrap().replaces(&old));
        assert!(!parse("1", "b2xk").unwrap().replaces(&old));
    }
}
