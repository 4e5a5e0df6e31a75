//! Cluster slots under races, lost responses and expiry: a key's counter always equals the number of its slots.

use harness::{ACCUKNOX_CLUSTERS, Fault, KEYS, Tenant, now, run, send, stack, until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::outages::SLOW;

const CLUSTERS: [&str; 4] = ["a", "b", "c", "d"];
const LIMIT: u64 = 2;

/// In one transaction, reads the counter of a key (`None` if the key is not live) and the number of its slots.
async fn snapshot(tenant: &Tenant<'_>, id: &str) -> (Option<u64>, u64) {
    let get = |pk: String, sk: String| {
        let key = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
        json!({ "Get": { "TableName": tenant.table(), "Key": key } })
    };
    let slot = |cluster| get(format!("K#{}#{id}", tenant.id), format!("SLOT#{cluster}"));
    let mut items = vec![get(tenant.pk("admin"), format!("KEY#{id}"))];
    items.extend(CLUSTERS.map(slot));
    let body = json!({ "TransactItems": items });
    let answer = tenant.dynamodb("TransactGetItems", body).await;
    let (key, slots) = answer["Responses"]
        .as_array()
        .unwrap()
        .split_first()
        .unwrap();
    let key = &key["Item"];
    let counter = || key["clusters_used"]["N"].as_str().unwrap().parse().unwrap();
    let counter = key.get("hash").map(|_| counter());
    let slots = slots.iter().filter(|slot| slot.get("Item").is_some());
    (counter, slots.count() as u64)
}

/// Moves the expiry of the administrator's key into the past and lets TTL delete the key.
async fn expire(tenant: &Tenant<'_>, id: &str) {
    let past = json!({ ":past": { "N": (now() - 1).to_string() } });
    let update = "SET expires_at = :past, #ttl = :past";
    tenant.edit_key("admin", id, update, past).await;
    stack().sweep_ttl().unwrap();
}

#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    Nothing,
    Revoke,
    Expire,
}

/// Onboards two clusters, the most that the key may onboard. Then runs eight onboardings and four deletions of clusters
/// concurrently, and checks the counter after each response. Returns the statuses of these responses.
async fn race(tenant: &Tenant<'static>, id: &str, key: &str, meanwhile: Meanwhile) -> Vec<u16> {
    for cluster in ["a", "b"] {
        tenant.onboard(key, cluster).await.expect(200);
    }
    let mut calls = JoinSet::new();
    for (n, cluster) in CLUSTERS.into_iter().cycle().take(12).enumerate() {
        let request = if n % 3 == 2 {
            let path = format!("/v1/clusters/{cluster}");
            tenant.call("DELETE", &path).bearer_auth(key)
        } else {
            tenant.onboarding(key, cluster)
        };
        calls.spawn(async move { send(request).await.status });
    }
    if meanwhile == Meanwhile::Revoke {
        let path = format!("{KEYS}/{id}");
        let revoke = tenant.request("admin", "DELETE", &path);
        calls.spawn(async move { send(revoke).await.expect(204).status });
    }
    let mut statuses = Vec::new();
    while let Some(status) = calls.join_next().await {
        statuses.push(status.unwrap());
        if meanwhile == Meanwhile::Expire && statuses.len() == 6 {
            expire(tenant, id).await;
        }
        let (counter, slots) = snapshot(tenant, id).await;
        let is_exact = counter.is_none_or(|counter| counter == slots);
        assert!(is_exact, "counter {counter:?}, slots {slots}");
        assert!(slots <= LIMIT);
    }
    // On a busy machine, a call may return 503. In that case, it writes nothing.
    let is_expected = |status: &u16| *status < 500 || *status == 503;
    assert!(statuses.iter().all(is_expected), "{statuses:?}");
    statuses
}

/// Runs a race, and checks the clean-up after the key has expired. Returns the statuses of the responses.
async fn round(meanwhile: Meanwhile) -> Vec<u16> {
    let tenant = Tenant::fresh();
    let (id, key) = tenant.limited_key("editor", LIMIT).await;
    let statuses = race(&tenant, &id, &key, meanwhile).await;
    let clusters = tenant.all("admin", "/v1/clusters").await;
    if meanwhile != Meanwhile::Expire {
        let holds = |cluster: &&Value| cluster["key_ids"] == json!([id]);
        let held = clusters.iter().filter(holds).count() as u64;
        assert_eq!(snapshot(&tenant, &id).await, (Some(held), held));
        expire(&tenant, &id).await;
    }
    tenant.archived(&id).await;
    assert_ne!(tenant.onboard(&key, "d").await.status, 200);
    let slots = tenant.slots(&id).await;
    assert_eq!(slots, [""; 0], "the clean-up frees the slots");
    let after = tenant.all("admin", "/v1/clusters").await;
    assert_eq!(after.len(), clusters.len(), "the clean-up keeps clusters");
    for cluster in after {
        let shown = json!([cluster["status"], cluster["key_ids"]]);
        assert_eq!(shown, json!(["active", []]));
    }
    statuses
}

#[test]
fn the_counter_is_exact_in_a_hundred_races_of_onboarding_deletion_revocation_and_expiry() {
    use Meanwhile::{Expire, Nothing, Revoke};
    run(async {
        let mut statuses = Vec::new();
        for batch in 0..10 {
            let meanwhile = |n: usize| [Nothing, Revoke, Expire][(batch * 10 + n) % 3];
            let mut rounds: JoinSet<_> = (0..10).map(|n| round(meanwhile(n))).collect();
            while let Some(round) = rounds.join_next().await {
                // If a round panics in another thread, the test's thread panics with the same message, because the
                // output of other threads is not captured.
                let message =
                    |error: tokio::task::JoinError| error.into_panic().downcast::<String>();
                statuses.extend(round.map_err(message).unwrap());
            }
        }
        let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        let has_raced = count(200) >= 100 && count(204) >= 50 && count(409) >= 10;
        assert!(has_raced, "there was no race: {statuses:?}");
    });
}

#[test]
fn clusters_stay_active_after_their_key_expires_or_is_revoked_or_reaches_its_limit() {
    run(async {
        let tenant = Tenant::fresh();
        let (expired_id, expired, end) = tenant.short_lived("cluster_onboarding", 5).await;
        tenant.onboard(&expired, "expired").await.expect(200);
        let (revoked_id, revoked) = tenant.key("admin", "cluster_onboarding").await;
        tenant.onboard(&revoked, "revoked").await.expect(200);
        let refused = tenant.onboard(&revoked, "over").await;
        refused.expect_accuknox(409, "cluster_limit_reached");
        tenant.revoke_by_id(&revoked_id).await;
        until(end).await;
        tenant.archived(&expired_id).await;
        assert_eq!(tenant.slots(&expired_id).await, [""; 0]);
        assert_eq!(tenant.record(&expired_id).await["status"], "expired");
        let listed = tenant.all("admin", "/v1/clusters?status=active").await;
        let shown = |c: &Value| json!([c["name"], c["key_id"], c["key_ids"]]);
        let expected = [
            json!(["expired", expired_id, []]),
            json!(["revoked", revoked_id, [revoked_id]]),
        ];
        assert_eq!(Vec::from_iter(listed.iter().map(shown)), expected);
        let (_, viewer) = tenant.key("admin", "viewer").await;
        let for_accuknox = tenant.call("GET", ACCUKNOX_CLUSTERS);
        let for_accuknox = for_accuknox.bearer_auth(&viewer);
        let for_accuknox = send(for_accuknox).await.expect(200);
        let mut clusters = for_accuknox.body.as_array().unwrap().iter();
        let all_active = clusters.all(|cluster| cluster["Status"] == "Active");
        assert!(all_active, "{}", for_accuknox.text);
        // The key's history keeps the number of onboarded clusters.
        assert_eq!(tenant.record(&expired_id).await["clusters_used"], 1);
        let deleted = tenant.delete("admin", "/v1/clusters/expired").await;
        deleted.expect(204);
    });
}

#[test]
fn an_onboarding_takes_one_slot_when_a_request_to_dynamodb_fails_once() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(10).await;
        let rule = |fault| tenant.rule("TransactWriteItems", fault).function("onboard");
        let faults = [
            Fault::DropAfter,
            Fault::DropBefore,
            Fault::TransactionConflict,
            Fault::Throttle,
            Fault::InternalError,
        ];
        for (fault, n) in faults.into_iter().zip(1..) {
            let rule = stack().inject(rule(fault.clone()).times(1));
            tenant.onboard(&key, &format!("c{n}")).await.expect(200);
            assert_eq!(rule.hits(), 1, "{fault:?}");
            assert_eq!(tenant.used(&id).await, n, "{fault:?}");
        }
        for fault in [Fault::DropBefore, Fault::TransactionConflict, SLOW] {
            let rule = stack().inject(rule(fault));
            let answer = tenant.onboard(&key, "never").await;
            assert_eq!(answer.header("retry-after"), Some("1"));
            answer.expect_accuknox(503, "unavailable");
            assert!(rule.hits() > 0);
        }
    });
}
