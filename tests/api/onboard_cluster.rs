//! Onboarding clusters and nodes the way AccuKnox clients do, and the cluster limit.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use harness::{Answer, PROCESS, Tenant, UNKNOWN_KEY, all_at_once, now, run, send, strings, until};
use serde_json::{Value, json};

/// Counts the responses by error code, and successes as `success`.
fn tally(answers: &[Answer]) -> BTreeMap<&str, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        assert!(answer.status < 500, "{}", answer.text);
        let code = answer["error_code"].as_str();
        let code = code.or(answer["message"].as_str()).unwrap();
        *tally.entry(code).or_default() += 1;
    }
    tally
}

fn k8s(cluster: &str) -> Value {
    json!({ "cluster_name": cluster, "type": "K8s" })
}

#[test]
fn an_unmodified_accuknox_client_can_onboard_a_cluster() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(3).await;
        // Clients copy the claim `tenant-id` into the tenant header without verifying the key.
        let claims = key.split('.').nth(1).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let tenant_id = claims["tenant-id"].as_str().unwrap();
        for (kind, cluster) in [
            ("K8s", "prod.eu-1"),
            ("vm", "machines"),
            ("VM", "machines"),
            ("k8S", "dev_2"),
        ] {
            let body = json!({ "cluster_name": cluster, "type": kind, "node_name": "" });
            let request = tenant.process(&key, body).header("X-Tenant-Id", tenant_id);
            let answer = send(request).await.expect(200);
            assert_eq!(answer["message"], "success");
            let members = answer.body.as_object().unwrap().keys();
            let known = ["access_key_expires_at", "join_token", "message"];
            assert!(members.eq(&known), "{}", answer.text);
            let token = answer.string("join_token");
            let uuid_form = (token.len(), token.matches('-').count(), &token[14..15]);
            assert_eq!(uuid_form, (36, 4, "4"));
        }
        assert_eq!(tenant.used(&id).await, 3);
        // A client may omit the tenant header, and may send the key in the `Authorization` header or in the body
        // instead of in both.
        let machines = json!({ "cluster_name": "machines", "type": "vm" });
        let only_header = tenant.call("POST", PROCESS).bearer_auth(&key);
        let only_header = only_header.body(machines.to_string());
        send(only_header).await.expect(200);
        let mut with_key = machines;
        with_key["token"] = json!(key);
        let only_body = tenant.call("POST", PROCESS).json(&with_key);
        send(only_body).await.expect(200);
    });
}

#[test]
fn the_error_code_for_an_invalid_field_names_the_field() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(1).await;
        let (_, foreign) = Tenant::fresh().onboarding_key(1).await;
        for (field, body) in [
            ("type", json!({ "cluster_name": "a" })),
            ("type", json!({ "cluster_name": "a", "type": "Pod" })),
            ("type", json!({ "cluster_name": "a", "type": 7 })),
            ("cluster_name", json!({ "type": "K8s" })),
            ("cluster_name", json!({ "cluster_name": 7, "type": "K8s" })),
            ("cluster_name", k8s("")),
            ("cluster_name", k8s("a b")),
            ("cluster_name", k8s("../etc")),
            ("cluster_name", k8s("a#b")),
            ("cluster_name", k8s(&"x".repeat(254))),
            (
                "node_name",
                json!({ "cluster_name": "a", "node_name": "-n", "type": "K8s" }),
            ),
            ("node_name", json!({ "cluster_name": "a", "type": "Node" })),
        ] {
            let refused = send(tenant.process(&key, body)).await;
            refused.expect_accuknox(400, &format!("invalid_{field}"));
        }
        let post = |body: String| {
            let request = tenant.call("POST", PROCESS).bearer_auth(&key);
            send(request.body(body))
        };
        for text in ["", "{", "[]", "7", "\u{0}"] {
            let refused = post(text.into()).await;
            refused.expect_accuknox(400, "malformed_body");
        }
        let refused = post("x".repeat(70_000)).await;
        refused.expect_accuknox(413, "body_too_large");
        let two_keys = json!({ "cluster_name": "a", "type": "vm", "token": foreign });
        let refused = post(two_keys.to_string()).await;
        refused.expect_accuknox(400, "invalid_token");
        assert_eq!(tenant.all("admin", "/v1/clusters").await, [Value::Null; 0]);
    });
}

#[test]
fn white_space_around_a_key_or_join_token_is_ignored() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(1).await;
        let body = json!({ "cluster_name": "a", "type": "K8s", "token": format!("{key}\n") });
        let process = || tenant.call("POST", PROCESS).json(&body);
        send(process()).await.expect(200);
        let joined = send(process().bearer_auth(&key)).await.expect(200);
        let token = format!("{}\n", joined.string("join_token"));
        let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
        let redeem = json!({ "join_token": token, "cluster_name": "a" });
        send(tenant.redemption(&platform, &redeem))
            .await
            .expect(200);
    });
}

#[test]
fn the_error_code_states_why_a_key_may_not_onboard() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(1).await;
        let other = Tenant::fresh();
        let elsewhere = tenant.process(&key, k8s("a"));
        let refused = send(elsewhere.header("x-tenant-id", &other.id)).await;
        refused.expect_accuknox(403, "tenant_mismatch");
        let without_key = tenant.call("POST", PROCESS).body(k8s("a").to_string());
        let refused = send(without_key).await.expect_accuknox(401, "invalid_key");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));

        let refuse = async |key: &str, cluster: &str, status: u16, code: &str| {
            let refused = tenant.onboard(key, cluster).await;
            refused.expect_accuknox(status, code);
        };
        for bad in ["nonsense", &format!("{key}x"), &tenant.token("admin")] {
            refuse(bad, "a", 401, "invalid_key").await;
        }
        tenant.onboard(&key, "a").await.expect(200);
        refuse(&key, "b", 409, "cluster_limit_reached").await;
        let (_, viewer) = tenant.key("admin", "viewer").await;
        refuse(&viewer, "a", 403, "forbidden").await;
        let (id, revoked) = tenant.onboarding_key(1).await;
        tenant.revoke_by_id(&id).await;
        refuse(&revoked, "a", 401, "key_revoked").await;
        tenant.user("leaver", "editor").await;
        let (_, orphan) = tenant.key("leaver", "cluster_onboarding").await;
        let inactive = json!({ "status": "inactive" });
        tenant.change_user("leaver", inactive).await;
        refuse(&orphan, "a", 401, "owner_inactive").await;
        let (_, expired, end) = tenant.short_lived("cluster_onboarding", 2).await;
        until(end).await;
        refuse(&expired, "a", 401, "key_expired").await;
        // A refused call creates nothing.
        let clusters = tenant.all("admin", "/v1/clusters").await;
        assert_eq!(strings(&clusters, "name"), ["a"]);
    });
}

#[test]
fn a_node_can_join_only_a_cluster_that_exists() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(2).await;
        let node = |key: &str, cluster: &str, node: &str| {
            let body = json!({ "cluster_name": cluster, "node_name": node, "type": "Node" });
            send(tenant.process(key, body))
        };
        for cluster in ["", "a"] {
            let refused = node(&key, cluster, "n1").await;
            refused.expect_accuknox(409, "cluster_not_onboarded");
        }
        assert_eq!(tenant.used(&id).await, 0);
        tenant.onboard(&key, "a").await.expect(200);
        let past = json!({ ":past": { "N": (now() - 3600).to_string() } });
        let silence = "SET last_seen_at = :past";
        let clusters = tenant.clusters_pk();
        tenant
            .edit_item(&clusters, "CLUSTER#a", silence, past)
            .await;
        let before = tenant.cluster("a").await;
        // An empty cluster name means the key's only cluster.
        for (cluster, name) in [("a", "n1"), ("", "n2"), ("", "n2")] {
            node(&key, cluster, name).await.expect(200);
        }
        let without_cluster = json!({ "node_name": "n3", "type": "vm" });
        let joined = send(tenant.process(&key, without_cluster)).await;
        joined.expect(200);
        let after = tenant.get("admin", "/v1/clusters/a").await.expect(200);
        assert_eq!(strings(after.array("nodes"), "name"), ["n1", "n2", "n3"]);
        assert_eq!(after["nodes_total"], 3);
        for field in ["id", "created_at"] {
            assert_eq!(after[field], before[field], "{field}");
        }
        assert!(after["last_seen_at"].as_str() > before["last_seen_at"].as_str());
        assert_eq!(tenant.used(&id).await, 1);
        tenant.onboard(&key, "b").await.expect(200);
        let refused = node(&key, "", "n4").await;
        refused.expect_accuknox(400, "invalid_cluster_name");
        // A node that joins with another key uses a slot of that key.
        let (other_id, other) = tenant.onboarding_key(1).await;
        node(&other, "a", "n5").await.expect(200);
        assert_eq!(tenant.used(&other_id).await, 1);
        let refused = node(&other, "b", "n6").await;
        refused.expect_accuknox(409, "cluster_limit_reached");
    });
}

#[test]
fn two_hundred_concurrent_onboardings_take_exactly_the_ten_slots_of_a_key() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(10).await;
        let race = async |name: &dyn Fn(usize) -> String| {
            let requests = (0..200).map(|n| tenant.onboarding(&key, &name(n)));
            all_at_once(requests.collect::<Vec<_>>()).await
        };
        let answers = race(&|n| format!("cluster-{n}")).await;
        let expected = BTreeMap::from([("success", 10), ("cluster_limit_reached", 190)]);
        assert_eq!(tally(&answers), expected);
        assert_eq!(tenant.used(&id).await, 10);
        let onboarded = tenant.slots(&id).await;
        let answers = race(&|n| onboarded[n % 10].clone()).await;
        assert_eq!(tally(&answers), BTreeMap::from([("success", 200)]));
        assert_eq!(tenant.used(&id).await, 10);
        assert_eq!(tenant.all("admin", "/v1/clusters").await.len(), 10);
    });
}

#[test]
fn fifty_concurrent_nodes_of_one_new_cluster_take_one_slot() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(1).await;
        let calls = (0..50).map(|n| {
            let name = format!("n{n}");
            let node = json!({ "cluster_name": "only", "node_name": name, "type": "VM" });
            tenant.process(&key, node)
        });
        let answers = all_at_once(calls).await;
        assert_eq!(tally(&answers), BTreeMap::from([("success", 50)]));
        assert_eq!(tenant.used(&id).await, 1);
        let cluster = tenant.cluster("only").await;
        assert_eq!(cluster["nodes_total"], 50);
        assert_eq!(cluster["key_ids"], json!([id]));
    });
}

#[test]
fn the_cluster_limit_can_be_changed_but_not_beyond_the_signed_limit() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let body = json!({ "name": "k", "role": "cluster_onboarding", "max_clusters": 3 });
        let (id, key) = tenant.key_of("editor", body).await;
        let path = format!("/v1/users/editor/access-keys/{id}");
        let limit =
            |max: Value| tenant.send("admin", "PATCH", &path, json!({ "max_clusters": max }));
        let expect_full = async |cluster: &str| {
            let refused = tenant.onboard(&key, cluster).await;
            refused.expect_accuknox(409, "cluster_limit_reached");
        };
        for cluster in ["a", "b"] {
            tenant.onboard(&key, cluster).await.expect(200);
        }
        // With a limit below the number of slots in use, the key keeps its slots but cannot take a new one.
        let record = limit(json!(1)).await.expect(200);
        assert_eq!(record["max_clusters"], 1);
        assert_eq!(record["clusters_used"], 2);
        expect_full("c").await;
        tenant.onboard(&key, "a").await.expect(200);
        assert_eq!(tenant.slots(&id).await, ["a", "b"]);
        limit(json!(3)).await.expect(200);
        tenant.onboard(&key, "c").await.expect(200);
        expect_full("d").await;
        for bad in [json!(4), json!(0), json!("3"), json!(2.5), Value::Null] {
            limit(bad).await.expect_problem(400, "invalid_request");
        }
        // Even an edit of the table cannot raise the limit above the signed limit.
        let values = json!({ ":n": { "N": "100" } });
        let update = "SET max_clusters = :n, signed_max_clusters = :n";
        tenant.edit_key("editor", &id, update, values).await;
        expect_full("d").await;

        let unknown = format!("/v1/users/editor/access-keys/{UNKNOWN_KEY}");
        let other = Tenant::fresh();
        for (tenant, user, path, status, code) in [
            (&tenant, "editor", &*path, 403, "forbidden"),
            (&tenant, "admin", &unknown, 404, "not_found"),
            (&other, "admin", &path, 404, "not_found"),
        ] {
            let body = json!({ "max_clusters": 2 });
            let refused = tenant.send(user, "PATCH", path, body).await;
            refused.expect_problem(status, code);
        }
        tenant.delete("admin", &path).await.expect(204);
        limit(json!(2)).await.expect_problem(409, "key_gone");
    });
}
