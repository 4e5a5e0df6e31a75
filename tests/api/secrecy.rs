//! A key's secret appears only in the response to the call that creates or rotates the key.

use base64::{Engine, engine::general_purpose::STANDARD};
use harness::{Answer, KEYS, Tenant, VALIDATE, run, secrets, send, stack};
use serde_json::{Value, json};

/// The beginning of every key.
const BEGINNING: &str = "eyJ0eXAiOiJhY2Nlc3Mta2V5K2p3dCIsImFsZyI6I";

/// Makes calls that return the key's record, and calls that send the key itself, in some cases in the wrong place.
/// Returns the responses.
async fn responses(tenant: &Tenant<'_>, id: &str, key: &str) -> Vec<String> {
    let validate = |body: Value| send(tenant.call("POST", VALIDATE).json(&body));
    let with_cursor = format!("{KEYS}?cursor={key}");
    let as_fields = json!({ "name": key, "role": key });
    let in_list = json!({ "access_key": [key] });
    let as_permission = json!({ "access_key": key, "permission": key });
    let as_token = tenant.call("GET", "/v1/users").bearer_auth(key);
    let answers: [Answer; 10] = [
        tenant.get("admin", KEYS).await.expect(200),
        tenant
            .get("admin", &format!("{KEYS}/{id}"))
            .await
            .expect(200),
        tenant.get("admin", "/v1/access-keys").await.expect(200),
        send(tenant.validation(key)).await.expect(200),
        send(tenant.own_record(key)).await.expect(200),
        send(as_token).await.expect(401),
        validate(in_list).await.expect(400),
        validate(as_permission).await.expect(400),
        send(tenant.creation("admin", &as_fields)).await.expect(400),
        tenant.get("admin", &with_cursor).await.expect(400),
    ];
    answers.map(|answer| answer.text).into()
}

/// Returns all items of the table as JSON, one string per page.
async fn table(tenant: &Tenant<'_>) -> Vec<String> {
    let (mut pages, mut scan) = (Vec::new(), json!({ "ConsistentRead": true }));
    loop {
        let page = tenant.dynamodb("Scan", scan.clone()).await;
        pages.push(page["Items"].to_string());
        if page["LastEvaluatedKey"].is_null() {
            return pages;
        }
        scan["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
    }
}

#[test]
fn only_the_response_to_a_creation_contains_the_secret() {
    const ROUTE: &str = "\"http.route\":\"POST /v1/users/{user_id}/access-keys\"";
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "editor").await;
        tenant.onboard(&key, "a").await.expect(200);
        let responses = responses(&tenant, &id, &key).await;
        tenant.revoke(&key).await;
        assert_eq!(tenant.verdict(&key).await, "revoked");
        let table = table(&tenant).await;
        let lines: Vec<_> = stack().logs().into_iter().map(|line| line.line).collect();
        assert!(lines.iter().any(|line| line.contains(ROUTE)));
        let secrets = secrets();
        assert!(secrets.contains(&key));
        for text in lines.iter().chain(&responses).chain(&table) {
            assert!(!text.contains(BEGINNING), "{text}");
            for secret in &secrets {
                // For a key, looks for the end of the payload, which contains the random bytes. For a join token, looks
                // for the whole token.
                let part = secret.split('.').nth(1).unwrap_or(secret);
                assert!(!text.contains(&part[part.len().saturating_sub(40)..]));
            }
        }
        let item = tenant.key_item(&id).await.unwrap();
        let hash = item["hash"]["B"].as_str().unwrap();
        assert_eq!(STANDARD.decode(hash).unwrap().len(), 32);
        for text in lines.iter().chain(&responses) {
            assert!(!text.contains(hash), "contains a hash: {text}");
        }
    });
}
