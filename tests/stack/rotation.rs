//! Rotations: races with uses, revocations and the expiry of the key, lost responses, kills, and edited records.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{
    Answer, Fault, KEYS, Stack, Tenant, code, eventually, now, options, run, send, stack, until,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;

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

fn generation(key: &str) -> u64 {
    claims(key)["gen"].as_u64().unwrap_or_default()
}

/// Validates the known secrets of one key, one after the other, and checks that the results are consistent.
struct Observer<'a> {
    tenant: &'a Tenant<'a>,
    /// All secrets that responses have contained.
    secrets: Arc<Mutex<Vec<String>>>,
    /// The highest generation that was accepted as the current one.
    newest: u64,
    has_ended: bool,
}

impl<'a> Observer<'a> {
    fn new(tenant: &'a Tenant<'a>, key: String) -> Self {
        Self {
            tenant,
            secrets: Arc::new(Mutex::new(vec![key])),
            newest: 0,
            has_ended: false,
        }
    }

    /// Validates each known secret once. Returns how many were accepted as the current secret, and how many as the
    /// previous secret.
    async fn look(&mut self) -> (usize, usize) {
        let (mut current, mut previous) = (0, 0);
        let secrets = self.secrets.lock().unwrap().clone();
        for secret in secrets {
            let generation = generation(&secret);
            let verdict = self.tenant.validate(&secret).await;
            match (code(&verdict), &verdict["superseded"]) {
                ("active", Value::Null) => {
                    assert!(generation >= self.newest, "{verdict}");
                    self.newest = generation;
                    current += 1;
                }
                ("active", _) => {
                    assert!(generation + 1 >= self.newest, "{verdict}");
                    previous += 1;
                }
                ("revoked", _) => self.has_ended = true,
                _ => continue,
            }
            let is_accepted = code(&verdict) == "active";
            assert!(!is_accepted || !self.has_ended, "{verdict}");
        }
        (current, previous)
    }
}

/// What prevents further rotations of the key during a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Revocation,
    RevocationByHolder,
    RevocationOfAll,
    /// The key comes too close to its expiry to be rotated.
    Expiry,
    None,
}

/// Returns the requests of one round: several rotations, by a user and by the holder of the key, and calls that use or
/// revoke the key.
fn requests(
    tenant: &Tenant<'_>,
    (id, key): (&str, &str),
    round: usize,
    end: End,
) -> Vec<RequestBuilder> {
    let overlap = json!({ "overlap_seconds": if round.is_multiple_of(3) { 0 } else { 60 } });
    let mut by_user = body();
    by_user["overlap_seconds"] = overlap["overlap_seconds"].clone();
    let requests = [
        tenant.onboarding(key, "two"),
        tenant.rotation("admin", id, &by_user),
        tenant.self_rotation(key, &overlap),
        tenant.rotation("admin", id, &by_user),
        tenant.validation(key),
        tenant.onboarding(key, "one"),
        tenant.own_record(key),
    ];
    let end = match end {
        End::Revocation => Some(tenant.request("admin", "DELETE", &format!("{KEYS}/{id}"))),
        End::RevocationByHolder => Some(tenant.revocation(key)),
        End::RevocationOfAll => Some(tenant.request("admin", "DELETE", KEYS)),
        End::Expiry | End::None => None,
    };
    requests.into_iter().chain(end).collect()
}

/// Sends the requests concurrently while an observer validates the secrets from the responses. Returns the responses in
/// the order of the requests.
async fn observed(observer: &mut Observer<'_>, requests: Vec<RequestBuilder>) -> Vec<Answer> {
    let mut set = JoinSet::new();
    for (index, request) in requests.into_iter().enumerate() {
        let secrets = Arc::clone(&observer.secrets);
        set.spawn(async move {
            let answer = send(request).await;
            let rotated = answer["access_key"].as_str();
            secrets.lock().unwrap().extend(rotated.map(str::to_owned));
            (index, answer)
        });
    }
    let mut sent = pin!(set.join_all());
    let mut answers = loop {
        tokio::select! {
            answers = &mut sent => break answers,
            _ = observer.look() => {}
        }
    };
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Races the requests of one round against each other on a new key. Returns the observer of the key. For a round with
/// [`End::Expiry`], also returns the time, in seconds since the epoch, at which the key expires unless a user rotates
/// it.
async fn race<'a>(tenant: &'a Tenant<'a>, round: usize) -> (Observer<'a>, Option<i64>) {
    let end = [
        End::Revocation,
        End::RevocationByHolder,
        End::RevocationOfAll,
        End::Expiry,
        End::None,
    ][round % 5];
    let (id, key) = new_key(tenant).await;
    tenant.onboard(&key, "one").await.expect(200);
    // A key can be rotated until ten seconds before it expires.
    let seconds = if round.is_multiple_of(2) { 11 } else { 14 };
    let expires_at = (end == End::Expiry).then(|| now() + seconds);
    if let Some(end) = expires_at {
        let soon = json!({ ":end": { "N": end.to_string() } });
        let update = "SET expires_at = :end";
        tenant.edit_key("admin", &id, update, soon).await;
    }
    let requests = requests(tenant, (&id, &key), round, end);
    let mut observer = Observer::new(tenant, key);
    let answers = observed(&mut observer, requests).await;

    let failed = answers.iter().filter(|answer| answer.status >= 500);
    let failed: Vec<_> = failed.collect();
    assert!(
        failed.iter().all(|it| it.status == 503),
        "{round}: {failed:?}"
    );
    let is_revoked = answers.iter().any(|answer| answer.status == 204);
    let (current, previous) = observer.look().await;
    if is_revoked {
        assert_eq!((current, previous), (0, 0), "{round} {end:?}");
        let late = send(tenant.rotation("admin", &id, &body())).await;
        late.expect_problem(409, "key_revoked");
    } else {
        assert!(current <= 1 && previous <= 1, "{round} {end:?}");
        // If no known secret is the current one, a rotation that returned 503 has issued a newer secret.
        assert!(current == 1 || !failed.is_empty(), "{round} {end:?}");
    }
    let record = tenant.record(&id).await;
    let rotations = answers.iter().filter(|it| it["access_key"].is_string());
    let (counted, done) = (
        record["generation"].as_u64().unwrap(),
        rotations.count() as u64,
    );
    assert!(
        counted == done || !failed.is_empty(),
        "{round} {end:?}: {counted} {done}"
    );
    // No slot was lost or taken twice.
    let used = tenant.used(&id).await;
    match answers[0].status {
        200 => assert_eq!(used, 2, "{round} {end:?}"),
        503 => assert!((1..=2).contains(&used), "{round} {end:?}"),
        _ => assert_eq!(used, 1, "{round} {end:?}"),
    }
    (observer, expires_at)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_races_never_leave_more_than_one_current_and_one_previous_secret() {
    let stack = Stack::start(options(&[("MaxKeysPerUser", "1000")])).await;
    let stack = stack.expect("the local stack starts");
    let tenant = Tenant::acme(&stack);
    let mut expiring = Vec::new();
    for round in 0..100 {
        let (observer, expires_at) = race(&tenant, round).await;
        expiring.extend(expires_at.map(|end| (observer, end)));
    }
    let mut rotated = 0;
    for (mut observer, end) in expiring {
        until(end).await;
        let created = observer.secrets.lock().unwrap()[0].clone();
        assert_ne!(tenant.verdict(&created).await, "active");
        let (current, previous) = observer.look().await;
        assert!(current <= 1 && previous <= 1, "{current} {previous}");
        rotated += current;
    }
    assert!(rotated > 0, "no key was rotated in time");
    stack.stop().await;
}

#[test]
fn an_acknowledged_revocation_prevents_a_rotation_that_has_already_read_the_key() {
    run(async {
        let tenant = Tenant::fresh();
        for end in ["key", "all"] {
            let (id, old) = new_key(&tenant).await;
            // The rotation has already read the key and signed, but its transaction is held.
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
fn a_delayed_onboarding_does_not_hide_the_use_of_a_newer_secret() {
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
fn a_delayed_change_does_not_raise_the_limit_above_the_one_signed_by_a_rotation() {
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
        // A revocation after the expiry writes nothing. A rotation that is written after such a revocation could make
        // the key valid again.
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

/// Returns edits that together cover every attribute of a key. Each edit sets the values that would give the key the
/// most rights. Attributes that belong together are edited together, because a record with only some of them cannot be
/// read.
fn edits() -> Vec<Value> {
    let number = |n: u64| json!({ "N": n.to_string() });
    let far = || number(4_000_000_000);
    let hash = || json!({ "B": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" });
    let system = || json!({ "M": { "kind": { "S": "system" }, "id": { "S": "x" } } });
    let day = "2999-01-01";
    vec![
        json!({ "role": { "S": "admin" } }),
        json!({ "max_clusters": number(100) }),
        json!({ "signed_max_clusters": number(1_000_000) }),
        json!({ "max_clusters": number(100), "signed_max_clusters": number(100) }),
        json!({ "clusters_used": number(0) }),
        json!({ "created_at": number(0) }),
        json!({ "created_by": system() }),
        json!({ "expires_at": far() }),
        json!({ "ttl": far() }),
        json!({ "epoch": number(900_000_000_000_000) }),
        json!({ "last_used_at": number(1) }),
        json!({ "generation": number(u32::MAX.into()) }),
        json!({ "generation": number(7) }),
        json!({ "rotated_at": number(0) }),
        json!({ "self_rotate": { "BOOL": true } }),
        json!({ "used_generation": number(7) }),
        json!({ "hash": hash() }),
        json!({ "name": { "S": "renamed" } }),
        json!({ "previous_hash": hash(), "previous_generation": number(0), "previous_ends_at": far() }),
        json!({ "previous_generation": number(0), "previous_ends_at": far(), "previous_used_at": far() }),
        json!({ "due_pk": { "S": format!("D#{day}#0") }, "due_sk": { "S": format!("{day}T00:00:00.000Z") } }),
        json!({ "unused_reported_at": number(1) }),
        json!({ "revoked_at": far(), "revoked_by": system(), "revoked_reason": { "S": "none" } }),
    ]
}

/// Sets attributes of one of the administrator's keys.
async fn edit(tenant: &Tenant<'_>, id: &str, attributes: &Value) {
    let attributes = attributes.as_object().unwrap();
    let set = attributes.keys().map(|name| {
        let is_reserved = ["role", "hash", "ttl", "name"].contains(&name.as_str());
        format!("{}{name} = :{name}", if is_reserved { "#" } else { "" })
    });
    let update = format!("SET {}", set.collect::<Vec<_>>().join(", "));
    let values = attributes.iter();
    let values = values.map(|(name, value)| (format!(":{name}"), value.clone()));
    tenant
        .edit_key("admin", id, &update, values.collect())
        .await;
}

/// Returns what a rotation signs, and what the key then permits.
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
async fn rotated_after(tenant: &Tenant<'_>, kind: &str, edited: Option<&Value>) -> Option<Value> {
    let wanted = json!({ "role": "viewer", "max_clusters": 2 });
    let mut body = wanted.clone();
    body["name"] = json!("k");
    body["self_rotate"] = json!(kind == "holder");
    let (id, key) = tenant.key_of("admin", body).await;
    if let Some(attributes) = edited {
        edit(tenant, &id, attributes).await;
    }
    let answer = match kind {
        "user" => send(tenant.rotation("admin", &id, &wanted)).await,
        _ => send(tenant.self_rotation(&key, &json!({}))).await,
    };
    let outcome = outcome(tenant, answer).await;
    if outcome.is_some() {
        // A later revocation of all keys also revokes this key, whatever its edited record contains.
        tenant.delete("admin", KEYS).await.expect(204);
        assert_eq!(
            tenant.record(&id).await["status"],
            "revoked",
            "{kind} {edited:?}"
        );
    }
    outcome
}

#[test]
fn editing_any_attribute_before_a_rotation_grants_nothing_more() {
    run(async {
        let tenant = Tenant::fresh();
        for kind in ["user", "holder", "fixed"] {
            let honest = rotated_after(&tenant, kind, None).await;
            assert_eq!(honest.is_some(), kind != "fixed", "{kind}");
            for edited in edits() {
                let outcome = rotated_after(&tenant, kind, Some(&edited)).await;
                assert!(
                    outcome.is_none() || outcome == honest,
                    "{kind} {edited}: {outcome:?}"
                );
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_can_be_repeated_no_matter_when_it_failed() {
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

/// Sends a rotation whose transaction fails before or after it takes effect, or whose process is killed.
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
            let held = rule(Fault::Latency(Duration::from_secs(30)));
            let killed = kill_at(&held, process_of(stack, "rotate"));
            let (answer, ()) = tokio::join!(send(request), killed);
            answer
        }
    }
}
