//! Permission to call the management API depends on the role, the user, the tenant and the token.

use harness::{Answer, KEYS, Tenant, UNKNOWN_KEY, run, send, strings};
use serde_json::{Value, json};

#[test]
fn the_role_of_a_key_cannot_exceed_the_role_of_its_creator_or_its_owner() {
    const ROLES: [&str; 4] = ["viewer", "editor", "cluster_onboarding", "admin"];
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        tenant.user("viewer", "viewer").await;
        for (user, allowed) in [
            ("viewer", &ROLES[..1]),
            ("editor", &ROLES[..3]),
            ("admin", &ROLES[..]),
        ] {
            for role in ROLES {
                let body = json!({ "name": "k", "role": role });
                let answer = send(tenant.creation(user, &body)).await;
                let expected = if allowed.contains(&role) { 201 } else { 403 };
                assert_eq!(answer.status, expected, "{role} by {user}: {}", answer.text);
            }
        }
        let body = json!({ "name": "k", "role": "editor" });
        let path = "/v1/users/viewer/access-keys";
        let for_viewer = tenant.send("admin", "POST", path, body).await;
        for_viewer.expect_problem(403, "forbidden");
    });
}

/// Returns the status and body of a response, without the request id, which is different in every response.
fn comparable(answer: &Answer) -> (u16, String) {
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    (answer.status, body.to_string())
}

/// Returns calls that concern a user and one of their keys.
fn calls_about(user: &str, key: &str) -> [(&'static str, String, Value); 8] {
    let user = format!("/v1/users/{user}");
    let keys = format!("{user}/access-keys");
    let key = format!("{keys}/{key}");
    let creation = json!({ "name": "k", "role": "viewer" });
    [
        ("GET", user.clone(), Value::Null),
        ("GET", keys.clone(), Value::Null),
        ("GET", key.clone(), Value::Null),
        ("DELETE", keys.clone(), Value::Null),
        ("DELETE", key, Value::Null),
        ("POST", keys, creation),
        ("PATCH", user.clone(), json!({ "role": "viewer" })),
        ("DELETE", user, Value::Null),
    ]
}

#[test]
fn users_and_keys_that_the_caller_may_not_see_return_404_as_if_they_did_not_exist() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        for tenant in [&tenant, &other] {
            tenant.user("editor", "editor").await;
        }
        other.user("only-there", "viewer").await;
        let (foreign, _) = other.key("only-there", "viewer").await;
        let (colleagues, _) = tenant.key("admin", "viewer").await;
        let call = async |caller: &str, (method, path, body): (&str, String, Value)| {
            let mut request = tenant.request(caller, method, &path);
            if !body.is_null() {
                request = request.json(&body);
            }
            comparable(&send(request).await)
        };
        for (caller, user, key) in [
            ("admin", "only-there", &foreign),
            ("editor", "only-there", &foreign),
            ("editor", "admin", &colleagues),
        ] {
            let hidden = calls_about(user, key).into_iter();
            for (hidden, unknown) in hidden.zip(calls_about("unknown", UNKNOWN_KEY)) {
                let answer = call(caller, hidden).await;
                assert_eq!(answer.0, 404, "{caller} {user}: {}", answer.1);
                assert_eq!(answer, call(caller, unknown).await);
            }
            // Requests another user's key under the caller's own path.
            let own = |id: &str| ("GET", format!("{KEYS}/{id}"), Value::Null);
            let answer = call("editor", own(key)).await;
            assert_eq!(answer.0, 404, "{}", answer.1);
            assert_eq!(answer, call("editor", own(UNKNOWN_KEY)).await);
        }
        let user = other.get("only-there", "/v1/users/me").await;
        assert_eq!(user["role"], "viewer");
        let active = format!("{KEYS}?status=active");
        assert_eq!(other.all("only-there", &active).await.len(), 1);
    });
}

#[test]
fn only_an_administrator_can_list_the_users_and_keys_of_the_tenant() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        tenant.user("editor", "editor").await;
        tenant.key("editor", "viewer").await;
        other.key("admin", "viewer").await;
        for path in ["/v1/users", "/v1/access-keys"] {
            let refused = tenant.get("editor", path).await;
            refused.expect_problem(403, "forbidden");
            let items = tenant.all("admin", path).await;
            let tenants = strings(&items, "tenant_id");
            assert!(tenants.iter().all(|id| *id == tenant.id), "{tenants:?}");
        }
        assert_eq!(tenant.all("admin", "/v1/access-keys").await.len(), 1);
        let elsewhere = tenant.request("admin", "GET", "/v1/users");
        let elsewhere = elsewhere.header("x-tenant-id", &other.id);
        send(elsewhere).await.expect_problem(403, "tenant_mismatch");
    });
}

#[test]
fn the_management_api_requires_a_token_from_the_identity_provider() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "admin").await;
        let list = || tenant.call("GET", "/v1/users");
        send(list()).await.expect(401);
        for token in ["nonsense", &key, &format!("{}x", tenant.token("admin"))] {
            send(list().bearer_auth(token)).await.expect(401);
        }
        for claims in [
            json!({ "sub": "admin" }),
            json!({ "sub": "ü", "tenant_id": tenant.id }),
            json!({ "sub": "admin", "tenant_id": "a b" }),
        ] {
            let refused = send(list().bearer_auth(tenant.token_of(claims))).await;
            refused.expect_problem(401, "unauthenticated");
        }
    });
}
