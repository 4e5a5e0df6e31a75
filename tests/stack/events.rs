//! Events that API Gateway would not send, or that contain what only a hostile client sends.

use harness::{Tenant, run, stack};
use serde_json::{Value, json};

use crate::handlers;

/// Every function and an event that it accepts, if there is one.
fn functions() -> Vec<(String, Option<Value>)> {
    let with_event = |name: &str| (name.to_owned(), handlers::find_event(name));
    stack().function_names().map(with_event).collect()
}

/// Copies of `event` in each of which another value, or the whole event, is replaced.
fn replaced(event: &Value, replacement: &Value) -> Vec<Value> {
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

/// Events of other services and payload formats, with a secret wherever a client can put one.
fn foreign(secret: &str) -> Vec<Value> {
    let headers = json!({ "authorization": secret, "host": secret, "x-tenant-id": secret });
    let body = json!({ "access_key": secret }).to_string();
    vec![
        json!(secret),
        json!([secret]),
        json!({ secret: secret }),
        // An authorizer with payload format 1.0.
        json!({
            "version": "1.0", "type": "REQUEST", "methodArn": secret, "identitySource": secret,
            "authorizationToken": secret, "resource": "/x", "path": "/x", "httpMethod": "GET",
            "headers": headers, "queryStringParameters": { "key": secret },
            "requestContext": { "path": "/x", "accountId": "0", "httpMethod": "GET" },
        }),
        json!({ "type": "TOKEN", "methodArn": "arn", "authorizationToken": secret }),
        // A REST API.
        json!({
            "resource": "/x", "path": secret, "httpMethod": "POST", "headers": headers,
            "multiValueHeaders": { "authorization": [secret] }, "body": body,
            "requestContext": { "stage": "s", "httpMethod": "POST", "requestId": "r" },
        }),
        // An Application Load Balancer.
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

/// Puts a secret where clients put theirs.
fn with_secret(mut event: Value, secret: &str) -> Value {
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

#[test]
fn no_error_repeats_a_part_of_an_event() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let secret = &key[key.len() - 60..];
        let mut answers = Vec::new();
        for (function, event) in functions() {
            let mut events = foreign(&key);
            if let Some(event) = event {
                let event = with_secret(event, &key);
                for replacement in [json!(7), json!(["x"]), json!({ "x": "y" }), json!(null)] {
                    events.extend(replaced(&event, &replacement));
                }
                events.push(event);
            }
            for event in events {
                let answer = stack().invoke(&function, event).await;
                answers.push(format!("{function}: {answer:?}"));
            }
        }
        for answer in answers {
            assert!(!answer.contains(secret), "{answer}");
        }
        for line in stack().logs() {
            assert!(!line.line.contains(secret), "{}", line.line);
        }
    });
}

/// What clients can send, and a proxy in front of the API can add.
fn unusual() -> Vec<(&'static str, Value)> {
    let long = "x".repeat(70_000);
    vec![
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
        ("/rawPath", json!("")),
        ("/rawPath", json!(":99999")),
        ("/rawPath", json!("/a b\"<>\u{0}/%zz/é")),
        ("/rawPath", json!(long)),
    ]
}

fn set(event: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap()[name] = value;
}

#[test]
fn an_unusual_request_is_answered_like_any_other() {
    run(async {
        let status = async |function: &str, event: Value| {
            let answer = stack().invoke(function, event).await.unwrap();
            answer["statusCode"].as_u64().unwrap_or_default()
        };
        for function in ["validate", "list", "users", "clusters", "jwks", "console"] {
            let event = handlers::event(function);
            let usual = status(function, event.clone()).await;
            for (pointer, value) in unusual() {
                let mut unusual = event.clone();
                set(&mut unusual, pointer, value);
                let answered = status(function, unusual).await;
                assert_eq!(answered, usual, "{function}: {pointer}");
            }
        }
    });
}

#[test]
fn a_damaged_body_or_query_is_the_fault_of_the_client() {
    run(async {
        let processes = stack().process_ids("validate");
        for (pointer, value) in [
            ("/body", json!("not base64!")),
            ("/body", json!("e30")),
            ("/body", json!("A".repeat(100_000))),
            ("/rawQueryString", json!("a=\"b\"")),
            ("/rawQueryString", json!("a=<b c")),
            ("/rawQueryString", json!("%zz=\u{0}&&=&é")),
            ("/rawQueryString", json!("x".repeat(70_000))),
        ] {
            let mut event = handlers::event("validate");
            event["isBase64Encoded"] = json!(pointer == "/body");
            set(&mut event, pointer, value);
            let answer = stack().invoke("validate", event).await.unwrap();
            let status = answer["statusCode"].as_u64().unwrap();
            assert!((400..500).contains(&status), "{pointer}: {answer}");
        }
        let after = stack().process_ids("validate");
        assert!(processes.iter().all(|process| after.contains(process)));
    });
}
