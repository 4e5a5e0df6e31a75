//! Changing the name, the labels, the expiry and the cluster limit of a key.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{Answer, KEYS, Tenant, UNKNOWN_KEY, now, rfc3339, run, send, until};
use serde_json::{Value, json};

const DAY: i64 = 86_400;

/// Sends a request in which a user changes one of their own keys.
async fn change(tenant: &Tenant<'_>, user: &str, key_id: &str, change: Value) -> Answer {
    let path = format!("{KEYS}/{key_id}");
    tenant.send(user, "PATCH", &path, change).await
}

/// Returns the audit entries about changes to a key, newest first.
async fn entries(tenant: &Tenant<'_>, key_id: &str) -> Vec<Value> {
    let path = format!("/v1/audit?target=access_key:{key_id}&action=access-key.changed");
    tenant.all("admin", &path).await
}

/// Returns the times of issue and expiry that are signed into a key.
fn signed(key: &str) -> [i64; 2] {
    let payload = BASE64URL.decode(key.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    ["iat", "exp"].map(|name| claims[name].as_i64().unwrap())
}

#[test]
fn a_change_of_several_fields_by_the_owner_has_one_audit_entry() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let body = json!({ "name": "old", "role": "viewer", "labels": ["a"], "max_clusters": 3 });
        let created = send(tenant.creation("editor", &body)).await.expect(201);
        let id = created.string("id");
        let end = rfc3339(now() + DAY);
        let wanted = json!({ "name": " new ", "labels": ["c", "b"], "expires_at": end });
        let mut expected = created.body.clone();
        expected.as_object_mut().unwrap().remove("access_key");
        for (name, value) in [
            ("name", json!("new")),
            ("labels", json!(["b", "c"])),
            ("expires_at", json!(end)),
        ] {
            expected[name] = value;
        }
        // A client repeats the request if the response was lost.
        for _ in 0..2 {
            let changed = change(&tenant, "editor", id, wanted.clone()).await;
            assert_eq!(changed.expect(200).body, expected);
        }
        let own = format!("{KEYS}/{id}");
        assert_eq!(tenant.get("editor", &own).await.body, expected);
        let [entry] = &entries(&tenant, id).await[..] else {
            panic!("there is not exactly one entry");
        };
        assert_eq!(entry["actor"], json!({ "kind": "user", "id": "editor" }));
        assert_eq!(
            entry["changes"],
            json!({
                "name": { "before": "old", "after": "new" },
                "labels": { "before": ["a"], "after": ["b", "c"] },
                "expires_at": { "before": created["expires_at"], "after": end },
            })
        );
        let none = change(&tenant, "editor", id, json!({ "labels": [] })).await;
        assert_eq!(none.expect(200)["labels"], json!([]));
        let labels = &entries(&tenant, id).await[0]["changes"];
        assert_eq!(labels, &json!({ "labels": { "before": ["b", "c"] } }));
        let items = tenant.items("editor").await;
        let item = items.iter().find(|item| item.get("hash").is_some());
        assert!(item.unwrap().get("labels").is_none());
    });
}

#[test]
fn only_an_administrator_or_the_operator_can_change_the_cluster_limit() {
    run(async {
        let tenant = Tenant::fresh();
        for user in ["editor", "other"] {
            tenant.user(user, "editor").await;
        }
        let body = json!({ "name": "k", "role": "editor", "max_clusters": 3 });
        let created = send(tenant.creation("editor", &body)).await.expect(201);
        let id = created.string("id");
        let path = format!("/v1/users/editor/access-keys/{id}");
        let both = json!({ "name": "renamed", "max_clusters": 2 });
        let refused = tenant.send("editor", "PATCH", &path, both.clone()).await;
        refused.expect_problem(403, "forbidden");
        let other = tenant.send("other", "PATCH", &path, both.clone()).await;
        other.expect_problem(404, "not_found");
        let record = tenant.get("admin", &path).await;
        assert_eq!(
            (&record["name"], &record["max_clusters"]),
            (&json!("k"), &json!(3))
        );
        let changed = tenant.send("admin", "PATCH", &path, both).await.expect(200);
        assert_eq!(changed["max_clusters"], 2);
        let by_operator = tenant.operation("PATCH", &path, json!({}));
        let by_operator = by_operator.json(&json!({ "labels": ["ci"], "max_clusters": 3 }));
        let changed = send(by_operator).await.expect(200);
        let shown = (&changed["labels"], &changed["max_clusters"]);
        assert_eq!(shown, (&json!(["ci"]), &json!(3)));
    });
}

#[test]
fn a_refused_change_names_every_wrong_field_and_changes_nothing() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.limited_key("viewer", 3).await;
        let before = tenant.record(&id).await;
        let end = before["expires_at"].as_str().unwrap();
        let later = rfc3339(now() + 40 * DAY);
        for (body, fields) in [
            (json!({}), vec!["body"]),
            (json!({ "role": "admin" }), vec!["body"]),
            (json!({ "name": "x", "role": "admin" }), vec!["body"]),
            (json!({ "name": null }), vec!["name"]),
            (json!({ "name": null, "labels": [] }), vec!["name"]),
            (json!({ "name": "a\nb" }), vec!["name"]),
            (json!({ "labels": null }), vec!["labels"]),
            (json!({ "labels": ["a", ""] }), vec!["labels"]),
            (
                json!({ "max_clusters": null, "name": "x" }),
                vec!["max_clusters"],
            ),
            (
                json!({ "expires_at": null, "name": "x" }),
                vec!["expires_at"],
            ),
            (json!({ "expires_at": "soon" }), vec!["expires_at"]),
            (
                json!({ "expires_at": rfc3339(now() - 1) }),
                vec!["expires_at"],
            ),
            (
                json!({ "name": "x", "expires_at": later }),
                vec!["expires_at"],
            ),
            (
                json!({ "max_clusters": 4, "expires_at": later }),
                vec!["max_clusters", "expires_at"],
            ),
        ] {
            let refused = change(&tenant, "admin", &id, body).await;
            refused.expect_fields(&fields);
        }
        let refused = change(&tenant, "admin", &id, json!({ "expires_at": later })).await;
        assert!(refused.string("detail").contains(end), "{}", refused.text);
        let same = change(&tenant, "admin", &id, json!({ "expires_at": end })).await;
        assert_eq!(same.expect(200).body, before);
        assert_eq!(tenant.record(&id).await, before);
        assert_eq!(entries(&tenant, &id).await.len(), 0);
    });
}

#[test]
fn a_revoked_or_expired_key_cannot_be_changed() {
    run(async {
        let tenant = Tenant::fresh();
        let (revoked, _) = tenant.key("admin", "viewer").await;
        tenant.revoke_by_id(&revoked).await;
        let (expired, _, end) = tenant.short_lived("viewer", 2).await;
        until(end).await;
        for id in [&revoked, &expired] {
            for body in [
                json!({ "name": "x" }),
                json!({ "labels": ["x"] }),
                json!({ "expires_at": rfc3339(now() + 60) }),
            ] {
                let refused = change(&tenant, "admin", id, body).await;
                refused.expect_problem(409, "key_gone");
            }
        }
        let unknown = change(&tenant, "admin", UNKNOWN_KEY, json!({ "name": "x" })).await;
        unknown.expect_problem(404, "not_found");
    });
}

#[test]
fn setting_an_earlier_expiry_ends_both_secrets_although_their_signed_expiry_is_later() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, old) = tenant.key("admin", "viewer").await;
        let new = tenant
            .rotate(&id, json!({ "role": "viewer", "max_clusters": 1 }))
            .await;
        let end = now() + 4;
        let wanted = json!({ "expires_at": rfc3339(end) });
        let changed = change(&tenant, "admin", &id, wanted).await.expect(200);
        for field in ["expires_at", "superseded_until"] {
            assert_eq!(tenant.record(&id).await[field], rfc3339(end), "{field}");
        }
        let item = tenant.key_item(&id).await.unwrap();
        for attribute in ["expires_at", "ttl"] {
            assert_eq!(item[attribute]["N"], end.to_string(), "{attribute}");
        }
        for secret in [&old, &new] {
            assert!(signed(secret)[1] > end + 20 * DAY);
            let grant = tenant.validate(secret).await;
            assert_eq!(
                (&grant["active"], &grant["exp"]),
                (&json!(true), &json!(end))
            );
        }
        until(end).await;
        for secret in [&old, &new] {
            assert_eq!(tenant.verdict(secret).await, "expired");
            let refused = send(tenant.own_record(secret)).await;
            refused.expect_problem(401, "key_expired");
        }
        assert_eq!(changed["status"], "active");
        assert_eq!(tenant.record(&id).await["status"], "expired");
    });
}

#[test]
fn setting_an_earlier_expiry_also_ends_the_secret_that_a_later_rotation_supersedes() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let rotation = |overlap: i64| {
            let body = json!({ "role": "viewer", "max_clusters": 1, "overlap_seconds": overlap });
            tenant.rotate(&id, body)
        };
        let first = rotation(7 * DAY).await;
        let end = now() + 3600;
        let earlier = json!({ "expires_at": rfc3339(end) });
        change(&tenant, "admin", &id, earlier).await.expect(200);
        rotation(DAY).await;
        assert_eq!(tenant.validate(&first).await["superseded_until"], end);
        assert_eq!(tenant.record(&id).await["superseded_until"], rfc3339(end));
    });
}

#[test]
fn after_an_earlier_expiry_was_set_a_rotation_follows_the_usual_rules() {
    run(async {
        let tenant = Tenant::fresh();
        let body = json!({ "name": "k", "role": "viewer", "self_rotate": true });
        let (id, key) = tenant.key_of("admin", body.clone()).await;
        let end = now() + 7200;
        let earlier = json!({ "expires_at": rfc3339(end) });
        let renamed = json!({ "name": "renamed", "labels": ["ci"], "expires_at": rfc3339(end) });
        change(&tenant, "admin", &id, renamed).await.expect(200);
        // Setting an earlier expiry takes away the permission to self-rotate. The holder could otherwise extend the key
        // again.
        let refused = send(tenant.self_rotation(&key, &json!({}))).await;
        refused.expect_problem(409, "self_rotate_required");
        assert_eq!(tenant.record(&id).await["self_rotate"], false);
        // A rotation by a user can set a later expiry.
        let longer = json!({ "role": "viewer", "max_clusters": 1, "expires_in_days": 10, "self_rotate": true });
        let rotated = send(tenant.rotation("admin", &id, &longer))
            .await
            .expect(200);
        let [began, ended] = signed(rotated.string("access_key"));
        assert_eq!(ended - began, 10 * DAY);
        assert_eq!(rotated["superseded_until"], rfc3339(end));
        let shown = (
            &rotated["name"],
            &rotated["labels"],
            &rotated["self_rotate"],
        );
        assert_eq!(shown, (&json!("renamed"), &json!(["ci"]), &json!(true)));
        // Repeating the creation keeps the changes to the name, the labels and the expiry.
        let create = || {
            send(
                tenant
                    .creation("admin", &body)
                    .header("idempotency-key", "once"),
            )
        };
        let id = create().await.expect(201).string("id").to_owned();
        change(&tenant, "admin", &id, earlier).await.expect(200);
        change(&tenant, "admin", &id, json!({ "name": "n" }))
            .await
            .expect(200);
        let again = create().await.expect(201);
        assert_eq!(signed(again.string("access_key"))[1], end);
        let shown = (&again["name"], &again["expires_at"], &again["self_rotate"]);
        assert_eq!(shown, (&json!("n"), &json!(rfc3339(end)), &json!(false)));
        let refused = tenant.self_rotation(again.string("access_key"), &json!({}));
        send(refused)
            .await
            .expect_problem(409, "self_rotate_required");
        let path = format!("/v1/audit?target=access_key:{id}&action=access-key.reissued");
        let entry = &tenant.all("admin", &path).await[0];
        assert_eq!(entry["changes"]["name"]["after"], "n");
    });
}

#[test]
fn damaged_labels_can_be_replaced() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let damage = json!({ ":damaged": { "L": [{ "S": "ci" }] } });
        tenant
            .edit_key("admin", &id, "SET labels = :damaged", damage)
            .await;
        let wanted = json!({ "labels": ["ci"] });
        let changed = change(&tenant, "admin", &id, wanted).await.expect(200);
        assert_eq!(changed["labels"], json!(["ci"]));
        let item = tenant.key_item(&id).await.unwrap();
        assert_eq!(item["labels"], json!({ "SS": ["ci"] }));
    });
}

#[test]
fn a_change_can_raise_the_cluster_limit_only_up_to_the_signed_limit() {
    run(async {
        let tenant = Tenant::fresh();
        let body = json!({ "name": "k", "role": "viewer", "max_clusters": 5, "self_rotate": true });
        let created = send(tenant.creation("admin", &body)).await.expect(201);
        let id = created.string("id");
        let limits = |record: &Value| {
            ["max_clusters", "signed_max_clusters"].map(|field| record[field].as_u64().unwrap())
        };
        let to = |limit: u64| change(&tenant, "admin", id, json!({ "max_clusters": limit }));
        assert_eq!(limits(&created.body), [5, 5]);
        assert_eq!(limits(&to(2).await.expect(200).body), [2, 5]);
        to(6).await.expect_fields(&["max_clusters"]);
        assert_eq!(limits(&to(5).await.expect(200).body), [5, 5]);

        let wanted = json!({ "role": "viewer", "max_clusters": 3, "self_rotate": true });
        let key = tenant.rotate(id, wanted).await;
        assert_eq!(limits(&tenant.record(id).await), [3, 3]);
        assert_eq!(limits(&to(1).await.expect(200).body), [1, 3]);
        for list in [KEYS, "/v1/access-keys"] {
            assert_eq!(
                limits(&tenant.all("admin", list).await[0]),
                [1, 3],
                "{list}"
            );
        }
        let own = send(tenant.own_record(&key)).await.expect(200);
        assert_eq!(limits(&own.body), [1, 3]);
        to(4).await.expect_fields(&["max_clusters"]);
        let rotated = send(tenant.self_rotation(&key, &json!({}))).await;
        assert_eq!(limits(&rotated.expect(200).body), [1, 3]);
        assert_eq!(limits(&to(3).await.expect(200).body), [3, 3]);
    });
}
