//! Checking a key for a gateway, which looks only at the status and the headers of the response.

use harness::{Answer, Tenant, code, forged, run, send};
use reqwest::RequestBuilder;

const CHECK: &str = "/v1/access-keys/check";

fn check(tenant: &Tenant<'_>, method: &str, path: &str, key: &str) -> RequestBuilder {
    let path = format!("{CHECK}{path}");
    tenant.call(method, &path).bearer_auth(key)
}

fn challenge(answer: &Answer) -> &str {
    let challenge = answer.headers.get("www-authenticate");
    challenge.map_or("", |challenge| challenge.to_str().unwrap())
}

#[test]
fn checking_a_valid_key_returns_204_with_headers_for_the_service() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
            for path in ["", "/v1/orders/1"] {
                let request = check(&tenant, method, path, &key);
                let request = request.header("x-auth-role", "admin");
                let answer = send(request.header("x-tenant-id", &tenant.id))
                    .await
                    .expect(204);
                assert_eq!(answer.text, "");
                for (name, value) in [
                    ("x-auth-tenant", tenant.id.as_str()),
                    ("x-auth-user", "admin"),
                    ("x-auth-key-id", &id),
                    ("x-auth-role", "viewer"),
                    (
                        "x-auth-scope",
                        "cspm:read cwpp:read aspm:read clusters:read",
                    ),
                    ("cache-control", "no-store"),
                ] {
                    assert_eq!(answer.headers[name], value, "{method} {path}");
                }
            }
        }
    });
}

#[test]
fn an_invalid_key_is_refused_with_401_and_a_key_without_the_permission_with_403() {
    const INVALID: &str = "Bearer error=\"invalid_token\"";
    const INSUFFICIENT: &str = "Bearer error=\"insufficient_scope\"";
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let (_, revoked) = tenant.key("admin", "viewer").await;
        tenant.revoke(&revoked).await;
        let token = tenant.token("admin");
        for path in ["", "/any/path"] {
            for (key, expected) in [
                (&*revoked, "key_revoked"),
                (&forged(&key), "invalid_key"),
                ("garbage", "invalid_key"),
                (&token, "invalid_key"),
            ] {
                let answer = send(check(&tenant, "GET", path, key)).await;
                let answer = answer.expect_code(401, expected);
                assert_eq!(challenge(&answer), INVALID);
            }
            let without_key = send(tenant.call("GET", &format!("{CHECK}{path}"))).await;
            let without_key = without_key.expect_code(401, "invalid_key");
            assert_eq!(challenge(&without_key), "Bearer");
            let elsewhere = check(&tenant, "GET", path, &key).header("x-tenant-id", "other");
            let elsewhere = send(elsewhere).await.expect_code(403, "forbidden");
            assert_eq!(challenge(&elsewhere), INSUFFICIENT);
        }
        for (query, status) in [
            ("permission=clusters:read", 204),
            ("permission=clusters:read&permission=users:manage", 403),
            ("any_of=users:manage,clusters:read", 204),
            ("any_of=users:manage", 403),
            ("max_staleness=30&permission=cspm:read", 204),
            ("permission=everything", 400),
            ("permision=users:manage", 400),
        ] {
            let answer = send(check(&tenant, "GET", &format!("?{query}"), &key)).await;
            assert_eq!(answer.status, status, "{query}: {}", answer.text);
        }
        assert_eq!(
            code(&send(check(&tenant, "GET", "?any_of=", &key)).await.body),
            "invalid_request"
        );
    });
}

#[test]
fn the_query_of_the_protected_request_does_not_influence_the_check() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let at = |query: &str| check(&tenant, "GET", &format!("/orders?{query}"), &key);
        for query in [
            "permission=users:manage",
            "max_staleness=-1",
            "anything=\"<>",
        ] {
            send(at(query)).await.expect(204);
        }
        // If this parameter had an effect, the second check would find the revoked key in the cache and accept it.
        send(at("max_staleness=60")).await.expect(204);
        tenant.revoke(&key).await;
        send(at("max_staleness=60")).await.expect(401);
    });
}

#[test]
fn a_repeated_tenant_header_must_not_contradict_the_credentials() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let own = tenant.id.as_str();
        for (values, is_right) in [
            ([own, own], true),
            ([own, ""], true),
            ([own, "other"], false),
            (["other", own], false),
            (["", "other"], false),
        ] {
            let repeated = |request: RequestBuilder| {
                let request = request.header("x-tenant-id", values[0]);
                send(request.header("x-tenant-id", values[1]))
            };
            let checked = repeated(check(&tenant, "GET", "", &key)).await;
            assert_eq!(
                checked.status,
                if is_right { 204 } else { 403 },
                "{values:?}"
            );
            let listed = repeated(tenant.request("admin", "GET", "/v1/users")).await;
            assert_eq!(
                listed.status,
                if is_right { 200 } else { 403 },
                "{values:?}"
            );
        }
    });
}
