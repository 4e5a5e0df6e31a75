//! Payload format 2.0: converts requests into events, and the answers of functions into responses.

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

/// API Gateway passes a body on as text if its content type ends with one of these, or starts with `text/`.
const TEXT_TYPES: [&str; 4] = ["json", "xml", "javascript", "x-www-form-urlencoded"];

/// The request as an event of payload format 2.0.
pub(super) fn event(
    id: &str,
    route_key: &str,
    parts: &Parts,
    parameters: Map<String, Value>,
    body: &[u8],
) -> Value {
    let query = parts.uri.query().unwrap_or_default();
    let (headers, cookies) = headers(&parts.headers);
    let (body, encoded) = encode(&parts.headers, body);
    let context = request_context(id, route_key, parts, &headers);
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": parts.uri.path(),
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

/// The `requestContext` of an event, without its `authorizer`.
fn request_context(
    id: &str,
    route_key: &str,
    parts: &Parts,
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
            "method": parts.method.as_str(),
            "path": parts.uri.path(),
            "protocol": "HTTP/1.1",
            "sourceIp": "127.0.0.1",
            "userAgent": headers.get("user-agent"),
        },
        "requestId": id,
        "routeKey": route_key,
        "stage": "$default",
        "time": time.strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
        "timeEpoch": u64::try_from(now.as_millis()).unwrap_or_default(),
    })
}

/// The headers and the cookies, which API Gateway separates. The values of a repeated header are joined by commas.
fn headers(all: &HeaderMap) -> (Map<String, Value>, Vec<String>) {
    let (mut headers, mut cookies) = (Map::new(), Vec::new());
    for (name, value) in all {
        let value = String::from_utf8_lossy(value.as_bytes());
        if name == header::COOKIE {
            cookies.extend(value.split("; ").map(str::to_owned));
        } else {
            append(&mut headers, name.as_str(), &value);
        }
    }
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        append(&mut headers, name, value);
    }
    (headers, cookies)
}

fn append(map: &mut Map<String, Value>, name: &str, value: &str) {
    let joined = match map.get(name).and_then(Value::as_str) {
        Some(first) => format!("{first},{value}"),
        None => value.to_owned(),
    };
    map.insert(name.to_owned(), joined.into());
}

/// Returns the body as text if its content type is a text type and its bytes are UTF-8, otherwise as base64. The flag
/// tells whether the result is base64.
fn encode(headers: &HeaderMap, body: &[u8]) -> (String, bool) {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_text = content_type.is_none_or(|content_type| {
        let essence = content_type.split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        essence.starts_with("text/") || TEXT_TYPES.iter().any(|text| essence.ends_with(text))
    });
    match std::str::from_utf8(body) {
        Ok(text) if is_text => (text.to_owned(), false),
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

/// A function's answer as an HTTP response. `None` if the answer is malformed.
pub(super) fn response(answer: Value) -> Option<Response> {
    // API Gateway uses an answer without a status code as the body.
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
    // The server sets the length.
    headers.remove(header::CONTENT_LENGTH);
    if !body.is_empty() {
        headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("text/plain;charset=UTF-8"));
    }
    Some((status, headers, Body::from(body)).into_response())
}

impl FunctionResponse {
    /// `None` if a name or a value is not valid in HTTP.
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
