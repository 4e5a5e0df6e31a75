//! Creating a key with an `Idempotency-Key`: a retry never creates a second key and never replaces a key that has been
//! used.

use harness::{KEYS, Tenant, all_at_once, now, run, send};
use serde_json::{Value, json};

fn create(tenant: &Tenant, idempotency_key: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = tenant.creation("admin", body);
    request.header("idempotency-key", idempotency_key)
}

fn body() -> Value {
    json!({ "name": "ci", "role": "viewer" })
}

#[test]
fn a_retry_returns_the_same_key_with_a_new_secret() {
    run(async {
        let tenant = Tenant::fresh();
        let first = send(create(&tenant, "one", &body())).await.expect(201);
        let second = send(create(&tenant, "one", &body())).await.expect(201);
        for field in ["id", "created_at", "expires_at"] {
            assert_eq!(first[field], second[field], "{field}");
        }
        let (old, new) = (first.string("access_key"), second.string("access_key"));
        assert_eq!(tenant.verdict(old).await, "invalid");
        assert_eq!(tenant.verdict(new).await, "active");
        assert_eq!(tenant.all("admin", KEYS).await.len(), 1);

        let other = json!({ "name": "other", "role": "viewer" });
        let reused = send(create(&tenant, "one", &other)).await;
        reused.expect_problem(409, "idempotency_key_reused");
        let third = send(create(&tenant, "two", &body())).await.expect(201);
        assert_ne!(first["id"], third["id"]);
    });
}

#[test]
fn a_key_that_has_been_used_or_revoked_is_not_issued_again() {
    run(async {
        let tenant = Tenant::fresh();
        let used = send(create(&tenant, "used", &body())).await.expect(201);
        let revoked = send(create(&tenant, "revoked", &body())).await.expect(201);
        let key = used.string("access_key");
        assert_eq!(tenant.verdict(key).await, "active");
        tenant.revoke_by_id(revoked.string("id")).await;
        for (name, created) in [("used", &used), ("revoked", &revoked)] {
            let late = send(create(&tenant, name, &body())).await;
            let late = late.expect_problem(409, "idempotency_key_completed");
            assert_eq!(late["key_id"], created["id"], "{name}");
        }
        assert_eq!(tenant.verdict(key).await, "active");
    });
}

#[test]
fn twenty_concurrent_requests_leave_one_key_with_one_valid_secret() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let answers = all_at_once((0..20).map(|_| create(&tenant, "race", &body()))).await;
        let records = tenant.all("admin", KEYS).await;
        assert_eq!(records.len(), 1);
        let mut valid = 0;
        for answer in answers {
            if answer.status == 409 {
                let code = answer.string("code");
                let codes = ["idempotency_in_progress", "idempotency_key_completed"];
                assert!(codes.contains(&code), "{code}");
                continue;
            }
            let answer = answer.expect(201);
            assert_eq!(answer["id"], records[0]["id"]);
            let verdict = tenant.verdict(answer.string("access_key")).await;
            valid += usize::from(verdict == "active");
        }
        assert_eq!(valid, 1);
    });
}

#[test]
fn an_idempotency_key_can_be_used_for_a_new_request_after_24_hours() {
    run(async {
        let tenant = Tenant::fresh();
        let first = send(create(&tenant, "nightly", &body())).await.expect(201);
        let items = tenant.items("admin").await.into_iter();
        let mut items = items.filter_map(|item| Some(item["sk"]["S"].as_str()?.to_owned()));
        let sk = items.find(|sk| sk.starts_with("IDEM#")).unwrap();
        for (age, is_same) in [(86_390, true), (86_400, false)] {
            let past = json!({ ":past": { "N": (now() - age).to_string() } });
            let update = "SET created_at = :past";
            tenant
                .edit_item(&tenant.pk("admin"), &sk, update, past)
                .await;
            let again = send(create(&tenant, "nightly", &body())).await.expect(201);
            assert_eq!(again["id"] == first["id"], is_same, "{age}");
        }
        assert_eq!(tenant.all("admin", KEYS).await.len(), 2);
    });
}

#[test]
fn the_idempotency_key_header_must_have_one_value_which_may_be_quoted() {
    run(async {
        let tenant = Tenant::fresh();
        let plain = send(create(&tenant, "q", &body())).await.expect(201);
        let quoted = send(create(&tenant, "\"q\"", &body())).await.expect(201);
        assert_eq!(plain["id"], quoted["id"]);
        for bad in ["", "\"\"", "a b", "a,b", "a\"b", &"x".repeat(256)] {
            let refused = send(create(&tenant, bad, &body())).await;
            refused.expect_fields(&["Idempotency-Key"]);
        }
        let twice = create(&tenant, "a", &body()).header("idempotency-key", "b");
        send(twice).await.expect_fields(&["Idempotency-Key"]);
    });
}
