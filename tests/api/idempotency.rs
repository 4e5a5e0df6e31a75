//! Creating a key with an `Idempotency-Key`: a retry never creates a second key.

use harness::{KEYS, Tenant, all_at_once, run, send};
use serde_json::{Value, json};

fn create(tenant: &Tenant, idempotency_key: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = tenant.creation("admin", body);
    request.header("idempotency-key", idempotency_key)
}

#[test]
fn a_retry_returns_the_same_key_with_a_new_secret() {
    run(async {
        let tenant = Tenant::fresh();
        let body = json!({ "name": "ci", "role": "viewer" });
        let first = send(create(&tenant, "one", &body)).await.expect(201);
        let second = send(create(&tenant, "one", &body)).await.expect(201);
        for field in ["id", "expires_at"] {
            assert_eq!(first[field], second[field], "{field}");
        }
        let (old, new) = (first.string("access_key"), second.string("access_key"));
        assert_eq!(tenant.verdict(old).await, "invalid");
        assert_eq!(tenant.verdict(new).await, "active");
        assert_eq!(tenant.all("admin", KEYS).await.len(), 1);

        let other = json!({ "name": "other", "role": "viewer" });
        let reused = send(create(&tenant, "one", &other)).await;
        reused.expect_problem(409, "idempotency_key_reused");
        let third = send(create(&tenant, "two", &body)).await.expect(201);
        assert_ne!(first["id"], third["id"]);

        tenant.revoke_by_id(second.string("id")).await;
        let late = send(create(&tenant, "one", &body)).await;
        late.expect_problem(409, "key_gone");
        for bad in ["", "a b", &"x".repeat(256)] {
            let refused = send(create(&tenant, bad, &body)).await;
            refused.expect_problem(400, "invalid_request");
        }
    });
}

#[test]
fn twenty_concurrent_retries_leave_one_key_with_one_valid_secret() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let body = json!({ "name": "ci", "role": "viewer" });
        let answers = all_at_once((0..20).map(|_| create(&tenant, "race", &body))).await;
        let records = tenant.all("admin", KEYS).await;
        assert_eq!(records.len(), 1);
        let mut valid = 0;
        for answer in answers {
            let answer = answer.expect(201);
            assert_eq!(answer["id"], records[0]["id"]);
            let verdict = tenant.verdict(answer.string("access_key")).await;
            valid += usize::from(verdict == "active");
        }
        assert_eq!(valid, 1);
    });
}
