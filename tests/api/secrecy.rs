//! The secret appears in exactly one place: the 201 of create.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    stack::stack,
    world::{SECRETS, Tenant, dynamodb, onboard, request, run, send, validate, verdict},
};

/// With this every key begins.
const BEGINNING: &str = "eyJ0eXAiOiJhY2Nlc3Mta2V5K2p3dCIsImFsZyI6I";

#[test]
fn the_secret_is_in_no_log_record_list_or_error() {
    run(async {
        let tenant = Tenant::new();
        let (id, key) = tenant.key("admin", "editor").await;
        onboard(&key, "a").await.expect(200);
        let mut answers = vec![
            tenant.get("admin", "/v1/users/me/access-keys").await.text,
            tenant
                .get("admin", &format!("/v1/users/me/access-keys/{id}"))
                .await
                .text,
            tenant.get("admin", "/v1/access-keys").await.text,
            validate(&key).await.to_string(),
            send(request("GET", "/v1/access-keys/self").bearer_auth(&key))
                .await
                .expect(200)
                .text,
            send(request("GET", "/v1/users").bearer_auth(&key))
                .await
                .expect(401)
                .text,
            send(request("POST", "/v1/access-keys/validate").json(&json!({ "access_key": [key] })))
                .await
                .expect(400)
                .text,
            send(
                request("POST", "/v1/access-keys/validate")
                    .json(&json!({ "access_key": key, "permission": key })),
            )
            .await
            .expect(400)
            .text,
            tenant
                .send(
                    "admin",
                    "POST",
                    "/v1/users/me/access-keys",
                    json!({ "name": key, "role": key }),
                )
                .await
                .expect(400)
                .text,
            tenant
                .get("admin", &format!("/v1/users/me/access-keys?cursor={key}"))
                .await
                .expect(400)
                .text,
        ];
        send(request("POST", "/v1/access-keys/revoke").bearer_auth(&key))
            .await
            .expect(204);
        assert_eq!(verdict(&key).await, "revoked");
        let outside = answers.len();
        let mut start = json!(null);
        loop {
            let mut scan = json!({ "ConsistentRead": true });
            if !start.is_null() {
                scan["ExclusiveStartKey"] = start;
            }
            let page = dynamodb("Scan", scan).await;
            answers.push(page["Items"].to_string());
            start = page["LastEvaluatedKey"].clone();
            if start.is_null() {
                break;
            }
        }
        let lines: Vec<_> = stack().logs().into_iter().map(|line| line.line).collect();
        assert!(
            lines.iter().any(
                |line| line.contains("\"http.route\":\"POST /v1/users/{user_id}/access-keys\"")
            )
        );
        let secrets = SECRETS.lock().unwrap().clone();
        assert!(secrets.contains(&key));
        for text in lines.iter().chain(&answers) {
            assert!(!text.contains(BEGINNING), "{text}");
            for secret in &secrets {
                // The payload of a key, which holds the random bytes; the whole of a join token.
                let part = secret.split('.').nth(1).unwrap_or(secret);
                assert!(!text.contains(&part[part.len().saturating_sub(40)..]));
            }
        }
        let item = tenant
            .items("admin")
            .await
            .into_iter()
            .find(|item| item["sk"]["S"] == format!("KEY#{id}").as_str());
        let hash = item.unwrap()["hash"]["B"].as_str().unwrap().to_owned();
        assert_eq!(STANDARD.decode(&hash).unwrap().len(), 32);
        for text in lines.iter().chain(&answers[..outside]) {
            assert!(!text.contains(&hash), "a hash is shown: {text}");
        }
    });
}

#[test]
fn a_stream_record_that_cannot_be_read_leaves_nothing_of_itself_in_the_log() {
    const HASH: &str = "c3RyZWFtIHJlY29yZCB3aXRoIGEgaGFzaCBpbiBpdCE=";
    run(async {
        let record = json!({
            "eventName": "REMOVE",
            "dynamodb": { "Keys": HASH, "OldImage": { "hash": HASH }, "SequenceNumber": "7" },
        });
        let batch = json!({ "Records": [record] });
        let answer = stack().invoke("cleanup", batch).await.unwrap();
        let failures = json!([{ "itemIdentifier": "7" }]);
        assert_eq!(answer["batchItemFailures"], failures);
        // The stack collects the output of a function while the test goes on.
        let mut logs = stack().logs();
        let is_reported = |line: &str| line.contains("could not process the stream record");
        for _ in 0..500 {
            if logs.iter().any(|line| is_reported(&line.line)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            logs = stack().logs();
        }
        assert!(logs.iter().any(|line| is_reported(&line.line)));
        assert!(logs.iter().all(|line| !line.line.contains(HASH)));
    });
}
