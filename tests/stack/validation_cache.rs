//! What `validate` remembers for those who accept it costs nothing, and is judged like what was just read.

use std::time::{Duration, Instant};

use harness::{Fault, Rule, Service, Stack, Tenant, VALIDATE, code, now, run, send};
use serde_json::{Value, json};

use crate::own_stack;

/// A key whose `last_used_at` is written: what it costs from here on is reading.
async fn used_key(tenant: &Tenant<'_>, role: &str) -> String {
    let (id, key) = tenant.key("admin", role).await;
    while tenant.record(&id).await["last_used_at"].is_null() {
        assert_eq!(tenant.verdict(&key).await, "active");
    }
    key
}

#[test]
fn what_is_remembered_costs_no_request_and_says_the_same() {
    run(async {
        let tenant = Tenant::fresh();
        let key = used_key(&tenant, "viewer").await;
        let began = now();
        let fresh = send(tenant.cached_validation(&key, 0))
            .await
            .expect(200)
            .body;
        let mut remembered = tenant
            .remembered(|| tenant.cached_validation(&key, 60))
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
        let tenant = Tenant::fresh();
        let key = used_key(&tenant, "viewer").await;
        tenant
            .remembered(|| tenant.cached_validation(&key, 60))
            .await
            .expect(200);
        let ways = || {
            [
                tenant
                    .call("POST", VALIDATE)
                    .json(&json!({ "access_key": key })),
                tenant
                    .call("POST", VALIDATE)
                    .json(&json!({ "access_key": key, "max_staleness": null })),
                tenant.call("POST", VALIDATE).form(&[("token", &key)]),
                tenant.call("POST", VALIDATE).bearer_auth(&key),
                tenant.cached_validation(&key, 0),
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
        let tenant = Tenant::fresh();
        let key = used_key(&tenant, "cluster_onboarding").await;
        let asking = |permission: &str| {
            let body = json!({ "access_key": key, "max_staleness": 60, "permission": permission });
            tenant.call("POST", VALIDATE).json(&body)
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
                let ask = || {
                    tenant
                        .cached_validation(&key, 60)
                        .header("x-tenant-id", named)
                };
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
        let tenant = Tenant::fresh();
        let key = used_key(&tenant, "viewer").await;
        tenant
            .remembered(|| tenant.cached_validation(&key, 60))
            .await
            .expect(200);
        let forged = format!("{}AAAA", &key[..key.len() - 4]);
        for text in [&forged, "nonsense"] {
            let (before, asked_at) = (tenant.store_requests(), now());
            let answer = send(tenant.cached_validation(text, 60))
                .await
                .expect(200)
                .body;
            assert_eq!(code(&answer), "invalid");
            assert!((asked_at..=now()).contains(&answer["checked_at"].as_i64().unwrap()));
            assert_eq!(tenant.store_requests(), before);
        }
    });
}

/// A validation that accepts whatever the function may remember.
async fn cached(tenant: &Tenant<'_>, key: &str) -> Value {
    let answer = send(tenant.cached_validation(key, 300)).await;
    answer.expect(200).body
}

fn reads(stack: &Stack) -> usize {
    stack.count(|request| request.function == "validate" && request.action == "BatchGetItem")
}

fn read(fault: Fault) -> Rule {
    let read = Rule::new(fault).service(Service::DynamoDb);
    read.action("BatchGetItem")
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_data_is_as_old_as_its_answer_says_and_no_older_than_the_bound() {
    const BOUND: Duration = Duration::from_secs(4);
    // The function gives up an attempt to read after this.
    const SLOW: Duration = Duration::from_secs(1);
    let stack = own_stack(&[("MaxStalenessSeconds", "4")]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;

    // The age counts from before the read, however long that takes.
    let lost = Fault::Latency(Duration::from_secs(20));
    let slow = stack.inject(read(lost).times(1));
    let before = Instant::now();
    let first = cached(&tenant, &key).await;
    let after = Instant::now();
    assert_eq!((&first["active"], slow.hits()), (&json!(true), 1));
    let checked_at = first["checked_at"].as_i64().unwrap();
    assert!(now() > checked_at);

    tenant.revoke(&key).await;
    let read = reads(&stack);
    let mut remembered = 0;
    let last = loop {
        let age = SLOW + after.elapsed();
        let answer = cached(&tenant, &key).await;
        if reads(&stack) > read {
            break answer;
        }
        assert_eq!(answer, first);
        assert!(age < BOUND, "remembered for {age:?}");
        remembered += 1;
    };
    assert_eq!((&last["active"], code(&last)), (&json!(false), "revoked"));
    assert!(before.elapsed() >= BOUND && remembered > 0);
    assert!(last["checked_at"].as_i64().unwrap() >= checked_at + 4);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_never_goes_back_behind_what_it_has_read_for_any_caller() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, known) = tenant.key("admin", "viewer").await;
    assert_eq!(cached(&tenant, &known).await["active"], true);
    tenant.revoke(&known).await;
    assert_eq!(cached(&tenant, &known).await["active"], true);
    assert_eq!(tenant.verdict(&known).await, "revoked");
    let before = reads(&stack);
    assert_eq!(cached(&tenant, &known).await["code"], "revoked");
    assert_eq!(reads(&stack), before);

    // A failed read changes nothing: callers who accept cached data need no table.
    let (_, known) = tenant.key("admin", "viewer").await;
    assert_eq!(cached(&tenant, &known).await["active"], true);
    let out = stack.inject(read(Fault::Refuse));
    send(tenant.validation(&known)).await.expect(503);
    assert_eq!(cached(&tenant, &known).await["active"], true);
    drop(out);
    stack.stop().await;
}
