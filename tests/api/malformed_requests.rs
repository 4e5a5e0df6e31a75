//! A malformed request causes a client error with a `detail` and writes nothing.

use harness::{KEYS, Tenant, VALIDATE, run, send};
use serde_json::json;

#[test]
fn a_malformed_body_causes_a_client_error_on_every_route_and_writes_nothing() {
    const JSON: &str = "application/json";
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let before = (tenant.items("admin").await, tenant.items("editor").await);
        let long_name = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
        let bodies: [(&str, Vec<u8>, u16); 9] = [
            (JSON, b"".to_vec(), 400),
            (JSON, b"{".to_vec(), 400),
            (JSON, b"[]".to_vec(), 400),
            (JSON, b"null".to_vec(), 400),
            (JSON, vec![0xff, 0xfe, 0x00], 400),
            (JSON, "[".repeat(50_000).into_bytes(), 400),
            (JSON, long_name.into_bytes(), 413),
            ("text/html", b"{}".to_vec(), 415),
            ("application/octet-stream", vec![0; 1 << 20], 413),
        ];
        for (content_type, body, status) in bodies {
            for (method, path) in [
                ("POST", KEYS),
                ("PUT", "/v1/users/someone"),
                ("PATCH", "/v1/users/editor"),
            ] {
                let request = tenant.request("admin", method, path).body(body.clone());
                let answer = send(request.header("content-type", content_type)).await;
                let case = format!("{method} {path} {content_type}: {}", answer.text);
                assert_eq!(answer.status, status, "{case}");
                assert!(answer["detail"].is_string(), "{case}");
            }
            let request = tenant.call("POST", VALIDATE).body(body);
            let answer = send(request.header("content-type", content_type)).await;
            assert!((400..500).contains(&answer.status), "{}", answer.text);
        }
        let after = (tenant.items("admin").await, tenant.items("editor").await);
        assert_eq!(after, before);
    });
}

#[test]
fn a_malformed_path_parameter_or_field_causes_a_client_error() {
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
            let path = format!("{KEYS}/{id}?reason={reason}");
            let refused = tenant.delete("admin", &path).await;
            refused.expect_problem(400, "invalid_request");
        }
        let (change, provision) = (("PATCH", "admin"), ("PUT", "someone"));
        for ((method, user), body) in [
            (change, json!({})),
            (change, json!({ "role": "cluster_onboarding" })),
            (change, json!({ "status": "deleted" })),
            (change, json!({ "email": "x" })),
            (provision, json!({ "role": "viewer", "email": "nobody" })),
            (provision, json!({ "name": "x" })),
        ] {
            let path = format!("/v1/users/{user}");
            let refused = tenant.send("admin", method, &path, body).await;
            refused.expect_problem(400, "invalid_request");
        }
    });
}
