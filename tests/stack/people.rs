//! How people from the identity provider become users and administrators. Each test has its own `BootstrapAdmins`.

use harness::{Answer, KEYS, Tenant, run, send};
use serde_json::{Value, json};

use crate::own_stack;

/// Makes a call as a person whose token contains these claims and the tenant claim.
async fn call(tenant: &Tenant<'_>, mut claims: Value, method: &str, path: &str) -> Answer {
    claims["tenant_id"] = tenant.id.clone().into();
    let request = tenant.call(method, path);
    send(request.bearer_auth(tenant.token_of(claims))).await
}

#[test]
fn a_person_with_a_listed_and_verified_email_address_becomes_an_administrator_once() {
    run(async {
        let admins = "acme/sub:admin, acme/email:Ann@Example.com";
        let stack = own_stack(&[("BootstrapAdmins", admins)]).await;
        let tenant = Tenant::acme(&stack);
        let role = async |email: &str, is_verified: Value| {
            let claims = json!({ "sub": "1", "email": email, "email_verified": is_verified });
            let me = call(&tenant, claims, "GET", "/v1/users/me").await;
            me.expect(200).string("role").to_owned()
        };
        for is_verified in [json!(false), Value::Null, json!("false"), json!(1)] {
            assert_eq!(role("ann@example.com", is_verified).await, "viewer");
        }
        assert_eq!(role("ann@example.org", json!(true)).await, "viewer");
        assert_eq!(role("ANN@example.COM", json!(true)).await, "admin");
        // From here on, the user directory determines the role, not `BootstrapAdmins`.
        let verified = json!(true);
        tenant.change_user("1", json!({ "role": "viewer" })).await;
        assert_eq!(role("ann@example.com", verified.clone()).await, "viewer");
        tenant.delete("admin", "/v1/users/1").await.expect(204);
        tenant.user("1", "viewer").await;
        assert_eq!(role("ann@example.com", verified).await, "viewer");
    });
}

#[test]
fn every_administrator_can_be_deactivated() {
    const ADMINISTRATION: &str = "/v1/access-keys";
    run(async {
        let admins = "acme/sub:admin,acme/sub:new,acme/sub:viewer,acme/sub:creator";
        let stack = own_stack(&[("BootstrapAdmins", admins)]).await;
        let tenant = Tenant::acme(&stack);
        tenant.user("viewer", "viewer").await;
        for boss in ["new", "viewer"] {
            // These calls do not count as sign-ins.
            for (method, path) in [("DELETE", KEYS), ("GET", KEYS), ("GET", "/v1/clusters")] {
                let answer = send(tenant.request(boss, method, path)).await;
                assert!(answer.status < 300, "{}", answer.text);
            }
            let refused = tenant.get(boss, ADMINISTRATION).await;
            refused.expect_problem(403, "forbidden");
            tenant.get(boss, "/v1/users/me").await.expect(200);
        }
        tenant.get("new", "/v1/users").await.expect(200);
        let key = json!({ "name": "k", "role": "admin" });
        send(tenant.creation("creator", &key)).await.expect(201);
        for boss in ["new", "viewer", "creator"] {
            tenant.get(boss, ADMINISTRATION).await.expect(200);
            tenant
                .change_user(boss, json!({ "status": "inactive" }))
                .await;
            for path in [ADMINISTRATION, KEYS, "/v1/clusters", "/v1/users"] {
                let refused = tenant.get(boss, path).await;
                refused.expect_problem(403, "forbidden");
            }
            let deleted = tenant.delete("admin", &format!("/v1/users/{boss}")).await;
            deleted.expect(204);
        }
    });
}

#[test]
fn a_parameter_names_the_claim_that_identifies_people() {
    run(async {
        let parameters = [("UserClaim", "oid"), ("BootstrapAdmins", "acme/sub:ann")];
        let stack = own_stack(&parameters).await;
        let tenant = Tenant::acme(&stack);
        for path in ["/v1/users/me", "/v1/clusters"] {
            let claims = json!({ "sub": "pairwise", "oid": "ann" });
            call(&tenant, claims, "GET", path).await.expect(200);
            let refused = call(&tenant, json!({ "sub": "ann" }), "GET", path).await;
            assert!(refused.text.contains("UserClaim"), "{}", refused.text);
            refused.expect_problem(401, "unauthenticated");
        }
        let claims = json!({ "sub": "pairwise", "oid": "ann" });
        let me = call(&tenant, claims, "GET", "/v1/users/me").await;
        assert_eq!((&me["id"], &me["role"]), (&json!("ann"), &json!("admin")));
    });
}
