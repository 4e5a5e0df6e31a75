//! Events as API Gateway sends them to a function.

use anyhow::{Context, Result};
use bytes::Bytes;
use harness::VALIDATE;
use serde_json::{Value, json};

use crate::{
    bench::{ADMIN, TENANT},
    binaries::root,
};

const CREATE: &str = "POST /v1/users/{user_id}/access-keys";
const LIST: &str = "GET /v1/users/{user_id}/access-keys";

/// Returns the function's event from `tests/events`, with the given route, path and body, and with typical headers.
pub fn event(function: &str, route: &str, path: &str, body: &Value) -> Result<Value> {
    let file = root().join("tests/events").join(format!("{function}.json"));
    let mut event: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let (method, _) = route.split_once(' ').context("the route has no method")?;
    event["routeKey"] = route.into();
    event["rawPath"] = path.into();
    event["requestContext"]["routeKey"] = route.into();
    event["requestContext"]["http"]["method"] = method.into();
    event["requestContext"]["http"]["path"] = path.into();
    event["headers"] = json!({
        "accept": "*/*",
        "accept-encoding": "gzip, deflate, br",
        "content-type": "application/json",
        "host": "api.example",
        "user-agent": "bench/1.0",
        "x-amzn-trace-id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    event["body"] = if body.is_null() {
        Value::Null
    } else {
        body.to_string().into()
    };
    if let Some(claims) = event["requestContext"]["authorizer"]["jwt"]["claims"].as_object_mut() {
        claims.insert("sub".into(), ADMIN.into());
        claims.insert("tenant_id".into(), TENANT.into());
    }
    Ok(event)
}

/// Returns the event for a call to `validate` with this key.
pub fn validation(key: &str, max_staleness: Option<u32>) -> Result<Bytes> {
    let mut body = json!({ "access_key": key });
    if let Some(seconds) = max_staleness {
        body["max_staleness"] = seconds.into();
    }
    let event = event("validate", &format!("POST {VALIDATE}"), VALIDATE, &body)?;
    Ok(event.to_string().into())
}

/// Returns the event for a call to `create` in which the administrator creates a key with the role `viewer`.
pub fn creation() -> Result<Bytes> {
    let path = format!("/v1/users/{ADMIN}/access-keys");
    let body = json!({ "name": "n", "role": "viewer" });
    let event = event("create", CREATE, &path, &body)?;
    Ok(event.to_string().into())
}

/// Returns the event for a call to `list` that lists the administrator's keys.
pub fn list() -> Result<Bytes> {
    let path = format!("/v1/users/{ADMIN}/access-keys");
    let event = event("list", LIST, &path, &Value::Null)?;
    Ok(event.to_string().into())
}

/// Returns the event for a call to the authorizer with this key.
pub fn authorization(key: &str) -> Result<Bytes> {
    let mut event = event("authorize", "GET /protected", "/protected", &Value::Null)?;
    event["headers"]["authorization"] = format!("Bearer {key}").into();
    event["identitySource"] = json!([format!("Bearer {key}")]);
    Ok(event.to_string().into())
}
