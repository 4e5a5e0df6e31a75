//! Revoking all keys of a tenant that match the filters of a request.

use harness::{Answer, KEYS, Tenant, contradictions, now, rfc3339, run, send, strings};
use serde_json::{Value, json};

const PATH: &str = "/v1/access-keys/revoke-matching";

async fn revoke(tenant: &Tenant<'_>, body: Value) -> Answer {
    tenant.send("admin", "POST", PATH, body).await
}

/// Returns how many keys matched, were revoked, and were examined.
fn counts(answer: &Answer) -> [u64; 3] {
    ["matched", "revoked", "examined"].map(|name| answer[name].as_u64().unwrap())
}

async fn labelled(tenant: &Tenant<'_>, owner: &str, label: &str) -> (String, String) {
    let body = json!({ "name": "k", "role": "viewer", "labels": [label, "all"] });
    tenant.key_of(owner, body).await
}

#[test]
fn matching_keys_are_revoked_as_if_by_individual_calls_and_other_keys_stay_valid() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("ann", "editor").await;
        let (_, other) = labelled(&tenant, "ann", "b").await;
        let (own_id, own) = labelled(&tenant, "admin", "a").await;
        let (id, key) = labelled(&tenant, "ann", "a").await;
        let (gone, _) = labelled(&tenant, "admin", "a").await;
        tenant.revoke_by_id(&gone).await;

        let count = revoke(&tenant, json!({ "label": "a", "dry_run": true })).await;
        let count = count.expect(200);
        let expected = json!({
            "dry_run": true, "matched": 2, "revoked": 0, "failed": 0, "examined": 4, "skipped": 0,
            "next_cursor": null,
        });
        assert_eq!(count.body, expected);
        assert_eq!(tenant.verdict(&key).await, "active");

        let wanted = json!({ "label": "a", "dry_run": false });
        let done = revoke(&tenant, wanted.clone()).await.expect(200);
        assert_eq!(counts(&done), [2, 2, 4]);
        let again = revoke(&tenant, wanted).await.expect(200);
        assert_eq!(counts(&again), [0, 0, 4]);
        for (key, expected) in [(&own, "revoked"), (&key, "revoked"), (&other, "active")] {
            assert_eq!(tenant.verdict(key).await, expected);
        }
        let path = format!("/v1/users/ann/access-keys/{id}");
        let record = tenant.get("ann", &path).await.expect(200);
        assert_eq!(
            record["revoked_by"],
            json!({ "kind": "user", "id": "admin" })
        );
        assert_eq!(record["revoked_reason"], "revoke_matching");
        for id in [&own_id, &id] {
            let path = format!("/v1/audit?target=access_key:{id}&action=access-key.revoked");
            let entries = tenant.all("admin", &path).await;
            assert_eq!(entries.len(), 1);
            assert_eq!(entries[0]["reason"], "revoke_matching");
        }
        let found = contradictions(&tenant).await;
        assert!(found.is_empty(), "{found:#?}");
    });
}

#[test]
fn each_filter_selects_keys_and_a_key_must_match_all_filters_of_a_request() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("ann", "editor").await;
        let (old, _) = tenant.key("ann", "viewer").await;
        let values = json!({ ":at": { "N": (now() - 100).to_string() } });
        tenant
            .edit_key("ann", &old, "SET created_at = :at", values)
            .await;
        let body = json!({ "name": "own", "role": "editor" });
        send(tenant.creation("ann", &body)).await.expect(201);
        tenant.key("admin", "admin").await;
        let before = rfc3339(now() - 50);
        for (filters, expected) in [
            (json!({ "created_by": "user:ann" }), 1),
            (json!({ "created_by": "user:admin" }), 2),
            (json!({ "role": "viewer" }), 1),
            (json!({ "created_before": before }), 1),
            (json!({ "created_before": rfc3339(now() + 60) }), 3),
            (json!({ "created_by": "user:admin", "role": "admin" }), 1),
            (
                json!({ "created_by": "user:ann", "created_before": before }),
                0,
            ),
            (json!({ "label": "none" }), 0),
        ] {
            let mut body = filters.clone();
            body["dry_run"] = json!(true);
            let count = revoke(&tenant, body).await.expect(200);
            assert_eq!(counts(&count), [expected, 0, 3], "{filters}");
        }
    });
}

#[test]
fn a_request_must_have_a_filter_and_state_whether_it_is_a_dry_run() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        for (body, fields) in [
            (json!({ "dry_run": false }), vec!["body"]),
            (json!({ "role": "viewer" }), vec!["dry_run"]),
            (
                json!({ "role": "viewer", "dry_run": null }),
                vec!["dry_run"],
            ),
            (
                json!({ "role": "viewer", "dry_run": "no" }),
                vec!["dry_run"],
            ),
            (
                json!({ "role": "viewer", "dry_run": false, "owner": "admin" }),
                vec!["body"],
            ),
            (
                json!({ "role": "owner", "created_by": "admin", "label": "", "created_before": 1 }),
                vec!["created_by", "role", "label", "created_before", "dry_run"],
            ),
            (
                json!({ "role": "viewer", "label": null, "dry_run": false }),
                vec!["label"],
            ),
            (
                json!({ "role": "viewer", "created_by": null, "dry_run": false }),
                vec!["created_by"],
            ),
            (
                json!({ "role": "viewer", "dry_run": false, "cursor": "x" }),
                vec!["cursor"],
            ),
            (
                json!({ "role": "viewer", "dry_run": false, "cursor": null }),
                vec!["cursor"],
            ),
        ] {
            revoke(&tenant, body).await.expect_fields(&fields);
        }
        assert_eq!(tenant.verdict(&key).await, "active");
    });
}

#[test]
fn only_an_administrator_or_the_operator_can_revoke_the_matching_keys_of_a_tenant() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        tenant.user("editor", "editor").await;
        let (_, key) = tenant.key("editor", "viewer").await;
        let (_, foreign) = other.key("admin", "viewer").await;
        let body = json!({ "role": "viewer", "dry_run": false });
        let refused = tenant.send("editor", "POST", PATH, body.clone()).await;
        refused.expect_problem(403, "forbidden");
        assert_eq!(tenant.verdict(&key).await, "active");
        let path = format!("{PATH}?reason=incident");
        let by_operator = tenant.operation("POST", &path, json!({})).json(&body);
        let done = send(by_operator).await.expect(200);
        assert_eq!(counts(&done), [1, 1, 1]);
        assert_eq!(tenant.verdict(&key).await, "revoked");
        assert_eq!(other.verdict(&foreign).await, "active");
        let record = &tenant.all("editor", KEYS).await[0];
        assert_eq!(record["revoked_reason"], "incident");
        assert_eq!(
            record["revoked_by"],
            json!({ "kind": "operator", "id": "backend" })
        );
    });
}

/// Adds copies of a live key to the table.
async fn copy(tenant: &Tenant<'_>, key_id: &str, copies: usize) {
    let original = tenant.key_item(key_id).await.unwrap();
    let ids: Vec<_> = (0..copies)
        .map(|n| format!("01890a5d-ac96-774b-bcce-{n:012x}"))
        .collect();
    for ids in ids.chunks(25) {
        let put = |id: &String| {
            let mut item = original.clone();
            item["sk"]["S"] = json!(format!("KEY#{id}"));
            item["tenant_sk"]["S"] = json!(id);
            json!({ "PutRequest": { "Item": item } })
        };
        let puts: Vec<_> = ids.iter().map(put).collect();
        let body = json!({ "RequestItems": { tenant.table(): puts } });
        tenant.dynamodb("BatchWriteItem", body).await;
    }
}

#[test]
fn a_call_examines_at_most_a_thousand_keys_and_the_next_call_continues() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        copy(&tenant, &id, 1100).await;
        let damage = json!({ ":v": { "S": "many" } });
        tenant
            .edit_key("admin", &id, "SET max_clusters = :v", damage)
            .await;
        for dry_run in [true, false] {
            let (mut body, mut sum) = (json!({ "role": "viewer", "dry_run": dry_run }), [0; 3]);
            let (mut calls, mut skipped) = (0, 0);
            loop {
                let page = revoke(&tenant, body.clone()).await.expect(200);
                let counts = counts(&page);
                assert!(counts[2] <= 1000);
                for (sum, count) in sum.iter_mut().zip(counts) {
                    *sum += count;
                }
                (calls, skipped) = (calls + 1, skipped + page["skipped"].as_u64().unwrap());
                match page["next_cursor"].as_str() {
                    Some(next) => body["cursor"] = json!(next),
                    None => break,
                }
            }
            let revoked = if dry_run { 0 } else { 1100 };
            assert_eq!(sum, [1100, revoked, 1100]);
            assert!(calls >= 2 && skipped >= 1);
            // A cursor is valid only with the same value of `dry_run`.
            body["dry_run"] = json!(!dry_run);
            revoke(&tenant, body).await.expect_fields(&["cursor"]);
        }
        let live = format!("{KEYS}?status=active");
        assert_eq!(tenant.all("admin", &live).await.len(), 0);
        let revoked = tenant
            .all("admin", "/v1/audit?action=access-key.revoked")
            .await;
        let targets: Vec<_> = revoked
            .iter()
            .map(|entry| entry["target"].clone())
            .collect();
        let mut ids = strings(&targets, "id");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((revoked.len(), ids.len()), (1100, 1100));
    });
}
