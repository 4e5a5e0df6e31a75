//! Validating a key: how it is presented, and the options of the call.

use harness::{Tenant, code, now, run, send};
use serde_json::{Value, json};

#[test]
fn a_key_may_be_presented_as_json_form_or_bearer() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let path = "/v1/access-keys/validate";
        for request in [
            tenant
                .call("POST", path)
                .json(&json!({ "access_key": key })),
            tenant.call("POST", path).form(&[("token", &key)]),
            tenant.call("POST", path).bearer_auth(&key),
        ] {
            assert_eq!(send(request).await.expect(200).body["active"], true);
        }
        send(tenant.call("POST", path))
            .await
            .expect_problem(400, "malformed_body");
    });
}

#[test]
fn a_permission_that_the_key_lacks_is_forbidden() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "cluster_onboarding").await;
        let path = "/v1/access-keys/validate";
        let ask = |permission: &str| {
            send(
                tenant
                    .call("POST", path)
                    .json(&json!({ "access_key": key, "permission": permission })),
            )
        };
        assert_eq!(ask("clusters:onboard").await.body["active"], true);
        let refused = ask("clusters:read").await.body;
        let checked_at = refused["checked_at"].as_i64().unwrap();
        assert!((now() - 60..=now()).contains(&checked_at));
        assert_eq!(
            refused,
            json!({ "active": false, "code": "forbidden", "checked_at": checked_at })
        );
        ask("everything")
            .await
            .expect_problem(400, "invalid_request");
        let elsewhere = tenant
            .call("POST", path)
            .header("x-tenant-id", "other")
            .bearer_auth(&key);
        assert_eq!(code(&send(elsewhere).await.body), "forbidden");
    });
}

#[test]
fn a_staleness_is_a_whole_number_of_seconds() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let ask = |max_staleness: Value| {
            let body = json!({ "access_key": key, "max_staleness": max_staleness });
            send(tenant.call("POST", "/v1/access-keys/validate").json(&body))
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
