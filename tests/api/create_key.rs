//! Creating a key: the record, the access key, and the values that each field accepts.

use harness::{KEYS, Tenant, now, rfc3339, run, send};
use serde_json::{Value, json};

#[test]
fn a_new_key_can_be_listed_and_validated_and_revoked() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let body =
            json!({ "name": " ci ", "role": "viewer", "expires_in_days": 30, "max_clusters": 7 });
        let created = send(tenant.creation("editor", &body)).await.expect(201);
        let (id, key) = (created.string("id"), created.string("access_key"));
        let (path, own_path) = (
            format!("/v1/users/editor/access-keys/{id}"),
            format!("{KEYS}/{id}"),
        );
        assert_eq!(created.header("location"), Some(&*path));
        assert_eq!(created.header("cache-control"), Some("no-store"));

        let mut record = created.body.clone();
        record.as_object_mut().unwrap().remove("access_key");
        let listed = tenant.get("editor", KEYS).await.expect(200).body;
        assert_eq!(
            listed,
            json!({ "items": [record], "examined": 1, "skipped": 0, "next_cursor": null })
        );
        let found = tenant.get("admin", &path).await.expect(200).body;
        assert_eq!(found, record);
        let shown = json!([found["name"], found["status"], found["max_clusters"]]);
        assert_eq!(shown, json!(["ci", "active", 7]));

        let grant = tenant.validate(key).await;
        let shown = ["active", "sub", "tenant-id", "jti", "scope"].map(|field| &grant[field]);
        let scope = "cspm:read cwpp:read aspm:read clusters:read";
        assert_eq!(json!(shown), json!([true, "editor", tenant.id, id, scope]));
        let lifetime = grant["exp"].as_i64().unwrap() - grant["iat"].as_i64().unwrap();
        assert_eq!(lifetime, 30 * 86_400);

        let revoke = format!("{own_path}?reason=done");
        tenant.delete("editor", &revoke).await.expect(204);
        assert_eq!(tenant.verdict(key).await, "revoked");
        let revoked = tenant.get("editor", &own_path).await.expect(200);
        let shown = ["status", "revoked_by", "revoked_reason"].map(|field| &revoked[field]);
        let by = json!({ "kind": "user", "id": "editor" });
        assert_eq!(json!(shown), json!(["revoked", by, "done"]));
        assert!(revoked["last_used_at"].is_string());
    });
}

#[test]
fn a_refused_creation_names_every_wrong_field_and_writes_nothing() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let before = tenant.items("admin").await;
        let create = |body: &Value| send(tenant.creation("admin", body));
        let viewer = |name: &str| json!({ "name": name, "role": "viewer" });
        let with = |field: &str, value: Value| {
            let mut body = viewer("k");
            body[field] = value;
            (body, field.to_owned())
        };
        let at = rfc3339(now() + 2 * 86_400);
        let long_name = "x".repeat(65);
        let long_emoji = "🔑".repeat(65);
        let mut cases = vec![
            (json!({}), "name".to_owned()),
            (json!({ "name": "k" }), "role".to_owned()),
            (with("admin", json!(true)).0, "body".to_owned()),
            with("name", json!(5)),
            with("role", json!("owner")),
            with("role", json!(["viewer"])),
            with("max_clusters", json!(0)),
            with("max_clusters", json!(101)),
            with("max_clusters", json!(-1)),
            with("max_clusters", json!(1.5)),
            with("max_clusters", json!("1")),
            with("expires_in_days", json!(0)),
            with("expires_in_days", json!(366)),
            with("expires_in_days", json!(1e300)),
            with("expires_at", json!("2020-01-01T00:00:00Z")),
            with("expires_at", json!("9999-01-01T00:00:00Z")),
            with("expires_at", json!("never")),
            with("expires_at", json!(at.replace('T', " "))),
            with("expires_at", json!(format!("{at}[UTC]"))),
            with("expires_at", json!(1)),
        ];
        for name in [
            "",
            "   ",
            &long_name,
            &long_emoji,
            "a\u{0}b",
            "a\nb",
            "\u{202e}nimda",
            "\u{200b}",
            "\u{2800}",
            "a\u{2060}b",
        ] {
            cases.push((viewer(name), "name".to_owned()));
        }
        let (mut both, field) = with("expires_at", json!("2030-01-01T00:00:00Z"));
        both["expires_in_days"] = json!(1);
        cases.push((both, field));
        for (body, field) in cases {
            let answer = create(&body).await.expect_problem(400, "invalid_request");
            let mut errors = answer.array("errors").iter();
            let found = errors.any(|error| error["field"] == field);
            assert!(found, "{body}: {}", answer.text);
        }
        let three = create(&json!({ "max_clusters": 0 })).await;
        assert_eq!(three.array("errors").len(), 3);
        assert_eq!(tenant.items("admin").await, before);
    });
}

#[test]
fn a_whole_number_may_be_written_with_a_fraction_or_an_exponent() {
    run(async {
        let tenant = Tenant::fresh();
        for days in ["30.0", "3e1", "300E-1"] {
            let body = format!(
                "{{\"name\":\"k\",\"role\":\"viewer\",\"expires_in_days\":{days},\"max_clusters\":2.0}}"
            );
            let request = tenant.request("admin", "POST", KEYS).body(body);
            let request = request.header("content-type", "application/json");
            let created = send(request).await.expect(201);
            assert_eq!(created["max_clusters"], 2);
        }
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
            let body = json!({ "name": name, "role": "viewer" });
            let (id, _) = tenant.key_of("admin", body).await;
            assert_eq!(tenant.record(&id).await["name"], name);
        }
    });
}
