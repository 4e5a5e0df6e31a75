//! Revocations of matching keys: runs that fail halfway, and runs that resume them.

use std::time::Duration;

use harness::{Answer, Fault, Rule, Tenant, contradictions};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    BUDGET, concurrent_stack,
    crashes::{kill_at, process_of},
    own_stack,
};

const PATH: &str = "/v1/access-keys/revoke-matching";
const KEYS: usize = 60;

async fn keys(tenant: &Tenant<'_>) -> Vec<(String, String)> {
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        keys.push(tenant.key("admin", "viewer").await);
    }
    keys
}

async fn revoke(tenant: &Tenant<'_>) -> Answer {
    let body = json!({ "role": "viewer", "dry_run": false });
    tenant.send("admin", "POST", PATH, body).await
}

/// Repeats the revocation until no matching key is left. Returns how many keys were revoked.
async fn finish(tenant: &Tenant<'_>) -> u64 {
    let mut revoked = 0;
    loop {
        let answer = revoke(tenant).await.expect(200);
        revoked += answer["revoked"].as_u64().unwrap();
        if answer["matched"] == 0 {
            return revoked;
        }
    }
}

async fn expect_revoked_once(tenant: &Tenant<'_>, keys: &[(String, String)]) {
    for (_, key) in keys {
        assert_eq!(tenant.verdict(key).await, "revoked");
    }
    let found = contradictions(tenant).await;
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_killed_halfway_can_be_resumed() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let keys = keys(&tenant).await;
    for round in 0..3 {
        // Starts a process to replace the one that was killed.
        let count = json!({ "role": "viewer", "dry_run": true });
        let counted = tenant.send("admin", "POST", PATH, count).await.expect(200);
        assert!(counted["matched"].as_u64().unwrap() > 0);
        // Of the 20 keys that are revoked concurrently with this key, some are revoked before the kill.
        let (id, _) = &keys[KEYS - 10 - 20 * round];
        let fault = match round {
            0 => Fault::DropAfter,
            _ => Fault::Latency(Duration::from_secs(30)),
        };
        let rule = Rule::new(fault).action("TransactWriteItems");
        let rule = stack.inject(rule.function("revoke").containing(id));
        let kill = kill_at(&rule, process_of(&stack, "revoke"));
        let (answer, ()) = tokio::join!(revoke(&tenant), kill);
        drop(rule);
        assert_eq!(answer.status, 500, "{}", answer.text);
    }
    assert!(finish(&tenant).await < KEYS as u64);
    expect_revoked_once(&tenant, &keys).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_whose_audit_entries_cannot_be_written_are_revoked_nevertheless() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let keys = keys(&tenant).await;
    let rule = Rule::new(Fault::Throttle).action("TransactWriteItems");
    let throttled = stack.inject(rule.function("revoke"));
    finish(&tenant).await;
    assert!(throttled.hits() > 0);
    drop(throttled);
    stack.drain_events().await;
    expect_revoked_once(&tenant, &keys).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_for_one_key_does_not_affect_the_others_and_a_second_run_revokes_that_key() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let keys = keys(&tenant).await;
    let (id, key) = &keys[KEYS - 1];
    let rules = ["TransactWriteItems", "UpdateItem"].map(|action| {
        let rule = Rule::new(Fault::Refuse).action(action);
        stack.inject(rule.function("revoke").containing(id))
    });
    let mut body = json!({ "role": "viewer", "dry_run": false });
    let (mut revoked, mut failed) = (0, 0);
    loop {
        let answer = tenant.send("admin", "POST", PATH, body.clone()).await;
        let answer = answer.expect(200);
        revoked += answer["revoked"].as_u64().unwrap();
        failed += answer["failed"].as_u64().unwrap();
        match answer["next_cursor"].as_str() {
            Some(next) => body["cursor"] = json!(next),
            None => break,
        }
    }
    drop(rules);
    assert_eq!((revoked, failed), (KEYS as u64 - 1, 1));
    assert_eq!(tenant.verdict(key).await, "active");
    assert_eq!(finish(&tenant).await, 1);
    expect_revoked_once(&tenant, &keys).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_revocation_stops_early_and_the_next_call_continues_from_its_cursor() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let keys = keys(&tenant).await;
    let slow = Fault::Latency(Duration::from_millis(900));
    let rule = Rule::new(slow).action("TransactWriteItems");
    let slow = stack.inject(rule.function("revoke"));
    let mut body = json!({ "created_by": "user:admin", "dry_run": false });
    let (mut revoked, mut calls) = (0, 0);
    loop {
        let started = Instant::now();
        let answer = tenant.send("admin", "POST", PATH, body.clone()).await;
        let answer = answer.expect(200);
        assert!(started.elapsed() < BUDGET);
        revoked += answer["revoked"].as_u64().unwrap();
        calls += 1;
        match answer["next_cursor"].as_str() {
            Some(next) => body["cursor"] = json!(next),
            None => break,
        }
    }
    drop(slow);
    assert!(calls > 1);
    assert_eq!(revoked, KEYS as u64);
    expect_revoked_once(&tenant, &keys).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_revocations_write_one_entry_for_each_key() {
    let stack = concurrent_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let keys = keys(&tenant).await;
    let single = async {
        for (id, _) in keys.iter().rev() {
            tenant.revoke_by_id(id).await;
        }
    };
    let (first, second, ()) = tokio::join!(revoke(&tenant), revoke(&tenant), single);
    let revoked = |answer: Answer| answer.expect(200)["revoked"].as_u64().unwrap();
    assert!(revoked(first) + revoked(second) <= KEYS as u64);
    expect_revoked_once(&tenant, &keys).await;
    stack.stop().await;
}
