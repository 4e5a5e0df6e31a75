//! Reads events from API Gateway's HTTP APIs (payload format 2.0), regardless of what clients put into their requests.
//!
//! `lambda_http` cannot read an event with a header that is not ASCII, and panics if the host, the path and the query
//! do not form a URI, or if a body that is marked as base64 is not valid base64. No function needs the URI, so this
//! module drops the host, the path and the raw query string.
//!
//! Events contain secrets, so no code in this module quotes an event.

use std::{borrow::Cow, collections::HashMap, fmt};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use lambda_http::{
    aws_lambda_events::{
        apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpRequestContext},
        query_map::QueryMap,
    },
    request::LambdaRequest,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::body;

/// The base64 length of the largest accepted body.
const LONGEST_BASE64: usize = body::LONGEST.div_ceil(3) * 4;

/// An event that `lambda_http` can convert to a request; `None` if the event is of another kind.
pub(super) struct Event(pub Option<LambdaRequest>);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = <&RawValue>::deserialize(deserializer)?;
        let request = serde_json::from_str::<HttpApiEvent>(event.get()).ok();
        let request = request.map(HttpApiEvent::into_request);
        Ok(Self(request.map(LambdaRequest::ApiGatewayV2)))
    }
}

/// The parts of an event that the functions need.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpApiEvent {
    headers: Option<Headers>,
    cookies: Option<Vec<String>>,
    raw_query_string: Option<String>,
    path_parameters: Option<HashMap<String, String>>,
    request_context: ApiGatewayV2httpRequestContext,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

impl HttpApiEvent {
    fn into_request(self) -> ApiGatewayV2httpRequest {
        let mut request = ApiGatewayV2httpRequest::default();
        let Headers(headers) = self.headers.unwrap_or_default();
        request.headers = headers;
        request.headers.remove(header::HOST);
        request.cookies = self.cookies;
        request.request_context = self.request_context;
        request.request_context.domain_name = None;
        request.raw_path = Some("/".into());
        let query = self.raw_query_string.unwrap_or_default();
        let Ok(parameters) = query.parse::<QueryMap>();
        request.query_string_parameters = parameters;
        request.path_parameters = self.path_parameters.unwrap_or_default();
        // A body that is too large or is not base64 is not decoded. Such a body is later refused as too large or as
        // invalid JSON.
        let body = self.body.as_deref().unwrap_or_default();
        request.is_base64_encoded =
            self.is_base64_encoded && body.len() <= LONGEST_BASE64 && is_base64(body);
        request.body = self.body;
        request
    }
}

fn is_base64(text: &str) -> bool {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.decode(text).is_ok()
}

/// An event for a Lambda authorizer.
pub enum AuthorizerEvent {
    /// Payload format 2.0.
    Request {
        headers: HeaderMap,
        request_id: Option<String>,
    },
    /// An event of another kind.
    Unknown,
}

impl<'de> Deserialize<'de> for AuthorizerEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Event {
            version: String,
            headers: Headers,
            request_context: Option<Context>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Context {
            request_id: Option<String>,
        }
        let event = <&RawValue>::deserialize(deserializer)?;
        Ok(match serde_json::from_str::<Event>(event.get()) {
            Ok(event) if event.version == "2.0" => Self::Request {
                headers: event.headers.0,
                request_id: event.request_context.and_then(|context| context.request_id),
            },
            _ => Self::Unknown,
        })
    }
}

/// The headers of an event in payload format 2.0. A value with control characters is escaped, not dropped, because a
/// header that restricts a request must never count as absent.
#[derive(Default)]
struct Headers(HeaderMap);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = HeaderMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<HeaderMap, M::Error> {
                let mut headers = HeaderMap::with_capacity(24);
                while let Some(Text(name)) = map.next_key()? {
                    let value = header_value(map.next_value()?);
                    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) {
                        headers.append(name, value);
                    }
                }
                Ok(headers)
            }
        }
        deserializer.deserialize_map(Reader).map(Self)
    }
}

fn header_value(json: &RawValue) -> http::Result<HeaderValue> {
    let text = serde_json::from_str(json.get()).map_or(json.get().into(), |Text(text)| text);
    let escaped = || HeaderValue::try_from(text.escape_default().to_string());
    Ok(HeaderValue::from_bytes(text.as_bytes()).or_else(|_| escaped())?)
}

/// A string, borrowed from the event if it contains no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &str) -> Vec<(String, Vec<u8>)> {
        let Headers(headers) = serde_json::from_str(headers).unwrap();
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.as_bytes().to_vec())
        };
        headers.iter().map(pair).collect()
    }

    #[test]
    fn a_header_that_can_be_named_is_never_left_out() {
        for (json, value) in [
            (r#""acme""#, "acme"),
            (r#""a\"b\u00e9""#, "a\"bé"),
            (r#""a\nb""#, "a\\nb"),
            (r#""""#, ""),
            (r#""a\ud800""#, r#""a\ud800""#),
            ("null", "null"),
            ("[\"a\", 1]", "[\"a\", 1]"),
        ] {
            let headers = format!(r#"{{ "X-Tenant-Id": {json}, "not a name": "x" }}"#);
            let expected = [("x-tenant-id".to_owned(), value.as_bytes().to_vec())];
            assert_eq!(read(&headers), expected, "{json}");
        }
    }

    #[test]
    fn each_value_of_a_repeated_header_is_read() {
        let headers = read(r#"{ "x-tenant-id": "a", "X-TENANT-ID": "b" }"#);
        let values: Vec<_> = headers.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [b"a", b"b"]);
    }
}
