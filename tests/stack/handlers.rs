//! Each handler, invoked as Lambda does it, with an event from `tests/events/`.

use std::path::Path;

use harness::{run, stack};
use serde_json::{Value, json};

async fn invoke(function: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("events/{function}.json"));
    let event = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    stack().invoke(function, event).await.unwrap()
}

fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

#[test]
fn every_handler_answers_its_event() {
    run(async {
        let created = invoke("create").await;
        assert_eq!(
            (&created["statusCode"], &body(&created)["tenant_id"]),
            (&json!(201), &json!("fixtures"))
        );
        let listed = invoke("list").await;
        assert_eq!(
            (&listed["statusCode"], &body(&listed)["items"][0]["id"]),
            (&json!(200), &body(&created)["id"])
        );
        let revoked = invoke("revoke").await;
        assert_eq!(revoked["statusCode"], 204);
        assert_eq!(body(&invoke("list").await)["items"][0]["status"], "revoked");
        let user = invoke("users").await;
        assert_eq!(
            (&user["statusCode"], &body(&user)["role"]),
            (&json!(200), &json!("viewer"))
        );
        let validated = invoke("validate").await;
        assert_eq!(
            (&validated["statusCode"], &body(&validated)["code"]),
            (&json!(200), &json!("invalid"))
        );
        for function in ["onboard", "clusters"] {
            let refused = invoke(function).await;
            assert_eq!(
                (&refused["statusCode"], &body(&refused)["error_code"]),
                (&json!(401), &json!("invalid_key"))
            );
        }
        assert_eq!(body(&invoke("jwks").await)["keys"][0]["kty"], "EC");
        assert_eq!(invoke("authorize").await, json!({ "isAuthorized": false }));
        assert_eq!(invoke("cleanup").await, json!({ "batchItemFailures": [] }));
    });
}

#[test]
fn an_event_without_a_caller_is_nobodys() {
    run(async {
        for function in ["create", "list", "revoke", "users"] {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("events/{function}.json"));
            let mut event: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            event["requestContext"]
                .as_object_mut()
                .unwrap()
                .remove("authorizer");
            let answer = stack().invoke(function, event).await.unwrap();
            assert_eq!(answer["statusCode"], 401, "{function}");
        }
        let answer = stack().invoke("cleanup", json!({})).await;
        assert!(format!("{answer:?}").contains("NotAStreamEvent"));
    });
}
