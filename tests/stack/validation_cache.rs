//! The validation cache, which callers opt in to with `max_staleness`. A cached validation sends no request to the
//! table and returns the same result as a validation that reads it.

use std::time::{Duration, Instant};

use harness::{Fault, Stack, Tenant, VALIDATE, code, expect_checked_since, forged, now, run, send};
use serde_json::{Value, json};

use crate::{outages::SLOW, own_stack};

/// Returns a key whose `last_used_at` has already been written, so that a validation only reads the table.
async fn used_key(tenant: &Tenant<'_>, role: &str) -> String {
    let (id, key) = tenant.key("admin", role).await;
    while tenant.record(&id).await["last_used_at"].is_null() {
        assert_eq!(tenant.verdict(&key).await, "active");
    }
    key
}

/// Like [`used_key`], but the key has also been cached by a process.
async fn cached_key(tenant: &Tenant<'_>) -> String {
    let key = used_key(tenant, "viewer").await;
    tenant.cached(|| tenant.cached_validation(&key, 60)).await;
    key
}

#[test]
fn a_cached_validation_sends_no_request_and_returns_the_same_result() {
    run(async {
        let tenant = Tenant::fresh();
        let key = used_key(&tenant, "viewer").await;
        let began = now();
        let read = send(tenant.cached_validation(&key, 0)).await.expect(200);
        let cached = tenant.cached(|| tenant.cached_validation(&key, 60)).await;
        let mut cached = cached.body;
        expect_checked_since(began, &cached);
        cached["checked_at"] = read["checked_at"].clone();
        assert_eq!(cached, read.body);
    });
}

#[test]
fn a_validation_without_max_staleness_reads_the_table() {
    run(async {
        let tenant = Tenant::fresh();
        let key = cached_key(&tenant).await;
        let call = || tenant.call("POST", VALIDATE);
        let requests = || {
            [
                tenant.validation(&key),
                call().json(&json!({ "access_key": key, "max_staleness": null })),
                call().form(&[("token", &key)]),
                call().bearer_auth(&key),
                tenant.cached_validation(&key, 0),
            ]
        };
        for request in requests().into_iter().chain(requests()) {
            let (before, began) = (tenant.store_requests(), now());
            let answer = send(request).await.expect(200);
            assert_eq!(tenant.store_requests(), before + 1);
            expect_checked_since(began, &answer.body);
        }
    });
}

#[test]
fn a_cached_validation_checks_the_permission_and_the_tenant() {
    run(async {
        let tenant = Tenant::fresh();
        let key = used_key(&tenant, "cluster_onboarding").await;
        for _ in 0..2 {
            for (permission, verdict) in [
                ("clusters:onboard", "active"),
                ("clusters:read", "forbidden"),
            ] {
                let body =
                    json!({ "access_key": key, "max_staleness": 60, "permission": permission });
                let request = || tenant.call("POST", VALIDATE).json(&body);
                let answer = tenant.cached(request).await;
                assert_eq!(code(&answer.body), verdict, "{permission}");
                assert!(answer["checked_at"].is_i64());
            }
            for (tenant_id, verdict) in [(tenant.id.as_str(), "active"), ("other", "forbidden")] {
                let validation = || tenant.cached_validation(&key, 60);
                let request = || validation().header("x-tenant-id", tenant_id);
                let answer = tenant.cached(request).await;
                assert_eq!(code(&answer.body), verdict, "{tenant_id}");
            }
        }
    });
}

#[test]
fn a_key_with_an_invalid_signature_is_not_cached() {
    run(async {
        let tenant = Tenant::fresh();
        let key = cached_key(&tenant).await;
        for text in [&forged(&key), "nonsense"] {
            let (before, began) = (tenant.store_requests(), now());
            let answer = send(tenant.cached_validation(text, 60)).await;
            let answer = answer.expect(200).body;
            assert_eq!(code(&answer), "invalid");
            expect_checked_since(began, &answer);
            assert_eq!(tenant.store_requests(), before);
        }
    });
}

/// Validates a key, accepting data from the cache.
async fn cached(tenant: &Tenant<'_>, key: &str) -> Value {
    let answer = send(tenant.cached_validation(key, 300)).await;
    answer.expect(200).body
}

fn reads(stack: &Stack) -> usize {
    stack.count(|request| request.function == "validate" && request.action == "BatchGetItem")
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_data_is_never_older_than_the_bound_even_after_a_slow_read() {
    const BOUND: Duration = Duration::from_secs(4);
    // The timeout of one attempt to read the table.
    const ATTEMPT: Duration = Duration::from_secs(1);
    let stack = own_stack(&[("MaxStalenessSeconds", "4")]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;

    // The age of the data is measured from the start of the first attempt, which times out.
    let slow = stack.inject(tenant.rule("BatchGetItem", SLOW).times(1));
    let before = Instant::now();
    let first = cached(&tenant, &key).await;
    let after = Instant::now();
    assert_eq!((&first["active"], slow.hits()), (&json!(true), 1));
    let checked_at = first["checked_at"].as_i64().unwrap();
    assert!(now() > checked_at);

    tenant.revoke(&key).await;
    let reads_before = reads(&stack);
    let mut from_cache = 0;
    let last = loop {
        let age = ATTEMPT + after.elapsed();
        let answer = cached(&tenant, &key).await;
        if reads(&stack) > reads_before {
            break answer;
        }
        assert_eq!(answer, first);
        assert!(age < BOUND, "cached data is {age:?} old");
        from_cache += 1;
    };
    assert_eq!((&last["active"], code(&last)), (&json!(false), "revoked"));
    assert!(before.elapsed() >= BOUND && from_cache > 0);
    assert!(last["checked_at"].as_i64().unwrap() >= checked_at + 4);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_for_one_caller_updates_the_cache_for_all_callers() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    assert_eq!(cached(&tenant, &key).await["active"], true);
    tenant.revoke(&key).await;
    assert_eq!(cached(&tenant, &key).await["active"], true);
    assert_eq!(tenant.verdict(&key).await, "revoked");
    let before = reads(&stack);
    assert_eq!(cached(&tenant, &key).await["code"], "revoked");
    assert_eq!(reads(&stack), before);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_key_stays_active_after_a_failed_read() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    assert_eq!(cached(&tenant, &key).await["active"], true);
    let _outage = stack.inject(tenant.rule("BatchGetItem", Fault::Refuse));
    send(tenant.validation(&key)).await.expect(500);
    assert_eq!(cached(&tenant, &key).await["active"], true);
    stack.stop().await;
}
