//! A key expires exactly on time, even if TTL has not yet deleted its record.

use std::time::Duration;

use harness::{KEYS, Tenant, code, now, rfc3339, run, send, until};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::own_stack;

/// Repeats the validation until the key expires, and asserts that it expires exactly at `end`.
async fn expect_expiry(end: i64, validation: impl Fn() -> RequestBuilder) {
    loop {
        let before = now();
        let answer = send(validation()).await.expect(200);
        let (after, verdict) = (now(), code(&answer.body));
        assert!(
            !(verdict == "active" && before >= end),
            "active after its expiry"
        );
        assert!(
            !(verdict == "expired" && after < end),
            "expired before its expiry"
        );
        if verdict == "expired" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn expires_at(second: i64) -> Value {
    json!({ ":end": { "N": second.to_string() } })
}

#[test]
fn a_key_expires_exactly_on_time_even_if_its_record_still_exists() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key, end) = tenant.short_lived("viewer", 4).await;
        assert_eq!(tenant.validate(&key).await["exp"], end);
        expect_expiry(end, || tenant.validation(&key)).await;
        assert_eq!(tenant.record(&id).await["status"], "expired");

        // An earlier expiry in the record takes effect too.
        let (id, key) = tenant.key("admin", "viewer").await;
        let update = "SET expires_at = :end";
        tenant
            .edit_key("admin", &id, update, expires_at(now()))
            .await;
        assert_eq!(tenant.verdict(&key).await, "expired");
    });
}

#[test]
fn an_expired_key_stays_expired_after_a_later_revocation() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _, end) = tenant.short_lived("viewer", 2).await;
        until(end).await;
        let expect_expired = async || {
            let record = tenant.record(&id).await;
            let shown = ["status", "revoked_at", "revoked_by"].map(|field| &record[field]);
            assert_eq!(json!(shown), json!(["expired", null, null]));
        };
        // Revokes the key and then all keys, both before and after TTL has deleted the key.
        for is_archived in [false, true] {
            if is_archived {
                tenant.archived(&id).await;
            }
            tenant.revoke_by_id(&id).await;
            expect_expired().await;
            tenant.delete("admin", KEYS).await.expect(204);
            expect_expired().await;
        }
    });
}

#[test]
fn a_cached_key_expires_exactly_on_time() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, signed, end) = tenant.short_lived("viewer", 6).await;
        let (id, shortened) = tenant.key("admin", "viewer").await;
        let update = "SET expires_at = :end";
        tenant.edit_key("admin", &id, update, expires_at(end)).await;
        for key in [&signed, &shortened] {
            let answer = tenant.cached(|| tenant.cached_validation(key, 60)).await;
            assert_eq!(answer["exp"], end);
        }
        for key in [&signed, &shortened] {
            expect_expiry(end, || tenant.cached_validation(key, 60)).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maximum_lifetime_below_a_day_applies_to_both_expiry_fields() {
    let hour = [
        ("MinExpirySeconds", "600"),
        ("MaxExpirySeconds", "3600"),
        ("DefaultExpirySeconds", "3600"),
    ];
    let stack = own_stack(&hour).await;
    let tenant = Tenant::acme(&stack);
    let create = |name: &str, value: Value| {
        let mut body = json!({ "name": "k", "role": "viewer" });
        body[name] = value;
        send(tenant.creation("admin", &body))
    };
    let days = create("expires_in_days", json!(1)).await;
    let days = days.expect_fields(&["expires_in_days"]);
    assert!(days.string("detail").ends_with(": use expires_at"));
    let early = create("expires_at", json!(rfc3339(now() + 500))).await;
    early.expect_fields(&["expires_at"]);
    let late = create("expires_at", json!(rfc3339(now() + 3700))).await;
    late.expect_fields(&["expires_at"]);
    create("expires_at", json!(rfc3339(now() + 3500)))
        .await
        .expect(201);
    create("role", json!("viewer")).await.expect(201);
    stack.stop().await;
}
