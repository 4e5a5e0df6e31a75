//! Revoking one key, by its id or by presenting it, and revoking all keys of a user. Without `max_staleness`, a
//! revocation takes effect immediately.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use harness::{KEYS, Tenant, code, expect_checked_since, forged, now, run, send};
use serde_json::{Value, json};
use tokio::task::JoinSet;

#[test]
fn a_validation_that_begins_after_a_revocation_never_accepts_the_key() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let revoked = Arc::new(AtomicBool::new(false));
        let successes = Arc::new(AtomicUsize::new(0));
        let mut validators = JoinSet::new();
        for _ in 0..50 {
            let (tenant, key) = (tenant.clone(), key.clone());
            let (revoked, successes) = (revoked.clone(), successes.clone());
            validators.spawn(async move {
                let mut after = 0;
                while after < 3 {
                    let began_after = revoked.load(Ordering::SeqCst);
                    let active = tenant.validate(&key).await["active"] == true;
                    assert!(!(active && began_after), "a revoked key was active");
                    successes.fetch_add(usize::from(active), Ordering::SeqCst);
                    after += usize::from(began_after);
                }
            });
        }
        while successes.load(Ordering::SeqCst) < 50 {
            tokio::task::yield_now().await;
        }
        tenant.revoke_by_id(&id).await;
        revoked.store(true, Ordering::SeqCst);
        while let Some(validator) = validators.join_next().await {
            validator.unwrap();
        }
    });
}

#[test]
fn a_caller_sees_a_revocation_within_max_staleness() {
    const MAX_STALENESS: i64 = 2;
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let validate = async || {
            let oldest = now() - MAX_STALENESS;
            let answer = send(tenant.cached_validation(&key, MAX_STALENESS)).await;
            let answer = answer.expect(200).body;
            expect_checked_since(oldest, &answer);
            let checked_at = answer["checked_at"].as_i64().unwrap();
            (code(&answer).to_owned(), checked_at)
        };
        for _ in 0..10 {
            assert_eq!(validate().await.0, "active");
        }
        tenant.revoke_by_id(&id).await;
        let (revoked, revoked_at) = (Instant::now(), now());
        // Keeps validating after the first refusal, because every process has its own cache.
        let limit = Duration::from_secs(MAX_STALENESS as u64);
        while revoked.elapsed() < limit + Duration::from_secs(1) {
            let age = revoked.elapsed();
            let (code, checked_at) = validate().await;
            if code == "active" {
                assert!(age < limit, "active {age:?} after the revocation");
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
fn a_validation_without_max_staleness_sees_a_revocation_even_if_the_key_is_cached() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        for _ in 0..10 {
            let answer = send(tenant.cached_validation(&key, 60)).await;
            assert_eq!(code(&answer.expect(200).body), "active");
        }
        tenant.revoke_by_id(&id).await;
        for _ in 0..10 {
            assert_eq!(tenant.verdict(&key).await, "revoked");
        }
    });
}

#[test]
fn a_form_revokes_a_key_as_rfc_7009_specifies() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let revoke = |token: &str| {
            let form = [("token", token), ("token_type_hint", "access_token")];
            send(tenant.call("POST", "/v1/access-keys/revoke").form(&form))
        };
        for token in ["garbage", &forged(&key), &tenant.token("admin")] {
            assert_eq!(revoke(token).await.expect(200).text, "");
        }
        assert_eq!(tenant.verdict(&key).await, "active");
        for _ in 0..2 {
            assert_eq!(revoke(&key).await.expect(200).text, "");
            assert_eq!(tenant.verdict(&key).await, "revoked");
        }
    });
}

#[test]
fn a_second_revocation_changes_nothing() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let path = format!("/v1/users/admin/access-keys/{id}");
        let revoke = async |reason: &str| {
            let path = format!("{path}?reason={reason}");
            tenant.delete("admin", &path).await.expect(204);
            tenant.record(&id).await
        };
        let first = revoke("first").await;
        assert_eq!(revoke("second").await, first);
        assert_eq!(first["revoked_reason"], "first");
    });
}

fn user(id: &str) -> Value {
    json!({ "kind": "user", "id": id })
}

#[test]
fn revoking_all_keys_does_not_affect_later_keys() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let mut keys = Vec::new();
        for _ in 0..200 {
            keys.push(tenant.key("editor", "viewer").await.1);
        }
        let revoke_all = format!("{KEYS}?reason=leak");
        tenant.delete("editor", &revoke_all).await.expect(204);
        let later = tenant.key("editor", "viewer").await.1;
        for key in &keys {
            assert_eq!(tenant.verdict(key).await, "revoked");
        }
        assert_eq!(tenant.verdict(&later).await, "active");
        let revoked = format!("{KEYS}?status=revoked");
        let revoked = tenant.all("editor", &revoked).await;
        assert_eq!(revoked.len(), 200);
        for key in revoked {
            assert_eq!(key["revoked_by"], user("editor"));
            assert_eq!(key["revoked_reason"], "leak");
        }
        let active = tenant.all("admin", "/v1/access-keys?status=active").await;
        assert_eq!(active.len(), 1);
    });
}

#[test]
fn each_key_keeps_its_own_revocation_reason_after_many_later_revocations() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let mut keys = Vec::new();
        // The user's item keeps only the 16 latest revocations that covered all of the user's keys.
        for n in 0..20 {
            keys.push(tenant.key("editor", "viewer").await.0);
            let path = format!("{KEYS}?reason=r{n}");
            tenant.delete("editor", &path).await.expect(204);
        }
        let reason = |key: &Value| key["revoked_reason"].as_str().unwrap().to_owned();
        let listed = tenant.all("editor", KEYS).await;
        let of_tenant = tenant.all("admin", "/v1/access-keys").await;
        for (n, id) in keys.iter().enumerate() {
            let expected = format!("r{n}");
            let one = tenant.get("editor", &format!("{KEYS}/{id}")).await;
            assert_eq!(reason(&one.expect(200).body), expected);
            for list in [&listed, &of_tenant] {
                let key = list.iter().find(|key| key["id"] == **id).unwrap();
                assert_eq!(reason(key), expected);
            }
        }
    });
}

#[test]
fn a_key_can_revoke_itself_but_a_forged_key_cannot() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let refused = send(tenant.revocation(&forged(&key))).await;
        refused.expect_problem(401, "unauthenticated");
        assert_eq!(tenant.verdict(&key).await, "active");
        for _ in 0..2 {
            tenant.revoke(&key).await;
        }
        assert_eq!(tenant.verdict(&key).await, "revoked");
        let record = tenant.record(&id).await;
        assert_eq!(record["revoked_by"], json!({ "kind": "key", "id": id }));
    });
}
