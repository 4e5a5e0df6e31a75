//! A key and its owner: the owner's current role and status limit the key.

use harness::{KEYS, Tenant, run, send};
use serde_json::{Value, json};

/// Returns the owner's name and e-mail address from a record.
fn owner(record: &Value) -> [Value; 2] {
    ["owner_name", "owner_email"].map(|field| record[field].clone())
}

/// As the administrator, makes every call that returns the record of ann's only key. Returns the owner from each
/// response.
async fn owners(tenant: &Tenant<'_>, id: &str) -> Vec<[Value; 2]> {
    let keys = "/v1/users/ann/access-keys";
    let key = format!("{keys}/{id}");
    let mut records = vec![tenant.get("admin", &key).await.expect(200).body];
    for (method, path, body) in [
        ("PATCH", key.clone(), json!({ "name": "same" })),
        ("PATCH", key.clone(), json!({ "name": "same" })),
        (
            "POST",
            format!("{key}/rotate"),
            json!({ "role": "viewer", "max_clusters": 1 }),
        ),
    ] {
        let answer = tenant.send("admin", method, &path, body).await;
        records.push(answer.expect(200).body);
    }
    for list in [keys, "/v1/access-keys?owner=ann"] {
        records.extend(tenant.all("admin", list).await);
    }
    assert_eq!(records.len(), 6);
    records.iter().map(owner).collect()
}

#[test]
fn records_contain_the_current_name_and_email_address_of_the_owner() {
    run(async {
        let tenant = Tenant::fresh();
        let put = |change| tenant.send("admin", "PUT", "/v1/users/ann", change);
        put(json!({ "role": "viewer" })).await.expect(201);
        let body = json!({ "name": "k", "role": "viewer" });
        let path = "/v1/users/ann/access-keys";
        let created = tenant.send("admin", "POST", path, body.clone()).await;
        let created = created.expect(201);
        let id = created.string("id");
        assert_eq!(owner(&created.body), [Value::Null, Value::Null]);
        for (name, email) in [("Ann", "ann@acme.example"), ("Ann Lee", "lee@acme.example")] {
            let profile = json!({ "role": "viewer", "name": name, "email": email });
            put(profile).await.expect(200);
            for owner in owners(&tenant, id).await {
                assert_eq!(owner, [json!(name), json!(email)]);
            }
        }
        // If a person's first call creates a key, it also creates the user.
        let claims = json!({
            "sub": "bob", "tenant_id": tenant.id, "name": "Bob", "email": "bob@acme.example"
        });
        let token = tenant.token_of(claims);
        let first = tenant.call("POST", KEYS).bearer_auth(&token).json(&body);
        let first = send(first).await.expect(201);
        assert_eq!(
            owner(&first.body),
            [json!("Bob"), json!("bob@acme.example")]
        );
        tenant.delete("admin", "/v1/users/ann").await.expect(204);
        let keys = tenant.all("admin", "/v1/access-keys?owner=ann").await;
        assert_eq!(keys[0]["owner_status"], "deleted");
        assert_eq!(owner(&keys[0]), [Value::Null, Value::Null]);
    });
}

#[test]
fn a_key_cannot_read_the_name_or_the_email_address_of_its_owner() {
    run(async {
        let tenant = Tenant::fresh();
        let body = json!({ "name": "k", "role": "viewer", "self_rotate": true });
        let (id, key) = tenant.key_of("admin", body).await;
        let expected = [
            json!("admin"),
            json!(format!("admin@{}.example", tenant.id)),
        ];
        assert_eq!(owner(&tenant.record(&id).await), expected);
        let own = send(tenant.own_record(&key)).await.expect(200);
        let rotated = send(tenant.self_rotation(&key, &json!({}))).await;
        let rotated = rotated.expect(200);
        let new = rotated.string("access_key");
        let new_own = send(tenant.own_record(new)).await.expect(200);
        for answer in [&own, &rotated, &new_own] {
            assert_eq!(answer["id"], json!(id));
            assert_eq!(owner(&answer.body), [Value::Null, Value::Null]);
            let address = expected[1].as_str().unwrap();
            assert!(!answer.text.contains(address), "{}", answer.text);
        }
        // The administrator still sees both the name and the address after the rotation.
        assert_eq!(owner(&tenant.record(&id).await), expected);
    });
}

#[test]
fn the_current_role_and_status_of_the_owner_limit_a_key() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("owner", "admin").await;
        let (_, key) = tenant.key("owner", "admin").await;
        let change = |change| tenant.change_user("owner", change);
        assert_eq!(tenant.validate(&key).await["role"], "admin");

        change(json!({ "role": "viewer" })).await;
        let grant = tenant.validate(&key).await;
        assert_eq!(grant["role"], "viewer");
        let scope = "cspm:read cwpp:read aspm:read clusters:read";
        assert_eq!(grant["scope"], scope);

        change(json!({ "status": "inactive" })).await;
        assert_eq!(tenant.verdict(&key).await, "owner_inactive");
        change(json!({ "status": "active", "role": "admin" })).await;
        assert_eq!(tenant.validate(&key).await["role"], "admin");
    });
}

#[test]
fn the_keys_of_a_deleted_user_stay_invalid_when_the_user_is_created_again() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("owner", "editor").await;
        let (_, key) = tenant.key("owner", "viewer").await;
        tenant.delete("admin", "/v1/users/owner").await.expect(204);
        assert_eq!(tenant.verdict(&key).await, "owner_inactive");
        let oneself = tenant.get("owner", "/v1/users/me").await;
        oneself.expect_problem(403, "forbidden");
        let deleted = tenant.get("admin", "/v1/users/owner").await;
        deleted.expect_problem(404, "not_found");
        let users = tenant.all("admin", "/v1/users").await;
        assert!(users.iter().all(|user| user["id"] != "owner"));

        tenant.user("owner", "editor").await;
        assert_eq!(tenant.verdict(&key).await, "revoked");
        let (_, new) = tenant.key("owner", "viewer").await;
        assert_eq!(tenant.verdict(&new).await, "active");
    });
}
