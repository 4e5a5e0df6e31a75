//! The main job, and what other libraries and APIs see of a key.

use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};

use crate::world::{Tenant, code, now, request, run, send, validate, verdict};

#[test]
fn a_key_is_created_listed_validated_and_revoked() {
    run(async {
        let tenant = Tenant::new();
        tenant.user("editor", "editor").await;
        let body =
            json!({ "name": " ci ", "role": "viewer", "expires_in_days": 30, "max_clusters": 7 });
        let created = tenant
            .send("editor", "POST", "/v1/users/me/access-keys", body)
            .await
            .expect(201);
        let (id, key) = (
            created.body["id"].as_str().unwrap(),
            created.body["access_key"].as_str().unwrap(),
        );
        assert_eq!(
            created.headers["location"],
            format!("/v1/users/editor/access-keys/{id}")
        );
        assert_eq!(created.headers["cache-control"], "no-store");

        let mut record = created.body.clone();
        record.as_object_mut().unwrap().remove("access_key");
        let listed = tenant
            .get("editor", "/v1/users/me/access-keys")
            .await
            .expect(200)
            .body;
        assert_eq!(listed, json!({ "items": [record], "next_cursor": null }));
        let got = tenant
            .get("admin", &format!("/v1/users/editor/access-keys/{id}"))
            .await
            .expect(200)
            .body;
        assert_eq!(got, record);
        assert_eq!(
            (&got["name"], &got["status"], &got["max_clusters"]),
            (&json!("ci"), &json!("active"), &json!(7))
        );

        let grant = validate(key).await;
        assert_eq!(grant["active"], true);
        assert_eq!(grant["sub"], "editor");
        assert_eq!(grant["tenant-id"], tenant.id.as_str());
        assert_eq!(grant["jti"], id);
        assert_eq!(
            grant["scope"],
            "cspm:read cwpp:read aspm:read clusters:read"
        );
        assert_eq!(
            grant["exp"].as_i64().unwrap() - grant["iat"].as_i64().unwrap(),
            30 * 86_400
        );

        tenant
            .delete(
                "editor",
                &format!("/v1/users/me/access-keys/{id}?reason=done"),
            )
            .await
            .expect(204);
        assert_eq!(verdict(key).await, "revoked");
        let got = tenant
            .get("editor", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(200)
            .body;
        assert_eq!(
            (&got["status"], &got["revoked_by"], &got["revoked_reason"]),
            (&json!("revoked"), &json!("editor"), &json!("done"))
        );
        assert!(got["last_used_at"].is_string());
    });
}

#[test]
fn a_key_may_be_presented_as_json_form_or_bearer() {
    run(async {
        let tenant = Tenant::new();
        let (_, key) = tenant.key("admin", "viewer").await;
        let path = "/v1/access-keys/validate";
        for request in [
            request("POST", path).json(&json!({ "access_key": key })),
            request("POST", path).form(&[("token", &key)]),
            request("POST", path).bearer_auth(&key),
        ] {
            assert_eq!(send(request).await.expect(200).body["active"], true);
        }
        send(request("POST", path))
            .await
            .expect_problem(400, "malformed_body");
    });
}

#[test]
fn a_permission_that_the_key_lacks_is_forbidden() {
    run(async {
        let tenant = Tenant::new();
        let (_, key) = tenant.key("admin", "cluster_onboarding").await;
        let path = "/v1/access-keys/validate";
        let ask = |permission: &str| {
            send(
                request("POST", path).json(&json!({ "access_key": key, "permission": permission })),
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
        let elsewhere = request("POST", path)
            .header("x-tenant-id", "other")
            .bearer_auth(&key);
        assert_eq!(code(&send(elsewhere).await.body), "forbidden");
    });
}

#[test]
fn another_library_verifies_a_key_against_the_published_key_set() {
    run(async {
        let tenant = Tenant::new();
        let (id, key) = tenant.key("admin", "viewer").await;
        for path in ["/.well-known/jwks.json", "/api/v1/jwks/", "/api/v1/jwks"] {
            let keys: JwkSet =
                serde_json::from_value(send(request("GET", path)).await.expect(200).body).unwrap();
            let header = jsonwebtoken::decode_header(&key).unwrap();
            let jwk = keys.find(header.kid.as_deref().unwrap()).unwrap();
            let mut validation = Validation::new(header.alg);
            validation.set_audience(&["access-keys"]);
            validation.set_issuer(&["https://access-keys.local"]);
            let token = jsonwebtoken::decode::<Value>(
                &key,
                &DecodingKey::from_jwk(jwk).unwrap(),
                &validation,
            )
            .unwrap();
            assert_eq!(token.claims["jti"], id.as_str());
        }
    });
}

#[test]
fn an_api_behind_the_authorizer_accepts_a_key_and_refuses_a_revoked_one() {
    run(async {
        let tenant = Tenant::new();
        let (id, key) = tenant.key("admin", "viewer").await;
        let call = || request("GET", "/v1/access-keys/self");
        assert_eq!(
            send(call().bearer_auth(&key)).await.expect(200).body["id"],
            id.as_str()
        );
        // Clients that know no tenant send the header empty.
        send(call().bearer_auth(&key).header("x-tenant-id", ""))
            .await
            .expect(200);
        send(call()).await.expect(401);
        send(call().bearer_auth("nonsense")).await.expect(403);
        send(call().bearer_auth(&key).header("x-tenant-id", "other"))
            .await
            .expect(403);
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        send(call().bearer_auth(&key)).await.expect(403);
    });
}
