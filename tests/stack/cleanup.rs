//! The clean-up after TTL: the history, redelivered batches, and records that cannot be processed.

use harness::{Tenant, eventually, now, run, stack, until};
use serde_json::{Value, json};

#[test]
fn what_ttl_removes_stays_in_the_history_without_its_hash() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key, end) = tenant.short_lived(2).await;
        let live = tenant
            .get("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .body;
        until(end + 1).await;
        let item = tenant.archived(&id).await;
        assert!(item["ttl"]["N"].as_str().unwrap().parse::<i64>().unwrap() > end + 80 * 86_400);
        assert_eq!(tenant.verdict(&key).await, "expired");
        let expired = tenant
            .all("admin", "/v1/users/me/access-keys?status=expired")
            .await;
        assert_eq!(expired.len(), 1);
        for field in ["id", "name", "created_at", "expires_at", "role"] {
            assert_eq!(expired[0][field], live[field]);
        }
        assert!(
            tenant
                .all("admin", "/v1/users/me/access-keys?status=active")
                .await
                .is_empty()
        );
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
    });
}

fn removal(tenant: &Tenant, id: &str, sequence: &str, principal: &str) -> Value {
    let key = json!({ "pk": { "S": tenant.pk("admin") }, "sk": { "S": format!("KEY#{id}") } });
    let mut image = key.clone();
    for (name, value) in [
        ("tenant_pk", json!({ "S": format!("KEYS#{}", tenant.id) })),
        ("tenant_sk", json!({ "S": id })),
        ("name", json!({ "S": "old" })),
        ("role", json!({ "S": "viewer" })),
        ("created_by", json!({ "S": "admin" })),
        ("max_clusters", json!({ "N": "1" })),
        ("signed_max_clusters", json!({ "N": "1" })),
        ("clusters_used", json!({ "N": "0" })),
        ("created_at", json!({ "N": "1700000000" })),
        ("expires_at", json!({ "N": (now() - 10).to_string() })),
        ("epoch", json!({ "N": "0" })),
        (
            "hash",
            json!({ "B": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }),
        ),
    ] {
        image[name] = value;
    }
    json!({
        "eventID": sequence, "eventName": "REMOVE",
        "userIdentity": { "type": "Service", "principalId": principal },
        "dynamodb": { "Keys": key, "OldImage": image, "SequenceNumber": sequence },
    })
}

#[test]
fn batches_that_come_again_or_out_of_order_change_nothing() {
    run(async {
        let tenant = Tenant::fresh();
        let ids = [
            "01890a5d-ac96-774b-bcce-b302099a8051",
            "01890a5d-ac96-774b-bcce-b302099a8052",
        ];
        let record = |n: usize| {
            removal(
                &tenant,
                ids[n],
                &format!("{}", 100 + n),
                "dynamodb.amazonaws.com",
            )
        };
        let clean = json!({ "batchItemFailures": [] });
        let batch = json!({ "Records": [record(0), record(1)] });
        assert_eq!(
            stack().invoke("cleanup", batch.clone()).await.unwrap(),
            clean
        );
        let after_first = tenant.items("admin").await;
        assert_eq!(after_first.len(), 2);
        let reordered = json!({ "Records": [record(1), record(0), record(1)] });
        for again in [batch, reordered] {
            assert_eq!(stack().invoke("cleanup", again).await.unwrap(), clean);
            assert_eq!(tenant.items("admin").await, after_first);
        }
        // A deletion that TTL did not make leaves no history.
        let by_hand = removal(
            &tenant,
            "01890a5d-ac96-774b-bcce-b302099a8053",
            "103",
            "somebody",
        );
        assert_eq!(
            stack()
                .invoke("cleanup", json!({ "Records": [by_hand] }))
                .await
                .unwrap(),
            clean
        );
        assert_eq!(tenant.items("admin").await, after_first);
    });
}

#[test]
fn a_poison_record_is_named_and_the_others_are_handled() {
    run(async {
        let tenant = Tenant::fresh();
        let good = removal(
            &tenant,
            "01890a5d-ac96-774b-bcce-b302099a8061",
            "1",
            "dynamodb.amazonaws.com",
        );
        let bad = removal(&tenant, "not-a-key-id", "2", "dynamodb.amazonaws.com");
        let last = removal(
            &tenant,
            "01890a5d-ac96-774b-bcce-b302099a8062",
            "3",
            "dynamodb.amazonaws.com",
        );
        let answer = stack()
            .invoke("cleanup", json!({ "Records": [good, bad, last] }))
            .await
            .unwrap();
        assert_eq!(
            answer,
            json!({ "batchItemFailures": [{ "itemIdentifier": "2" }] })
        );
        assert_eq!(tenant.items("admin").await.len(), 2);
    });
}

#[test]
fn a_poison_record_ends_in_the_dead_letter_queue_and_blocks_no_other() {
    run(async {
        let tenant = Tenant::fresh();
        let poison = json!({
            "pk": { "S": tenant.pk("admin") }, "sk": { "S": "KEY#poison" },
            "hash": { "B": "AAAA" }, "ttl": { "N": (now() - 5).to_string() },
        });
        tenant.dynamodb("PutItem", json!({ "Item": poison })).await;
        let (id, _, end) = tenant.short_lived(2).await;
        until(end + 1).await;
        tenant.archived(&id).await;
        stack().drain_events().await;
        let letters = stack().dead_letters();
        assert!(
            letters
                .iter()
                .any(|letter| letter["DDBStreamBatchInfo"]["batchSize"] == 1),
            "one record is given up alone: {letters:?}"
        );
    });
}

#[test]
fn a_stream_record_that_cannot_be_read_leaves_nothing_of_itself_in_the_log() {
    const HASH: &str = "c3RyZWFtIHJlY29yZCB3aXRoIGEgaGFzaCBpbiBpdCE=";
    run(async {
        let record = json!({
            "eventName": "REMOVE",
            "dynamodb": { "Keys": HASH, "OldImage": { "hash": HASH }, "SequenceNumber": "7" },
        });
        let batch = json!({ "Records": [record] });
        let answer = stack().invoke("cleanup", batch).await.unwrap();
        let failures = json!([{ "itemIdentifier": "7" }]);
        assert_eq!(answer["batchItemFailures"], failures);
        let logs = eventually("the failure is logged", || async {
            let logs = stack().logs();
            let is_reported = |line: &str| line.contains("could not process the stream record");
            let any = logs.iter().any(|line| is_reported(&line.line));
            any.then_some(logs)
        });
        assert!(logs.await.iter().all(|line| !line.line.contains(HASH)));
    });
}
