//! A key is never worth more than its owner is worth now.

use harness::{Tenant, run};
use serde_json::json;

#[test]
fn a_key_follows_its_owner_down_and_up_again() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("owner", "admin").await;
        let (_, key) = tenant.key("owner", "admin").await;
        let patch = |body| tenant.send("admin", "PATCH", "/v1/users/owner", body);
        assert_eq!(tenant.validate(&key).await["role"], "admin");

        patch(json!({ "role": "viewer" })).await.expect(200);
        let grant = tenant.validate(&key).await;
        assert_eq!(
            (&grant["role"], &grant["scope"]),
            (
                &json!("viewer"),
                &json!("cspm:read cwpp:read aspm:read clusters:read")
            )
        );

        patch(json!({ "status": "inactive" })).await.expect(200);
        assert_eq!(tenant.verdict(&key).await, "owner_inactive");
        patch(json!({ "status": "active", "role": "admin" }))
            .await
            .expect(200);
        assert_eq!(tenant.validate(&key).await["role"], "admin");
    });
}

#[test]
fn the_keys_of_a_deleted_user_stay_dead() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("owner", "editor").await;
        let (_, key) = tenant.key("owner", "viewer").await;
        tenant.delete("admin", "/v1/users/owner").await.expect(204);
        assert_eq!(tenant.verdict(&key).await, "owner_inactive");
        tenant
            .get("owner", "/v1/users/me")
            .await
            .expect_problem(403, "forbidden");
        tenant
            .get("admin", "/v1/users/owner")
            .await
            .expect_problem(404, "not_found");
        assert!(
            tenant
                .all("admin", "/v1/users")
                .await
                .iter()
                .all(|user| user["id"] != "owner")
        );

        tenant.user("owner", "editor").await;
        assert_eq!(tenant.verdict(&key).await, "revoked");
        assert_eq!(
            tenant.verdict(&tenant.key("owner", "viewer").await.1).await,
            "active"
        );
    });
}

#[test]
fn the_last_administrator_cannot_be_lost() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let demote = json!({ "role": "viewer" });
        for body in [demote.clone(), json!({ "status": "inactive" })] {
            tenant
                .send("admin", "PATCH", "/v1/users/admin", body)
                .await
                .expect_problem(409, "last_admin");
        }
        tenant
            .delete("admin", "/v1/users/me")
            .await
            .expect_problem(409, "last_admin");

        // Two administrators who demote each other at once: one of them stays.
        tenant.user("second", "admin").await;
        let (first, second) = tokio::join!(
            tenant.send("admin", "PATCH", "/v1/users/second", demote.clone()),
            tenant.send("second", "PATCH", "/v1/users/admin", demote.clone()),
        );
        let done = [&first, &second]
            .iter()
            .filter(|answer| answer.status == 200)
            .count();
        assert_eq!(done, 1, "{} {}", first.text, second.text);
    });
}

#[test]
fn an_administrator_who_changes_themselves_keeps_the_sign_in_of_that_call() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("second", "admin").await;
        let role = json!({ "role": "admin" });
        let answer = tenant.send("second", "PATCH", "/v1/users/me", role).await;
        assert!(answer.expect(200).body["last_sign_in_at"].is_string());
        let user = tenant.get("admin", "/v1/users/second").await.expect(200);
        assert!(user.body["last_sign_in_at"].is_string(), "{}", user.text);
    });
}

#[test]
fn a_first_sign_in_creates_a_viewer() {
    run(async {
        let tenant = Tenant::fresh();
        let user = tenant
            .get("newcomer", "/v1/users/me")
            .await
            .expect(200)
            .body;
        assert_eq!(
            (&user["role"], &user["status"]),
            (&json!("viewer"), &json!("active"))
        );
        assert!(user["last_sign_in_at"].is_string());
        let users = tenant.all("admin", "/v1/users").await;
        assert_eq!(
            users
                .iter()
                .map(|user| user["id"].as_str().unwrap())
                .collect::<Vec<_>>(),
            ["admin", "newcomer"]
        );
        let body = json!({ "name": "k", "role": "editor" });
        tenant
            .send("newcomer", "POST", "/v1/users/me/access-keys", body)
            .await
            .expect_problem(403, "forbidden");
    });
}
