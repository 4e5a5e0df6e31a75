//! Who may do what, and what the others learn: nothing.

use harness::{Answer, Tenant, run, send};
use serde_json::{Value, json};

#[test]
fn nobody_creates_a_key_above_their_own_role() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        tenant.user("viewer", "viewer").await;
        for (user, allowed) in [
            ("viewer", vec!["viewer"]),
            ("editor", vec!["viewer", "editor", "cluster_onboarding"]),
            (
                "admin",
                vec!["viewer", "editor", "cluster_onboarding", "admin"],
            ),
        ] {
            for role in ["viewer", "editor", "cluster_onboarding", "admin"] {
                let body = json!({ "name": "k", "role": role });
                let answer = tenant
                    .send(user, "POST", "/v1/users/me/access-keys", body)
                    .await;
                let expected = if allowed.contains(&role) { 201 } else { 403 };
                assert_eq!(answer.status, expected, "{role} by {user}: {}", answer.text);
            }
        }
        // Nor above the owner's: not even an administrator.
        let body = json!({ "name": "k", "role": "editor" });
        tenant
            .send("admin", "POST", "/v1/users/viewer/access-keys", body)
            .await
            .expect_problem(403, "forbidden");
    });
}

/// An answer without what differs between any two answers.
fn comparable(answer: &Answer) -> (u16, String) {
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    (answer.status, body.to_string())
}

#[test]
fn what_others_own_answers_like_what_does_not_exist() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        for tenant in [&tenant, &other] {
            tenant.user("editor", "editor").await;
        }
        other.user("only-there", "viewer").await;
        let (theirs, _) = other.key("only-there", "viewer").await;
        let (colleagues, _) = tenant.key("admin", "viewer").await;
        let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
        let key_body = json!({ "name": "k", "role": "viewer" });
        let change = json!({ "role": "viewer" });

        for (caller, known_user, unknown_user) in [
            ("admin", "only-there", "nobody"),
            ("editor", "only-there", "nobody"),
            ("editor", "admin", "nobody"),
        ] {
            let key = if known_user == "admin" {
                &colleagues
            } else {
                &theirs
            };
            let calls = |user: &str, key: &str| -> Vec<(&str, String, Value)> {
                vec![
                    ("GET", format!("/v1/users/{user}"), Value::Null),
                    ("GET", format!("/v1/users/{user}/access-keys"), Value::Null),
                    (
                        "GET",
                        format!("/v1/users/{user}/access-keys/{key}"),
                        Value::Null,
                    ),
                    (
                        "DELETE",
                        format!("/v1/users/{user}/access-keys"),
                        Value::Null,
                    ),
                    (
                        "DELETE",
                        format!("/v1/users/{user}/access-keys/{key}"),
                        Value::Null,
                    ),
                    (
                        "POST",
                        format!("/v1/users/{user}/access-keys"),
                        key_body.clone(),
                    ),
                    ("PATCH", format!("/v1/users/{user}"), change.clone()),
                    ("DELETE", format!("/v1/users/{user}"), Value::Null),
                ]
            };
            for (known, unknown) in calls(known_user, key)
                .into_iter()
                .zip(calls(unknown_user, unknown))
            {
                let mut answers = Vec::new();
                for (method, path, body) in [known, unknown] {
                    let mut request = tenant.request(caller, method, &path);
                    if !body.is_null() {
                        request = request.json(&body);
                    }
                    answers.push(comparable(&send(request).await));
                }
                assert_eq!(answers[0], answers[1]);
                assert_eq!(answers[0].0, 404, "{caller} {known_user}: {}", answers[0].1);
            }
            // A key id of another's under one's own user.
            let path = |id: &str| format!("/v1/users/me/access-keys/{id}");
            let known = tenant.get("editor", &path(key)).await.expect(404);
            assert_eq!(
                comparable(&known),
                comparable(&tenant.get("editor", &path(unknown)).await)
            );
        }
        assert_eq!(
            other.get("only-there", "/v1/users/me").await.body["role"],
            "viewer"
        );
        assert_eq!(
            other
                .all("only-there", "/v1/users/me/access-keys?status=active")
                .await
                .len(),
            1
        );
    });
}

#[test]
fn the_tenants_lists_are_for_administrators_of_the_tenant() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        tenant.user("editor", "editor").await;
        tenant.key("editor", "viewer").await;
        other.key("admin", "viewer").await;
        for path in ["/v1/users", "/v1/access-keys"] {
            tenant
                .get("editor", path)
                .await
                .expect_problem(403, "forbidden");
            assert!(
                tenant
                    .all("admin", path)
                    .await
                    .iter()
                    .all(|item| item["tenant_id"] == tenant.id.as_str())
            );
        }
        assert_eq!(tenant.all("admin", "/v1/access-keys").await.len(), 1);
        let elsewhere = tenant
            .request("admin", "GET", "/v1/users")
            .header("x-tenant-id", &other.id);
        send(elsewhere).await.expect_problem(403, "tenant_mismatch");
    });
}

#[test]
fn without_a_token_of_the_identity_provider_there_is_no_management() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "admin").await;
        let path = "/v1/users";
        send(tenant.call("GET", path)).await.expect(401);
        for token in ["nonsense", &key, &format!("{}x", tenant.token("admin"))] {
            send(tenant.call("GET", path).bearer_auth(token))
                .await
                .expect(401);
        }
        for claims in [
            json!({ "sub": "admin" }),
            json!({ "sub": "a#b", "tenant_id": tenant.id }),
            json!({ "sub": "admin", "tenant_id": "a b" }),
        ] {
            let token = tenant.token_of(claims);
            send(tenant.call("GET", path).bearer_auth(token))
                .await
                .expect_problem(401, "unauthenticated");
        }
    });
}
