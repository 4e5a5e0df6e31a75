//! `process` as AccuKnox clients call it, the cluster limit, and join tokens.

use std::collections::HashMap;

use harness::{Answer, Tenant, all_at_once, now, rfc3339, run, send, until};
use serde_json::{Value, json};

/// The codes of answers, counted; success counts as `success`.
fn tally(answers: &[Answer]) -> HashMap<String, usize> {
    let mut tally = HashMap::new();
    for answer in answers {
        assert!(answer.status < 500, "{}", answer.text);
        let word = answer.body["error_code"]
            .as_str()
            .or(answer.body["message"].as_str())
            .unwrap();
        *tally.entry(word.to_owned()).or_default() += 1;
    }
    tally
}

#[test]
fn an_unchanged_client_onboards_a_cluster() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(3).await;
        // The claim that clients read unverified, for their header.
        let claims = key.split('.').nth(1).unwrap();
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let named = claims["tenant-id"].as_str().unwrap();
        for (kind, cluster) in [
            ("K8s", "prod.eu-1"),
            ("vm", "machines"),
            ("VM", "machines"),
            ("k8S", "dev_2"),
        ] {
            let body = json!({ "cluster_name": cluster, "type": kind, "node_name": "" });
            let answer = send(tenant.process(&key, body).header("X-Tenant-Id", named))
                .await
                .expect(200);
            assert_eq!(answer.body["message"], "success");
            assert_eq!(answer.body.as_object().unwrap().len(), 2);
            let token = answer.body["join_token"].as_str().unwrap();
            assert_eq!(
                (token.len(), token.matches('-').count(), &token[14..15]),
                (36, 4, "4")
            );
        }
        assert_eq!(tenant.used(&id).await, 3);
        // The key alone will do: curl without the tenant, and a client that leaves one of the two keys out.
        let only_header = tenant
            .call("POST", "/access-token/api/v1/process")
            .bearer_auth(&key);
        send(only_header.body(r#"{"cluster_name":"machines","type":"vm"}"#))
            .await
            .expect(200);
        let only_body = json!({ "cluster_name": "machines", "type": "vm", "token": key });
        send(
            tenant
                .call("POST", "/access-token/api/v1/process")
                .json(&only_body),
        )
        .await
        .expect(200);
    });
}

#[test]
fn every_refusal_has_its_code_in_two_strings() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        let (_, key) = tenant.onboarding_key(1).await;
        let (_, foreign) = other.onboarding_key(1).await;
        let k8s = |name: &str| json!({ "cluster_name": name, "type": "K8s" });

        for (body, code) in [
            (json!({ "cluster_name": "a" }), "invalid_type"),
            (
                json!({ "cluster_name": "a", "type": "Pod" }),
                "invalid_type",
            ),
            (json!({ "cluster_name": "a", "type": 7 }), "invalid_type"),
            (json!({ "type": "K8s" }), "invalid_cluster_name"),
            (
                json!({ "cluster_name": "", "type": "K8s" }),
                "invalid_cluster_name",
            ),
            (
                json!({ "cluster_name": 7, "type": "K8s" }),
                "invalid_cluster_name",
            ),
            (k8s("a b"), "invalid_cluster_name"),
            (k8s("../etc"), "invalid_cluster_name"),
            (k8s("a#b"), "invalid_cluster_name"),
            (k8s(&"x".repeat(254)), "invalid_cluster_name"),
            (
                json!({ "cluster_name": "a", "node_name": "-n", "type": "K8s" }),
                "invalid_node_name",
            ),
            (
                json!({ "cluster_name": "a", "type": "Node" }),
                "invalid_node_name",
            ),
        ] {
            send(tenant.process(&key, body))
                .await
                .expect_accuknox(400, code);
        }
        for text in ["", "{", "[]", "7", "\u{0}"] {
            let request = tenant
                .call("POST", "/access-token/api/v1/process")
                .bearer_auth(&key)
                .body(text);
            send(request).await.expect_accuknox(400, "malformed_body");
        }
        let long = tenant
            .call("POST", "/access-token/api/v1/process")
            .bearer_auth(&key)
            .body("x".repeat(70_000));
        send(long).await.expect_accuknox(413, "body_too_large");

        let mismatch = tenant
            .call("POST", "/access-token/api/v1/process")
            .bearer_auth(&key);
        let mismatch = mismatch
            .body(json!({ "cluster_name": "a", "type": "vm", "token": foreign }).to_string());
        send(mismatch).await.expect_accuknox(400, "invalid_token");
        let elsewhere = tenant
            .process(&key, k8s("a"))
            .header("x-tenant-id", &other.id);
        send(elsewhere)
            .await
            .expect_accuknox(403, "tenant_mismatch");

        let none = tenant
            .call("POST", "/access-token/api/v1/process")
            .body(k8s("a").to_string());
        let none = send(none).await.expect_accuknox(401, "invalid_key");
        assert_eq!(none.headers["www-authenticate"], "Bearer");
        for bad in ["nonsense", &format!("{key}x"), &tenant.token("admin")] {
            tenant
                .onboard(bad, "a")
                .await
                .expect_accuknox(401, "invalid_key");
        }

        tenant.onboard(&key, "a").await.expect(200);
        tenant
            .onboard(&key, "b")
            .await
            .expect_accuknox(409, "cluster_limit_reached");
        let (_, viewer) = tenant.key("admin", "viewer").await;
        tenant
            .onboard(&viewer, "a")
            .await
            .expect_accuknox(403, "forbidden");

        let (id, revoked) = tenant.onboarding_key(1).await;
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        tenant
            .onboard(&revoked, "a")
            .await
            .expect_accuknox(401, "key_revoked");
        tenant.user("leaver", "editor").await;
        let (_, orphan) = tenant.key("leaver", "cluster_onboarding").await;
        tenant
            .send(
                "admin",
                "PATCH",
                "/v1/users/leaver",
                json!({ "status": "inactive" }),
            )
            .await
            .expect(200);
        tenant
            .onboard(&orphan, "a")
            .await
            .expect_accuknox(401, "owner_inactive");
        let end = now() + 2;
        let body = json!({ "name": "k", "role": "cluster_onboarding", "expires_at": rfc3339(end) });
        let (_, expired) = tenant.key_of("admin", body).await;
        until(end).await;
        tenant
            .onboard(&expired, "a")
            .await
            .expect_accuknox(401, "key_expired");
        // What was refused left nothing behind.
        let names: Vec<_> = tenant
            .all("admin", "/v1/clusters")
            .await
            .iter()
            .map(|c| c["name"].clone())
            .collect();
        assert_eq!(names, ["a"]);
    });
}

#[test]
fn a_node_joins_a_cluster_that_is_there() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(2).await;
        let node = |cluster: &str, node: &str| json!({ "cluster_name": cluster, "node_name": node, "type": "Node" });
        send(tenant.process(&key, node("", "n1")))
            .await
            .expect_accuknox(409, "cluster_not_onboarded");
        send(tenant.process(&key, node("a", "n1")))
            .await
            .expect_accuknox(409, "cluster_not_onboarded");
        assert_eq!(tenant.used(&id).await, 0);
        tenant.onboard(&key, "a").await.expect(200);
        let before = tenant.get("admin", "/v1/clusters/a").await.expect(200).body;
        until(now() + 1).await;
        // The cluster named, or the only one that the key has.
        send(tenant.process(&key, node("a", "n1")))
            .await
            .expect(200);
        send(tenant.process(&key, node("", "n2"))).await.expect(200);
        send(tenant.process(&key, node("", "n2"))).await.expect(200);
        send(tenant.process(&key, json!({ "node_name": "n3", "type": "vm" })))
            .await
            .expect(200);
        let after = tenant.get("admin", "/v1/clusters/a").await.expect(200).body;
        let names: Vec<_> = after["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["name"].clone())
            .collect();
        assert_eq!(
            (names, &after["nodes_total"]),
            (vec![json!("n1"), json!("n2"), json!("n3")], &json!(3))
        );
        assert_eq!(
            (&after["id"], &after["created_at"]),
            (&before["id"], &before["created_at"])
        );
        assert!(after["last_seen_at"].as_str() > before["last_seen_at"].as_str());
        assert_eq!(tenant.used(&id).await, 1);
        tenant.onboard(&key, "b").await.expect(200);
        send(tenant.process(&key, node("", "n4")))
            .await
            .expect_accuknox(400, "invalid_cluster_name");
        // Another key's node takes a slot of that key.
        let (other_id, other) = tenant.onboarding_key(1).await;
        send(tenant.process(&other, node("a", "n5")))
            .await
            .expect(200);
        assert_eq!(tenant.used(&other_id).await, 1);
        send(tenant.process(&other, node("b", "n6")))
            .await
            .expect_accuknox(409, "cluster_limit_reached");
    });
}

#[test]
fn two_hundred_racing_for_ten_slots() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(10).await;
        let race = |names: Vec<String>| {
            all_at_once(
                names
                    .iter()
                    .map(|name| tenant.onboarding(&key, name))
                    .collect::<Vec<_>>(),
            )
        };
        let answers = race((0..200).map(|n| format!("cluster-{n}")).collect()).await;
        assert_eq!(
            tally(&answers),
            HashMap::from([
                ("success".into(), 10),
                ("cluster_limit_reached".into(), 190)
            ])
        );
        assert_eq!(tenant.used(&id).await, 10);
        let onboarded = tenant.slots(&id).await;
        let answers = race((0..200).map(|n| onboarded[n % 10].clone()).collect()).await;
        assert_eq!(tally(&answers), HashMap::from([("success".into(), 200)]));
        assert_eq!(tenant.used(&id).await, 10);
        assert_eq!(tenant.all("admin", "/v1/clusters").await.len(), 10);
    });
}

#[test]
fn the_same_cluster_racing_with_itself_takes_one_slot() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(1).await;
        let calls = (0..50).map(|n| {
            let node =
                json!({ "cluster_name": "only", "node_name": format!("n{n}"), "type": "VM" });
            tenant.process(&key, node)
        });
        let answers = all_at_once(calls).await;
        assert_eq!(tally(&answers), HashMap::from([("success".into(), 50)]));
        assert_eq!(tenant.used(&id).await, 1);
        let cluster = tenant
            .get("admin", "/v1/clusters/only")
            .await
            .expect(200)
            .body;
        assert_eq!(
            (&cluster["nodes_total"], &cluster["key_ids"]),
            (&json!(50), &json!([id]))
        );
    });
}

#[test]
fn an_administrator_moves_the_limit_within_what_was_signed() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let body = json!({ "name": "k", "role": "cluster_onboarding", "max_clusters": 3 });
        let (id, key) = tenant.key_of("editor", body).await;
        let path = format!("/v1/users/editor/access-keys/{id}");
        for cluster in ["a", "b"] {
            tenant.onboard(&key, cluster).await.expect(200);
        }
        let limit =
            |max: Value| tenant.send("admin", "PATCH", &path, json!({ "max_clusters": max }));
        // Below what is in use: no new slot, and none lost.
        let record = limit(json!(1)).await.expect(200).body;
        assert_eq!(
            (&record["max_clusters"], &record["clusters_used"]),
            (&json!(1), &json!(2))
        );
        tenant
            .onboard(&key, "c")
            .await
            .expect_accuknox(409, "cluster_limit_reached");
        tenant.onboard(&key, "a").await.expect(200);
        assert_eq!(tenant.slots(&id).await, ["a", "b"]);
        limit(json!(3)).await.expect(200);
        tenant.onboard(&key, "c").await.expect(200);
        tenant
            .onboard(&key, "d")
            .await
            .expect_accuknox(409, "cluster_limit_reached");
        for bad in [json!(4), json!(0), json!("3"), json!(2.5), Value::Null] {
            limit(bad).await.expect_problem(400, "invalid_request");
        }
        // Nor does a write to the table lift it above what was signed.
        let sk = format!("KEY#{id}");
        let values = json!({ ":n": { "N": "100" } });
        tenant
            .edit(
                "editor",
                &sk,
                "SET max_clusters = :n, signed_max_clusters = :n",
                values,
            )
            .await;
        tenant
            .onboard(&key, "d")
            .await
            .expect_accuknox(409, "cluster_limit_reached");

        let body = json!({ "max_clusters": 2 });
        tenant
            .send("editor", "PATCH", &path, body.clone())
            .await
            .expect_problem(403, "forbidden");
        let unknown = "/v1/users/editor/access-keys/01890a5d-ac96-774b-bcce-b302099a8057";
        tenant
            .send("admin", "PATCH", unknown, body.clone())
            .await
            .expect_problem(404, "not_found");
        Tenant::fresh()
            .send("admin", "PATCH", &path, body.clone())
            .await
            .expect_problem(404, "not_found");
        tenant.delete("admin", &path).await.expect(204);
        tenant
            .send("admin", "PATCH", &path, body)
            .await
            .expect_problem(409, "key_gone");
    });
}
