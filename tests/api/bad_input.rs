//! Bad input gets a problem that says what to do, and leaves nothing behind.

use serde_json::{Value, json};

use crate::world::{Tenant, request, run, send};

#[test]
fn a_bad_request_to_create_is_told_every_field_and_writes_nothing() {
    run(async {
        let tenant = Tenant::new();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let before = tenant.items("admin").await;
        let cases: Vec<(Value, &str)> = vec![
            (json!({}), "name"),
            (json!({ "name": "k" }), "role"),
            (json!({ "name": 5, "role": "viewer" }), "name"),
            (json!({ "name": "", "role": "viewer" }), "name"),
            (json!({ "name": "   ", "role": "viewer" }), "name"),
            (json!({ "name": "x".repeat(65), "role": "viewer" }), "name"),
            (json!({ "name": "🔑".repeat(65), "role": "viewer" }), "name"),
            (json!({ "name": "a\u{0}b", "role": "viewer" }), "name"),
            (json!({ "name": "a\nb", "role": "viewer" }), "name"),
            (json!({ "name": "\u{202e}nimda", "role": "viewer" }), "name"),
            (json!({ "name": "k", "role": "owner" }), "role"),
            (json!({ "name": "k", "role": ["viewer"] }), "role"),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": 0 }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": 101 }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": -1 }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": 1.5 }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": "1" }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_in_days": 0 }),
                "expires_in_days",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_in_days": 366 }),
                "expires_in_days",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_in_days": 1e300 }),
                "expires_in_days",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z" }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_at": "9999-01-01T00:00:00Z" }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_at": "never" }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_at": 1 }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_in_days": 1, "expires_at": "2030-01-01T00:00:00Z" }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "admin": true }),
                "body",
            ),
        ];
        for (body, field) in cases {
            let answer = tenant
                .send("admin", "POST", "/v1/users/me/access-keys", body.clone())
                .await;
            let answer = answer.expect_problem(400, "invalid_request");
            let errors = answer.body["errors"].as_array().unwrap();
            assert!(
                errors.iter().any(|error| error["field"] == field),
                "{body}: {}",
                answer.text
            );
        }
        let both = tenant
            .send(
                "admin",
                "POST",
                "/v1/users/me/access-keys",
                json!({ "max_clusters": 0 }),
            )
            .await;
        assert_eq!(both.body["errors"].as_array().unwrap().len(), 3);
        assert_eq!(tenant.items("admin").await, before);
    });
}

#[test]
fn a_staleness_is_a_whole_number_of_seconds() {
    run(async {
        let tenant = Tenant::new();
        let (_, key) = tenant.key("admin", "viewer").await;
        let ask = |max_staleness: Value| {
            let body = json!({ "access_key": key, "max_staleness": max_staleness });
            send(request("POST", "/v1/access-keys/validate").json(&body))
        };
        for wrong in [
            json!(-1),
            json!(0.5),
            json!(30.0),
            json!("30"),
            json!(true),
            json!([30]),
            json!(1_i64 << 31),
        ] {
            let answer = ask(wrong.clone())
                .await
                .expect_problem(400, "invalid_request");
            assert_eq!(
                answer.body["errors"][0]["field"], "max_staleness",
                "{wrong}"
            );
        }
        for right in [json!(null), json!(0), json!(60), json!(i32::MAX)] {
            assert_eq!(ask(right).await.expect(200).body["active"], true);
        }
    });
}

#[test]
fn a_name_may_be_in_any_script() {
    run(async {
        let tenant = Tenant::new();
        for name in [
            "مفتاح",
            "מפתח",
            "🔑 deploy 👩‍💻",
            "<img src=x onerror=alert(1)>",
            "x",
            &"é".repeat(64),
        ] {
            let (id, _) = tenant
                .key_of("admin", json!({ "name": name, "role": "viewer" }))
                .await;
            assert_eq!(
                tenant
                    .get("admin", &format!("/v1/users/me/access-keys/{id}"))
                    .await
                    .body["name"],
                name
            );
        }
    });
}

#[test]
fn a_body_that_cannot_be_read_is_a_client_error_everywhere() {
    run(async {
        let tenant = Tenant::new();
        tenant.user("editor", "editor").await;
        let before = (tenant.items("admin").await, tenant.items("editor").await);
        let bodies: Vec<(&str, Vec<u8>, u16)> = vec![
            ("application/json", b"".to_vec(), 400),
            ("application/json", b"{".to_vec(), 400),
            ("application/json", b"[]".to_vec(), 400),
            ("application/json", b"null".to_vec(), 400),
            ("application/json", vec![0xff, 0xfe, 0x00], 400),
            ("application/json", "[".repeat(50_000).into_bytes(), 400),
            (
                "application/json",
                format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20)).into_bytes(),
                413,
            ),
            ("text/html", b"{}".to_vec(), 415),
            ("application/octet-stream", vec![0; 1 << 20], 413),
        ];
        for (content_type, body, status) in bodies {
            for (method, path) in [
                ("POST", "/v1/users/me/access-keys"),
                ("PUT", "/v1/users/someone"),
                ("PATCH", "/v1/users/editor"),
            ] {
                let request = tenant.request("admin", method, path);
                let answer = send(
                    request
                        .header("content-type", content_type)
                        .body(body.clone()),
                )
                .await;
                assert_eq!(
                    answer.status, status,
                    "{method} {path} {content_type}: {}",
                    answer.text
                );
                assert!(answer.body["detail"].is_string(), "{}", answer.text);
            }
            let call =
                request("POST", "/v1/access-keys/validate").header("content-type", content_type);
            let answer = send(call.body(body.clone())).await;
            assert!((400..500).contains(&answer.status), "{}", answer.text);
        }
        assert_eq!(
            (tenant.items("admin").await, tenant.items("editor").await),
            before
        );
    });
}

#[test]
fn strange_paths_and_parameters_are_client_errors() {
    run(async {
        let tenant = Tenant::new();
        for path in [
            "/v1/users/a%23b",
            "/v1/users/a%2Fb",
            "/v1/users/%00",
            "/v1/users/%F0%9F%94%91/access-keys",
            "/v1/users/me/access-keys/1",
            "/v1/users/me/access-keys/%20",
            "/v1/users/..%2F..%2Fadmin",
            "/v1/nothing",
        ] {
            tenant.get("admin", path).await.expect(404);
        }
        let (id, _) = tenant.key("admin", "viewer").await;
        for reason in ["x".repeat(201), "a%00b".into(), "a%0Ab".into()] {
            let path = format!("/v1/users/me/access-keys/{id}?reason={reason}");
            tenant
                .delete("admin", &path)
                .await
                .expect_problem(400, "invalid_request");
        }
        for body in [
            json!({}),
            json!({ "role": "cluster_onboarding" }),
            json!({ "status": "deleted" }),
            json!({ "email": "x" }),
        ] {
            tenant
                .send("admin", "PATCH", "/v1/users/admin", body)
                .await
                .expect_problem(400, "invalid_request");
        }
        for body in [
            json!({ "role": "viewer", "email": "nobody" }),
            json!({ "name": "x" }),
        ] {
            tenant
                .send("admin", "PUT", "/v1/users/someone", body)
                .await
                .expect_problem(400, "invalid_request");
        }
    });
}
