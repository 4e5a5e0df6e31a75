//! Least privilege: a walk through everything that each function does uses exactly what its role allows.
//!
//! The other half needs no test of its own: the local stack refuses what a role does not allow, in every test.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

use local_stack::{Options, Permission, Stack, unix_time};
use serde_json::{Value, json};

struct World {
    stack: Stack,
    client: reqwest::Client,
}

impl World {
    async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.stack.url());
        let mut request = self
            .client
            .request(method.parse().unwrap(), url)
            .bearer_auth(token);
        if !body.is_null() {
            request = request.json(&body);
        }
        if path.ends_with("?once") {
            request = request.header("idempotency-key", "once");
        }
        let response = request.send().await.unwrap();
        assert!(
            response.status().is_success(),
            "{method} {path}: {}",
            response.text().await.unwrap()
        );
        response.json().await.unwrap_or_default()
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let token = self
            .stack
            .token(json!({ "sub": "admin", "tenant_id": "acme" }));
        self.call(&token, method, path, body).await
    }

    async fn key(&self, role: &str) -> (String, String) {
        let body = json!({ "name": "k", "role": role, "max_clusters": 5 });
        let created = self.admin("POST", "/v1/users/me/access-keys", body).await;
        (
            created["id"].as_str().unwrap().into(),
            created["access_key"].as_str().unwrap().into(),
        )
    }
}

async fn walk(world: &World) {
    let none = || Value::Null;
    // create: a first sign-in, a key, and the same key again.
    let body = json!({ "name": "k", "role": "viewer" });
    for _ in 0..2 {
        world
            .admin("POST", "/v1/users/me/access-keys?once", body.clone())
            .await;
    }
    let (id, key) = world.key("editor").await;
    let (_, onboarding) = world.key("cluster_onboarding").await;
    let (_, leaked) = world.key("viewer").await;

    // users: oneself, and others
    world.admin("GET", "/v1/users/me", none()).await;
    world
        .admin("PUT", "/v1/users/editor", json!({ "role": "editor" }))
        .await;
    world
        .admin("PATCH", "/v1/users/editor", json!({ "role": "admin" }))
        .await;
    world.admin("GET", "/v1/users", none()).await;
    world.admin("DELETE", "/v1/users/editor", none()).await;

    // list, and the first step of revoke: also another's keys
    world
        .admin("PUT", "/v1/users/viewer", json!({ "role": "viewer" }))
        .await;
    let others = "/v1/users/viewer/access-keys";
    world.admin("GET", others, none()).await;
    world.admin("DELETE", others, none()).await;
    let path = format!("/v1/users/me/access-keys/{id}");
    for path in [path.as_str(), "/v1/users/me/access-keys", "/v1/access-keys"] {
        world.admin("GET", path, none()).await;
    }

    // validate, authorize, jwks
    world
        .call(&key, "POST", "/v1/access-keys/validate", none())
        .await;
    let (_, unused) = world.key("viewer").await;
    world
        .call(&unused, "GET", "/v1/access-keys/self", none())
        .await;
    world
        .call("", "GET", "/.well-known/jwks.json", none())
        .await;

    // onboard and clusters
    let cluster = json!({ "cluster_name": "a", "type": "K8s" });
    for body in [
        &cluster,
        &json!({ "cluster_name": "", "node_name": "n", "type": "Node" }),
    ] {
        world
            .call(
                &onboarding,
                "POST",
                "/access-token/api/v1/process",
                body.clone(),
            )
            .await;
    }
    let joined = world
        .call(&onboarding, "POST", "/access-token/api/v1/process", cluster)
        .await;
    let platform = world
        .stack
        .token(json!({ "sub": "p", "tenant_id": "acme", "scope": "join-tokens:redeem" }));
    let body = json!({ "join_token": joined["join_token"], "cluster_name": "a" });
    world
        .call(&platform, "POST", "/v1/join-tokens/redeem", body)
        .await;
    world.call(&unused, "GET", "/v1/clusters/a", none()).await;
    world
        .admin("PATCH", &path, json!({ "max_clusters": 2 }))
        .await;
    world.admin("DELETE", "/v1/clusters/a", none()).await;

    // revoke
    world
        .call(&leaked, "POST", "/v1/access-keys/revoke", none())
        .await;
    world.admin("DELETE", &path, none()).await;
    world
        .admin("DELETE", "/v1/users/me/access-keys", none())
        .await;

    // cleanup: a key that held a slot for a cluster
    let expires_at = unix_time() + 2;
    let body = json!({
        "name": "k", "role": "cluster_onboarding", "expires_at": jiff::Timestamp::from_second(expires_at).unwrap().to_string(),
    });
    let created = world.admin("POST", "/v1/users/me/access-keys", body).await;
    let cluster = json!({ "cluster_name": "b", "type": "vm" });
    let key = created["access_key"].as_str().unwrap();
    world
        .call(key, "POST", "/access-token/api/v1/process", cluster)
        .await;
    let archived = loop {
        world.stack.sweep_ttl().unwrap();
        world.stack.drain_events().await;
        let clusters = world.admin("GET", "/v1/clusters", none()).await;
        if clusters["items"][0]["key_ids"] == json!([]) {
            break clusters;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(archived["items"][0]["name"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_uses_exactly_what_its_role_allows() {
    let parameters = [("BootstrapAdmins", "acme/admin"), ("MinExpirySeconds", "1")]
        .map(|(k, v)| (k.into(), v.into()));
    let options = Options {
        parameters: parameters.to_vec(),
        ..Options::default()
    };
    let stack = Stack::start(options).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let world = World { stack, client };
    walk(&world).await;
    for function in world.stack.function_names() {
        let (allowed, used) = (
            world.stack.allowed_permissions(function),
            world.stack.used_permissions(function),
        );
        assert!(used.is_subset(&allowed));
        let unused: Vec<&Permission> = allowed.difference(&used).collect();
        assert!(
            unused.is_empty(),
            "{function} is allowed what it never uses: {unused:?}"
        );
    }
    world.stack.stop().await;
}
