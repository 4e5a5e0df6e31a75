//! Rotation against everything that can happen at the same time, against lost answers and kills, and against edited
//! records.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{
    Answer, Fault, KEYS, Stack, Tenant, all_at_once, code, eventually, now, options, run, send,
    stack,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{
    crashes::{kill_at, process_of},
    own_stack,
};

fn body() -> Value {
    json!({ "role": "editor", "max_clusters": 3, "self_rotate": true })
}

fn claims(key: &str) -> Value {
    let payload = key.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap()
}

async fn new_key(tenant: &Tenant<'_>) -> (String, String) {
    let mut body = body();
    body["name"] = json!("k");
    tenant.key_of("admin", body).await
}

/// The secrets that are accepted, by whether a rotation has replaced them.
async fn accepted(tenant: &Tenant<'_>, secrets: &BTreeSet<String>) -> (usize, usize) {
    let (mut current, mut previous) = (0, 0);
    for secret in secrets {
        let verdict = tenant.validate(secret).await;
        match (code(&verdict), &verdict["superseded"]) {
            ("active", Value::Null) => current += 1,
            ("active", _) => previous += 1,
            _ => {}
        }
    }
    (current, previous)
}

/// The requests of one round: several rotations of both kinds, and calls that use, end or revoke the key.
fn requests(
    tenant: &Tenant<'_>,
    (id, key): (&str, &str),
    round: usize,
) -> (Vec<RequestBuilder>, &'static str) {
    let overlap = json!({ "overlap_seconds": if round.is_multiple_of(3) { 0 } else { 60 } });
    let mut by_user = body();
    by_user["overlap_seconds"] = overlap["overlap_seconds"].clone();
    let mut requests = vec![
        tenant.rotation("admin", id, &by_user),
        tenant.self_rotation(key, &overlap),
        tenant.rotation("admin", id, &by_user),
        tenant.validation(key),
        tenant.onboarding(key, "one"),
        tenant.onboarding(key, "two"),
        tenant.own_record(key),
    ];
    let end = match round % 4 {
        0 => "key",
        1 => "holder",
        2 => "all",
        _ => "",
    };
    match end {
        "key" => {
            let path = format!("{KEYS}/{id}");
            requests.push(tenant.request("admin", "DELETE", &path));
        }
        "holder" => requests.push(tenant.revocation(key)),
        "all" => requests.push(tenant.request("admin", "DELETE", KEYS)),
        _ => {}
    }
    (requests, end)
}

async fn race(tenant: &Tenant<'_>, round: usize) {
    let (id, key) = new_key(tenant).await;
    tenant.onboard(&key, "one").await.expect(200);
    let (requests, end) = requests(tenant, (&id, &key), round);
    let revocations = requests.len();
    let answers = all_at_once(requests).await;
    let unexpected = answers.iter().filter(|answer| answer.status >= 500);
    let unexpected: Vec<_> = unexpected.filter(|answer| answer.status != 503).collect();
    assert!(unexpected.is_empty(), "{round}: {unexpected:?}");
    let rotated = answers
        .iter()
        .filter_map(|answer| answer["access_key"].as_str());
    let mut secrets: BTreeSet<String> = rotated.map(str::to_owned).collect();
    secrets.insert(key);
    let is_revoked = !end.is_empty() && answers.iter().any(|answer| answer.status == 204);
    assert!(answers.len() == revocations);
    let (current, previous) = accepted(tenant, &secrets).await;
    if is_revoked {
        assert_eq!((current, previous), (0, 0), "{round} {end}");
        let late = send(tenant.rotation("admin", &id, &body())).await;
        late.expect_problem(409, "key_revoked");
    } else {
        // The answer with the latest secret can be one that ended with 503.
        assert!(
            current <= 1 && previous <= 1,
            "{round}: {current} {previous}"
        );
        let record = tenant.record(&id).await;
        assert!(current == 1 || record["generation"] != json!(0), "{round}");
    }
    // No slot is lost or doubled.
    assert!((1..=2).contains(&tenant.used(&id).await), "{round} {end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_races_never_leave_more_than_one_current_and_one_previous_secret() {
    let stack = Stack::start(options(&[("MaxKeysPerUser", "1000")])).await;
    let stack = stack.expect("the local stack starts");
    let tenant = Tenant::acme(&stack);
    for round in 0..100 {
        race(&tenant, round).await;
    }
    stack.stop().await;
}

#[test]
fn an_acknowledged_revocation_ends_a_rotation_that_has_already_read_the_key() {
    run(async {
        let tenant = Tenant::fresh();
        for end in ["key", "all"] {
            let (id, old) = new_key(&tenant).await;
            // The rotation has read the key and signed, but its transaction waits.
            let rule = tenant
                .rule("TransactWriteItems", Fault::Hold)
                .function("rotate");
            let rule = harness::stack().inject(rule.times(1));
            let rotate = send(tenant.rotation("admin", &id, &body()));
            let revoke = async {
                harness::eventually("the rotation is held", || async {
                    (rule.hits() > 0).then_some(())
                })
                .await;
                match end {
                    "key" => tenant.revoke_by_id(&id).await,
                    _ => drop(tenant.delete("admin", KEYS).await.expect(204)),
                }
                drop(rule);
            };
            let (rotated, ()) = tokio::join!(rotate, revoke);
            rotated.expect_problem(409, "key_revoked");
            assert_eq!(tenant.verdict(&old).await, "revoked");
        }
    });
}

#[test]
fn a_late_onboarding_does_not_hide_the_use_of_a_newer_secret() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, first) = new_key(&tenant).await;
        tenant.onboard(&first, "a").await.expect(200);
        let second = tenant.rotate(&id, body()).await;
        let rule = tenant.rule("TransactWriteItems", Fault::Hold);
        let held = stack().inject(rule.containing("used_generation").function("onboard"));
        let rotation = || {
            tenant
                .rotation("admin", &id, &body())
                .header("idempotency-key", "x")
        };
        let later = async {
            eventually("the onboarding is about to write", || async {
                (held.hits() > 0).then_some(())
            })
            .await;
            let third = send(rotation()).await.expect(200);
            assert_eq!(tenant.verdict(third.string("access_key")).await, "active");
            drop(held);
            third
        };
        let (onboarded, third) = tokio::join!(tenant.onboard(&second, "a"), later);
        onboarded.expect(200);
        send(rotation())
            .await
            .expect_code(409, "idempotency_key_completed");
        assert_eq!(tenant.verdict(third.string("access_key")).await, "active");
    });
}

#[test]
fn a_late_change_of_the_limit_does_not_exceed_what_a_rotation_has_signed() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.limited_key("editor", 10).await;
        let path = format!("{KEYS}/{id}");
        let limit = async |max: u64| {
            tenant
                .send("admin", "PATCH", &path, json!({ "max_clusters": max }))
                .await
        };
        limit(2).await.expect(200);
        let rule = tenant.rule("TransactWriteItems", Fault::Hold);
        let held = stack().inject(rule.function("clusters"));
        let rotation = async {
            eventually("the limit is about to change", || async {
                (held.hits() > 0).then_some(())
            })
            .await;
            tenant
                .rotate(&id, json!({ "role": "editor", "max_clusters": 2 }))
                .await;
            drop(held);
        };
        let (changed, ()) = tokio::join!(limit(10), rotation);
        changed.expect(400).expect_fields(&["max_clusters"]);
        assert_eq!(tenant.record(&id).await["max_clusters"], 2);
    });
}

#[test]
fn a_key_can_no_longer_be_rotated_shortly_before_it_expires() {
    run(async {
        // A revocation after the expiry writes nothing, so a rotation must not write after the expiry either.
        let tenant = Tenant::fresh();
        let (id, key) = new_key(&tenant).await;
        for (seconds, is_allowed) in [(8, false), (25, true)] {
            let end = json!({ ":end": { "N": (now() + seconds).to_string() } });
            let update = "SET expires_at = :end";
            tenant.edit_key("admin", &id, update, end).await;
            for request in [
                tenant.self_rotation(&key, &json!({})),
                tenant.rotation("admin", &id, &body()),
            ] {
                let answer = send(request).await;
                match is_allowed {
                    true => drop(answer.expect(200)),
                    false => drop(answer.expect_problem(409, "key_expired")),
                }
            }
        }
    });
}

/// Each attribute of a key, with the value that grants the most.
fn edits() -> Vec<(&'static str, Value)> {
    let number = |n: &str| json!({ "N": n });
    vec![
        ("role", json!({ "S": "admin" })),
        ("max_clusters", number("100")),
        ("signed_max_clusters", number("1000000")),
        ("clusters_used", number("0")),
        ("created_at", number("0")),
        (
            "created_by",
            json!({ "M": { "kind": { "S": "system" }, "id": { "S": "x" } } }),
        ),
        ("expires_at", number("4000000000")),
        ("ttl", number("4000000000")),
        ("epoch", number("900000000000000")),
        ("last_used_at", number("1")),
        ("generation", number("4294967295")),
        ("generation", number("7")),
        ("rotated_at", number("0")),
        ("self_rotate", json!({ "BOOL": true })),
        ("used_generation", number("7")),
        (
            "hash",
            json!({ "B": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }),
        ),
    ]
}

/// What a rotation signs, and what the key then permits.
async fn outcome(tenant: &Tenant<'_>, answer: Answer) -> Option<Value> {
    if answer.status != 200 {
        assert!(answer.status < 500, "{}", answer.text);
        return None;
    }
    let key = answer.string("access_key");
    let claims = claims(key);
    let grant = tenant.validate(key).await;
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    Some(json!({
        "role": claims["role"], "max_clusters": claims["max_clusters"], "lifetime": lifetime,
        "self_rotate": claims["self_rotate"], "scope": grant["scope"], "limit": grant["max_clusters"],
    }))
}

/// Creates a key, edits its record, and then rotates the key.
async fn rotated_after(
    tenant: &Tenant<'_>,
    kind: &str,
    edit: Option<&(&'static str, Value)>,
) -> Option<Value> {
    let wanted = json!({ "role": "viewer", "max_clusters": 2 });
    let mut body = wanted.clone();
    body["name"] = json!("k");
    body["self_rotate"] = json!(kind == "holder");
    let (id, key) = tenant.key_of("admin", body).await;
    if let Some((name, value)) = edit {
        let is_reserved = ["role", "hash", "ttl"].contains(name);
        let update = format!("SET {}{name} = :v", if is_reserved { "#" } else { "" });
        tenant
            .edit_key("admin", &id, &update, json!({ ":v": value }))
            .await;
    }
    let answer = match kind {
        "user" => send(tenant.rotation("admin", &id, &wanted)).await,
        _ => send(tenant.self_rotation(&key, &json!({}))).await,
    };
    let outcome = outcome(tenant, answer).await;
    if outcome.is_some() {
        // A later revocation of all keys ends the key, whatever its epoch was.
        tenant.delete("admin", KEYS).await.expect(204);
        assert_eq!(
            tenant.record(&id).await["status"],
            "revoked",
            "{kind} {edit:?}"
        );
    }
    outcome
}

#[test]
fn an_edit_of_any_attribute_before_a_rotation_gains_nothing() {
    run(async {
        let tenant = Tenant::fresh();
        for kind in ["user", "holder", "fixed"] {
            let honest = rotated_after(&tenant, kind, None).await;
            assert_eq!(honest.is_some(), kind != "fixed", "{kind}");
            for edit in edits() {
                let outcome = rotated_after(&tenant, kind, Some(&edit)).await;
                assert!(
                    outcome.is_none() || outcome == honest,
                    "{kind} {edit:?}: {outcome:?}"
                );
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_can_be_repeated_wherever_it_was_lost() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    for fault in ["before", "after", "kill"] {
        for kind in ["user", "holder"] {
            let (id, old) = new_key(&tenant).await;
            let request = || {
                let request = match kind {
                    "user" => tenant.rotation("admin", &id, &body()),
                    _ => tenant.self_rotation(&old, &json!({ "overlap_seconds": 0 })),
                };
                request.header(
                    "idempotency-key",
                    format!("{kind} {fault}").replace(' ', "-"),
                )
            };
            let first = lose(&stack, &tenant, fault, request()).await;
            let again = send(request()).await.expect(200);
            assert_eq!(again["generation"], 1, "{kind} {fault}");
            let new = again.string("access_key");
            assert_eq!(tenant.verdict(new).await, "active", "{kind} {fault}");
            if let Some(lost) = first["access_key"].as_str() {
                assert_eq!(tenant.verdict(lost).await, "invalid", "{kind} {fault}");
            }
        }
    }
    stack.stop().await;
}

/// Sends a rotation while its transaction fails before or after its effect, or while its process is killed.
async fn lose(stack: &Stack, tenant: &Tenant<'_>, fault: &str, request: RequestBuilder) -> Answer {
    let rule = |fault| {
        let rule = tenant.rule("TransactWriteItems", fault).function("rotate");
        stack.inject(rule.times(1))
    };
    match fault {
        "before" => {
            let _rule = rule(Fault::DropBefore);
            send(request).await
        }
        "after" => {
            let _rule = rule(Fault::DropAfter);
            send(request).await
        }
        _ => {
            let slow = rule(Fault::Latency(Duration::from_millis(900)));
            let killed = kill_at(&slow, process_of(stack, "rotate"));
            let (answer, ()) = tokio::join!(send(request), killed);
            answer
        }
    }
}
