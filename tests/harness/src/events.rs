//! Events to invoke functions with: the samples in `tests/events`, events that API Gateway would never send, and events
//! with content that is unusual or hostile.

use std::path::Path;

use serde_json::{Value, json};

/// Returns the sample event for a function, if `tests/events` contains one.
pub fn find(function: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../events/{function}.json"));
    let event = std::fs::read(path).ok()?;
    Some(serde_json::from_slice(&event).unwrap())
}

/// Returns the sample event for a function that has one.
pub fn sample(function: &str) -> Value {
    find(function).unwrap()
}

/// Returns copies of `event`. In each copy, `replacement` replaces a different value. In the first copy, it replaces
/// the whole event.
pub fn replaced(event: &Value, replacement: &Value) -> Vec<Value> {
    let mut changed = vec![replacement.clone()];
    let children: Vec<String> = match event {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(items) => (0..items.len()).map(|n| n.to_string()).collect(),
        _ => Vec::new(),
    };
    for child in children {
        let path = format!("/{}", child.replace('~', "~0").replace('/', "~1"));
        for value in replaced(event.pointer(&path).unwrap(), replacement) {
            let mut event = event.clone();
            *event.pointer_mut(&path).unwrap() = value;
            changed.push(event);
        }
    }
    changed
}

/// Returns the results of [`replaced`] with each of four replacements: a number, an array, an object and null.
pub fn distorted(event: &Value) -> impl Iterator<Item = Value> {
    let replacements = [json!(7), json!(["x"]), json!({ "x": "y" }), json!(null)];
    replacements
        .into_iter()
        .flat_map(|replacement| replaced(event, &replacement))
}

/// Returns events from other services and in other payload formats, with a secret wherever a client could put one.
pub fn foreign(secret: &str) -> Vec<Value> {
    let headers = json!({ "authorization": secret, "host": secret, "x-tenant-id": secret });
    let body = json!({ "access_key": secret }).to_string();
    vec![
        json!(null),
        json!(7),
        json!(secret),
        json!([secret]),
        json!({ secret: secret }),
        // An authorizer event in payload format 1.0.
        json!({
            "version": "1.0", "type": "REQUEST", "methodArn": secret, "identitySource": secret,
            "authorizationToken": secret, "resource": "/x", "path": "/x", "httpMethod": "GET",
            "headers": headers, "queryStringParameters": { "key": secret },
            "requestContext": { "path": "/x", "accountId": "0", "httpMethod": "GET" },
        }),
        json!({ "type": "TOKEN", "methodArn": "arn", "authorizationToken": secret }),
        // A request from a REST API.
        json!({
            "resource": "/x", "path": secret, "httpMethod": "POST", "headers": headers,
            "multiValueHeaders": { "authorization": [secret] }, "body": body,
            "requestContext": { "stage": "s", "httpMethod": "POST", "requestId": "r" },
        }),
        // A request from an Application Load Balancer.
        json!({
            "requestContext": { "elb": { "targetGroupArn": secret } }, "httpMethod": "POST",
            "path": "/", "queryStringParameters": {}, "headers": headers, "body": body,
            "isBase64Encoded": false,
        }),
        json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": "1", "body": secret }] }),
        json!({ "Records": secret }),
        json!({ "source": "aws.events", "detail-type": secret, "detail": { "key": secret } }),
    ]
}

/// Puts a secret in every place where a client might put one.
pub fn with_secret(mut event: Value, secret: &str) -> Value {
    let bearer = format!("Bearer {secret}");
    if event["headers"].is_object() {
        event["headers"]["authorization"] = json!(bearer);
        event["headers"]["x-forwarded-for"] = json!(secret);
        event["rawQueryString"] = json!(format!("token={secret}"));
        event["queryStringParameters"] = json!({ "token": secret });
        event["body"] = json!(json!({ "access_key": secret, "token": secret }).to_string());
        event["identitySource"] = json!([bearer]);
    } else {
        event["secret"] = json!(secret);
    }
    event
}

/// Returns copies of a request, each with one unusual value. Each copy is paired with the JSON pointer to that value. A
/// client can send these values, or a proxy in front of the API can add them. None of them changes the status of the
/// response. `rawPath` is decoded, as in HTTP APIs.
pub fn unusual(event: &Value) -> Vec<(&'static str, Value)> {
    let changes = [
        ("/headers/x-forwarded-proto", json!("ftp://[")),
        ("/headers/x-forwarded-proto", json!("https")),
        ("/headers/host", json!("a b")),
        ("/headers/host", json!("x:99999")),
        ("/headers/host", json!("[")),
        ("/headers/host", json!("")),
        ("/headers/user-agent", json!("Zoë\u{1}")),
        ("/headers/accept-language", json!("日本語")),
        ("/headers/cookie", json!("a=\"b")),
        ("/requestContext/domainName", json!("a b")),
        ("/requestContext/stage", json!("a b?#")),
        ("/requestContext/http/path", json!("/a b\"<>\u{0}/%zz/é")),
        ("/rawPath", json!("")),
        ("/rawPath", json!(":99999")),
        ("/rawPath", json!("/a b")),
        ("/rawPath", json!("/a\"b'c`d<e>f")),
        ("/rawPath", json!("/a?b#c&d=%")),
        ("/rawPath", json!("/%zz/%")),
        ("/rawPath", json!("/\u{0}\n\r\t\u{7f}")),
        ("/rawPath", json!("/é/日本語/\u{202e}/🔑")),
        ("/rawPath", json!("//../{}|\\^")),
        ("/rawPath", json!("x".repeat(70_000))),
    ];
    changed(event, changes)
}

/// Returns copies of a request, each with a malformed body or query. Each copy is paired with the JSON pointer to the
/// malformed part. Every copy must be refused.
pub fn damaged(event: &Value) -> Vec<(&'static str, Value)> {
    let changes = [
        ("/body", json!("not base64!")),
        ("/body", json!("e30")),
        ("/body", json!("A".repeat(100_000))),
        ("/rawQueryString", json!("a=\"b\"")),
        ("/rawQueryString", json!("a=<b")),
        ("/rawQueryString", json!("a=b c")),
        ("/rawQueryString", json!("%zz=\u{0}&&=&é")),
        ("/rawQueryString", json!("x".repeat(70_000))),
    ];
    let mut events = changed(event, changes);
    for (place, event) in &mut events {
        event["isBase64Encoded"] = json!(*place == "/body");
    }
    events
}

fn changed<const N: usize>(
    event: &Value,
    changes: [(&'static str, Value); N],
) -> Vec<(&'static str, Value)> {
    let change = |(pointer, value): (&'static str, Value)| {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut event = event.clone();
        event.pointer_mut(parent).unwrap()[name] = value;
        (pointer, event)
    };
    changes.into_iter().map(change).collect()
}
