//! The labels of a key.

use harness::{KEYS, Tenant, run, send};
use serde_json::{Value, json};

fn body(labels: Value) -> Value {
    json!({ "name": "ci", "role": "viewer", "self_rotate": true, "labels": labels })
}

async fn create(tenant: &Tenant<'_>, labels: Value) -> harness::Answer {
    send(tenant.creation("admin", &body(labels))).await
}

#[test]
fn labels_are_a_sorted_set_in_every_response_that_describes_the_key() {
    run(async {
        let tenant = Tenant::fresh();
        let created = create(&tenant, json!(["b", " a b ", "🔑", "b"])).await;
        let created = created.expect(201);
        let (id, key) = (created.string("id"), created.string("access_key"));
        let expected = json!(["a b", "b", "🔑"]);
        let rotated = send(tenant.self_rotation(key, &json!({})))
            .await
            .expect(200);
        let own = send(tenant.own_record(key)).await.expect(200);
        let listed = tenant.all("admin", KEYS).await;
        let of_tenant = tenant.all("admin", "/v1/access-keys").await;
        for record in [
            &created.body,
            &rotated.body,
            &own.body,
            &tenant.record(id).await,
            &listed[0],
            &of_tenant[0],
        ] {
            assert_eq!(record["labels"], expected);
        }
        let path = format!("/v1/audit?target=access_key:{id}&action=access-key.created");
        let entries = tenant.all("admin", &path).await;
        let labels = &entries[0]["changes"]["labels"];
        assert_eq!(labels, &json!({ "after": expected }));
    });
}

#[test]
fn the_item_of_a_key_without_labels_has_no_labels_attribute() {
    run(async {
        let tenant = Tenant::fresh();
        for none in [Value::Null, json!([])] {
            let created = create(&tenant, none).await.expect(201);
            assert_eq!(created["labels"], json!([]));
            let item = tenant.key_item(created.string("id")).await.unwrap();
            assert!(item.get("labels").is_none());
        }
    });
}

#[test]
fn a_label_follows_the_rules_for_names_and_a_key_has_at_most_ten_labels() {
    run(async {
        let tenant = Tenant::fresh();
        let labels = |count: usize| -> Value { (0..count).map(|n| format!("l{n}")).collect() };
        let (long, longest) = ("x".repeat(65), "🔑".repeat(64));
        for bad in [
            labels(11),
            json!("ci"),
            json!({ "ci": true }),
            json!([1]),
            json!([null]),
            json!([""]),
            json!(["ok", "  "]),
            json!([long]),
            json!(["a\nb"]),
            json!(["\u{202e}nimda"]),
        ] {
            let refused = create(&tenant, bad).await;
            refused.expect_fields(&["labels"]);
        }
        create(&tenant, labels(10)).await.expect(201);
        create(&tenant, json!([longest])).await.expect(201);
    });
}

#[test]
fn a_request_with_other_labels_does_not_count_as_a_retry() {
    run(async {
        let tenant = Tenant::fresh();
        let create = |labels: Value| {
            let request = tenant.creation("admin", &body(labels));
            send(request.header("idempotency-key", "once"))
        };
        let first = create(json!(["a", "b"])).await.expect(201);
        let second = create(json!(["b", "a"])).await.expect(201);
        assert_eq!(first["id"], second["id"]);
        assert_eq!(second["labels"], json!(["a", "b"]));
        for other in [json!([]), json!(["a"])] {
            let reused = create(other).await;
            reused.expect_problem(409, "idempotency_key_reused");
        }
    });
}

#[test]
fn damaged_labels_harm_neither_the_key_nor_the_lists() {
    run(async {
        let tenant = Tenant::fresh();
        let created = create(&tenant, json!(["ci"])).await.expect(201);
        let (id, key) = (created.string("id"), created.string("access_key"));
        for damaged in [
            json!({ "NULL": true }),
            json!({ "S": "ci" }),
            json!({ "NS": ["1"] }),
            json!({ "L": [{ "S": "ci" }] }),
        ] {
            let damage = json!({ ":damaged": damaged });
            tenant
                .edit_key("admin", id, "SET labels = :damaged", damage)
                .await;
            assert_eq!(tenant.verdict(key).await, "active", "{damaged}");
            for list in [KEYS, "/v1/access-keys"] {
                let page = tenant.get("admin", list).await.expect(200);
                assert_eq!(page["skipped"], 0, "{damaged}");
                assert_eq!(page["items"][0]["labels"], json!([]), "{damaged}");
            }
            let filtered = tenant.all("admin", &format!("{KEYS}?label=ci")).await;
            assert_eq!(filtered.len(), 0, "{damaged}");
        }
        tenant.revoke(key).await;
        assert_eq!(tenant.verdict(key).await, "revoked");
    });
}
