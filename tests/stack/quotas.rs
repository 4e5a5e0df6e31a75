//! How many live keys a user may have.

use harness::{KEYS, Stack, Tenant, UNKNOWN_KEY, all_at_once, now, run, send};
use serde_json::{Value, json};

use crate::own_stack;

async fn with_quota(quota: &str) -> Stack {
    own_stack(&[("MaxKeysPerUser", quota)]).await
}

async fn create(tenant: &Tenant<'_>, user: &str) -> Option<String> {
    let answer = send(tenant.creation(user, &json!({ "name": "k", "role": "viewer" }))).await;
    if answer.status == 201 {
        return Some(answer.string("id").to_owned());
    }
    answer.expect_problem(409, "key_quota_reached");
    None
}

#[test]
fn only_live_keys_count_against_the_quota_of_their_owner() {
    run(async {
        let stack = with_quota("3").await;
        let tenant = Tenant::acme(&stack);
        tenant.user("viewer", "viewer").await;
        let mut last = String::new();
        for _ in 0..3 {
            last = create(&tenant, "admin").await.unwrap();
        }
        assert_eq!(create(&tenant, "admin").await, None);
        let of_others = "/v1/users/admin/access-keys";
        for (caller, path, status) in [
            ("admin", of_others, 409),
            ("admin", "/v1/users/viewer/access-keys", 201),
            ("viewer", KEYS, 201),
        ] {
            let body = json!({ "name": "k", "role": "viewer" });
            let answer = tenant.send(caller, "POST", path, body).await;
            assert_eq!(answer.status, status, "{caller} {path}: {}", answer.text);
        }
        // Each way in which a key ends makes room for one more.
        tenant.revoke_by_id(&last).await;
        assert!(create(&tenant, "admin").await.is_some());
        assert_eq!(create(&tenant, "admin").await, None);
        tenant.delete("admin", KEYS).await.expect(204);
        for _ in 0..3 {
            assert!(create(&tenant, "admin").await.is_some());
        }
        assert_eq!(create(&tenant, "admin").await, None);
    });
}

#[test]
fn an_expired_key_does_not_count() {
    run(async {
        let stack = with_quota("1").await;
        let tenant = Tenant::acme(&stack);
        let (id, _) = tenant.key("admin", "viewer").await;
        assert_eq!(create(&tenant, "admin").await, None);
        let past = json!({ ":past": { "N": (now() - 1).to_string() } });
        let update = "SET expires_at = :past";
        tenant.edit_key("admin", &id, update, past).await;
        assert!(create(&tenant, "admin").await.is_some());
    });
}

#[test]
fn concurrent_requests_do_not_exceed_the_quota() {
    run(async {
        let stack = with_quota("5").await;
        let tenant = Tenant::acme(&stack);
        let body = json!({ "name": "k", "role": "viewer" });
        let answers = all_at_once((0..20).map(|_| tenant.creation("admin", &body))).await;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(created, 5);
        for refused in answers.into_iter().filter(|answer| answer.status != 201) {
            refused.expect_problem(409, "key_quota_reached");
        }
        assert_eq!(tenant.all("admin", KEYS).await.len(), 5);
    });
}

#[test]
fn concurrent_requests_do_not_exceed_a_quota_whose_keys_have_all_ended() {
    run(async {
        let stack = with_quota("2").await;
        let tenant = Tenant::acme(&stack);
        for _ in 0..2 {
            assert!(create(&tenant, "admin").await.is_some());
        }
        tenant.delete("admin", KEYS).await.expect(204);
        let body = json!({ "name": "k", "role": "viewer" });
        let answers = all_at_once((0..20).map(|_| tenant.creation("admin", &body))).await;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(created, 2);
    });
}

#[test]
fn a_retry_does_not_count_against_the_quota() {
    run(async {
        let stack = with_quota("1").await;
        let tenant = Tenant::acme(&stack);
        let body = json!({ "name": "k", "role": "viewer" });
        let attempt = || {
            tenant
                .creation("admin", &body)
                .header("idempotency-key", "once")
        };
        let first = send(attempt()).await.expect(201);
        assert_eq!(create(&tenant, "admin").await, None);
        let second = send(attempt()).await.expect(201);
        assert_eq!(first["id"], second["id"]);
    });
}

#[test]
fn a_damaged_quota_is_replaced() {
    run(async {
        let stack = with_quota("2").await;
        let tenant = Tenant::acme(&stack);
        assert!(create(&tenant, "admin").await.is_some());
        let pk = tenant.pk("admin");
        for damaged in [
            json!({ "N": "1" }),
            json!({ "SS": ["x"] }),
            json!({ "M": {} }),
            json!({ "L": [] }),
            json!({ "L": [{ "S": UNKNOWN_KEY }] }),
        ] {
            let damage = json!({ ":damaged": damaged });
            tenant
                .edit_item(&pk, "QUOTA", "SET live = :damaged", damage)
                .await;
            assert!(create(&tenant, "admin").await.is_some(), "{damaged}");
        }
        tenant
            .edit_item(&pk, "QUOTA", "REMOVE live", Value::Null)
            .await;
        assert!(create(&tenant, "admin").await.is_some());
        assert!(create(&tenant, "admin").await.is_some());
        assert_eq!(create(&tenant, "admin").await, None);
    });
}
