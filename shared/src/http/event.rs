//! Reads events of API Gateway's HTTP APIs (payload format 2.0), regardless of what clients put into their requests.
//!
//! `lambda_http` cannot read an event with a header that is not ASCII, and panics if the host, the path and the query
//! do not form a URI, or if the body is not base64. No function needs the URI, so the parts of the URI are removed from
//! the event.
//!
//! An event contains secrets. No code in this module quotes an event.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use lambda_http::{
    aws_lambda_events::{apigw::ApiGatewayV2httpRequest, query_map::QueryMap},
    request::LambdaRequest,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, value::RawValue};

use super::body;

/// The length in base64 of the largest body that is accepted.
const LONGEST_BASE64: usize = body::LONGEST.div_ceil(3) * 4;

/// An event that `lambda_http` can convert to a request; `None` if the event is of another kind.
pub(super) struct Event(pub Option<LambdaRequest>);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = Box::<RawValue>::deserialize(deserializer)?;
        let request = serde_json::from_str(event.get()).ok();
        let request = request.or_else(|| with_unusual_headers(event.get()));
        Ok(Self(request.map(clean).map(LambdaRequest::ApiGatewayV2)))
    }
}

fn with_unusual_headers(event: &str) -> Option<ApiGatewayV2httpRequest> {
    let mut event: Value = serde_json::from_str(event).ok()?;
    let headers = event.as_object_mut()?.remove("headers")?;
    let mut request: ApiGatewayV2httpRequest = serde_json::from_value(event).ok()?;
    request.headers = headers_of(headers.as_object()?);
    Some(request)
}

fn clean(mut request: ApiGatewayV2httpRequest) -> ApiGatewayV2httpRequest {
    request.headers.remove(header::HOST);
    request.request_context.domain_name = None;
    request.raw_path = Some("/".into());
    let query = request.raw_query_string.take().unwrap_or_default();
    let Ok(parameters) = query.parse::<QueryMap>();
    request.query_string_parameters = parameters;
    // A body that is too large or is not base64 is left encoded. Such a body is later refused as too large or as
    // invalid JSON.
    let body = request.body.as_deref().unwrap_or_default();
    request.is_base64_encoded &= body.len() <= LONGEST_BASE64 && is_base64(body);
    request
}

fn is_base64(text: &str) -> bool {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.decode(text).is_ok()
}

/// An event of a Lambda authorizer.
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
        let event = Value::deserialize(deserializer)?;
        Ok(match event["headers"].as_object() {
            Some(headers) if event["version"] == "2.0" => Self::Request {
                headers: headers_of(headers),
                request_id: event["requestContext"]["requestId"]
                    .as_str()
                    .map(str::to_owned),
            },
            _ => Self::Unknown,
        })
    }
}

/// The headers of an event of payload format 2.0. A value with control characters is escaped, so that a header that
/// restricts a request never counts as absent.
fn headers_of(headers: &Map<String, Value>) -> HeaderMap {
    let mut read = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let Ok(name) = name.parse::<HeaderName>() else {
            continue;
        };
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let escaped = || HeaderValue::from_str(&text.escape_default().to_string());
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()).or_else(|_| escaped()) {
            read.append(name, value);
        }
    }
    read
}
