//! Least privilege: each function uses every permission of its role. In every test, the local stack refuses all other
//! actions.

use harness::{
    Answer, KEYS, PROCESS, Permission, Stack, Tenant, VALIDATE, eventually, now, options, send,
};
use serde_json::{Value, json};

async fn admin(tenant: &Tenant<'_>, method: &str, path: &str) {
    success(tenant.request("admin", method, path)).await;
}

async fn admin_sends(tenant: &Tenant<'_>, method: &str, path: &str, body: Value) {
    success(tenant.request("admin", method, path).json(&body)).await;
}

async fn success(request: reqwest::RequestBuilder) -> Answer {
    let answer = send(request).await;
    assert!(answer.status < 300, "{}: {}", answer.status, answer.text);
    answer
}

/// Creates, reads and changes keys and users.
async fn use_keys_and_users(tenant: &Tenant<'_>) {
    // create: the first sign-in, a key, and a retry.
    for _ in 0..2 {
        let create = tenant.creation("admin", &json!({ "name": "k", "role": "viewer" }));
        success(create.header("idempotency-key", "once")).await;
    }
    // users: the caller's own record, and another user's.
    admin(tenant, "GET", "/v1/users/me").await;
    for (method, role) in [("PUT", "editor"), ("PATCH", "admin")] {
        admin_sends(tenant, method, "/v1/users/editor", json!({ "role": role })).await;
    }
    admin(tenant, "GET", "/v1/users").await;
    admin(tenant, "DELETE", "/v1/users/editor").await;

    // list and revoke: the caller's own keys, and another user's.
    tenant.user("viewer", "viewer").await;
    let others = "/v1/users/viewer/access-keys";
    admin(tenant, "GET", others).await;
    admin(tenant, "DELETE", others).await;
    let (id, key) = tenant.key("admin", "viewer").await;
    for path in [&format!("{KEYS}/{id}"), KEYS, "/v1/access-keys"] {
        admin(tenant, "GET", path).await;
    }

    // validate, authorize, jwks.
    success(tenant.call("POST", VALIDATE).bearer_auth(&key)).await;
    let (_, unused) = tenant.key("admin", "viewer").await;
    success(tenant.own_record(&unused)).await;
    success(tenant.call("GET", "/.well-known/jwks.json")).await;
}

/// Onboards, reads and deletes a cluster, and redeems a join token.
async fn use_clusters(tenant: &Tenant<'_>) {
    let (_, key) = tenant.limited_key("editor", 5).await;
    let (_, onboarding) = tenant.onboarding_key(5).await;
    let cluster = json!({ "cluster_name": "a", "type": "K8s" });
    let node = json!({ "cluster_name": "", "node_name": "n", "type": "Node" });
    let process = |body: &Value| {
        let request = tenant.call("POST", PROCESS).bearer_auth(&onboarding);
        success(request.json(body))
    };
    process(&cluster).await;
    process(&node).await;
    let joined = process(&cluster).await;
    let platform = tenant.platform_token(json!({ "tenant_id": "acme" }));
    let body = json!({ "join_token": joined["join_token"], "cluster_name": "a" });
    tenant.redeem(&platform, body).await.expect(200);
    success(tenant.call("GET", "/v1/clusters/a").bearer_auth(&key)).await;
    tenant.user("limited", "editor").await;
    let (id, _) = tenant
        .key_of(
            "limited",
            json!({ "name": "k", "role": "editor", "max_clusters": 5 }),
        )
        .await;
    for limit in [2, 3] {
        let (limit, path) = (
            json!({ "max_clusters": limit }),
            format!("/v1/users/limited/access-keys/{id}"),
        );
        admin_sends(tenant, "PATCH", &path, limit).await;
    }
    admin(tenant, "DELETE", "/v1/clusters/a").await;

    // The deletion of a cluster stopped halfway, so the next call finishes it.
    process(&cluster).await;
    let past = json!({ ":past": { "N": (now() - 60).to_string() } });
    let update = "SET deleting = :past";
    tenant
        .edit_item(&tenant.clusters_pk(), "CLUSTER#a", update, past)
        .await;
    process(&cluster).await;
    admin(tenant, "DELETE", "/v1/clusters/a").await;
}

/// Revokes keys, and lets the clean-up archive a key that has a slot.
async fn end_keys(stack: &Stack, tenant: &Tenant<'_>) {
    let (id, _) = tenant.key("admin", "viewer").await;
    let (_, leaked) = tenant.key("admin", "viewer").await;
    tenant.revoke(&leaked).await;
    tenant.revoke_by_id(&id).await;
    admin(tenant, "DELETE", KEYS).await;

    let (_, key, _) = tenant.short_lived("cluster_onboarding", 2).await;
    tenant.onboard(&key, "b").await.expect(200);
    let freed = eventually("the slot is freed", || async {
        stack.sweep_ttl().unwrap();
        stack.drain_events().await;
        let clusters = tenant.all("admin", "/v1/clusters").await;
        (clusters[0]["key_ids"] == json!([])).then_some(clusters)
    });
    assert_eq!(freed.await[0]["name"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_uses_exactly_the_permissions_of_its_role() {
    let stack = Stack::start(options(&[])).await;
    let stack = stack.expect("the local stack starts");
    let tenant = Tenant::acme(&stack);
    use_keys_and_users(&tenant).await;
    use_clusters(&tenant).await;
    end_keys(&stack, &tenant).await;
    for function in stack.function_names() {
        let allowed = stack.allowed_permissions(function);
        let used = stack.used_permissions(function);
        assert!(used.is_subset(&allowed));
        let unused: Vec<&Permission> = allowed.difference(&used).collect();
        assert!(unused.is_empty(), "{function} never uses {unused:?}");
    }
    stack.stop().await;
}
