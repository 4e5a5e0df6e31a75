//! The audit trail: who changed what.

use harness::{Answer, KEYS, Tenant, UNKNOWN_KEY, contradictions, now, rfc3339, run, send};
use serde_json::{Value, json};

/// Returns the actor, the action and the target of an entry.
fn summary(entry: &Value) -> [String; 3] {
    let text = |name: &str| {
        let named = &entry[name];
        format!(
            "{}:{}",
            named["kind"].as_str().unwrap(),
            named["id"].as_str().unwrap()
        )
    };
    let action = entry["action"].as_str().unwrap().to_owned();
    [text("actor"), action, text("target")]
}

fn summaries(entries: &[Value]) -> Vec<[String; 3]> {
    entries.iter().map(summary).collect()
}

async fn trail(tenant: &Tenant<'_>, query: &str) -> Vec<Value> {
    tenant.all("admin", &format!("/v1/audit{query}")).await
}

/// Sends a request twice and returns the first response. The repetition must not change anything.
async fn twice(tenant: &Tenant<'_>, method: &str, path: &str, body: Value) -> Answer {
    let first = tenant.send("admin", method, path, body.clone()).await;
    tenant.send("admin", method, path, body).await;
    first
}

#[test]
fn every_change_leaves_one_entry_and_a_repetition_leaves_none() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let mut expected = vec![["user:admin", "user.created", "user:admin"].map(str::to_owned)];
        let mut expect = |actor: &str, action: &str, target: &str| {
            expected.push([actor, action, target].map(str::to_owned));
        };
        let ann = "/v1/users/ann";
        twice(
            &tenant,
            "PUT",
            ann,
            json!({ "role": "editor", "name": "Ann" }),
        )
        .await;
        expect("user:admin", "user.created", "user:ann");
        for (change, action) in [
            (json!({ "role": "admin" }), "user.changed"),
            (json!({ "status": "inactive" }), "user.deactivated"),
            (json!({ "status": "active" }), "user.reactivated"),
        ] {
            twice(&tenant, "PATCH", ann, change).await.expect(200);
            expect("user:admin", action, "user:ann");
        }

        let keys = format!("{ann}/access-keys");
        let body = json!({ "name": "ci", "role": "editor", "max_clusters": 3 });
        let create = || {
            let request = tenant.request("admin", "POST", &keys).json(&body);
            send(request.header("idempotency-key", "once"))
        };
        let created = create().await.expect(201);
        let id = created.string("id").to_owned();
        let key = create().await.expect(201).string("access_key").to_owned();
        let target = format!("access_key:{id}");
        expect("user:admin", "access-key.created", &target);
        expect("user:admin", "access-key.reissued", &target);
        let change = json!({ "max_clusters": 2 });
        twice(&tenant, "PATCH", &format!("{keys}/{id}"), change)
            .await
            .expect(200);
        expect("user:admin", "access-key.changed", &target);

        let holder = format!("key:{id}");
        let token = tenant.join_token(&key, "prod").await;
        tenant.onboard(&key, "prod").await.expect(200);
        expect(&holder, "cluster.onboarded", "cluster:prod");
        let redemption =
            json!({ "join_token": token, "cluster_name": "prod", "tenant_id": tenant.id });
        let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
        tenant
            .redeem(&platform, redemption.clone())
            .await
            .expect(200);
        for _ in 0..2 {
            let replayed = tenant.redeem(&platform, redemption.clone()).await;
            replayed.expect_problem(409, "join_token_redeemed");
        }
        expect(
            "operator:spire-server",
            "join-token.replayed",
            "cluster:prod",
        );
        twice(&tenant, "DELETE", "/v1/clusters/prod", Value::Null)
            .await
            .expect(204);
        expect("user:admin", "cluster.deleted", "cluster:prod");

        for _ in 0..2 {
            tenant.revoke(&key).await;
        }
        expect(&holder, "access-key.revoked", &target);
        let (second, _) = tenant.key("ann", "viewer").await;
        let target = format!("access_key:{second}");
        expect("user:admin", "access-key.created", &target);
        let path = format!("{keys}/{second}?reason=left");
        twice(&tenant, "DELETE", &path, Value::Null)
            .await
            .expect(204);
        expect("user:admin", "access-key.revoked", &target);
        tenant.delete("admin", &keys).await.expect(204);
        expect("user:admin", "user.keys-revoked", "user:ann");
        twice(&tenant, "DELETE", ann, Value::Null).await.expect(204);
        expect("user:admin", "user.deleted", "user:ann");

        let entries = trail(&tenant, "?limit=3").await;
        expected.reverse();
        assert_eq!(summaries(&entries), expected);
        assert_eq!(contradictions(&tenant).await, [""; 0]);
        let revoked = entries.iter().find(|entry| entry["reason"] == "left");
        assert_eq!(summary(revoked.unwrap())[2], target);
    });
}

#[test]
fn an_entry_states_what_changed_and_where_the_request_came_from() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("ann", "viewer").await;
        let before = now();
        let change = json!({ "role": "editor", "email": "ann@example.com" });
        let request = tenant
            .request("admin", "PUT", "/v1/users/ann")
            .json(&change);
        send(request.header("user-agent", "test/1"))
            .await
            .expect(200);
        let [entry] = &trail(&tenant, "?action=user.changed").await[..] else {
            panic!("one entry");
        };
        let changes = json!({
            "role": { "before": "viewer", "after": "editor" },
            "email": { "after": "ann@example.com" },
        });
        assert_eq!(entry["changes"], changes);
        assert_eq!(entry["user_agent"], "test/1");
        assert!(entry["request_id"].is_string());
        assert!(entry["source_ip"].is_string());
        assert!(entry["recorded_at"].is_null());
        assert!(*entry["time"].as_str().unwrap() >= *rfc3339(before).trim_end_matches('Z'));
    });
}

#[test]
fn a_sign_in_and_the_change_that_follows_it_each_have_an_entry() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let renamed = json!({ "sub": "admin", "tenant_id": tenant.id, "name": "New" });
        let change = tenant.call("PUT", "/v1/users/me");
        let change = change.bearer_auth(tenant.token_of(renamed));
        let body = json!({ "role": "admin", "email": "a@example.com" });
        send(change.json(&body)).await.expect(200);
        let entries = trail(&tenant, "?action=user.changed").await;
        let mut fields: Vec<String> = Vec::new();
        for entry in &entries {
            fields.extend(entry["changes"].as_object().unwrap().keys().cloned());
        }
        fields.sort();
        assert_eq!(
            (entries.len(), fields),
            (2, vec!["email".into(), "name".into()])
        );
    });
}

#[test]
fn a_key_sent_in_the_wrong_place_is_not_written_to_the_audit_trail() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let path = format!("{KEYS}/{id}");
        let reason = format!("{path}?reason=leaked%20{key}");
        let refused = tenant.delete("admin", &reason).await;
        refused.expect(400).expect_fields(&["reason"]);
        let revoke = tenant.request("admin", "DELETE", &path);
        send(revoke.header("user-agent", &key)).await.expect(204);
        let entries = trail(&tenant, "?action=access-key.revoked").await;
        assert_eq!(entries[0]["user_agent"], Value::Null);
    });
}

#[test]
fn a_sign_in_has_an_entry_only_if_it_changes_the_user() {
    run(async {
        let tenant = Tenant::fresh();
        let sign_in = async |claims: Value| {
            let mut token = json!({ "sub": "ann", "tenant_id": tenant.id });
            token
                .as_object_mut()
                .unwrap()
                .extend(claims.as_object().unwrap().clone());
            let request = tenant.call("GET", "/v1/users/me");
            send(request.bearer_auth(tenant.token_of(token)))
                .await
                .expect(200);
        };
        tenant.get("admin", "/v1/users/me").await.expect(200);
        for name in ["Ann", "Ann", "Anna", "Anna"] {
            sign_in(json!({ "name": name })).await;
        }
        let entries = trail(&tenant, "?target=user:ann").await;
        let actions: Vec<_> = entries.iter().map(|entry| &entry["action"]).collect();
        assert_eq!(actions, ["user.changed", "user.created"]);
        let change = json!({ "name": { "before": "Ann", "after": "Anna" } });
        assert_eq!(entries[0]["changes"], change);
        let mut admin = trail(&tenant, "?target=user:admin").await;
        let reason = admin.remove(0)["reason"].take();
        assert_eq!(reason, "BootstrapAdmins names this person");
    });
}

#[test]
fn each_filter_of_the_audit_trail_selects_the_matching_entries() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("ann", "editor").await;
        let (id, key) = tenant.key("ann", "editor").await;
        tenant.onboard(&key, "prod").await.expect(200);
        let count = async |query: &str| trail(&tenant, query).await.len();
        assert_eq!(count("").await, 4);
        assert_eq!(count("?actor=user:admin").await, 3);
        assert_eq!(count(&format!("?actor=key:{id}")).await, 1);
        assert_eq!(count("?actor=operator:admin").await, 0);
        assert_eq!(count("?action=user.created").await, 2);
        assert_eq!(count("?target=cluster:prod").await, 1);
        assert_eq!(count("?target=user:prod").await, 0);
        let of_key = format!("?target=access_key:{id}");
        assert_eq!(count(&of_key).await, 1);
        assert_eq!(
            count(&format!("{of_key}&action=access-key.revoked")).await,
            0
        );
        let [past, future] = [-3600, 3600].map(|seconds| rfc3339(now() + seconds));
        assert_eq!(count(&format!("?from={past}&to={future}")).await, 4);
        assert_eq!(count(&format!("?from={future}")).await, 0);
        assert_eq!(count(&format!("?to={past}")).await, 0);
        assert_eq!(count(&format!("{of_key}&to={past}")).await, 0);

        let entries = trail(&tenant, "").await;
        let times: Vec<_> = entries
            .iter()
            .map(|e| e["time"].as_str().unwrap())
            .collect();
        for time in &times {
            let before = times.iter().filter(|other| *other < time).count();
            assert_eq!(count(&format!("?to={time}")).await, before);
            assert_eq!(count(&format!("?from={time}")).await, 4 - before);
        }
        let [created] = &trail(&tenant, &of_key).await[..] else {
            panic!("one entry about the key");
        };
        let created = created["time"].as_str().unwrap();
        assert_eq!(count(&format!("{of_key}&from={created}")).await, 1);
        assert_eq!(count(&format!("{of_key}&to={created}")).await, 0);
    });
}

#[test]
fn a_filter_that_no_entry_can_match_is_refused() {
    run(async {
        let tenant = Tenant::fresh();
        for (field, value) in [
            ("actor", "admin"),
            ("actor", "robot:x"),
            ("target", "admin"),
            ("target", "access_key:x"),
            ("action", "access-key.used"),
            ("from", "yesterday"),
            ("limit", "101"),
            ("cursor", "x"),
        ] {
            let path = format!("/v1/audit?{field}={value}");
            let refused = tenant.get("admin", &path).await;
            refused.expect(400).expect_fields(&[field]);
        }
        let time = rfc3339(now());
        let path = format!("/v1/audit?from={time}&to={time}");
        let refused = tenant.get("admin", &path).await;
        refused.expect(400).expect_fields(&["to"]);
        tenant.get("admin", "/v1/audit?user=x").await.expect(400);
    });
}

#[test]
fn only_an_administrator_of_a_tenant_can_read_its_audit_trail() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        tenant.user("ann", "editor").await;
        other.user("bob", "viewer").await;
        for user in ["ann", "unknown"] {
            let refused = tenant.get(user, "/v1/audit").await;
            refused.expect_problem(403, "forbidden");
        }
        let text = |entries: Vec<Value>| Value::from(entries).to_string();
        assert!(text(trail(&tenant, "").await).contains("ann"));
        assert!(!text(trail(&tenant, "").await).contains("bob"));
        assert!(trail(&tenant, "?target=user:bob").await.is_empty());
        let cursor = tenant.get("admin", "/v1/audit?limit=1").await;
        let path = format!("/v1/audit?limit=1&cursor={}", cursor.string("next_cursor"));
        other
            .get("admin", &path)
            .await
            .expect(400)
            .expect_fields(&["cursor"]);
    });
}

#[test]
fn an_entry_contains_no_secret() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "admin").await;
        let token = tenant.join_token(&key, "prod").await;
        tenant.revoke(&key).await;
        let hash = tenant.key_item(&id).await.unwrap()["hash"].to_string();
        let entries = Value::from(trail(&tenant, "").await).to_string();
        for secret in [&key, &token, &hash] {
            assert!(!entries.contains(secret.trim_matches('"')), "{entries}");
        }
        assert!(!entries.contains("eyJ"));
        tenant
            .delete("admin", &format!("{KEYS}/{UNKNOWN_KEY}"))
            .await
            .expect(404);
        assert_eq!(trail(&tenant, "").await.len(), 4);
    });
}
