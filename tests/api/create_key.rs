//! Creating a key: the record, the key text, and what each field may contain.

use harness::{Tenant, run};
use serde_json::{Value, json};

#[test]
fn a_key_is_created_listed_validated_and_revoked() {
    run(async {
        let tenant = Tenant::fresh();
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

        let grant = tenant.validate(key).await;
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
        assert_eq!(tenant.verdict(key).await, "revoked");
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
fn a_bad_request_to_create_is_told_every_field_and_writes_nothing() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let before = tenant.items("admin").await;
        let cases: Vec<(Value, &str)> = vec![
            (json!({}), "name"),
            (json!({ "name": "k" }), "role"),
            (json!({ "name": 5, "role": "viewer" }), "name"),
            (json!({ "name": "", "role": "viewer" }), "name"),
            (json!({ "name": "   ", "role": "viewer" }), "name"),
            (json!({ "name": "x".repeat(65), "role": "viewer" }), "name"),
            (json!({ "name": "🔑".repeat(65), "role": "viewer" }), "name"),
            (json!({ "name": "a\u{0}b", "role": "viewer" }), "name"),
            (json!({ "name": "a\nb", "role": "viewer" }), "name"),
            (json!({ "name": "\u{202e}nimda", "role": "viewer" }), "name"),
            (json!({ "name": "k", "role": "owner" }), "role"),
            (json!({ "name": "k", "role": ["viewer"] }), "role"),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": 0 }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": 101 }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": -1 }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": 1.5 }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "max_clusters": "1" }),
                "max_clusters",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_in_days": 0 }),
                "expires_in_days",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_in_days": 366 }),
                "expires_in_days",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_in_days": 1e300 }),
                "expires_in_days",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z" }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_at": "9999-01-01T00:00:00Z" }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_at": "never" }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_at": 1 }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "expires_in_days": 1, "expires_at": "2030-01-01T00:00:00Z" }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "role": "viewer", "admin": true }),
                "body",
            ),
        ];
        for (body, field) in cases {
            let answer = tenant
                .send("admin", "POST", "/v1/users/me/access-keys", body.clone())
                .await;
            let answer = answer.expect_problem(400, "invalid_request");
            let errors = answer.body["errors"].as_array().unwrap();
            assert!(
                errors.iter().any(|error| error["field"] == field),
                "{body}: {}",
                answer.text
            );
        }
        let both = tenant
            .send(
                "admin",
                "POST",
                "/v1/users/me/access-keys",
                json!({ "max_clusters": 0 }),
            )
            .await;
        assert_eq!(both.body["errors"].as_array().unwrap().len(), 3);
        assert_eq!(tenant.items("admin").await, before);
    });
}

#[test]
fn a_name_may_be_in_any_script() {
    run(async {
        let tenant = Tenant::fresh();
        for name in [
            "مفتاح",
            "מפתח",
            "🔑 deploy 👩‍💻",
            "<img src=x onerror=alert(1)>",
            "x",
            &"é".repeat(64),
        ] {
            let (id, _) = tenant
                .key_of("admin", json!({ "name": name, "role": "viewer" }))
                .await;
            assert_eq!(
                tenant
                    .get("admin", &format!("/v1/users/me/access-keys/{id}"))
                    .await
                    .body["name"],
                name
            );
        }
    });
}
