//! Onboarded clusters: the lists for AccuKnox clients, our own lists, deletion, and permissions.

use harness::{Answer, Tenant, now, run, send};
use serde_json::{Value, json};

const CLUSTERS: &str = "/cluster-onboarding/api/v1/get-onboarded-clusters";
const NODES: &str = "/cm/api/v1/cluster-management/nodes-in-cluster";

async fn with_key(tenant: &Tenant<'_>, key: &str, method: &str, path: &str) -> Answer {
    send(tenant.call(method, path).bearer_auth(key)).await
}

#[test]
fn the_lists_for_accuknox_clients_have_accuknox_shapes() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant
            .key_of(
                "admin",
                json!({ "name": "k", "role": "editor", "max_clusters": 2 }),
            )
            .await;
        let (_, viewer) = tenant.key("admin", "viewer").await;
        tenant.onboard(&key, "b").await.expect(200);
        for node in ["n1", "n2", "n3"] {
            let body = json!({ "cluster_name": "a", "node_name": node, "type": "vm" });
            send(tenant.process(&key, body)).await.expect(200);
        }
        let path = format!("{CLUSTERS}?wsid={}", tenant.id);
        let listed = with_key(&tenant, &viewer, "GET", &path)
            .await
            .expect(200)
            .body;
        let [a, b] = listed.as_array().unwrap().as_slice() else {
            panic!("{listed}")
        };
        for (cluster, name, kind) in [(a, "a", "vm"), (b, "b", "k8s")] {
            assert!(
                cluster["ID"]
                    .as_u64()
                    .is_some_and(|id| id > 0 && id < 1 << 53)
            );
            let shape =
                ["WorkspaceID", "ClusterName", "Status", "type", "token_id"].map(|f| &cluster[f]);
            assert_eq!(json!(shape), json!([tenant.id, name, "Active", kind, id]));
            for time in ["created_at", "last_updated_time"] {
                assert!(cluster[time].as_str().unwrap().ends_with('Z'), "{cluster}");
            }
        }
        assert_ne!(a["ID"], b["ID"]);
        assert_eq!(
            with_key(&tenant, &viewer, "GET", CLUSTERS).await.body,
            listed,
            "numbers are stable"
        );

        let ask = |body: Value| {
            send(
                tenant
                    .call("POST", NODES)
                    .bearer_auth(&viewer)
                    .body(body.to_string()),
            )
        };
        let all = json!({ "workspace_id": tenant.id, "cluster_id": [a["ID"]], "from_time": [], "to_time": [] });
        let nodes = ask(all.clone()).await.expect(200).body;
        assert_eq!(nodes["total_record"], 3);
        let names: Vec<_> = nodes["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["NodeName"].clone())
            .collect();
        assert_eq!(names, ["n1", "n2", "n3"]);
        let node = &nodes["result"][0];
        assert_eq!(
            json!([
                node["Status"],
                node["ClusterID"],
                node["agents_version"],
                node["ID"].is_u64()
            ]),
            json!(["Active", a["ID"], "", true])
        );
        let page = |previous: i64, next: i64| {
            let mut body = all.clone();
            body["page_previous"] = json!(previous);
            body["page_next"] = json!(next);
            body
        };
        for (body, expected) in [
            (page(0, 2), vec!["n1", "n2"]),
            (page(2, 4), vec!["n3"]),
            (page(4, 6), vec![]),
        ] {
            let page = ask(body).await.expect(200).body;
            let names: Vec<_> = page["result"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n["NodeName"].as_str().unwrap())
                .collect();
            assert_eq!((names, &page["total_record"]), (expected, &json!(3)));
        }
        let both = json!({ "cluster_id": [a["ID"], b["ID"]] });
        assert_eq!(ask(both).await.expect(200).body["total_record"], 3);
        let twice = json!({ "cluster_id": [a["ID"], a["ID"]], "workspace_id": "" });
        assert_eq!(ask(twice).await.expect(200).body["total_record"], 3);
        assert_eq!(
            ask(json!({ "cluster_id": [1] })).await.expect(200).body["total_record"],
            0
        );
        for bad in [
            json!({}),
            json!({ "cluster_id": [] }),
            json!({ "cluster_id": ["x"] }),
            json!({ "cluster_id": 1 }),
        ] {
            ask(bad).await.expect_accuknox(400, "invalid_cluster_id");
        }
        ask(json!({ "cluster_id": [1], "workspace_id": 7 }))
            .await
            .expect_accuknox(403, "tenant_mismatch");
        with_key(&tenant, &viewer, "GET", &format!("{CLUSTERS}?wsid=other"))
            .await
            .expect_accuknox(403, "tenant_mismatch");
        let elsewhere = tenant
            .call("GET", CLUSTERS)
            .bearer_auth(&viewer)
            .header("x-tenant-id", "other");
        send(elsewhere)
            .await
            .expect_accuknox(403, "tenant_mismatch");
        with_key(&tenant, "nonsense", "GET", CLUSTERS)
            .await
            .expect_accuknox(401, "invalid_key");
        send(tenant.call("POST", NODES).body("{}"))
            .await
            .expect_accuknox(401, "invalid_key");
    });
}

#[test]
fn an_onboarding_key_can_onboard_and_nothing_else() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "cluster_onboarding").await;
        tenant.onboard(&key, "a").await.expect(200);
        with_key(&tenant, &key, "GET", CLUSTERS)
            .await
            .expect_accuknox(403, "forbidden");
        send(
            tenant
                .call("POST", NODES)
                .bearer_auth(&key)
                .body(r#"{"cluster_id":[1]}"#),
        )
        .await
        .expect_accuknox(403, "forbidden");
        for (method, path) in [
            ("GET", "/v1/clusters"),
            ("GET", "/v1/clusters/a"),
            ("DELETE", "/v1/clusters/a"),
            ("DELETE", "/v1/clusters/x"),
        ] {
            with_key(&tenant, &key, method, path)
                .await
                .expect_problem(403, "forbidden");
        }
        // The management API takes tokens of the identity provider only.
        for (method, path) in [
            ("GET", "/v1/users"),
            ("GET", "/v1/users/me"),
            ("GET", "/v1/users/viewer"),
            ("PUT", "/v1/users/x"),
            ("PATCH", "/v1/users/admin"),
            ("DELETE", "/v1/users/admin"),
            ("GET", "/v1/access-keys"),
            ("GET", "/v1/users/me/access-keys"),
            ("POST", "/v1/users/me/access-keys"),
            ("DELETE", "/v1/users/me/access-keys"),
            (
                "GET",
                "/v1/users/me/access-keys/01890a5d-ac96-774b-bcce-b302099a8057",
            ),
            (
                "DELETE",
                "/v1/users/me/access-keys/01890a5d-ac96-774b-bcce-b302099a8057",
            ),
            (
                "PATCH",
                "/v1/users/me/access-keys/01890a5d-ac96-774b-bcce-b302099a8057",
            ),
            ("POST", "/v1/join-tokens/redeem"),
        ] {
            with_key(&tenant, &key, method, path).await.expect(401);
        }
        // What any key may ask about itself.
        assert_eq!(tenant.validate(&key).await["scope"], "clusters:onboard");
        with_key(&tenant, &key, "GET", "/v1/access-keys/self")
            .await
            .expect(200);
        with_key(&tenant, &key, "POST", "/v1/access-keys/revoke")
            .await
            .expect(204);
    });
}

#[test]
fn rights_follow_the_role_of_the_key_or_of_the_user() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        tenant.user("viewer", "viewer").await;
        let (_, admin) = tenant.key("admin", "admin").await;
        let (_, editor) = tenant.key("admin", "editor").await;
        let (_, viewer) = tenant.key("admin", "viewer").await;
        tenant
            .onboard(&viewer, "a")
            .await
            .expect_accuknox(403, "forbidden");
        for (credential, may_delete) in [
            (admin.clone(), true),
            (editor.clone(), true),
            (viewer.clone(), false),
            (tenant.token("admin"), true),
            (tenant.token("editor"), true),
            (tenant.token("viewer"), false),
            // A first sign-in is a Viewer's.
            (tenant.token("stranger"), false),
        ] {
            tenant.onboard(&admin, "a").await.expect(200);
            with_key(&tenant, &credential, "GET", "/v1/clusters")
                .await
                .expect(200);
            with_key(&tenant, &credential, "GET", "/v1/clusters/a")
                .await
                .expect(200);
            let deleted = with_key(&tenant, &credential, "DELETE", "/v1/clusters/a").await;
            if may_delete {
                deleted.expect(204);
                with_key(&tenant, &credential, "GET", "/v1/clusters/a")
                    .await
                    .expect_problem(404, "not_found");
                with_key(&tenant, &credential, "DELETE", "/v1/clusters/a")
                    .await
                    .expect_problem(404, "not_found");
            } else {
                deleted.expect_problem(403, "forbidden");
            }
        }
        // Demoted, the owner takes the key along.
        tenant
            .send(
                "admin",
                "PUT",
                "/v1/users/second",
                json!({ "role": "admin" }),
            )
            .await
            .expect(201);
        tenant
            .send(
                "second",
                "PATCH",
                "/v1/users/admin",
                json!({ "role": "viewer" }),
            )
            .await
            .expect(200);
        tenant
            .onboard(&admin, "b")
            .await
            .expect_accuknox(403, "forbidden");
        with_key(&tenant, &admin, "DELETE", "/v1/clusters/a")
            .await
            .expect_problem(403, "forbidden");
    });
}

#[test]
fn tenants_do_not_see_each_others_clusters() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        let (id, key) = tenant.key("admin", "editor").await;
        let (_, foreign) = other.key("admin", "editor").await;
        tenant.onboard(&key, "same").await.expect(200);
        tenant.onboard(&foreign, "same").await.expect(200);
        let numbers = [&key, &foreign].map(|key| with_key(&tenant, key, "GET", CLUSTERS));
        let [ours, theirs] = numbers;
        let (ours, theirs) = (
            ours.await.body[0]["ID"].clone(),
            theirs.await.body[0]["ID"].clone(),
        );
        assert_ne!(ours, theirs);
        let body = json!({ "cluster_id": [ours] }).to_string();
        let nodes = send(tenant.call("POST", NODES).bearer_auth(&foreign).body(body))
            .await
            .expect(200)
            .body;
        assert_eq!(nodes, json!({ "total_record": 0, "result": [] }));
        assert_eq!(
            other
                .all("admin", &format!("/v1/clusters?key_id={id}"))
                .await,
            [Value::Null; 0]
        );
        with_key(&tenant, &foreign, "DELETE", "/v1/clusters/same")
            .await
            .expect(204);
        with_key(&tenant, &key, "GET", "/v1/clusters/same")
            .await
            .expect(200);
        let unseen = other.get("admin", "/v1/clusters/same").await;
        let absent = other.get("admin", "/v1/clusters/absent").await;
        assert_eq!(
            (unseen.status, unseen.code()),
            (absent.status, absent.code())
        );
        let elsewhere = other
            .request("admin", "GET", "/v1/clusters")
            .header("x-tenant-id", &tenant.id);
        send(elsewhere).await.expect_problem(403, "tenant_mismatch");
    });
}

#[test]
fn a_token_of_the_identity_provider_is_verified_where_keys_may_call_too() {
    run(async {
        let tenant = Tenant::fresh();
        let claims = |extra: Value| {
            let mut claims = json!({ "sub": "admin", "tenant_id": tenant.id });
            claims
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            tenant.token_of(claims)
        };
        let good = claims(json!({}));
        with_key(&tenant, &good, "GET", "/v1/clusters")
            .await
            .expect(200);
        with_key(
            &tenant,
            &claims(json!({ "aud": ["other", "access-keys-api"] })),
            "GET",
            "/v1/clusters",
        )
        .await
        .expect(200);
        let (head, rest) = good.split_once('.').unwrap();
        let (payload, signature) = rest.split_once('.').unwrap();
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"local"}"#);
        let symmetric = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"local"}"#);
        let unknown = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"unknown"}"#);
        let admin =
            URL_SAFE_NO_PAD.encode(json!({ "sub": "admin", "tenant_id": "other" }).to_string());
        for bad in [
            String::new(),
            "x".into(),
            format!("{none}.{payload}."),
            format!("{symmetric}.{payload}.{signature}"),
            format!("{unknown}.{payload}.{signature}"),
            format!("{head}.{admin}.{signature}"),
            claims(json!({ "aud": "another" })),
            claims(json!({ "iss": "https://elsewhere.example" })),
            claims(json!({ "exp": now() - 1 })),
            claims(json!({ "nbf": now() + 60 })),
        ] {
            let answer = with_key(&tenant, &bad, "GET", "/v1/clusters").await;
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            answer.expect_problem(401, "unauthenticated");
        }
        send(tenant.call("GET", "/v1/clusters"))
            .await
            .expect_problem(401, "unauthenticated");
        for claims in [
            json!({ "sub": "admin" }),
            json!({ "sub": "a#b", "tenant_id": tenant.id }),
        ] {
            with_key(&tenant, &tenant.token_of(claims), "GET", "/v1/clusters")
                .await
                .expect_problem(401, "unauthenticated");
        }
    });
}

#[test]
fn deleting_a_cluster_frees_the_slot_of_every_key_that_held_it() {
    run(async {
        let tenant = Tenant::fresh();
        // More than one transaction takes.
        let mut keys = Vec::new();
        for _ in 0..45 {
            keys.push(
                tenant
                    .key_of(
                        "admin",
                        json!({ "name": "k", "role": "cluster_onboarding" }),
                    )
                    .await,
            );
        }
        for (_, key) in &keys {
            tenant.onboard(key, "shared").await.expect(200);
        }
        let (revoked, _) = &keys[0];
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{revoked}"))
            .await
            .expect(204);
        let listed = tenant
            .get("admin", "/v1/clusters/shared")
            .await
            .expect(200)
            .body;
        assert_eq!(listed["key_ids"].as_array().unwrap().len(), 45);
        tenant
            .onboard(&keys[1].1, "next")
            .await
            .expect_accuknox(409, "cluster_limit_reached");
        tenant
            .delete("admin", "/v1/clusters/shared")
            .await
            .expect(204);
        for (id, _) in &keys {
            assert_eq!(tenant.used(id).await, 0);
        }
        tenant.onboard(&keys[1].1, "next").await.expect(200);
        let again = tenant.onboard(&keys[2].1, "shared").await.expect(200);
        assert_eq!(again.body["message"], "success");
        let second = tenant
            .get("admin", "/v1/clusters/shared")
            .await
            .expect(200)
            .body;
        assert_ne!(second["id"], listed["id"]);
        assert_eq!(second["key_ids"], json!([keys[2].0]));
    });
}

#[test]
fn silence_makes_a_cluster_inactive_until_its_next_sign_of_life() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "editor").await;
        tenant.onboard(&key, "a").await.expect(200);
        let silent = json!({
            "Key": { "pk": { "S": format!("C#{}", tenant.id) }, "sk": { "S": "CLUSTER#a" } },
            "UpdateExpression": "SET last_seen_at = :past",
            "ExpressionAttributeValues": { ":past": { "N": (now() - 2_592_000).to_string() } },
        });
        tenant.dynamodb("UpdateItem", silent).await;
        assert_eq!(
            with_key(&tenant, &key, "GET", CLUSTERS).await.body[0]["Status"],
            "Inactive"
        );
        assert_eq!(
            tenant
                .all("admin", "/v1/clusters?status=active")
                .await
                .len(),
            0
        );
        assert_eq!(
            tenant
                .all("admin", "/v1/clusters?status=inactive")
                .await
                .len(),
            1
        );
        let node = json!({ "cluster_name": "a", "node_name": "n", "type": "Node" });
        send(tenant.process(&key, node)).await.expect(200);
        assert_eq!(
            with_key(&tenant, &key, "GET", CLUSTERS).await.body[0]["Status"],
            "Active"
        );
        let nodes = tenant.partition(&format!("C#{}", tenant.id)).await;
        let node = nodes
            .iter()
            .find(|item| item["sk"]["S"].as_str().unwrap().starts_with("NODE#"))
            .unwrap();
        let ttl: i64 = node["ttl"]["N"].as_str().unwrap().parse().unwrap();
        assert!(
            (now() + 90 * 86_400 - 5..=now() + 90 * 86_400).contains(&ttl),
            "a silent node is forgotten"
        );
    });
}

#[test]
fn the_list_goes_on_where_its_cursor_says_and_takes_no_other() {
    run(async {
        let tenant = Tenant::fresh();
        let body = json!({ "name": "k", "role": "editor", "max_clusters": 5 });
        let (id, key) = tenant.key_of("admin", body).await;
        for cluster in ["e", "a", "c", "b", "d"] {
            tenant.onboard(&key, cluster).await.expect(200);
        }
        for query in [
            "limit=1",
            "limit=2",
            "limit=5",
            "limit=100",
            "status=active&limit=2",
        ] {
            let items = tenant.all("admin", &format!("/v1/clusters?{query}")).await;
            let names: Vec<_> = items
                .iter()
                .map(|cluster| cluster["name"].clone())
                .collect();
            assert_eq!(names, ["a", "b", "c", "d", "e"], "{query}");
        }
        let page = tenant
            .get("admin", "/v1/clusters?limit=2")
            .await
            .expect(200)
            .body;
        let cursor = page["next_cursor"].as_str().unwrap();
        let other = Tenant::fresh();
        for (tenant, query) in [
            (&tenant, "status=active"),
            (&tenant, &format!("key_id={id}")),
            (&other, "limit=2"),
        ] {
            let path = format!("/v1/clusters?{query}&cursor={cursor}");
            tenant
                .get("admin", &path)
                .await
                .expect_problem(400, "invalid_request");
        }
        for bad in [
            "limit=0",
            "limit=101",
            "status=Active",
            "key_id=x",
            "cursor=x",
        ] {
            tenant
                .get("admin", &format!("/v1/clusters?{bad}"))
                .await
                .expect_problem(400, "invalid_request");
        }
    });
}
