//! Reads and writes path parameters. The error for an invalid path parameter is [`Error::NOT_FOUND`].

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use lambda_http::{Request, RequestExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::Error;
use crate::model::{Actor, ClusterName, KeyId, UserId};

/// The characters to percent-encode: all except the unreserved ones of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Returns the user in the path. The segment `me` stands for the person who makes the request.
///
/// # Errors
/// If an operator sends `me`, the error names the field `user_id`, unlike the error for any other invalid path
/// parameter.
pub fn user(request: &Request, actor: &Actor) -> Result<UserId, Error> {
    if is_me(request) {
        let rule = "must not be me, because an operator is not a person";
        let person = actor
            .person()
            .ok_or_else(|| Error::field("user_id", rule))?;
        return Ok(person.user_id.clone());
    }
    let user = parameter(request, "user_id").and_then(parse_user);
    user.ok_or(Error::NOT_FOUND)
}

/// Whether the user in the path is `me`.
#[must_use]
pub fn is_me(request: &Request) -> bool {
    parameter(request, "user_id") == Some("me")
}

pub fn key(request: &Request) -> Result<KeyId, Error> {
    parsed(request, "key_id")
}

pub fn cluster(request: &Request) -> Result<ClusterName, Error> {
    parsed(request, "name")
}

fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.path_parameters_ref()?.first(name)
}

fn parsed<T: FromStr>(request: &Request, name: &str) -> Result<T, Error> {
    let value = parameter(request, name).and_then(|text| text.parse().ok());
    value.ok_or(Error::NOT_FOUND)
}

/// Returns the path of one of a user's keys.
#[must_use]
pub fn of_key(user: &UserId, key: KeyId) -> String {
    format!("/v1/users/{}/access-keys/{key}", user_segment(user))
}

/// Percent-encodes a user's id as a path segment. If gateways or proxies could change or reject the percent-encoded
/// form, or if that form has a special meaning in a path, the segment is instead `~` followed by the id in base64url.
fn user_segment(user: &UserId) -> String {
    let id = user.as_str();
    if id == "me" || id.starts_with(['~', '.']) || id.contains(['/', '?', '%', '#', '\\']) {
        format!("~{}", BASE64URL.encode(id))
    } else {
        utf8_percent_encode(id, RESERVED).to_string()
    }
}

/// Reads a segment that the gateway has percent-decoded.
fn parse_user(segment: &str) -> Option<UserId> {
    match segment.strip_prefix('~') {
        Some(encoded) => {
            let id = String::from_utf8(BASE64URL.decode(encoded).ok()?);
            id.ok()?.parse().ok()
        }
        // Clients resolve `.` and `..` in paths, so these segments cannot name users.
        None if [".", ".."].contains(&segment) => None,
        None => segment.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;

    use super::*;

    #[test]
    fn every_user_id_has_a_path() {
        for (id, segment) in [
            ("editor", "editor"),
            ("auth0|1", "auth0%7C1"),
            ("ann@acme.example", "ann%40acme.example"),
            ("CN=Bob Example,O=x", "CN%3DBob%20Example%2CO%3Dx"),
            ("a+b&c;d", "a%2Bb%26c%3Bd"),
            ("samlp|adfs|Ab/cD=", "~c2FtbHB8YWRmc3xBYi9jRD0"),
            ("CORP\\bob", "~Q09SUFxib2I"),
            ("oauth2|siwe|eip155%3A5", "~b2F1dGgyfHNpd2V8ZWlwMTU1JTNBNQ"),
            ("a?b", "~YT9i"),
            ("a#b", "~YSNi"),
            ("..", "~Li4"),
            ("~", "~fg"),
            ("me", "~bWU"),
        ] {
            let user: UserId = id.parse().unwrap();
            assert_eq!(user_segment(&user), segment);
            let decoded = percent_decode_str(segment).decode_utf8().unwrap();
            assert_eq!(parse_user(&decoded), Some(user));
        }
    }

    #[test]
    fn a_segment_that_stands_for_no_user_is_refused() {
        let invalid = [
            "", ".", "..", "~", "~YQ==", "~YR", "~/w", "~_w", "~IGE", "~ä", " a", "ä",
        ];
        for segment in invalid {
            assert_eq!(parse_user(segment), None, "{segment}");
        }
        // Also accepted: segments that the service never generates, but that are unambiguous.
        let same = ["~YXV0aDB8MQ", "auth0|1"].map(parse_user);
        assert_eq!(same[0], same[1]);
        assert!(parse_user("oauth2|siwe|eip155%3A5").is_some());
    }
}
