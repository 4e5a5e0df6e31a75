//! A key and its owner: the owner's current role and status limit the key.

use harness::{Tenant, run};
use serde_json::json;

#[test]
fn the_current_role_and_status_of_the_owner_limit_a_key() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("owner", "admin").await;
        let (_, key) = tenant.key("owner", "admin").await;
        let change = |change| tenant.change_user("owner", change);
        assert_eq!(tenant.validate(&key).await["role"], "admin");

        change(json!({ "role": "viewer" })).await;
        let grant = tenant.validate(&key).await;
        assert_eq!(grant["role"], "viewer");
        let scope = "cspm:read cwpp:read aspm:read clusters:read";
        assert_eq!(grant["scope"], scope);

        change(json!({ "status": "inactive" })).await;
        assert_eq!(tenant.verdict(&key).await, "owner_inactive");
        change(json!({ "status": "active", "role": "admin" })).await;
        assert_eq!(tenant.validate(&key).await["role"], "admin");
    });
}

#[test]
fn the_keys_of_a_deleted_user_stay_invalid_when_the_user_is_created_again() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("owner", "editor").await;
        let (_, key) = tenant.key("owner", "viewer").await;
        tenant.delete("admin", "/v1/users/owner").await.expect(204);
        assert_eq!(tenant.verdict(&key).await, "owner_inactive");
        let oneself = tenant.get("owner", "/v1/users/me").await;
        oneself.expect_problem(403, "forbidden");
        let deleted = tenant.get("admin", "/v1/users/owner").await;
        deleted.expect_problem(404, "not_found");
        let users = tenant.all("admin", "/v1/users").await;
        assert!(users.iter().all(|user| user["id"] != "owner"));

        tenant.user("owner", "editor").await;
        assert_eq!(tenant.verdict(&key).await, "revoked");
        let (_, new) = tenant.key("owner", "viewer").await;
        assert_eq!(tenant.verdict(&new).await, "active");
    });
}
