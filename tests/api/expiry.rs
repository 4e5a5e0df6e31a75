//! Expiry is to the second, whenever TTL gets to it; what TTL removes stays in the history without its hash.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    stack::stack,
    world::{Tenant, code, dynamodb, now, recall, run, send, until, validate, verdict},
};

#[test]
fn a_key_expires_to_the_second_though_its_record_is_still_there() {
    run(async {
        let tenant = Tenant::new();
        let (id, key, end) = tenant.short_lived(4).await;
        assert_eq!(validate(&key).await["exp"], end);
        loop {
            let before = now();
            let verdict = verdict(&key).await;
            let after = now();
            assert!(
                !(verdict == "active" && before >= end),
                "good after its time"
            );
            assert!(
                !(verdict == "expired" && after < end),
                "expired before its time"
            );
            if verdict == "expired" {
                break;
            }
        }
        // A record that says less than was signed counts too.
        let (other, key) = tenant.key("admin", "viewer").await;
        tenant
            .edit(
                "admin",
                &format!("KEY#{other}"),
                "SET expires_at = :now",
                json!({ ":now": { "N": now().to_string() } }),
            )
            .await;
        assert_eq!(verdict(&key).await, "expired");
        let record = tenant
            .get("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(200)
            .body;
        assert_eq!(record["status"], "expired");
    });
}

#[test]
fn a_remembered_key_expires_to_the_second_too() {
    run(async {
        let tenant = Tenant::new();
        let (_, signed, end) = tenant.short_lived(6).await;
        let (id, shortened) = tenant.key("admin", "viewer").await;
        let values = json!({ ":end": { "N": end.to_string() } });
        tenant
            .edit(
                "admin",
                &format!("KEY#{id}"),
                "SET expires_at = :end",
                values,
            )
            .await;
        for key in [&signed, &shortened] {
            assert_eq!(
                tenant.remembered(|| recall(key, 60)).await.expect(200).body["exp"],
                end
            );
        }
        for key in [&signed, &shortened] {
            loop {
                let before = now();
                let answer = send(recall(key, 60)).await.expect(200).body;
                let after = now();
                assert!(
                    !(code(&answer) == "active" && before >= end),
                    "good after its time"
                );
                assert!(
                    !(code(&answer) == "expired" && after < end),
                    "expired before its time"
                );
                if code(&answer) == "expired" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
}

#[test]
fn what_ttl_removes_stays_in_the_history_without_its_hash() {
    run(async {
        let tenant = Tenant::new();
        let (id, key, end) = tenant.short_lived(2).await;
        let live = tenant
            .get("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .body;
        until(end + 1).await;
        let item = tenant.archived(&id).await;
        assert!(item["ttl"]["N"].as_str().unwrap().parse::<i64>().unwrap() > end + 80 * 86_400);
        assert_eq!(verdict(&key).await, "expired");
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
        let tenant = Tenant::new();
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
        let tenant = Tenant::new();
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
        let tenant = Tenant::new();
        let poison = json!({
            "pk": { "S": tenant.pk("admin") }, "sk": { "S": "KEY#poison" },
            "hash": { "B": "AAAA" }, "ttl": { "N": (now() - 5).to_string() },
        });
        dynamodb("PutItem", json!({ "Item": poison })).await;
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
