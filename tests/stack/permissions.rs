//! Least privilege: a walk through everything that each function does uses exactly what its role allows.
//!
//! The other half needs no test of its own: the local stack refuses what a role does not allow, in every test.

use harness::{PROCESS, Permission, Stack, Tenant, VALIDATE, eventually, options, send};
use serde_json::{Value, json};

async fn admin(tenant: &Tenant<'_>, method: &str, path: &str, body: Value) -> Value {
    let request = tenant.request("admin", method, path);
    let request = if body.is_null() {
        request
    } else {
        request.json(&body)
    };
    success(request).await
}

async fn success(request: reqwest::RequestBuilder) -> Value {
    let answer = send(request).await;
    assert!(answer.status < 300, "{}: {}", answer.status, answer.text);
    answer.body
}

async fn walk(stack: &Stack, tenant: &Tenant<'_>) {
    let none = || Value::Null;
    let keys = "/v1/users/me/access-keys";
    // create: a first sign-in, a key, and the same key again.
    for _ in 0..2 {
        let body = json!({ "name": "k", "role": "viewer" });
        let create = tenant.request("admin", "POST", keys).json(&body);
        success(create.header("idempotency-key", "once")).await;
    }
    let body = json!({ "name": "k", "role": "editor", "max_clusters": 5 });
    let (id, key) = tenant.key_of("admin", body).await;
    let (_, onboarding) = tenant.onboarding_key(5).await;
    let (_, leaked) = tenant.key("admin", "viewer").await;

    // users: oneself, and others
    admin(tenant, "GET", "/v1/users/me", none()).await;
    for (method, role) in [("PUT", "editor"), ("PATCH", "admin")] {
        admin(tenant, method, "/v1/users/editor", json!({ "role": role })).await;
    }
    admin(tenant, "GET", "/v1/users", none()).await;
    admin(tenant, "DELETE", "/v1/users/editor", none()).await;

    // list, and the first step of revoke: also another's keys
    tenant.user("viewer", "viewer").await;
    let others = "/v1/users/viewer/access-keys";
    admin(tenant, "GET", others, none()).await;
    admin(tenant, "DELETE", others, none()).await;
    let path = format!("{keys}/{id}");
    for path in [path.as_str(), keys, "/v1/access-keys"] {
        admin(tenant, "GET", path, none()).await;
    }

    // validate, authorize, jwks
    success(tenant.call("POST", VALIDATE).bearer_auth(&key)).await;
    let (_, unused) = tenant.key("admin", "viewer").await;
    let with_key = |path: &str| tenant.call("GET", path).bearer_auth(&unused);
    success(with_key("/v1/access-keys/self")).await;
    success(tenant.call("GET", "/.well-known/jwks.json")).await;

    // onboard and clusters
    let cluster = json!({ "cluster_name": "a", "type": "K8s" });
    let node = json!({ "cluster_name": "", "node_name": "n", "type": "Node" });
    let process = |body: &Value| {
        tenant
            .call("POST", PROCESS)
            .bearer_auth(&onboarding)
            .json(body)
    };
    success(process(&cluster)).await;
    success(process(&node)).await;
    let joined = success(process(&cluster)).await;
    let platform = tenant.platform_token(json!({ "tenant_id": "acme" }));
    let body = json!({ "join_token": joined["join_token"], "cluster_name": "a" });
    tenant.redeem(&platform, body).await.expect(200);
    success(with_key("/v1/clusters/a")).await;
    admin(tenant, "PATCH", &path, json!({ "max_clusters": 2 })).await;
    admin(tenant, "DELETE", "/v1/clusters/a", none()).await;

    // revoke
    tenant.revoke(&leaked).await;
    admin(tenant, "DELETE", &path, none()).await;
    admin(tenant, "DELETE", keys, none()).await;

    // cleanup: a key that held a slot for a cluster
    let expires_at = harness::rfc3339(harness::now() + 2);
    let body = json!({ "name": "k", "role": "cluster_onboarding", "expires_at": expires_at });
    let (_, key) = tenant.key_of("admin", body).await;
    tenant.onboard(&key, "b").await.expect(200);
    let archived = eventually("the slot is freed", || async {
        stack.sweep_ttl().unwrap();
        stack.drain_events().await;
        let clusters = admin(tenant, "GET", "/v1/clusters", Value::Null).await;
        (clusters["items"][0]["key_ids"] == json!([])).then_some(clusters)
    });
    assert_eq!(archived.await["items"][0]["name"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_uses_exactly_what_its_role_allows() {
    let stack = Stack::start(options(&[]))
        .await
        .expect("the local stack starts");
    walk(&stack, &Tenant::acme(&stack)).await;
    for function in stack.function_names() {
        let allowed = stack.allowed_permissions(function);
        let used = stack.used_permissions(function);
        assert!(used.is_subset(&allowed));
        let unused: Vec<&Permission> = allowed.difference(&used).collect();
        assert!(
            unused.is_empty(),
            "{function} is allowed what it never uses: {unused:?}"
        );
    }
    stack.stop().await;
}
