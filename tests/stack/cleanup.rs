//! The clean-up after TTL has deleted a key: the history, redelivered batches, and records that cannot be processed.

use harness::{KEYS, Tenant, eventually, now, run, send, stack, until};
use serde_json::{Value, json};

use crate::{
    crashes::{process_of, signal},
    damage::scan,
    own_stack,
};

const IDS: [&str; 3] = [
    "01890a5d-ac96-774b-bcce-b302099a8051",
    "01890a5d-ac96-774b-bcce-b302099a8052",
    "01890a5d-ac96-774b-bcce-b302099a8053",
];
const TTL: &str = "dynamodb.amazonaws.com";

#[test]
fn an_expired_key_stays_in_the_history_without_its_hash() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key, end) = tenant.short_lived("viewer", 2).await;
        let labels = json!({ ":labels": { "SS": ["ci"] } });
        tenant
            .edit_key("admin", &id, "SET labels = :labels", labels)
            .await;
        let live = tenant.record(&id).await;
        until(end + 1).await;
        let item = tenant.archived(&id).await;
        let ttl: i64 = item["ttl"]["N"].as_str().unwrap().parse().unwrap();
        assert!(ttl > end + 80 * 86_400);
        assert_eq!(tenant.verdict(&key).await, "expired");
        let list = async |status| {
            tenant
                .all("admin", &format!("{KEYS}?status={status}"))
                .await
        };
        let expired = list("expired").await;
        assert_eq!(expired.len(), 1);
        for field in ["id", "name", "labels", "created_at", "expires_at", "role"] {
            assert_eq!(expired[0][field], live[field]);
        }
        assert_eq!(list("active").await, [Value::Null; 0]);
        tenant.revoke_by_id(&id).await;
    });
}

/// Returns the stream record for a key that `principal` has deleted.
fn removal(tenant: &Tenant, id: &str, sequence: &str, principal: &str) -> Value {
    let key = json!({ "pk": { "S": tenant.pk("admin") }, "sk": { "S": format!("KEY#{id}") } });
    let mut image = json!({
        "tenant_pk": { "S": format!("KEYS#{}", tenant.id) },
        "tenant_sk": { "S": id },
        "name": { "S": "old" },
        "role": { "S": "viewer" },
        "created_by": { "M": { "kind": { "S": "user" }, "id": { "S": "admin" } } },
        "max_clusters": { "N": "1" },
        "signed_max_clusters": { "N": "1" },
        "clusters_used": { "N": "0" },
        "created_at": { "N": "1700000000" },
        "expires_at": { "N": (now() - 10).to_string() },
        "epoch": { "N": "0" },
        "hash": { "B": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
    });
    for name in ["pk", "sk"] {
        image[name] = key[name].clone();
    }
    json!({
        "eventID": sequence, "eventName": "REMOVE",
        "userIdentity": { "type": "Service", "principalId": principal },
        "dynamodb": { "Keys": key, "OldImage": image, "SequenceNumber": sequence },
    })
}

/// Invokes the clean-up and asserts that it reports exactly these sequence numbers as failed.
async fn clean_up(records: &[&Value], failed: &[&str]) {
    let batch = json!({ "Records": records });
    let answer = stack().invoke("cleanup", batch).await.unwrap();
    let failed = failed
        .iter()
        .map(|number| json!({ "itemIdentifier": number }));
    let failed: Vec<_> = failed.collect();
    assert_eq!(answer, json!({ "batchItemFailures": failed }));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_expiry_of_a_key_invokes_the_cleanup() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (id, key) = tenant.onboarding_key(1).await;
    let node = json!({ "cluster_name": "a", "node_name": "n", "type": "K8s" });
    send(tenant.process(&key, node)).await.expect(200);
    // Kills the process of the function. A new process then shows that the function was invoked.
    let killed = process_of(&stack, "cleanup");
    signal("-KILL", killed).await;
    let past = json!({ ":ttl": { "N": (now() - 1).to_string() } });
    let expire = async |item: &Value| {
        let [pk, sk] = ["pk", "sk"].map(|name| item[name]["S"].as_str().unwrap());
        let set = "SET #ttl = :ttl";
        tenant.edit_item(pk, sk, set, past.clone()).await;
        stack.sweep_ttl().unwrap();
        stack.drain_events().await;
    };
    let items = scan(&tenant).await;
    let other: Vec<&Value> = items
        .iter()
        .filter(|item| item.get("ttl").is_some() && item.get("hash").is_none())
        .collect();
    assert_eq!(other.len(), 5, "a node, a join token and three entries");
    for item in &other {
        expire(item).await;
    }
    assert_eq!(scan(&tenant).await.len(), items.len() - other.len());
    assert_eq!(process_of(&stack, "cleanup"), killed);
    expire(&tenant.key_item(&id).await.unwrap()).await;
    assert_ne!(process_of(&stack, "cleanup"), killed);
    stack.stop().await;
}

#[test]
fn redelivered_and_reordered_batches_change_nothing() {
    run(async {
        let tenant = Tenant::fresh();
        let first = removal(&tenant, IDS[0], "100", TTL);
        let second = removal(&tenant, IDS[1], "101", TTL);
        clean_up(&[&first, &second], &[]).await;
        let after_first = tenant.items("admin").await;
        assert_eq!(after_first.len(), 2);
        // A deletion by anyone other than TTL leaves no history.
        let by_hand = removal(&tenant, IDS[2], "103", "somebody");
        for batch in [
            &[&first, &second][..],
            &[&second, &first, &second],
            &[&by_hand],
        ] {
            clean_up(batch, &[]).await;
            assert_eq!(tenant.items("admin").await, after_first);
        }
    });
}

#[test]
fn a_record_that_cannot_be_processed_is_reported_and_the_others_are_processed() {
    run(async {
        let tenant = Tenant::fresh();
        let first = removal(&tenant, IDS[0], "1", TTL);
        let bad = removal(&tenant, "not-a-key-id", "2", TTL);
        let last = removal(&tenant, IDS[1], "3", TTL);
        clean_up(&[&first, &bad, &last], &["2"]).await;
        assert_eq!(tenant.items("admin").await.len(), 2);
    });
}

#[test]
fn only_the_record_that_cannot_be_processed_goes_to_the_dead_letter_queue() {
    run(async {
        let tenant = Tenant::fresh();
        let poison = json!({
            "pk": { "S": tenant.pk("admin") }, "sk": { "S": "KEY#poison" },
            "hash": { "B": "AAAA" }, "ttl": { "N": (now() - 5).to_string() },
        });
        tenant.dynamodb("PutItem", json!({ "Item": poison })).await;
        let (id, _, end) = tenant.short_lived("viewer", 2).await;
        until(end + 1).await;
        tenant.archived(&id).await;
        stack().drain_events().await;
        let letters = stack().dead_letters();
        let mut sizes = letters
            .iter()
            .map(|letter| &letter["DDBStreamBatchInfo"]["batchSize"]);
        assert!(sizes.any(|size| size == 1), "{letters:?}");
    });
}

#[test]
fn the_log_contains_no_part_of_an_unreadable_stream_record() {
    const HASH: &str = "c3RyZWFtIHJlY29yZCB3aXRoIGEgaGFzaCBpbiBpdCE=";
    run(async {
        let record = json!({
            "eventName": "REMOVE",
            "dynamodb": { "Keys": HASH, "OldImage": { "hash": HASH }, "SequenceNumber": "7" },
        });
        clean_up(&[&record], &["7"]).await;
        let logs = eventually("the failure is logged", || async {
            let logs = stack().logs();
            let is_reported = |line: &str| line.contains("could not process the stream record");
            let any = logs.iter().any(|line| is_reported(&line.line));
            any.then_some(logs)
        });
        assert!(logs.await.iter().all(|line| !line.line.contains(HASH)));
    });
}

#[test]
fn a_stream_record_in_the_get_records_format_is_processed_like_one_from_an_event() {
    run(async {
        let tenant = Tenant::fresh();
        let mut record = removal(&tenant, IDS[0], "1", TTL);
        record["userIdentity"] = json!({ "Type": "Service", "PrincipalId": TTL });
        clean_up(&[&record], &[]).await;
        assert_eq!(tenant.items("admin").await.len(), 1);
    });
}

#[test]
fn a_replayed_record_of_a_live_key_frees_no_slot() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(1).await;
        tenant.onboard(&key, "a").await.expect(200);
        let mut record = removal(&tenant, &id, "1", TTL);
        for age in [10, 4_000 * 86_400] {
            let expired = json!({ "N": (now() - age).to_string() });
            record["dynamodb"]["OldImage"]["expires_at"] = expired;
            clean_up(&[&record], &[]).await;
            assert_eq!(tenant.used(&id).await, 1);
        }
        assert_eq!(tenant.verdict(&key).await, "active");
    });
}

#[test]
fn a_record_with_an_extreme_time_does_not_stop_the_rest_of_the_batch() {
    run(async {
        let tenant = Tenant::fresh();
        let mut extreme = removal(&tenant, IDS[0], "1", TTL);
        let last = removal(&tenant, IDS[1], "2", TTL);
        for time in [i64::MAX, i64::MIN, i64::MAX / 1000, i64::MIN / 1000] {
            let time = json!({ "N": time.to_string() });
            for name in ["expires_at", "created_at", "last_used_at", "ttl"] {
                extreme["dynamodb"]["OldImage"][name] = time.clone();
            }
            clean_up(&[&extreme, &last], &[]).await;
        }
        let keys = tenant.all("admin", KEYS).await;
        assert!(keys.iter().any(|key| key["id"] == IDS[1]), "{keys:?}");
    });
}
