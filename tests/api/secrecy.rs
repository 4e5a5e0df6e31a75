//! The secret appears in exactly one place: the 201 of create.

use base64::{Engine, engine::general_purpose::STANDARD};
use harness::{Tenant, run, secrets, send, stack};
use serde_json::json;

/// With this every key begins.
const BEGINNING: &str = "eyJ0eXAiOiJhY2Nlc3Mta2V5K2p3dCIsImFsZyI6I";

#[test]
fn the_secret_is_in_no_log_record_list_or_error() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "editor").await;
        tenant.onboard(&key, "a").await.expect(200);
        let mut answers = vec![
            tenant.get("admin", "/v1/users/me/access-keys").await.text,
            tenant
                .get("admin", &format!("/v1/users/me/access-keys/{id}"))
                .await
                .text,
            tenant.get("admin", "/v1/access-keys").await.text,
            tenant.validate(&key).await.to_string(),
            send(tenant.call("GET", "/v1/access-keys/self").bearer_auth(&key))
                .await
                .expect(200)
                .text,
            send(tenant.call("GET", "/v1/users").bearer_auth(&key))
                .await
                .expect(401)
                .text,
            send(
                tenant
                    .call("POST", "/v1/access-keys/validate")
                    .json(&json!({ "access_key": [key] })),
            )
            .await
            .expect(400)
            .text,
            send(
                tenant
                    .call("POST", "/v1/access-keys/validate")
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
        send(
            tenant
                .call("POST", "/v1/access-keys/revoke")
                .bearer_auth(&key),
        )
        .await
        .expect(204);
        assert_eq!(tenant.verdict(&key).await, "revoked");
        let outside = answers.len();
        let mut start = json!(null);
        loop {
            let mut scan = json!({ "ConsistentRead": true });
            if !start.is_null() {
                scan["ExclusiveStartKey"] = start;
            }
            let page = tenant.dynamodb("Scan", scan).await;
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
        let secrets = secrets();
        assert!(secrets.contains(&key));
        for text in lines.iter().chain(&answers) {
            assert!(!text.contains(BEGINNING), "{text}");
            for secret in &secrets {
                // The payload of a key, which holds the random bytes; the whole of a join token.
                let part = secret.split('.').nth(1).unwrap_or(secret);
                assert!(!text.contains(&part[part.len().saturating_sub(40)..]));
            }
        }
        let item = tenant.key_item(&id).await;
        let hash = item.unwrap()["hash"]["B"].as_str().unwrap().to_owned();
        assert_eq!(STANDARD.decode(&hash).unwrap().len(), 32);
        for text in lines.iter().chain(&answers[..outside]) {
            assert!(!text.contains(&hash), "a hash is shown: {text}");
        }
    });
}
