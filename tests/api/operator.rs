//! The operator: the back end of the SaaS, which may act in any tenant.

use harness::{KEYS, Tenant, contradictions, run, send};
use serde_json::{Value, json};

async fn operate(tenant: &Tenant<'_>, method: &str, path: &str, body: Value) -> harness::Answer {
    let request = tenant.operation(method, path, json!({}));
    send(request.json(&body)).await
}

#[test]
fn an_operator_can_manage_a_tenant_that_has_no_users_yet() {
    run(async {
        // No user of the tenant has signed in yet, and BootstrapAdmins does not name Ann.
        let tenant = Tenant::fresh();
        let ann = "/v1/users/ann";
        let admin = json!({ "role": "admin", "name": "Ann" });
        operate(&tenant, "PUT", ann, admin).await.expect(201);
        let keys = "/v1/users/ann/access-keys";
        let body = json!({ "name": "ci", "role": "editor", "max_clusters": 2 });
        let created = operate(&tenant, "POST", keys, body).await.expect(201);
        assert_eq!(
            created["created_by"],
            json!({ "kind": "operator", "id": "backend" })
        );
        let (id, key) = (created.string("id"), created.string("access_key"));
        let of_key = format!("{keys}/{id}");
        for limit in [1, 2] {
            let change = json!({ "max_clusters": limit });
            operate(&tenant, "PATCH", &of_key, change).await.expect(200);
        }
        tenant.onboard(key, "prod").await.expect(200);
        for path in [
            ann,
            keys,
            &of_key,
            "/v1/users",
            "/v1/access-keys",
            "/v1/clusters",
            "/v1/audit",
        ] {
            operate(&tenant, "GET", path, Value::Null).await.expect(200);
        }
        operate(&tenant, "DELETE", "/v1/clusters/prod", Value::Null)
            .await
            .expect(204);
        // The administrator takes over.
        tenant.get("ann", "/v1/users").await.expect(200);
        let bob = json!({ "role": "viewer" });
        tenant
            .send("ann", "PUT", "/v1/users/bob", bob)
            .await
            .expect(201);
        let demoted = json!({ "role": "viewer" });
        let last = operate(&tenant, "PATCH", ann, demoted).await;
        last.expect_problem(409, "last_admin");
        let promoted = json!({ "role": "admin" });
        operate(&tenant, "PATCH", "/v1/users/bob", promoted)
            .await
            .expect(200);
        for path in [&*of_key, keys] {
            let revoked = operate(&tenant, "DELETE", path, Value::Null).await;
            revoked.expect(204);
        }
        assert_eq!(tenant.verdict(key).await, "revoked");
        operate(&tenant, "DELETE", ann, Value::Null)
            .await
            .expect(204);
        let entries = tenant.all("bob", "/v1/audit?actor=operator:backend").await;
        let actions: Vec<_> = entries
            .iter()
            .map(|entry| entry["action"].as_str().unwrap())
            .collect();
        assert_eq!(
            actions,
            [
                "user.deleted",
                "user.keys-revoked",
                "access-key.revoked",
                "user.changed",
                "cluster.deleted",
                "access-key.changed",
                "access-key.changed",
                "access-key.created",
                "user.created",
            ]
        );
        assert_eq!(contradictions(&tenant).await, [""; 0]);
    });
}

#[test]
fn an_operator_must_name_exactly_one_tenant_and_cannot_use_me_as_a_user_id() {
    run(async {
        let tenant = Tenant::fresh();
        let token = json!({ "client_id": "backend", "scope": "tenants:manage" });
        let token = tenant.token_of(token);
        for named in [vec![], vec![""], vec!["a b"], vec!["a", "b"], vec!["a,b"]] {
            let request = tenant.call("GET", "/v1/users").bearer_auth(&token);
            let request = named.iter().fold(request, |request, tenant| {
                request.header("x-tenant-id", *tenant)
            });
            let refused = send(request).await.expect(400);
            refused.expect_fields(&["X-Tenant-Id"]);
        }
        for path in ["/v1/users/me", KEYS] {
            let refused = operate(&tenant, "GET", path, Value::Null).await.expect(400);
            refused.expect_fields(&["user_id"]);
        }
    });
}

#[test]
fn only_a_configured_client_with_the_operator_scope_is_an_operator() {
    // The gateway verifies the token for the first path, and the function `clusters` for the second.
    const PATHS: [&str; 2] = ["/v1/users", "/v1/clusters"];
    run(async {
        let tenant = Tenant::fresh();
        for claims in [
            json!({ "client_id": "frontend" }),
            json!({ "client_id": "frontend", "azp": "backend" }),
            json!({ "scope": "tenants:read openid" }),
            json!({ "scope": "" }),
            json!({ "scope": "tenants:manage2" }),
        ] {
            for path in PATHS {
                let request = tenant.operation("GET", path, claims.clone());
                let refused = send(request).await;
                assert_eq!(refused.status, 401, "{path} {claims}: {}", refused.text);
            }
        }
        for claims in [
            json!({ "client_id": null, "azp": "backend" }),
            json!({ "scope": "openid tenants:manage" }),
            json!({ "scope": null, "scp": ["openid", "tenants:manage"] }),
        ] {
            for path in PATHS {
                let request = tenant.operation("GET", path, claims.clone());
                let accepted = send(request).await;
                assert_eq!(accepted.status, 200, "{path} {claims}: {}", accepted.text);
            }
        }
        // A person's token never makes its holder an operator, even if the request names another tenant.
        let other = Tenant::fresh();
        let claims = json!({ "client_id": "frontend", "sub": "admin", "tenant_id": other.id });
        for path in PATHS {
            let request = tenant.operation("GET", path, claims.clone());
            send(request).await.expect_problem(403, "tenant_mismatch");
        }
    });
}

#[test]
fn an_operator_and_a_user_do_not_share_idempotency_keys() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("backend", "admin").await;
        let body = json!({ "name": "ci", "role": "viewer" });
        let path = "/v1/users/backend/access-keys";
        let first = tenant.operation("POST", path, json!({})).json(&body);
        let first = send(first.header("idempotency-key", "once"))
            .await
            .expect(201);
        let own = tenant.request("backend", "POST", path).json(&body);
        let own = send(own.header("idempotency-key", "once"))
            .await
            .expect(201);
        assert_ne!(first["id"], own["id"]);
        let retry = tenant.operation("POST", path, json!({})).json(&body);
        let retry = send(retry.header("idempotency-key", "once"))
            .await
            .expect(201);
        assert_eq!(retry["id"], first["id"]);
    });
}
