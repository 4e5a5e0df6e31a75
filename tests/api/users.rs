//! Users: the first sign-in, and the last administrator.

use harness::{Tenant, eventually, run, send, strings};
use serde_json::json;

#[test]
fn the_last_administrator_cannot_be_demoted_or_removed() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let demote = json!({ "role": "viewer" });
        for body in [demote.clone(), json!({ "status": "inactive" })] {
            let refused = tenant.send("admin", "PATCH", "/v1/users/admin", body).await;
            refused.expect_problem(409, "last_admin");
        }
        let refused = tenant.delete("admin", "/v1/users/me").await;
        refused.expect_problem(409, "last_admin");

        // When two administrators demote each other concurrently, one of them stays an administrator.
        tenant.user("second", "admin").await;
        let (first, second) = tokio::join!(
            tenant.send("admin", "PATCH", "/v1/users/second", demote.clone()),
            tenant.send("second", "PATCH", "/v1/users/admin", demote),
        );
        let changed = [&first, &second].map(|answer| usize::from(answer.status == 200));
        let changed: usize = changed.iter().sum();
        assert_eq!(changed, 1, "{} {}", first.text, second.text);
    });
}

#[test]
fn an_administrator_who_changes_their_own_record_keeps_their_last_sign_in_time() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("second", "admin").await;
        let role = json!({ "role": "admin" });
        let changed = tenant.send("second", "PATCH", "/v1/users/me", role).await;
        let read = tenant.get("admin", "/v1/users/second").await;
        for user in [changed, read] {
            assert!(user["last_sign_in_at"].is_string(), "{}", user.text);
            user.expect(200);
        }
    });
}

#[test]
fn a_full_last_page_has_no_cursor() {
    run(async {
        let tenant = Tenant::fresh();
        for user in ["one", "two"] {
            tenant.user(user, "viewer").await;
        }
        // The index may lag behind the table.
        let page = async |limit: usize| {
            let path = format!("/v1/users?limit={limit}");
            tenant.get("admin", &path).await.expect(200)
        };
        let all = eventually("all users are listed", || async {
            let all = page(3).await;
            (all.array("items").len() == 3).then_some(all)
        });
        assert!(all.await["next_cursor"].is_null());
        let first = page(2).await;
        assert_eq!(first.array("items").len(), 2);
        assert!(first["next_cursor"].is_string());
    });
}

#[test]
fn the_first_sign_in_creates_a_viewer() {
    run(async {
        let tenant = Tenant::fresh();
        let user = tenant.get("newcomer", "/v1/users/me").await.expect(200);
        let shown = json!([user["role"], user["status"]]);
        assert_eq!(shown, json!(["viewer", "active"]));
        assert!(user["last_sign_in_at"].is_string());
        let users = tenant.all("admin", "/v1/users").await;
        assert_eq!(strings(&users, "id"), ["admin", "newcomer"]);
        let body = json!({ "name": "k", "role": "editor" });
        let refused = send(tenant.creation("newcomer", &body)).await;
        refused.expect_problem(403, "forbidden");
    });
}
