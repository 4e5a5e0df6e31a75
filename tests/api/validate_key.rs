//! Validating a key: the ways to send the key, and the options of the request.

use harness::{Tenant, VALIDATE, code, expect_checked_since, now, run, send};
use serde_json::{Value, json};

#[test]
fn a_key_may_be_sent_in_json_in_a_form_or_as_a_bearer_token() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let call = || tenant.call("POST", VALIDATE);
        for request in [
            call().json(&json!({ "access_key": key })),
            call().form(&[("token", &key)]),
            call().bearer_auth(&key),
        ] {
            assert_eq!(send(request).await.expect(200)["active"], true);
        }
        let without_key = send(call()).await;
        without_key.expect_problem(400, "malformed_body");
    });
}

#[test]
fn a_permission_that_the_key_lacks_is_forbidden() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "cluster_onboarding").await;
        let check = |permission: &str| {
            let body = json!({ "access_key": key, "permission": permission });
            send(tenant.call("POST", VALIDATE).json(&body))
        };
        assert_eq!(check("clusters:onboard").await["active"], true);
        let refused = check("clusters:read").await.body;
        expect_checked_since(now() - 60, &refused);
        let expected =
            json!({ "active": false, "code": "forbidden", "checked_at": refused["checked_at"] });
        assert_eq!(refused, expected);
        let unknown = check("everything").await;
        unknown.expect_problem(400, "invalid_request");
        let elsewhere = tenant.call("POST", VALIDATE).bearer_auth(&key);
        let elsewhere = send(elsewhere.header("x-tenant-id", "other")).await;
        assert_eq!(code(&elsewhere.body), "forbidden");
    });
}

#[test]
fn max_staleness_is_a_whole_number_of_seconds() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let validate = |max_staleness: &Value| {
            let body = json!({ "access_key": key, "max_staleness": max_staleness });
            send(tenant.call("POST", VALIDATE).json(&body))
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
            let refused = validate(&wrong).await;
            let refused = refused.expect_problem(400, "invalid_request");
            assert_eq!(refused["errors"][0]["field"], "max_staleness", "{wrong}");
        }
        for right in [json!(null), json!(0), json!(60), json!(i32::MAX)] {
            assert_eq!(validate(&right).await.expect(200)["active"], true);
        }
    });
}
