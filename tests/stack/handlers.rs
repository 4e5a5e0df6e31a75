//! Invokes each handler as Lambda does, with an event from `tests/events/`.

use harness::{events::sample, run, stack};
use serde_json::{Value, json};

async fn invoke(function: &str) -> Value {
    stack().invoke(function, sample(function)).await.unwrap()
}

/// Invokes a function. Asserts the status and returns the body.
async fn body(function: &str, status: u16) -> Value {
    let answer = invoke(function).await;
    assert_eq!(answer["statusCode"], status, "{function}: {answer}");
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

#[test]
fn every_handler_accepts_its_event() {
    run(async {
        let created = body("create", 201).await;
        assert_eq!(created["tenant_id"], "fixtures");
        assert_eq!(body("list", 200).await["items"][0]["id"], created["id"]);
        assert_eq!(body("rotate", 404).await["code"], "not_found");
        assert_eq!(invoke("revoke").await["statusCode"], 204);
        let listed = body("list", 200).await;
        assert_eq!(listed["items"][0]["status"], "revoked");
        assert_eq!(body("users", 200).await["role"], "viewer");
        assert_eq!(body("validate", 200).await["code"], "invalid");
        for function in ["onboard", "clusters"] {
            assert_eq!(body(function, 401).await["error_code"], "invalid_key");
        }
        assert_eq!(body("jwks", 200).await["keys"][0]["kty"], "EC");
        assert_eq!(invoke("authorize").await, json!({ "isAuthorized": false }));
        for function in ["cleanup", "publish"] {
            assert_eq!(invoke(function).await, json!({ "batchItemFailures": [] }));
        }
        assert_eq!(invoke("notify").await["failed"], 0);
    });
}

#[test]
fn an_event_without_a_caller_is_refused() {
    run(async {
        for function in ["create", "list", "revoke", "rotate", "users"] {
            let mut event = sample(function);
            let context = event["requestContext"].as_object_mut().unwrap();
            context.remove("authorizer");
            let answer = stack().invoke(function, event).await.unwrap();
            assert_eq!(answer["statusCode"], 401, "{function}");
        }
    });
}

#[test]
fn the_cleanup_fails_on_an_event_that_is_not_from_a_stream() {
    run(async {
        let answer = stack().invoke("cleanup", json!({})).await;
        assert!(format!("{answer:?}").contains("NotAStreamEvent"));
    });
}
