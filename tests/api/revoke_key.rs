//! What is revoked is dead now.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use harness::{Tenant, code, now, run, send};
use serde_json::json;
use tokio::task::JoinSet;

#[test]
fn no_validation_that_begins_after_a_revocation_succeeds() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let (revoked, successes) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let mut validators = JoinSet::new();
        for _ in 0..50 {
            let (tenant, key) = (tenant.clone(), key.clone());
            let (revoked, successes) = (revoked.clone(), successes.clone());
            validators.spawn(async move {
                let mut after = 0;
                while after < 3 {
                    let began_after = revoked.load(Ordering::SeqCst);
                    let active = tenant.validate(&key).await["active"] == true;
                    assert!(!(active && began_after), "a revoked key was good");
                    successes.fetch_add(usize::from(active), Ordering::SeqCst);
                    after += usize::from(began_after);
                }
            });
        }
        while successes.load(Ordering::SeqCst) < 50 {
            tokio::task::yield_now().await;
        }
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        revoked.store(true, Ordering::SeqCst);
        while let Some(validator) = validators.join_next().await {
            validator.unwrap();
        }
    });
}

#[test]
fn a_revocation_is_seen_no_later_than_a_caller_accepts() {
    const ACCEPTED: i64 = 2;
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let ask = async || {
            let asked_at = now();
            let answer = send(tenant.cached_validation(&key, ACCEPTED))
                .await
                .expect(200)
                .body;
            let checked_at = answer["checked_at"].as_i64().unwrap();
            assert!(
                (asked_at - ACCEPTED..=now()).contains(&checked_at),
                "{answer} {asked_at}"
            );
            (code(&answer).to_owned(), checked_at)
        };
        for _ in 0..10 {
            assert_eq!(ask().await.0, "active");
        }
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        let (revoked, revoked_at) = (Instant::now(), now());
        // To the end, and not to the first refusal: every process has a memory of its own.
        while revoked.elapsed() < Duration::from_secs(ACCEPTED as u64 + 1) {
            let asked = revoked.elapsed();
            let (code, checked_at) = ask().await;
            if code == "active" {
                assert!(
                    asked < Duration::from_secs(ACCEPTED as u64),
                    "good {asked:?} after its revocation"
                );
                assert!(
                    checked_at <= revoked_at,
                    "active although the table was read after the revocation"
                );
            } else {
                assert_eq!(code, "revoked");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(tenant.verdict(&key).await, "revoked");
    });
}

#[test]
fn a_revocation_is_seen_at_once_by_those_who_accept_nothing_older() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        for _ in 0..10 {
            assert_eq!(
                code(
                    &send(tenant.cached_validation(&key, 60))
                        .await
                        .expect(200)
                        .body
                ),
                "active"
            );
        }
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        for _ in 0..10 {
            assert_eq!(tenant.verdict(&key).await, "revoked");
        }
    });
}

#[test]
fn revoking_again_changes_nothing() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let path = format!("/v1/users/admin/access-keys/{id}");
        tenant
            .delete("admin", &format!("{path}?reason=first"))
            .await
            .expect(204);
        let first = tenant.get("admin", &path).await.body;
        tenant
            .delete("admin", &format!("{path}?reason=second"))
            .await
            .expect(204);
        assert_eq!(tenant.get("admin", &path).await.body, first);
        assert_eq!(first["revoked_reason"], "first");
    });
}

#[test]
fn revoking_all_spares_later_keys() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let mut keys = Vec::new();
        for _ in 0..200 {
            keys.push(tenant.key("editor", "viewer").await.1);
        }
        tenant
            .delete("editor", "/v1/users/me/access-keys?reason=leak")
            .await
            .expect(204);
        let later = tenant.key("editor", "viewer").await.1;
        for key in &keys {
            assert_eq!(tenant.verdict(key).await, "revoked");
        }
        assert_eq!(tenant.verdict(&later).await, "active");
        let revoked = tenant
            .all("editor", "/v1/users/me/access-keys?status=revoked")
            .await;
        assert_eq!(revoked.len(), 200);
        assert!(
            revoked
                .iter()
                .all(|key| key["revoked_by"] == "editor" && key["revoked_reason"] == "leak")
        );
        assert_eq!(
            tenant
                .all("admin", "/v1/access-keys?status=active")
                .await
                .len(),
            1
        );
    });
}

#[test]
fn whoever_holds_a_key_can_kill_it() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let revoke = |key: &str| {
            send(
                tenant
                    .call("POST", "/v1/access-keys/revoke")
                    .bearer_auth(key),
            )
        };
        let forged = format!("{}A", &key[..key.len() - 1]);
        if forged != key {
            revoke(&forged).await.expect_problem(401, "unauthenticated");
        }
        assert_eq!(tenant.verdict(&key).await, "active");
        revoke(&key).await.expect(204);
        revoke(&key).await.expect(204);
        assert_eq!(tenant.verdict(&key).await, "revoked");
        let record = tenant
            .get("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .body;
        assert_eq!(record["revoked_by"], json!(format!("key:{id}")));
    });
}
