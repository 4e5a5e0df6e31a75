//! Expiry is to the second, whenever TTL gets to it; what TTL removes stays in the history without its hash.

use std::time::Duration;

use harness::{Tenant, code, now, run, send};
use serde_json::json;

#[test]
fn a_key_expires_to_the_second_though_its_record_is_still_there() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key, end) = tenant.short_lived(4).await;
        assert_eq!(tenant.validate(&key).await["exp"], end);
        loop {
            let before = now();
            let verdict = tenant.verdict(&key).await;
            let after = now();
            assert!(
                !(verdict == "active" && before >= end),
                "good after its time"
            );
            assert!(
                !(verdict == "expired" && after < end),
                "expired before its time"
            );
            if verdict == "expired" {
                break;
            }
        }
        // A record that says less than was signed counts too.
        let (other, key) = tenant.key("admin", "viewer").await;
        tenant
            .edit(
                "admin",
                &format!("KEY#{other}"),
                "SET expires_at = :now",
                json!({ ":now": { "N": now().to_string() } }),
            )
            .await;
        assert_eq!(tenant.verdict(&key).await, "expired");
        let record = tenant
            .get("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(200)
            .body;
        assert_eq!(record["status"], "expired");
    });
}

#[test]
fn a_remembered_key_expires_to_the_second_too() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, signed, end) = tenant.short_lived(6).await;
        let (id, shortened) = tenant.key("admin", "viewer").await;
        let values = json!({ ":end": { "N": end.to_string() } });
        tenant
            .edit(
                "admin",
                &format!("KEY#{id}"),
                "SET expires_at = :end",
                values,
            )
            .await;
        for key in [&signed, &shortened] {
            assert_eq!(
                tenant
                    .remembered(|| tenant.cached_validation(key, 60))
                    .await
                    .expect(200)
                    .body["exp"],
                end
            );
        }
        for key in [&signed, &shortened] {
            loop {
                let before = now();
                let answer = send(tenant.cached_validation(key, 60))
                    .await
                    .expect(200)
                    .body;
                let after = now();
                assert!(
                    !(code(&answer) == "active" && before >= end),
                    "good after its time"
                );
                assert!(
                    !(code(&answer) == "expired" && after < end),
                    "expired before its time"
                );
                if code(&answer) == "expired" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
}
