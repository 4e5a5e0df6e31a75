//! `process` as AccuKnox clients call it, the cluster limit, and join tokens.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    stack::stack,
    world::{Answer, Tenant, now, onboard, process, request, rfc3339, run, send, until},
};

/// A key that may onboard `max` clusters.
pub async fn onboarding_key(tenant: &Tenant, max: u64) -> (String, String) {
    tenant
        .key_of(
            "admin",
            json!({ "name": "k", "role": "cluster_onboarding", "max_clusters": max }),
        )
        .await
}

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

async fn all_at_once<F: Future<Output = Answer> + Send + 'static>(
    calls: impl IntoIterator<Item = F>,
) -> Vec<Answer> {
    let set: JoinSet<Answer> = calls.into_iter().collect();
    set.join_all().await
}

#[test]
fn an_unchanged_client_onboards_a_cluster() {
    run(async {
        let tenant = Tenant::new();
        let (id, key) = onboarding_key(&tenant, 3).await;
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
            let answer = send(process(&key, body).header("X-Tenant-Id", named))
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
        let only_header = request("POST", "/access-token/api/v1/process").bearer_auth(&key);
        send(only_header.body(r#"{"cluster_name":"machines","type":"vm"}"#))
            .await
            .expect(200);
        let only_body = json!({ "cluster_name": "machines", "type": "vm", "token": key });
        send(request("POST", "/access-token/api/v1/process").json(&only_body))
            .await
            .expect(200);
    });
}

#[test]
fn every_refusal_has_its_code_in_two_strings() {
    run(async {
        let (tenant, other) = (Tenant::new(), Tenant::new());
        let (_, key) = onboarding_key(&tenant, 1).await;
        let (_, foreign) = onboarding_key(&other, 1).await;
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
            send(process(&key, body)).await.expect_accuknox(400, code);
        }
        for text in ["", "{", "[]", "7", "\u{0}"] {
            let request = request("POST", "/access-token/api/v1/process")
                .bearer_auth(&key)
                .body(text);
            send(request).await.expect_accuknox(400, "malformed_body");
        }
        let long = request("POST", "/access-token/api/v1/process")
            .bearer_auth(&key)
            .body("x".repeat(70_000));
        send(long).await.expect_accuknox(413, "body_too_large");

        let mismatch = request("POST", "/access-token/api/v1/process").bearer_auth(&key);
        let mismatch = mismatch
            .body(json!({ "cluster_name": "a", "type": "vm", "token": foreign }).to_string());
        send(mismatch).await.expect_accuknox(400, "invalid_token");
        let elsewhere = process(&key, k8s("a")).header("x-tenant-id", &other.id);
        send(elsewhere)
            .await
            .expect_accuknox(403, "tenant_mismatch");

        let none = request("POST", "/access-token/api/v1/process").body(k8s("a").to_string());
        let none = send(none).await.expect_accuknox(401, "invalid_key");
        assert_eq!(none.headers["www-authenticate"], "Bearer");
        for bad in ["nonsense", &format!("{key}x"), &tenant.token("admin")] {
            onboard(bad, "a").await.expect_accuknox(401, "invalid_key");
        }

        onboard(&key, "a").await.expect(200);
        onboard(&key, "b")
            .await
            .expect_accuknox(409, "cluster_limit_reached");
        let (_, viewer) = tenant.key("admin", "viewer").await;
        onboard(&viewer, "a")
            .await
            .expect_accuknox(403, "forbidden");

        let (id, revoked) = onboarding_key(&tenant, 1).await;
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        onboard(&revoked, "a")
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
        onboard(&orphan, "a")
            .await
            .expect_accuknox(401, "owner_inactive");
        let end = now() + 2;
        let body = json!({ "name": "k", "role": "cluster_onboarding", "expires_at": rfc3339(end) });
        let (_, expired) = tenant.key_of("admin", body).await;
        until(end).await;
        onboard(&expired, "a")
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
        let tenant = Tenant::new();
        let (id, key) = onboarding_key(&tenant, 2).await;
        let node = |cluster: &str, node: &str| json!({ "cluster_name": cluster, "node_name": node, "type": "Node" });
        send(process(&key, node("", "n1")))
            .await
            .expect_accuknox(409, "cluster_not_onboarded");
        send(process(&key, node("a", "n1")))
            .await
            .expect_accuknox(409, "cluster_not_onboarded");
        assert_eq!(tenant.used(&id).await, 0);
        onboard(&key, "a").await.expect(200);
        let before = tenant.get("admin", "/v1/clusters/a").await.expect(200).body;
        until(now() + 1).await;
        // The cluster named, or the only one that the key has.
        send(process(&key, node("a", "n1"))).await.expect(200);
        send(process(&key, node("", "n2"))).await.expect(200);
        send(process(&key, node("", "n2"))).await.expect(200);
        send(process(&key, json!({ "node_name": "n3", "type": "vm" })))
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
        onboard(&key, "b").await.expect(200);
        send(process(&key, node("", "n4")))
            .await
            .expect_accuknox(400, "invalid_cluster_name");
        // Another key's node takes a slot of that key.
        let (other_id, other) = onboarding_key(&tenant, 1).await;
        send(process(&other, node("a", "n5"))).await.expect(200);
        assert_eq!(tenant.used(&other_id).await, 1);
        send(process(&other, node("b", "n6")))
            .await
            .expect_accuknox(409, "cluster_limit_reached");
    });
}

#[test]
fn two_hundred_racing_for_ten_slots() {
    run(async {
        let tenant = Tenant::new();
        let (id, key) = onboarding_key(&tenant, 10).await;
        let race = |names: Vec<String>| {
            all_at_once(names.into_iter().map(|name| {
                let key = key.clone();
                async move { onboard(&key, &name).await }
            }))
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
        let tenant = Tenant::new();
        let (id, key) = onboarding_key(&tenant, 1).await;
        let calls = (0..50).map(|n| {
            let key = key.clone();
            async move {
                let body =
                    json!({ "cluster_name": "only", "node_name": format!("n{n}"), "type": "VM" });
                send(process(&key, body)).await
            }
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
        let tenant = Tenant::new();
        tenant.user("editor", "editor").await;
        let body = json!({ "name": "k", "role": "cluster_onboarding", "max_clusters": 3 });
        let (id, key) = tenant.key_of("editor", body).await;
        let path = format!("/v1/users/editor/access-keys/{id}");
        for cluster in ["a", "b"] {
            onboard(&key, cluster).await.expect(200);
        }
        let limit =
            |max: Value| tenant.send("admin", "PATCH", &path, json!({ "max_clusters": max }));
        // Below what is in use: no new slot, and none lost.
        let record = limit(json!(1)).await.expect(200).body;
        assert_eq!(
            (&record["max_clusters"], &record["clusters_used"]),
            (&json!(1), &json!(2))
        );
        onboard(&key, "c")
            .await
            .expect_accuknox(409, "cluster_limit_reached");
        onboard(&key, "a").await.expect(200);
        assert_eq!(tenant.slots(&id).await, ["a", "b"]);
        limit(json!(3)).await.expect(200);
        onboard(&key, "c").await.expect(200);
        onboard(&key, "d")
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
        onboard(&key, "d")
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
        Tenant::new()
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

pub fn platform_token(claims: Value) -> String {
    let mut token = json!({ "sub": "spire-server", "scope": "join-tokens:redeem other" });
    token
        .as_object_mut()
        .unwrap()
        .extend(claims.as_object().unwrap().clone());
    stack().token(token)
}

pub async fn redeem(token: &str, body: Value) -> Answer {
    send(
        request("POST", "/v1/join-tokens/redeem")
            .bearer_auth(token)
            .json(&body),
    )
    .await
}

pub async fn join_token(key: &str, cluster: &str) -> String {
    onboard(key, cluster).await.expect(200).body["join_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_join_token_is_good_once_for_its_tenant_and_cluster() {
    run(async {
        let tenant = Tenant::new();
        let (id, key) = onboarding_key(&tenant, 2).await;
        let platform = platform_token(json!({}));
        let body = |token: &str, cluster: &str, tenant: &str| json!({ "join_token": token, "cluster_name": cluster, "tenant_id": tenant });
        let token = join_token(&key, "a").await;
        join_token(&key, "b").await;
        // A wrong cluster or tenant does not use it up.
        for wrong in [
            body(&token, "b", &tenant.id),
            body(&token, "a", "elsewhere"),
            body("00000000-0000-4000-8000-000000000000", "a", &tenant.id),
            body(&token.to_uppercase(), "a", &tenant.id),
        ] {
            redeem(&platform, wrong)
                .await
                .expect_problem(409, "join_token_invalid");
        }
        let answers = all_at_once((0..100).map(|_| {
            let (platform, body) = (platform.clone(), body(&token, "a", &tenant.id));
            async move { redeem(&platform, body).await }
        }));
        let answers = answers.await;
        let good: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .collect();
        assert_eq!(good.len(), 1);
        assert!(
            answers
                .iter()
                .all(|a| a.status == 200 || a.code() == "join_token_redeemed"),
            "{answers:?}"
        );
        let cluster = tenant.get("admin", "/v1/clusters/a").await.expect(200).body;
        let expected = json!({
            "tenant_id": tenant.id, "cluster_name": "a", "cluster_id": cluster["id"], "node_name": null, "key_id": id,
        });
        assert_eq!(good[0].body, expected);

        // Who may redeem: a token with the scope, and a tenant's own only for that tenant.
        let token = join_token(&key, "a").await;
        let all = body(&token, "a", &tenant.id);
        redeem(&tenant.token("admin"), all.clone())
            .await
            .expect(403);
        redeem(&key, all.clone()).await.expect(401);
        redeem(
            &platform_token(json!({ "tenant_id": "elsewhere" })),
            all.clone(),
        )
        .await
        .expect_problem(403, "tenant_mismatch");
        let of_nobody = json!({ "join_token": token, "cluster_name": "a" });
        redeem(&platform, of_nobody.clone())
            .await
            .expect_problem(400, "invalid_request");
        redeem(
            &platform_token(json!({ "tenant_id": "elsewhere" })),
            of_nobody.clone(),
        )
        .await
        .expect_problem(409, "join_token_invalid");
        let elsewhere = request("POST", "/v1/join-tokens/redeem")
            .bearer_auth(&platform)
            .json(&all);
        send(elsewhere.header("x-tenant-id", "elsewhere"))
            .await
            .expect_problem(403, "tenant_mismatch");
        redeem(
            &platform_token(json!({ "tenant_id": tenant.id })),
            of_nobody,
        )
        .await
        .expect(200);
    });
}
