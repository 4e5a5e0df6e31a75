//! Onboarded clusters: lists, deletion and permissions.

use harness::{ACCUKNOX_CLUSTERS, KEYS, Tenant, UNKNOWN_KEY, now, run, send, strings};
use serde_json::{Value, json};

use crate::accuknox_lists::{nodes, with_key};

#[test]
fn an_onboarding_key_can_neither_read_nor_delete_clusters_nor_call_the_management_api() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "cluster_onboarding").await;
        tenant.onboard(&key, "a").await.expect(200);
        let listed = with_key(&tenant, &key, "GET", ACCUKNOX_CLUSTERS).await;
        listed.expect_accuknox(403, "forbidden");
        let listed = nodes(&tenant, &key, json!({ "cluster_id": [1] })).await;
        listed.expect_accuknox(403, "forbidden");
        for (method, path) in [
            ("GET", "/v1/clusters"),
            ("GET", "/v1/clusters/a"),
            ("DELETE", "/v1/clusters/a"),
            ("DELETE", "/v1/clusters/x"),
        ] {
            let refused = with_key(&tenant, &key, method, path).await;
            refused.expect_problem(403, "forbidden");
        }
        // The management API accepts only tokens from the identity provider.
        let unknown = format!("{KEYS}/{UNKNOWN_KEY}");
        for (method, path) in [
            ("GET", "/v1/users"),
            ("GET", "/v1/users/me"),
            ("GET", "/v1/users/viewer"),
            ("PUT", "/v1/users/x"),
            ("PATCH", "/v1/users/admin"),
            ("DELETE", "/v1/users/admin"),
            ("GET", "/v1/access-keys"),
            ("GET", KEYS),
            ("POST", KEYS),
            ("DELETE", KEYS),
            ("GET", &unknown),
            ("DELETE", &unknown),
            ("PATCH", &unknown),
            ("POST", "/v1/join-tokens/redeem"),
        ] {
            with_key(&tenant, &key, method, path).await.expect(401);
        }
        // Every key may read its own record and revoke itself.
        assert_eq!(tenant.validate(&key).await["scope"], "clusters:onboard");
        send(tenant.own_record(&key)).await.expect(200);
        tenant.revoke(&key).await;
    });
}

#[test]
fn only_the_roles_admin_and_editor_may_delete_a_cluster() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        tenant.user("viewer", "viewer").await;
        let (_, admin) = tenant.key("admin", "admin").await;
        let (_, editor) = tenant.key("admin", "editor").await;
        let (_, viewer) = tenant.key("admin", "viewer").await;
        let refused = tenant.onboard(&viewer, "a").await;
        refused.expect_accuknox(403, "forbidden");
        for (credential, may_delete) in [
            (admin.clone(), true),
            (editor, true),
            (viewer, false),
            (tenant.token("admin"), true),
            (tenant.token("editor"), true),
            (tenant.token("viewer"), false),
            // The first sign-in creates a user with the role `viewer`.
            (tenant.token("stranger"), false),
        ] {
            tenant.onboard(&admin, "a").await.expect(200);
            let call = |method, path| with_key(&tenant, &credential, method, path);
            call("GET", "/v1/clusters").await.expect(200);
            call("GET", "/v1/clusters/a").await.expect(200);
            let deleted = call("DELETE", "/v1/clusters/a").await;
            if may_delete {
                deleted.expect(204);
                for method in ["GET", "DELETE"] {
                    let gone = call(method, "/v1/clusters/a").await;
                    gone.expect_problem(404, "not_found");
                }
            } else {
                deleted.expect_problem(403, "forbidden");
            }
        }
        // When the owner of a key loses permissions, the key loses them too.
        tenant.user("second", "admin").await;
        let demote = json!({ "role": "viewer" });
        let demoted = tenant.send("second", "PATCH", "/v1/users/admin", demote);
        demoted.await.expect(200);
        let refused = tenant.onboard(&admin, "b").await;
        refused.expect_accuknox(403, "forbidden");
        let refused = with_key(&tenant, &admin, "DELETE", "/v1/clusters/a").await;
        refused.expect_problem(403, "forbidden");
    });
}

#[test]
fn tenants_do_not_see_the_clusters_of_other_tenants() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        let (id, key) = tenant.key("admin", "editor").await;
        let (_, foreign) = other.key("admin", "editor").await;
        let mut numbers = Vec::new();
        for key in [&key, &foreign] {
            tenant.onboard(key, "same").await.expect(200);
            let listed = with_key(&tenant, key, "GET", ACCUKNOX_CLUSTERS).await;
            numbers.push(listed[0]["ID"].clone());
        }
        assert_ne!(numbers[0], numbers[1]);
        let found = nodes(&tenant, &foreign, json!({ "cluster_id": [numbers[0]] })).await;
        let none = json!({ "total_record": 0, "result": [] });
        assert_eq!(found.expect(200).body, none);
        let onboarded_by = format!("/v1/clusters?key_id={id}");
        assert_eq!(other.all("admin", &onboarded_by).await, [Value::Null; 0]);
        let deleted = with_key(&tenant, &foreign, "DELETE", "/v1/clusters/same").await;
        deleted.expect(204);
        let kept = with_key(&tenant, &key, "GET", "/v1/clusters/same").await;
        kept.expect(200);
        let hidden = other.get("admin", "/v1/clusters/same").await;
        let absent = other.get("admin", "/v1/clusters/absent").await;
        let absent = (absent.status, absent.code());
        assert_eq!((hidden.status, hidden.code()), absent);
        let elsewhere = other.request("admin", "GET", "/v1/clusters");
        let elsewhere = elsewhere.header("x-tenant-id", &tenant.id);
        send(elsewhere).await.expect_problem(403, "tenant_mismatch");
    });
}

#[test]
fn routes_that_accept_access_keys_also_verify_tokens_from_the_identity_provider() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};

    run(async {
        let tenant = Tenant::fresh();
        let token = |name: &str, value: Value| {
            let mut claims = json!({ "sub": "admin", "tenant_id": tenant.id });
            claims[name] = value;
            tenant.token_of(claims)
        };
        let list = async |token: &str| with_key(&tenant, token, "GET", "/v1/clusters").await;
        let good = token("sub", json!("admin"));
        list(&good).await.expect(200);
        let two_audiences = token("aud", json!(["other", "access-keys-api"]));
        list(&two_audiences).await.expect(200);
        let [head, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("{good}")
        };
        let header = |algorithm: &str, key_id: &str| {
            BASE64URL.encode(json!({ "alg": algorithm, "kid": key_id }).to_string())
        };
        let none = header("none", "local");
        let symmetric = header("HS256", "local");
        let unknown = header("RS256", "unknown");
        let claims = BASE64URL.decode(payload).unwrap();
        let mut claims: Value = serde_json::from_slice(&claims).unwrap();
        claims["sub"] = json!("editor");
        let other_payload = BASE64URL.encode(claims.to_string());
        for bad in [
            String::new(),
            "x".into(),
            format!("{none}.{payload}."),
            format!("{symmetric}.{payload}.{signature}"),
            format!("{unknown}.{payload}.{signature}"),
            format!("{head}.{other_payload}.{signature}"),
            token("aud", json!("another")),
            token("iss", json!("https://elsewhere.example")),
            token("exp", json!(now() - 1)),
            token("nbf", json!(now() + 60)),
        ] {
            let answer = list(&bad).await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            answer.expect_problem(401, "unauthenticated");
        }
        let without_token = send(tenant.call("GET", "/v1/clusters")).await;
        without_token.expect_problem(401, "unauthenticated");
        let without_tenant = tenant.token_of(json!({ "sub": "admin" }));
        for bad in [without_tenant, token("sub", json!("ü"))] {
            let refused = list(&bad).await;
            refused.expect_problem(401, "unauthenticated");
        }
    });
}

#[test]
fn deleting_a_cluster_frees_its_slot_in_every_key() {
    // More keys than the function handles in one transaction.
    const COUNT: usize = 45;
    run(async {
        let tenant = Tenant::fresh();
        let mut keys = Vec::new();
        for _ in 0..COUNT {
            keys.push(tenant.onboarding_key(1).await);
        }
        for (_, key) in &keys {
            tenant.onboard(key, "shared").await.expect(200);
        }
        tenant.revoke_by_id(&keys[0].0).await;
        let first = tenant.cluster("shared").await;
        assert_eq!(first["key_ids"].as_array().unwrap().len(), COUNT);
        let refused = tenant.onboard(&keys[1].1, "next").await;
        refused.expect_accuknox(409, "cluster_limit_reached");
        let deleted = tenant.delete("admin", "/v1/clusters/shared").await;
        deleted.expect(204);
        for (id, _) in &keys {
            assert_eq!(tenant.used(id).await, 0);
        }
        tenant.onboard(&keys[1].1, "next").await.expect(200);
        let repeated = tenant.onboard(&keys[2].1, "shared").await.expect(200);
        assert_eq!(repeated["message"], "success");
        let second = tenant.cluster("shared").await;
        assert_ne!(second["id"], first["id"]);
        assert_eq!(second["key_ids"], json!([keys[2].0]));
    });
}

#[test]
fn a_silent_cluster_is_inactive_until_one_of_its_nodes_makes_a_call() {
    const MONTH: i64 = 2_592_000;
    const NODE_TTL: i64 = 90 * 86_400;
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "editor").await;
        tenant.onboard(&key, "a").await.expect(200);
        let past = json!({ ":past": { "N": (now() - MONTH).to_string() } });
        let silence = "SET last_seen_at = :past";
        let clusters = tenant.clusters_pk();
        tenant
            .edit_item(&clusters, "CLUSTER#a", silence, past)
            .await;
        let listed = with_key(&tenant, &key, "GET", ACCUKNOX_CLUSTERS).await;
        assert_eq!(listed[0]["Status"], "Inactive");
        for (status, count) in [("active", 0), ("inactive", 1)] {
            let path = format!("/v1/clusters?status={status}");
            assert_eq!(tenant.all("admin", &path).await.len(), count);
        }
        let node = json!({ "cluster_name": "a", "node_name": "n", "type": "Node" });
        send(tenant.process(&key, node)).await.expect(200);
        let listed = with_key(&tenant, &key, "GET", ACCUKNOX_CLUSTERS).await;
        assert_eq!(listed[0]["Status"], "Active");
        let nodes = tenant.nodes("a").await;
        let node = &nodes[0];
        let ttl: i64 = node["ttl"]["N"].as_str().unwrap().parse().unwrap();
        let expected = now() + NODE_TTL - 5..=now() + NODE_TTL;
        assert!(expected.contains(&ttl), "the TTL is 90 days: {node}");
    });
}

#[test]
fn a_list_of_clusters_continues_only_from_its_own_cursor() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.limited_key("editor", 5).await;
        for cluster in ["e", "a", "C", "b", "d"] {
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
            assert_eq!(
                strings(&items, "name"),
                ["C", "a", "b", "d", "e"],
                "{query}"
            );
        }
        let page = tenant.get("admin", "/v1/clusters?limit=2").await;
        let page = page.expect(200);
        let with_cursor = |query: &str| format!("{query}&cursor={}", page.string("next_cursor"));
        let other = Tenant::fresh();
        for (tenant, query) in [
            (&tenant, with_cursor("status=active")),
            (&tenant, with_cursor(&format!("key_id={id}"))),
            (&other, with_cursor("limit=2")),
            (&tenant, "limit=0".into()),
            (&tenant, "limit=101".into()),
            (&tenant, "status=Active".into()),
            (&tenant, "key_id=x".into()),
            (&tenant, "cursor=x".into()),
        ] {
            let path = format!("/v1/clusters?{query}");
            let refused = tenant.get("admin", &path).await;
            refused.expect_problem(400, "invalid_request");
        }
    });
}
