//! Responses from the gateway itself.

use harness::{GATEWAY, Options, Tenant, VALIDATE, all_at_once, options, run, send};

use crate::start;

#[test]
fn a_request_without_a_token_returns_a_bearer_challenge() {
    run(async {
        let request = Tenant::fresh().call("GET", "/v1/users");
        let answer = send(request).await.expect(401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer"));
    });
}

#[test]
fn anonymous_requests_do_not_use_up_the_rate_limit_of_revocations() {
    const KEY_SET: &str = "/.well-known/jwks.json";
    run(async {
        let stack = start(Options {
            throttling: true,
            ..options(&[("AnonymousRateLimit", "1"), ("AnonymousBurstLimit", "2")])
        })
        .await;
        let tenant = Tenant::acme(&stack);
        let (_, key) = tenant.key("admin", "viewer").await;
        let (id, _) = tenant.key("admin", "viewer").await;
        let answers = all_at_once((0..10).map(|_| tenant.call("GET", KEY_SET))).await;
        let refused: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 429)
            .collect();
        assert!(refused.len() >= 5, "{}", refused.len());
        assert_eq!(refused[0]["message"], "Too Many Requests");
        // Each route has a rate limit of its own.
        assert_eq!(tenant.verdict(&key).await, "active");
        for _ in 0..5 {
            tenant.revoke_by_id(&id).await;
            tenant.get("admin", "/v1/users").await.expect(200);
        }
        tenant.revoke(&key).await;
    });
}

#[test]
fn a_flood_of_revocations_does_not_use_up_other_rate_limits() {
    run(async {
        let stack = start(Options {
            throttling: true,
            ..options(&[("RevokeRateLimit", "1"), ("RevokeBurstLimit", "2")])
        })
        .await;
        let tenant = Tenant::acme(&stack);
        let answers = all_at_once((0..10).map(|_| tenant.revocation("garbage"))).await;
        assert!(answers.iter().any(|answer| answer.status == 429));
        let (id, key) = tenant.key("admin", "viewer").await;
        assert_eq!(tenant.verdict(&key).await, "active");
        tenant.revoke_by_id(&id).await;
        assert_eq!(tenant.verdict(&key).await, "revoked");
    });
}

#[test]
fn the_local_gateway_refuses_the_same_paths_as_an_http_api() {
    run(async {
        let tenant = Tenant::fresh();
        for (path, status) in [
            ("/v1/users/a%zz", 400),
            ("/v1/users/a%25", 400),
            ("/v1/users/a%2Fb", 404),
            ("/v1/nothing", 404),
        ] {
            tenant.get("admin", path).await.expect_code(status, GATEWAY);
        }
    });
}

#[test]
fn a_path_parameter_is_decoded_twice() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("auth0%7C1", "viewer").await;
        for path in ["/v1/users/auth0%7C1", "/v1/users/auth0%257C1"] {
            let user = tenant.get("admin", path).await.expect(200);
            assert_eq!(user["id"], "auth0|1");
        }
    });
}

#[test]
fn a_body_reaches_the_function_whatever_its_content_type() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let json = format!(r#"{{"access_key":"{key}"}}"#);
        let form = "application/x-www-form-urlencoded";
        for (content_type, body) in [
            (None, json.clone()),
            (Some("application/json"), json),
            (Some(form), format!("token={key}")),
        ] {
            let mut request = tenant.call("POST", VALIDATE).body(body);
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let answer = send(request).await.expect(200);
            assert_eq!(answer["active"], true, "{content_type:?}");
        }
    });
}
