//! Validating a key: the ways to send the key, and the options of the request.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use harness::{Tenant, VALIDATE, code, expect_checked_since, now, run, send};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

#[test]
fn a_key_may_be_sent_in_json_or_in_a_form_or_as_a_bearer_token() {
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
        // A key that was copied from a file or a terminal can be surrounded by white space like this.
        let copied = format!(" {key}\r\n");
        for request in [
            call().json(&json!({ "access_key": copied })),
            call().form(&[("token", &copied)]),
        ] {
            assert_eq!(send(request).await.expect(200)["active"], true);
        }
        let without_key = send(call()).await;
        without_key.expect_problem(400, "malformed_body");
    });
}

#[test]
fn the_response_has_the_members_that_rfc_7662_defines() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.key("admin", "viewer").await;
        let answer = tenant.validate(&key).await;
        let payload = URL_SAFE_NO_PAD
            .decode(key.split('.').nth(1).unwrap())
            .unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        for name in ["iss", "aud", "sub", "jti", "iat", "exp", "tenant-id"] {
            assert_eq!(answer[name], claims[name], "{name}");
        }
        assert_eq!(answer["client_id"], id);
        assert_eq!(answer["username"], "admin");
        assert_eq!(answer["token_type"], "Bearer");
    });
}

#[test]
fn requiring_a_permission_that_the_key_lacks_returns_forbidden() {
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

/// Returns one request for each way to send a key with requirements. Each requirement is the name and the value of a
/// parameter.
fn with_requirements(
    tenant: &Tenant<'_>,
    key: &str,
    wanted: &[(&str, &str)],
) -> [RequestBuilder; 6] {
    let call = || tenant.call("POST", VALIDATE);
    let mut body = json!({ "access_key": key });
    for (name, value) in wanted {
        // JSON distinguishes between numbers and strings.
        body[name] = value
            .parse::<i64>()
            .map_or(json!(value), |number| json!(number));
    }
    let mut without_key = body.clone();
    without_key.as_object_mut().unwrap().remove("access_key");
    let form: Vec<_> = [("token", key)]
        .into_iter()
        .chain(wanted.iter().copied())
        .collect();
    [
        call().json(&body),
        call().json(&without_key).bearer_auth(key),
        call().form(&form),
        call().json(&json!({ "access_key": key })).query(wanted),
        call().form(&[("token", key)]).query(wanted),
        call().bearer_auth(key).query(wanted),
    ]
}

#[test]
fn requirements_have_the_same_effect_whichever_part_of_a_request_contains_them() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        for (wanted, result) in [
            (&[("permission", "users:manage")][..], "forbidden"),
            (&[("permission", "clusters:read")], "active"),
            (&[("permission", "clusters:read,users:manage")], "forbidden"),
            (&[("permission", "clusters:read,cspm:read")], "active"),
            (&[("any_of", "users:manage,clusters:manage")], "forbidden"),
            (&[("any_of", "users:manage,clusters:read")], "active"),
            (
                &[("permission", "cspm:read"), ("any_of", "users:manage")],
                "forbidden",
            ),
            (
                &[("max_staleness", "60"), ("permission", "cspm:read")],
                "active",
            ),
        ] {
            for request in with_requirements(&tenant, &key, wanted) {
                let answer = send(request).await.expect(200);
                let found = if answer["active"] == true {
                    "active"
                } else {
                    code(&answer.body)
                };
                assert_eq!(found, result, "{wanted:?}");
            }
        }
        for (name, value) in [
            ("permission", ""),
            ("permission", "everything"),
            ("permission", "cspm:read,"),
            ("any_of", "cspm:read users:manage"),
            ("max_staleness", "-1"),
            ("max_staleness", "1s"),
            ("max_staleness", "2147483648"),
        ] {
            for request in with_requirements(&tenant, &key, &[(name, value)]) {
                let refused = send(request).await;
                let refused = refused.expect_problem(400, "invalid_request");
                assert_eq!(refused["errors"][0]["field"], name, "{value}");
            }
        }
    });
}

#[test]
fn permissions_required_in_several_parts_of_a_request_are_combined() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let (read, manage) = ("cspm:read", "users:manage");
        let call = || tenant.call("POST", VALIDATE);
        let form = |wanted| call().form(&[("token", key.as_str()), wanted]);
        for request in [
            form(("permission", read)).query(&[("permission", manage)]),
            form(("permission", manage)).query(&[("permission", read)]),
            call()
                .bearer_auth(&key)
                .query(&[("permission", read), ("permission", manage)]),
            call().json(&json!({ "access_key": key, "permission": [read, manage] })),
        ] {
            assert_eq!(code(&send(request).await.expect(200).body), "forbidden");
        }
        for request in [
            form(("any_of", read)).query(&[("any_of", manage)]),
            call()
                .bearer_auth(&key)
                .query(&[("any_of", read), ("any_of", read)]),
            form(("max_staleness", "0")).query(&[("max_staleness", "0")]),
            call().json(&json!({ "access_key": key, "any_of": [] })),
            call().json(&json!({ "access_key": key, "any_of": [7] })),
            call().bearer_auth(&key).query(&[("permision", manage)]),
        ] {
            send(request).await.expect_problem(400, "invalid_request");
        }
        let twice =
            format!(r#"{{"access_key":"{key}","permission":"{manage}","permission":null}}"#);
        let twice = call()
            .header("content-type", "application/json")
            .body(twice);
        send(twice).await.expect_problem(400, "malformed_body");
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
            json!("30"),
            json!(true),
            json!([30]),
            json!(1_i64 << 31),
        ] {
            let refused = validate(&wrong).await;
            let refused = refused.expect_problem(400, "invalid_request");
            assert_eq!(refused["errors"][0]["field"], "max_staleness", "{wrong}");
        }
        for right in [
            json!(null),
            json!(0),
            json!(60),
            json!(60.0),
            json!(i32::MAX),
        ] {
            assert_eq!(validate(&right).await.expect(200)["active"], true);
        }
    });
}
