//! The path of a request, as an HTTP API interprets it.

use percent_encoding::percent_decode_str;

/// HTTP APIs decode a path twice. Between the two passes, they cut off the path at the first `?` (an escaped one) and
/// then match it against the routes. Routes therefore see a path that was decoded once: `/a%2Fb/x` has become `/a/b/x`
/// and does not match `/{name}/x`, but `/a%252Fb/x` has become `/a%2Fb/x` and matches. In either pass, a `%` that does
/// not start an escape makes the path invalid. AWS does not document this behaviour. The file
/// `vokerhttp/testdata/ingress-paths.json` in hotsock/voker on GitHub contains paths that were captured from an HTTP
/// API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestPath {
    /// The path after one decoding, which is matched against route keys.
    pub routed: String,
    /// `rawPath`: the path after two decodings.
    pub raw: String,
}

impl RequestPath {
    /// Returns `None` if the gateway refuses the path.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut routed = decode(path)?;
        let length = routed.find('?').unwrap_or(routed.len());
        routed.truncate(length);
        let raw = decode(&routed)?;
        Some(Self { routed, raw })
    }
}

/// Percent-decodes text. Returns `None` if the text contains a `%` that does not start an escape.
pub(super) fn decode(text: &str) -> Option<String> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let valid = text.split('%').skip(1).all(is_escape);
    valid.then(|| percent_decode_str(text).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_twice() {
        for (sent, raw) in [
            ("/plain", "/plain"),
            ("/space%20value", "/space value"),
            ("/a+b", "/a+b"),
            ("/question%3Fvalue", "/question"),
            ("/hash%23value", "/hash#value"),
            ("/slash%2Fvalue", "/slash/value"),
            ("/unicode-%CE%BB", "/unicode-λ"),
            ("/literal%252Fvalue", "/literal/value"),
            ("/literal%253Fvalue", "/literal?value"),
            ("/literal%2525value", "/literal%value"),
        ] {
            assert_eq!(RequestPath::parse(sent).unwrap().raw, raw, "{sent}");
        }
    }

    #[test]
    fn a_path_with_an_invalid_escape_is_refused() {
        for path in ["/percent%25done", "/%", "/%2", "/%zz", "/a%25", "/%é"] {
            assert_eq!(RequestPath::parse(path), None, "{path}");
        }
    }
}
