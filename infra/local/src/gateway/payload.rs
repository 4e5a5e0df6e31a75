//! Payload format 2.0: converts HTTP requests into events, and the results of functions into HTTP responses.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    clock,
    template::{ACCOUNT, Scalar},
};

/// The media types, besides `text/*`, whose bodies HTTP APIs pass on as text. AWS documents only that "binary" bodies
/// are encoded in base64. This list comes from observations (ministackorg/ministack#766 on GitHub). It does not include
/// the media type of forms, so forms are encoded in base64, as are bodies without a media type.
const TEXT_TYPES: [&str; 3] = [
    "application/javascript",
    "application/json",
    "application/xml",
];

/// The address of every client of the local stack.
const CLIENT: &str = "127.0.0.1";

/// A request that the gateway has received.
pub(super) struct Received<'a> {
    pub id: &'a str,
    pub parts: &'a Parts,
    /// The decoded path.
    pub path: &'a str,
    pub body: &'a [u8],
    /// The port on which the gateway received the request.
    pub port: u16,
}

/// Returns the request as an event of payload format 2.0.
pub(super) fn event(
    received: &Received<'_>,
    route_key: &str,
    parameters: Map<String, Value>,
) -> Value {
    let Received { parts, path, .. } = received;
    let query = parts.uri.query().unwrap_or_default();
    let (headers, cookies) = headers(&parts.headers, received.port);
    let (body, encoded) = encode(&parts.headers, received.body);
    let context = request_context(received, route_key, &headers);
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": encoded,
    });
    // API Gateway omits a field if the request has no value for it.
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    if !query.is_empty() {
        let mut pairs = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            append(&mut pairs, &name, &value);
        }
        event["queryStringParameters"] = pairs.into();
    }
    if !parameters.is_empty() {
        event["pathParameters"] = parameters.into();
    }
    if !body.is_empty() {
        event["body"] = body.into();
    }
    event
}

/// Returns the `requestContext` of an event, without its `authorizer`.
fn request_context(
    received: &Received<'_>,
    route_key: &str,
    headers: &Map<String, Value>,
) -> Value {
    let now = clock::now();
    let time = jiff::Timestamp::from_second(now.as_secs().try_into().unwrap_or_default())
        .unwrap_or_default();
    let host = headers
        .get("host")
        .and_then(Value::as_str)
        .unwrap_or("localhost");
    json!({
        "accountId": ACCOUNT,
        "apiId": "local",
        "domainName": host,
        "domainPrefix": host.split(['.', ':']).next(),
        "http": {
            "method": received.parts.method.as_str(),
            "path": received.path,
            "protocol": "HTTP/1.1",
            "sourceIp": CLIENT,
            "userAgent": headers.get("user-agent"),
        },
        "requestId": received.id,
        "routeKey": route_key,
        "stage": "$default",
        "time": time.strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
        "timeEpoch": u64::try_from(now.as_millis()).unwrap_or_default(),
    })
}

/// Returns the headers and the cookies separately, as API Gateway passes them on. The values of a repeated header are
/// joined with commas.
fn headers(all: &HeaderMap, port: u16) -> (Map<String, Value>, Vec<String>) {
    let (mut headers, mut cookies) = (Map::new(), Vec::new());
    for (name, value) in all {
        let value = String::from_utf8_lossy(value.as_bytes());
        if name == header::COOKIE {
            cookies.extend(value.split("; ").map(str::to_owned));
        } else {
            append(&mut headers, name.as_str(), &value);
        }
    }
    set_forwarded_headers(&mut headers, port);
    (headers, cookies)
}

/// Sets the headers in which the gateway describes the client.
///
/// API Gateway appends the client's address to `X-Forwarded-For`, so only the last address is reliable. It overwrites
/// `X-Forwarded-Port` and `X-Forwarded-Proto` (ustayready/fireprox#12 and stac-utils/stac-server#130 on GitHub). It
/// sends `Forwarded` only to HTTP integrations, so a `Forwarded` header from a client must not reach a function.
fn set_forwarded_headers(headers: &mut Map<String, Value>, port: u16) {
    headers.remove("forwarded");
    let addresses = match headers.get("x-forwarded-for").and_then(Value::as_str) {
        Some(sent) if !sent.is_empty() => format!("{sent}, {CLIENT}"),
        _ => CLIENT.to_owned(),
    };
    headers.insert("x-forwarded-for".into(), addresses.into());
    headers.insert("x-forwarded-port".into(), port.to_string().into());
    headers.insert("x-forwarded-proto".into(), "http".into());
}

fn append(map: &mut Map<String, Value>, name: &str, value: &str) {
    let joined = match map.get(name).and_then(Value::as_str) {
        Some(first) => format!("{first},{value}"),
        None => value.to_owned(),
    };
    map.insert(name.to_owned(), joined.into());
}

/// Returns the body, and whether it is encoded in base64. The body is passed on as text if its media type is a text
/// type and its bytes are valid UTF-8.
fn encode(headers: &HeaderMap, body: &[u8]) -> (String, bool) {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = essence.starts_with("text/") || TEXT_TYPES.contains(&essence.as_str());
    match std::str::from_utf8(body) {
        Ok(text) if is_text || text.is_empty() => (text.to_owned(), false),
        _ => (STANDARD.encode(body), true),
    }
}

/// A function's response in payload format 2.0.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionResponse {
    status_code: Scalar<u16>,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    is_base64_encoded: bool,
    headers: Option<BTreeMap<String, Scalar<String>>>,
    multi_value_headers: Option<BTreeMap<String, Vec<Scalar<String>>>>,
    cookies: Option<Vec<Scalar<String>>>,
}

/// Converts the result of a function into an HTTP response. Returns `None` if the result is malformed.
pub(super) fn response(answer: Value) -> Option<Response> {
    // If the result has no status code, API Gateway uses the whole result as the body.
    if answer.get("statusCode").is_none() {
        return Some(Json(answer).into_response());
    }
    let answer: FunctionResponse = serde_json::from_value(answer).ok()?;
    let status = StatusCode::from_u16(answer.status_code.0).ok()?;
    let mut headers = answer.header_map()?;
    let body = match answer.body {
        Value::Null => Vec::new(),
        Value::String(body) if answer.is_base64_encoded => STANDARD.decode(body).ok()?,
        Value::String(body) => body.into_bytes(),
        other => other.to_string().into_bytes(),
    };
    // The server sets its own `Content-Length`.
    headers.remove(header::CONTENT_LENGTH);
    if !body.is_empty() {
        headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("text/plain;charset=UTF-8"));
    }
    Some((status, headers, Body::from(body)).into_response())
}

impl FunctionResponse {
    /// Returns `None` if a name or a value is not valid in HTTP.
    fn header_map(&self) -> Option<HeaderMap> {
        let headers = self.headers.iter().flatten();
        let headers = headers.map(|(name, value)| (name.as_str(), value));
        let multiple = self.multi_value_headers.iter().flatten();
        let multiple =
            multiple.flat_map(|(name, values)| values.iter().map(move |v| (name.as_str(), v)));
        let cookies = self.cookies.iter().flatten();
        let cookies = cookies.map(|cookie| ("set-cookie", cookie));
        let mut map = HeaderMap::new();
        for (name, Scalar(value)) in headers.chain(multiple).chain(cookies) {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
        }
        Some(map)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// Returns the event for a request with these headers and this body.
    fn event_of(headers: &[(&str, &str)], body: &[u8]) -> Value {
        let request = headers
            .iter()
            .fold(Request::post("/a%20b?c=%20"), |request, (name, value)| {
                request.header(*name, *value)
            });
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let received = Received {
            id: "id",
            parts: &parts,
            path: "/a b",
            body,
            port: 3000,
        };
        event(&received, "POST /{name}", Map::new())
    }

    #[test]
    fn a_body_is_in_base64_unless_its_type_is_text() {
        for content_type in [
            "application/json",
            "Application/JSON ; charset=utf-8",
            "application/javascript",
            "application/xml",
            "text/plain",
            "text/anything; a=b",
        ] {
            let event = event_of(&[("content-type", content_type)], b"{}");
            assert_eq!(event["body"], "{}", "{content_type}");
            assert_eq!(event["isBase64Encoded"], false, "{content_type}");
        }
        for content_type in [
            "application/x-www-form-urlencoded",
            "application/vnd.api+json",
            "application/octet-stream",
            "multipart/form-data; boundary=x",
            "json",
            "",
        ] {
            let event = event_of(&[("content-type", content_type)], b"{}");
            assert_eq!(event["body"], "e30=", "{content_type}");
            assert_eq!(event["isBase64Encoded"], true, "{content_type}");
        }
        let event = event_of(&[], b"{}");
        assert_eq!(
            (&event["body"], &event["isBase64Encoded"]),
            (&json!("e30="), &json!(true))
        );
        let event = event_of(&[("content-type", "text/plain")], b"\xff");
        assert_eq!(
            (&event["body"], &event["isBase64Encoded"]),
            (&json!("/w=="), &json!(true))
        );
        let event = event_of(&[], b"");
        assert_eq!(
            (&event["body"], &event["isBase64Encoded"]),
            (&json!(null), &json!(false))
        );
    }

    #[test]
    fn the_paths_of_an_event_are_decoded_and_its_query_is_not() {
        let event = event_of(&[], b"");
        assert_eq!(event["rawPath"], "/a b");
        assert_eq!(event["requestContext"]["http"]["path"], "/a b");
        assert_eq!(event["rawQueryString"], "c=%20");
    }

    #[test]
    fn a_client_cannot_send_the_headers_of_the_gateway() {
        let headers = &event_of(&[], b"")["headers"];
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        let forged = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "192.0.2.2"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=192.0.2.1;proto=https"),
        ];
        let headers = &event_of(&forged, b"")["headers"];
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1,192.0.2.2, 127.0.0.1");
        assert_eq!(headers["x-forwarded-port"], "3000");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["forwarded"], Value::Null);
    }
}
