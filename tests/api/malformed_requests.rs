//! Bad input gets a problem that says what to do, and leaves nothing behind.

use harness::{Tenant, run, send};
use serde_json::json;

#[test]
fn a_body_that_cannot_be_read_is_a_client_error_everywhere() {
    run(async {
        let tenant = Tenant::fresh();
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
            let call = tenant
                .call("POST", "/v1/access-keys/validate")
                .header("content-type", content_type);
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
        let tenant = Tenant::fresh();
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
