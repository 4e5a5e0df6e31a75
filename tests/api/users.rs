//! Users: the first sign-in, and the last administrator.

use harness::{KEYS, Tenant, eventually, run, send, strings};
use serde_json::{Value, json};

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
fn the_first_sign_in_creates_a_user_with_the_role_viewer() {
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

#[test]
fn a_user_id_may_contain_any_printable_ascii_characters() {
    run(async {
        let tenant = Tenant::fresh();
        for (sub, segment) in [
            ("auth0|1", "auth0%7C1"),
            ("CN=Bob Example,O=x", "CN%3DBob%20Example%2CO%3Dx"),
            ("samlp|adfs|Ab/cD=", "~c2FtbHB8YWRmc3xBYi9jRD0"),
            ("oauth2|siwe|eip155%3A5", "~b2F1dGgyfHNpd2V8ZWlwMTU1JTNBNQ"),
            ("CORP\\bob", "~Q09SUFxib2I"),
            ("a#KEY?", "~YSNLRVk_"),
            ("..", "~Li4"),
            ("me", "~bWU"),
            (&"x".repeat(255), &"x".repeat(255)),
        ] {
            let path = format!("/v1/users/{segment}");
            let provisioned = tenant.send("admin", "PUT", &path, json!({ "role": "viewer" }));
            assert_eq!(provisioned.await.expect(201)["id"], sub);

            let claims = json!({ "sub": sub, "tenant_id": tenant.id });
            let token = tenant.token_of(claims);
            let call = |method, path: &str| tenant.call(method, path).bearer_auth(&token);
            let me = send(call("GET", "/v1/users/me")).await.expect(200);
            assert_eq!(me["id"], sub);
            let body = json!({ "name": "k", "role": "viewer" });
            let created = send(call("POST", KEYS).json(&body)).await.expect(201);
            let location = created.header("location").unwrap();
            assert_eq!(
                location,
                format!("{path}/access-keys/{}", created.string("id"))
            );
            let valid = tenant.validate(created.string("access_key")).await;
            assert_eq!(
                (&valid["active"], &valid["sub"]),
                (&json!(true), &json!(sub))
            );

            for caller in [&token, &tenant.token("admin")] {
                let read = tenant.call("GET", location).bearer_auth(caller);
                assert_eq!(send(read).await.expect(200)["user_id"], sub);
            }
            let listed = tenant.all("admin", "/v1/access-keys?limit=1").await;
            assert!(strings(&listed, "user_id").contains(&sub), "{listed:?}");
            tenant.delete("admin", &path).await.expect(204);
            let dead = tenant.validate(created.string("access_key")).await;
            assert_eq!(dead["active"], false);
        }
        for segment in ["~", "~YR", "~IGE", "%C3%A4", "%20a", &"x".repeat(256)] {
            let path = format!("/v1/users/{segment}");
            tenant
                .get("admin", &path)
                .await
                .expect_problem(404, "not_found");
        }
        let claims = json!({ "sub": "ä", "tenant_id": tenant.id });
        let refused = tenant
            .call("GET", "/v1/users/me")
            .bearer_auth(tenant.token_of(claims));
        send(refused).await.expect_problem(401, "unauthenticated");
    });
}

#[test]
fn the_name_and_a_verified_email_address_come_from_the_identity_provider() {
    run(async {
        let tenant = Tenant::fresh();
        let body = json!({ "role": "viewer", "email": "ann@corp.example" });
        let provisioned = tenant.send("admin", "PUT", "/v1/users/ann", body).await;
        assert_eq!(provisioned.expect(201)["name"], Value::Null);
        let sign_in = async |claims: Value| {
            let mut all = json!({ "sub": "ann", "tenant_id": tenant.id });
            let claims = claims.as_object().unwrap().clone();
            all.as_object_mut().unwrap().extend(claims);
            let request = tenant.call("GET", "/v1/users/me");
            send(request.bearer_auth(tenant.token_of(all))).await
        };
        let mallory = "mallory@evil.example";
        for (claims, name, email) in [
            (json!({}), Value::Null, "ann@corp.example"),
            (json!({ "name": "Ann" }), json!("Ann"), "ann@corp.example"),
            (
                json!({ "name": "Ann Lee", "email": mallory }),
                json!("Ann Lee"),
                "ann@corp.example",
            ),
            (
                json!({ "email": mallory, "email_verified": false }),
                json!("Ann Lee"),
                "ann@corp.example",
            ),
            (
                json!({ "email": "ann@new.example", "email_verified": true }),
                json!("Ann Lee"),
                "ann@new.example",
            ),
            (
                json!({ "name": "\u{202e}", "email": "?", "email_verified": true }),
                json!("Ann Lee"),
                "ann@new.example",
            ),
        ] {
            let me = sign_in(claims.clone()).await.expect(200);
            for user in [me, tenant.get("admin", "/v1/users/ann").await.expect(200)] {
                assert_eq!(
                    (&user["name"], &user["email"]),
                    (&name, &json!(email)),
                    "{claims}"
                );
                assert!(user["last_sign_in_at"].is_string(), "{}", user.text);
            }
        }
        tenant
            .change_user("ann", json!({ "status": "inactive" }))
            .await;
        let refused = sign_in(json!({ "name": "Another" })).await;
        refused.expect_problem(403, "forbidden");
        let unchanged = tenant.get("admin", "/v1/users/ann").await;
        assert_eq!(unchanged["name"], "Ann Lee");
    });
}

#[test]
fn the_caller_sees_the_limits_of_the_deployment() {
    run(async {
        let tenant = Tenant::fresh();
        let me = tenant.get("admin", "/v1/users/me").await.expect(200);
        let limits = json!({
            "min_expiry_seconds": 1,
            "max_expiry_seconds": 31_536_000,
            "default_expiry_seconds": 2_592_000,
            "max_clusters": 100,
            "max_keys": 1000,
        });
        assert_eq!(me["limits"], limits);
        let user = tenant.get("admin", "/v1/users/admin").await.expect(200);
        assert_eq!(user["limits"], Value::Null);
    });
}

#[test]
fn the_list_of_users_can_be_filtered() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        for (user, role) in [
            ("a", "viewer"),
            ("b", "editor"),
            ("c", "viewer"),
            ("d", "admin"),
        ] {
            tenant.user(user, role).await;
        }
        for user in ["c", "d"] {
            tenant
                .change_user(user, json!({ "status": "inactive" }))
                .await;
        }
        for (query, expected) in [
            ("role=viewer", &["a", "c"][..]),
            ("status=inactive", &["c", "d"]),
            ("status=active&role=viewer", &["a"]),
            ("role=admin&limit=1", &["admin", "d"]),
        ] {
            // The index may lag behind the table.
            eventually(query, || async {
                let users = tenant.all("admin", &format!("/v1/users?{query}")).await;
                (strings(&users, "id") == expected).then_some(())
            })
            .await;
        }
        for query in [
            "status=deleted",
            "status=x",
            "role=x",
            "role=admin&role=viewer",
            "role=cluster_onboarding",
        ] {
            let refused = tenant.get("admin", &format!("/v1/users?{query}")).await;
            refused.expect_problem(400, "invalid_request");
        }
    });
}

#[test]
fn users_are_found_by_the_beginning_of_any_word() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        let people = [
            ("1", "José Núñez-Ortega", "jose@acme.example"),
            ("2", "Ann Lee", "ann.lee@acme.example"),
            ("3", "Anna Annabel Kim", "kim@corp.example"),
            ("4", "Leo", "x@corp.example"),
            ("0", "Leopold", "l@other.example"),
        ];
        for (id, name, email) in people {
            let body = json!({ "role": "viewer", "name": name, "email": email });
            let path = format!("/v1/users/{id}");
            tenant.send("admin", "PUT", &path, body).await.expect(201);
        }
        let body = json!({ "role": "viewer", "name": "Ann" });
        other
            .send("admin", "PUT", "/v1/users/9", body)
            .await
            .expect(201);
        let found = async |query: &str| {
            let users = tenant.all("admin", &format!("/v1/users?q={query}")).await;
            let ids = strings(&users, "id").into_iter();
            ids.map(str::to_owned).collect::<Vec<_>>()
        };
        for (query, expected) in [
            ("jose", &["1"][..]),
            ("JOSE%CC%81", &["1"]),
            ("n%C3%BA", &["1"]),
            ("ort", &["1"]),
            ("an", &["2", "3"]),
            ("ann&limit=1", &["2", "3"]),
            ("ann%20le", &["2"]),
            ("le%20ann", &["2"]),
            ("ann.lee@acme", &["2"]),
            ("corp", &["3", "4"]),
            ("le", &["2", "4", "0"]),
            ("acme%20example&limit=1", &["1", "2"]),
            ("ann&role=editor", &[]),
            ("ann&status=active", &["2", "3"]),
            ("nn", &[]),
            ("", &[]),
            ("%21", &[]),
            ("%23%00", &[]),
        ] {
            assert_eq!(found(query).await, expected, "{query}");
        }
        // The search index reflects every change.
        let change = async |change: Value| {
            let changed = tenant.send("admin", "PUT", "/v1/users/2", change).await;
            changed.expect(200);
        };
        change(json!({ "role": "viewer", "name": "Bea Lee" })).await;
        assert_eq!(found("bea").await, ["2"]);
        assert_eq!(found("ann").await, ["2", "3"], "by the e-mail address");
        change(json!({ "role": "viewer", "email": "bea@acme.example" })).await;
        assert_eq!(found("ann").await, ["3"]);
        tenant.delete("admin", "/v1/users/2").await.expect(204);
        assert!(found("bea").await.is_empty());
        let claims = json!({ "sub": "5", "tenant_id": tenant.id, "name": "Zoë" });
        let first = tenant
            .call("POST", KEYS)
            .bearer_auth(tenant.token_of(claims));
        let key = json!({ "name": "k", "role": "viewer" });
        send(first.json(&key)).await.expect(201);
        assert_eq!(found("zoe").await, ["5"]);
        let long = format!("/v1/users?q={}", "x".repeat(255));
        tenant.get("admin", &long).await.expect_fields(&["q"]);
        let refused = tenant.get("3", "/v1/users?q=ann").await;
        refused.expect_problem(403, "forbidden");
    });
}
