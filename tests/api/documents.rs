//! The format of responses, and the OpenAPI document.

use harness::{KEYS, PROCESS, Tenant, VALIDATE, run, send};
use serde_json::json;

#[test]
fn the_openapi_document_is_served() {
    run(async {
        let tenant = Tenant::fresh();
        let document = send(tenant.call("GET", "/openapi.yaml")).await.expect(200);
        assert_eq!(document.text, include_str!("../../infra/openapi.yaml"));
        assert_eq!(document.header("content-type"), Some("application/yaml"));
        assert_eq!(document.header("access-control-allow-origin"), Some("*"));
        let tag = document.header("etag").unwrap();
        let again = tenant.call("GET", "/openapi.yaml");
        send(again.header("if-none-match", tag)).await.expect(304);
    });
}

#[test]
fn json_responses_end_with_a_newline() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        for (request, status) in [
            (tenant.request("admin", "GET", KEYS), 200),
            (tenant.request("admin", "GET", "/v1/users/nobody"), 404),
            (tenant.call("POST", VALIDATE).bearer_auth(&key), 200),
            (tenant.call("POST", PROCESS).json(&json!({})), 401),
            (tenant.call("GET", "/.well-known/jwks.json"), 200),
        ] {
            let answer = send(request).await.expect(status);
            assert!(answer.text.ends_with("}\n"), "{:?}", answer.text);
        }
    });
}
