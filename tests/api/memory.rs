//! What `validate` remembers for those who accept it costs nothing, and is judged like what was just read.

use serde_json::json;

use crate::world::{Tenant, code, now, recall, request, run, send, verdict};

const VALIDATE: &str = "/v1/access-keys/validate";

/// A key whose `last_used_at` is written: what it costs from here on is reading.
async fn used_key(tenant: &Tenant, role: &str) -> String {
    let (id, key) = tenant.key("admin", role).await;
    while tenant.record(&id).await["last_used_at"].is_null() {
        assert_eq!(verdict(&key).await, "active");
    }
    key
}

#[test]
fn what_is_remembered_costs_no_request_and_says_the_same() {
    run(async {
        let tenant = Tenant::new();
        let key = used_key(&tenant, "viewer").await;
        let began = now();
        let fresh = send(recall(&key, 0)).await.expect(200).body;
        let mut remembered = tenant
            .remembered(|| recall(&key, 60))
            .await
            .expect(200)
            .body;
        assert!((began..=now()).contains(&remembered["checked_at"].as_i64().unwrap()));
        remembered["checked_at"] = fresh["checked_at"].clone();
        assert_eq!(remembered, fresh);
    });
}

#[test]
fn who_does_not_accept_what_is_remembered_is_answered_by_a_reading() {
    run(async {
        let tenant = Tenant::new();
        let key = used_key(&tenant, "viewer").await;
        tenant.remembered(|| recall(&key, 60)).await.expect(200);
        let ways = || {
            [
                request("POST", VALIDATE).json(&json!({ "access_key": key })),
                request("POST", VALIDATE)
                    .json(&json!({ "access_key": key, "max_staleness": null })),
                request("POST", VALIDATE).form(&[("token", &key)]),
                request("POST", VALIDATE).bearer_auth(&key),
                recall(&key, 0),
            ]
        };
        for way in ways().into_iter().chain(ways()) {
            let (before, asked_at) = (tenant.store_requests(), now());
            let answer = send(way).await.expect(200).body;
            assert_eq!(tenant.store_requests(), before + 1);
            assert!((asked_at..=now()).contains(&answer["checked_at"].as_i64().unwrap()));
        }
    });
}

#[test]
fn permission_and_tenant_are_judged_on_what_is_remembered() {
    run(async {
        let tenant = Tenant::new();
        let key = used_key(&tenant, "cluster_onboarding").await;
        let asking = |permission: &str| {
            let body = json!({ "access_key": key, "max_staleness": 60, "permission": permission });
            request("POST", VALIDATE).json(&body)
        };
        for _ in 0..2 {
            for (permission, verdict) in [
                ("clusters:onboard", "active"),
                ("clusters:read", "forbidden"),
            ] {
                let answer = tenant
                    .remembered(|| asking(permission))
                    .await
                    .expect(200)
                    .body;
                assert_eq!(code(&answer), verdict, "{permission}");
                assert!(answer["checked_at"].is_i64());
            }
            for (named, verdict) in [(tenant.id.as_str(), "active"), ("other", "forbidden")] {
                let ask = || recall(&key, 60).header("x-tenant-id", named);
                assert_eq!(
                    code(&tenant.remembered(ask).await.expect(200).body),
                    verdict,
                    "{named}"
                );
            }
        }
    });
}

#[test]
fn what_only_a_signature_can_say_is_not_remembered() {
    run(async {
        let tenant = Tenant::new();
        let key = used_key(&tenant, "viewer").await;
        tenant.remembered(|| recall(&key, 60)).await.expect(200);
        let forged = format!("{}AAAA", &key[..key.len() - 4]);
        for text in [&forged, "nonsense"] {
            let (before, asked_at) = (tenant.store_requests(), now());
            let answer = send(recall(text, 60)).await.expect(200).body;
            assert_eq!(code(&answer), "invalid");
            assert!((asked_at..=now()).contains(&answer["checked_at"].as_i64().unwrap()));
            assert_eq!(tenant.store_requests(), before);
        }
    });
}
