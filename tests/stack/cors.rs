//! Requests from pages of other origins (`CorsOrigins`).

use harness::{Answer, GATEWAY, Tenant, run, send};

use crate::own_stack;

const KEYS: &str = "/v1/users/me/access-keys";
const APP: &str = "https://app.example.com";
const OTHER: &str = "https://other.example.com";

async fn preflight(tenant: &Tenant<'_>, path: &str, origin: &str) -> Answer {
    let request = tenant.call("OPTIONS", path).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    let names = "authorization,content-type,idempotency-key";
    send(request.header("access-control-request-headers", names)).await
}

/// Returns the CORS headers of a response, without their prefix.
fn cors(answer: &Answer) -> Vec<(&str, &str)> {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix("access-control-")?;
            Some((name, value.to_str().unwrap()))
        })
        .collect();
    headers.sort_unstable();
    headers
}

async fn a_listed_origin_may_call_the_api(tenant: &Tenant<'_>) {
    for origin in [APP, "http://localhost:5173"] {
        let answer = preflight(tenant, KEYS, origin).await.expect(204);
        let expected = [
            (
                "allow-headers",
                "authorization,content-type,idempotency-key,if-none-match,x-tenant-id",
            ),
            ("allow-methods", "DELETE,GET,PATCH,POST,PUT"),
            ("allow-origin", origin),
            ("max-age", "3600"),
        ];
        assert_eq!(cors(&answer), expected);
        let call = async |request: reqwest::RequestBuilder, status| {
            let answer = send(request.header("origin", origin)).await.expect(status);
            let exposed = "apigw-requestid,etag,location,retry-after,www-authenticate";
            let expected = [("allow-origin", origin), ("expose-headers", exposed)];
            assert_eq!(cors(&answer), expected, "{}", answer.status);
        };
        call(tenant.request("admin", "GET", KEYS), 200).await;
        call(tenant.request("admin", "GET", "/v1/users/nobody"), 404).await;
        // The gateway itself returns these responses.
        call(tenant.call("GET", KEYS), 401).await;
        call(tenant.call("GET", "/v1/nothing"), 404).await;
    }
}

async fn another_origin_may_not(tenant: &Tenant<'_>) {
    let answer = preflight(tenant, KEYS, OTHER).await.expect(204);
    assert_eq!(cors(&answer), []);
    let request = tenant.request("admin", "GET", KEYS).header("origin", OTHER);
    assert_eq!(cors(&send(request).await.expect(200)), []);
}

/// If the gateway had no CORS configuration, the functions behind these paths would allow every origin.
async fn public_documents_are_readable_by_listed_origins_only(tenant: &Tenant<'_>) {
    for path in ["/.well-known/jwks.json", "/api/v1/jwks", "/openapi.yaml"] {
        let request = || tenant.call("GET", path);
        assert_eq!(cors(&send(request()).await.expect(200)), [], "{path}");
        let answer = send(request().header("origin", OTHER)).await.expect(200);
        assert_eq!(cors(&answer), [], "{path}");
        let answer = send(request().header("origin", APP)).await.expect(200);
        assert_eq!(cors(&answer)[0], ("allow-origin", APP), "{path}");
    }
    // The route accepts any method, so the function answers the preflight request. The gateway then replaces the CORS
    // headers.
    let path = "/.well-known/jwks.json";
    let answer = preflight(tenant, path, OTHER).await.expect(204);
    assert_eq!(cors(&answer), []);
    let answer = preflight(tenant, path, APP).await.expect(204);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert!(cors(&answer).contains(&("allow-origin", APP)));
}

#[test]
fn only_pages_of_the_listed_origins_can_use_the_api() {
    run(async {
        let origins = format!("{APP},http://localhost:5173");
        let stack = own_stack(&[("CorsOrigins", &origins)]).await;
        let tenant = Tenant::acme(&stack);
        a_listed_origin_may_call_the_api(&tenant).await;
        another_origin_may_not(&tenant).await;
        public_documents_are_readable_by_listed_origins_only(&tenant).await;
        // A gateway may call `check` with the method of the client's request. If a preflight request succeeded here,
        // such a gateway would conclude that the key is valid.
        for path in ["/v1/access-keys/check", "/v1/access-keys/check/any"] {
            preflight(&tenant, path, APP).await.expect(401);
        }
    });
}

#[test]
fn without_listed_origins_the_gateway_adds_no_cors_header_and_answers_no_preflight_request() {
    run(async {
        let tenant = Tenant::fresh();
        let answer = preflight(&tenant, KEYS, APP).await;
        assert_eq!(cors(&answer.expect_code(404, GATEWAY)), []);
        let request = tenant.request("admin", "GET", KEYS).header("origin", APP);
        assert_eq!(cors(&send(request).await.expect(200)), []);
        let request = tenant.call("GET", "/openapi.yaml").header("origin", APP);
        assert_eq!(
            cors(&send(request).await.expect(200)),
            [("allow-origin", "*")]
        );
    });
}
