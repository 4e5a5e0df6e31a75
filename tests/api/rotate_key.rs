//! Rotating a key, by a user and by the key itself: the key keeps its identity, and the old secret stops working on
//! time.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{Answer, KEYS, Tenant, UNKNOWN_KEY, now, rfc3339, run, send, until};
use serde_json::{Value, json};

const DAY: i64 = 86_400;

fn body() -> Value {
    json!({ "role": "viewer", "max_clusters": 1 })
}

fn claims(key: &str) -> Value {
    let payload = key.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap()
}

/// Creates a key that belongs to the administrator and may rotate itself.
async fn self_rotating(tenant: &Tenant<'_>, role: &str) -> (String, String) {
    let body = json!({ "name": "agent", "role": role, "max_clusters": 2, "self_rotate": true });
    tenant.key_of("admin", body).await
}

async fn self_rotate(tenant: &Tenant<'_>, key: &str, body: Value) -> Answer {
    send(tenant.self_rotation(key, &body)).await
}

/// Returns the time at which a superseded secret stops working, as `/v1/access-keys/check` states it. Asserts that an
/// onboarding agrees on whether the secret is superseded, and returns the same expiry as a validation.
async fn told_by_the_others(tenant: &Tenant<'_>, key: &str) -> Option<String> {
    let check = tenant.call("GET", "/v1/access-keys/check").bearer_auth(key);
    let check = send(check).await.expect(204);
    let header = check.headers.get("x-auth-superseded-until");
    let end = header.map(|end| end.to_str().unwrap().to_owned());

    let joined = tenant.onboard(key, "prod").await.expect(200);
    let is_superseded = joined["access_key_superseded"].as_bool();
    assert_eq!(is_superseded, end.is_some().then_some(true));
    let expires_at = tenant.validate(key).await["exp"].as_i64().unwrap();
    assert_eq!(joined["access_key_expires_at"], rfc3339(expires_at));
    end
}

#[test]
fn a_rotated_key_keeps_its_identity_and_gets_a_new_secret() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, old) = tenant.limited_key("cluster_onboarding", 2).await;
        tenant.onboard(&old, "prod").await.expect(200);
        let before = tenant.record(&id).await;
        assert_eq!(before["generation"], 0);
        let body =
            json!({ "role": "cluster_onboarding", "max_clusters": 2, "expires_in_days": 60 });
        let rotated = send(tenant.rotation("admin", &id, &body)).await.expect(200);
        let new = rotated.string("access_key");
        let after = tenant.record(&id).await;
        for field in [
            "id",
            "name",
            "created_at",
            "created_by",
            "clusters_used",
            "role",
            "max_clusters",
        ] {
            assert_eq!(before[field], after[field], "{field}");
            assert_eq!(before[field], rotated[field], "{field}");
        }
        assert_eq!(after["generation"], 1);
        assert_eq!(claims(new)["gen"], 1);
        assert_ne!(before["expires_at"], after["expires_at"]);
        assert!(after["rotated_at"].is_string() && after["superseded_until"].is_string());
        assert!(after.get("superseded").is_none());

        let (of_old, of_new) = (tenant.validate(&old).await, tenant.validate(new).await);
        assert_eq!(of_old["active"], true);
        assert_eq!(of_old["superseded"], true);
        let end = of_old["superseded_until"].as_i64().unwrap();
        assert!((now() + DAY - 60..=now() + DAY).contains(&end));
        assert_eq!(of_old["exp"], end);
        for member in ["superseded", "superseded_until"] {
            assert!(of_new.get(member).is_none(), "{member}");
        }
        assert!(of_new["exp"].as_i64().unwrap() > now() + 59 * DAY);
        let own = send(tenant.own_record(&old)).await.expect(200);
        assert_eq!(own["superseded"], true);
        assert_eq!(own["superseded_until"], after["superseded_until"]);
        let own = send(tenant.own_record(new)).await.expect(200);
        assert!(own.body.get("superseded_until").is_none());
        let end = after["superseded_until"].as_str();
        assert_eq!(told_by_the_others(&tenant, &old).await.as_deref(), end);
        assert_eq!(told_by_the_others(&tenant, new).await, None);
        // Both secrets use the same slots.
        tenant.onboard(&old, "prod").await.expect(200);
        tenant.onboard(new, "prod").await.expect(200);
        tenant.onboard(&old, "stage").await.expect(200);
        tenant.onboard(new, "third").await.expect(409);
        assert_eq!(tenant.used(&id).await, 2);
    });
}

#[test]
fn a_secret_stops_working_after_its_overlap_and_older_secrets_are_invalid() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, first) = tenant.limited_key("cluster_onboarding", 1).await;
        let mut body = json!({ "role": "cluster_onboarding", "max_clusters": 1 });
        body["overlap_seconds"] = json!(0);
        let second = tenant.rotate(&id, body.clone()).await;
        assert_eq!(tenant.verdict(&first).await, "superseded");
        send(tenant.own_record(&first))
            .await
            .expect_problem(401, "key_superseded");
        assert_eq!(
            tenant.onboard(&first, "prod").await.expect(401).code(),
            "key_superseded"
        );
        let check = tenant
            .call("GET", "/v1/access-keys/check")
            .bearer_auth(&first);
        send(check).await.expect_problem(401, "key_superseded");
        // After the overlap, the superseded secret cannot revoke the key either.
        send(tenant.revocation(&first))
            .await
            .expect_problem(401, "unauthenticated");
        assert_eq!(tenant.verdict(&second).await, "active");

        body["overlap_seconds"] = json!(7 * DAY);
        let third = tenant.rotate(&id, body).await;
        assert_eq!(tenant.verdict(&first).await, "invalid");
        assert_eq!(tenant.verdict(&second).await, "active");
        assert_eq!(tenant.verdict(&third).await, "active");
    });
}

#[test]
fn the_old_secret_never_outlives_its_own_expiry() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, old, end) = tenant.short_lived("viewer", 30).await;
        tenant.rotate(&id, body()).await;
        let grant = tenant.validate(&old).await;
        assert_eq!(
            (&grant["exp"], &grant["superseded_until"]),
            (&json!(end), &json!(end))
        );
    });
}

#[test]
fn a_revocation_ends_both_secrets() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        for how in ["id", "new", "old", "all"] {
            let (id, old) = tenant.key("admin", "viewer").await;
            let new = tenant.rotate(&id, body()).await;
            match how {
                "id" => tenant.revoke_by_id(&id).await,
                "new" => tenant.revoke(&new).await,
                "old" => tenant.revoke(&old).await,
                _ => drop(tenant.delete("admin", KEYS).await.expect(204)),
            }
            for key in [&old, &new] {
                assert_eq!(tenant.verdict(key).await, "revoked", "{how}");
            }
            let late = send(tenant.rotation("admin", &id, &body())).await;
            late.expect_problem(409, "key_revoked");
        }
        let (id, old) = tenant.key("editor", "viewer").await;
        let path = format!("/v1/users/editor/access-keys/{id}/rotate");
        let rotated = tenant
            .send("admin", "POST", &path, body())
            .await
            .expect(200);
        tenant
            .change_user("editor", json!({ "status": "inactive" }))
            .await;
        for key in [&old, rotated.string("access_key")] {
            assert_eq!(tenant.verdict(key).await, "owner_inactive");
        }
        let refused = tenant.send("admin", "POST", &path, body()).await;
        refused.expect_problem(409, "owner_inactive");
    });
}

#[test]
fn a_key_may_be_rotated_by_its_owner_or_an_administrator_or_the_operator() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        tenant.user("other", "editor").await;
        let (id, _) = tenant.key("editor", "viewer").await;
        let path = format!("/v1/users/editor/access-keys/{id}/rotate");
        for user in ["editor", "admin"] {
            tenant.send(user, "POST", &path, body()).await.expect(200);
        }
        let operator = tenant.operation("POST", &path, json!({})).json(&body());
        send(operator).await.expect(200);
        assert_eq!(
            tenant.send("other", "POST", &path, body()).await.status,
            404
        );
        let unknown = format!("/v1/users/editor/access-keys/{UNKNOWN_KEY}/rotate");
        assert_eq!(
            tenant.send("admin", "POST", &unknown, body()).await.status,
            404
        );
        let more = json!({ "role": "admin", "max_clusters": 1 });
        let refused = tenant.send("editor", "POST", &path, more).await;
        refused.expect_problem(403, "forbidden");
    });
}

#[test]
fn a_rotation_can_lower_the_role_and_the_limit_of_a_key_but_not_raise_them() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.limited_key("editor", 3).await;
        let more = json!({ "role": "admin", "max_clusters": 100 });
        let grant = tenant
            .validate(&tenant.rotate(&id, more.clone()).await)
            .await;
        assert_eq!(
            (&grant["role"], &grant["max_clusters"]),
            (&json!("editor"), &json!(3))
        );
        let less = json!({ "role": "viewer", "max_clusters": 2 });
        let old = tenant.rotate(&id, less).await;
        let new = tenant.rotate(&id, more).await;
        for key in [&old, &new] {
            let grant = tenant.validate(key).await;
            assert_eq!(
                (&grant["role"], &grant["max_clusters"]),
                (&json!("viewer"), &json!(2))
            );
        }
        let apart = json!({ "role": "cluster_onboarding", "max_clusters": 1 });
        let refused = send(tenant.rotation("admin", &id, &apart)).await;
        refused.expect_problem(403, "forbidden");
    });
}

#[test]
fn a_rotation_must_state_the_role_and_the_cluster_limit() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let rotate = async |body: Value| send(tenant.rotation("admin", &id, &body)).await;
        rotate(json!({}))
            .await
            .expect_fields(&["role", "max_clusters"]);
        for (field, wrong) in [
            ("overlap_seconds", json!(-1)),
            ("overlap_seconds", json!(7 * DAY + 1)),
            ("self_rotate", json!("yes")),
            ("max_clusters", json!(0)),
            ("expires_in_days", json!(0)),
            ("expires_at", json!("2020-01-01T00:00:00Z")),
        ] {
            let mut body = body();
            body[field] = wrong;
            rotate(body).await.expect_fields(&[field]);
        }
        let (short, _, _) = tenant.short_lived("viewer", 9).await;
        let late = send(tenant.rotation("admin", &short, &body())).await;
        late.expect_problem(409, "key_expired");
    });
}

#[test]
fn a_rotation_can_be_retried_until_the_new_secret_is_used() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, old) = tenant.key("admin", "viewer").await;
        let rotate = async |body: &Value| {
            let request = tenant.rotation("admin", &id, body);
            send(request.header("idempotency-key", "one")).await
        };
        let lost = rotate(&body()).await.expect(200);
        // Using the old secret does not count as using the new one.
        assert_eq!(tenant.verdict(&old).await, "active");
        let again = rotate(&body()).await.expect(200);
        for field in ["id", "generation", "expires_at", "superseded_until"] {
            assert_eq!(lost[field], again[field], "{field}");
        }
        let [lost, again] = [lost, again].map(|answer| answer.string("access_key").to_owned());
        assert_eq!(tenant.verdict(&lost).await, "invalid");
        assert_eq!(tenant.verdict(&old).await, "active");
        let other = json!({ "role": "viewer", "max_clusters": 2 });
        rotate(&other)
            .await
            .expect_problem(409, "idempotency_key_reused");
        assert_eq!(tenant.verdict(&again).await, "active");
        let late = rotate(&body()).await;
        let late = late.expect_problem(409, "idempotency_key_completed");
        assert_eq!(late["key_id"], json!(id));
        assert_eq!(tenant.verdict(&again).await, "active");
    });
}

#[test]
fn a_key_can_rotate_itself_only_if_it_was_issued_with_that_permission() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, fixed) = tenant.key("admin", "viewer").await;
        let refused = self_rotate(&tenant, &fixed, json!({})).await;
        refused.expect_problem(409, "self_rotate_required");

        let (id, first) = self_rotating(&tenant, "editor").await;
        let rotated = self_rotate(&tenant, &first, json!({})).await.expect(200);
        let second = rotated.string("access_key");
        let (before, after) = (claims(&first), claims(second));
        for claim in [
            "role",
            "max_clusters",
            "self_rotate",
            "jti",
            "sub",
            "tenant-id",
        ] {
            assert_eq!(before[claim], after[claim], "{claim}");
        }
        let lifetime =
            |claims: &Value| claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(lifetime(&before), lifetime(&after));
        assert_eq!(rotated["id"], json!(id));
        // Sends the key first in the body, and then in the header without a body.
        let in_body = json!({ "access_key": second, "overlap_seconds": 60 });
        let request = tenant.call("POST", "/v1/access-keys/rotate").json(&in_body);
        let third = send(request).await.expect(200);
        let third = third.string("access_key");
        let request = tenant
            .call("POST", "/v1/access-keys/rotate")
            .bearer_auth(third);
        let fourth = send(request).await.expect(200);
        assert_eq!(fourth["generation"], 3);
        let form = tenant.call("POST", "/v1/access-keys/rotate");
        let form = form.form(&[("token", fourth.string("access_key"))]);
        send(form)
            .await
            .expect_problem(415, "unsupported_media_type");

        // A rotation by a user without `self_rotate` takes away the permission to self-rotate.
        let fixed = tenant.rotate(&id, body()).await;
        for key in [&fixed, fourth.string("access_key")] {
            let refused = self_rotate(&tenant, key, json!({})).await;
            refused.expect_problem(409, "self_rotate_required");
        }
    });
}

#[test]
fn a_superseded_secret_can_retry_only_the_rotation_that_superseded_it() {
    run(async {
        let tenant = Tenant::fresh();
        for overlap in [0, 60] {
            let (_, old) = self_rotating(&tenant, "viewer").await;
            let body = json!({ "overlap_seconds": overlap });
            let rotate = async |key: &str, idempotency_key: &str| {
                let request = tenant.self_rotation(key, &body);
                send(request.header("idempotency-key", idempotency_key)).await
            };
            let lost = rotate(&old, "one").await.expect(200);
            let other = rotate(&old, "two").await;
            match overlap {
                0 => other.expect_problem(401, "key_superseded"),
                _ => other.expect_problem(409, "key_superseded"),
            };
            let again = rotate(&old, "one").await.expect(200);
            assert_eq!(again["generation"], 1);
            assert_eq!(tenant.verdict(lost.string("access_key")).await, "invalid");
            let new = again.string("access_key");
            // Presenting the new secret proves that it was received.
            rotate(new, "one")
                .await
                .expect_problem(409, "idempotency_key_completed");
            assert_eq!(tenant.verdict(new).await, "active");
            rotate(&old, "one")
                .await
                .expect_problem(409, "idempotency_key_completed");
            rotate(new, "two").await.expect(200);
        }
    });
}

#[test]
fn a_self_rotation_respects_the_role_and_status_of_the_owner_and_the_limit_in_the_record() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("owner", "editor").await;
        let body = json!({ "name": "a", "role": "editor", "max_clusters": 5, "self_rotate": true });
        let (id, key) = tenant.key_of("owner", body).await;
        let path = format!("/v1/users/owner/access-keys/{id}");
        let limit = json!({ "max_clusters": 2 });
        tenant
            .send("admin", "PATCH", &path, limit)
            .await
            .expect(200);
        tenant
            .change_user("owner", json!({ "role": "viewer" }))
            .await;
        let rotated = self_rotate(&tenant, &key, json!({})).await.expect(200);
        assert_eq!(claims(rotated.string("access_key"))["role"], "viewer");
        assert_eq!(rotated["max_clusters"], 2);
        tenant
            .change_user("owner", json!({ "status": "inactive" }))
            .await;
        let refused = self_rotate(&tenant, rotated.string("access_key"), json!({})).await;
        refused.expect_problem(401, "owner_inactive");
    });
}

#[test]
fn a_join_token_survives_the_rotation_of_its_key_but_not_the_revocation() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(2).await;
        let tokens = [
            tenant.join_token(&key, "a").await,
            tenant.join_token(&key, "b").await,
        ];
        let body = json!({ "role": "cluster_onboarding", "max_clusters": 2, "overlap_seconds": 0 });
        for _ in 0..2 {
            tenant.rotate(&id, body.clone()).await;
        }
        let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
        let redeem = async |token: &str, cluster: &str| {
            let body = json!({ "join_token": token, "cluster_name": cluster });
            tenant.redeem(&platform, body).await
        };
        redeem(&tokens[0], "a").await.expect(200);
        tenant.revoke_by_id(&id).await;
        redeem(&tokens[1], "b").await.expect(409);
    });
}

#[test]
fn a_rotation_is_entered_in_the_audit_trail() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = self_rotating(&tenant, "editor").await;
        let request = tenant.self_rotation(&key, &json!({}));
        for _ in 0..2 {
            let request = request.try_clone().unwrap();
            send(request.header("idempotency-key", "one"))
                .await
                .expect(200);
        }
        tenant.rotate(&id, body()).await;
        let path = format!("/v1/audit?target=access_key:{id}");
        let entries = tenant.all("admin", &path).await;
        let summary = |entry: &Value| {
            let change = &entry["changes"]["generation"];
            json!([entry["action"], entry["actor"]["kind"], change])
        };
        assert_eq!(
            entries.iter().map(summary).collect::<Vec<_>>(),
            [
                json!(["access-key.rotated", "user", { "before": 1, "after": 2 }]),
                json!(["access-key.reissued", "key", { "after": 1 }]),
                json!(["access-key.rotated", "key", { "before": 0, "after": 1 }]),
                json!(["access-key.created", "user", null]),
            ]
        );
        assert_eq!(
            entries[0]["changes"]["role"],
            json!({ "before": "editor", "after": "viewer" })
        );
        assert_eq!(
            entries[0]["changes"]["self_rotate"],
            json!({ "before": "true", "after": "false" })
        );
    });
}

#[test]
fn uses_of_the_two_secrets_are_recorded_separately() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, old) = tenant.key("admin", "viewer").await;
        assert_eq!(tenant.verdict(&old).await, "active");
        let new = tenant.rotate(&id, body()).await;
        assert!(tenant.record(&id).await.get("previous_used_at").is_none());
        assert_eq!(tenant.verdict(&new).await, "active");
        let item = tenant.key_item(&id).await.unwrap();
        assert_eq!(item["used_generation"]["N"], "1");
        assert_eq!(tenant.verdict(&old).await, "active");
        let record = tenant.record(&id).await;
        assert!(record["previous_used_at"].is_string());
        // A use is recorded at most once per hour.
        let before = tenant.key_item(&id).await;
        for key in [&old, &new] {
            assert_eq!(tenant.verdict(key).await, "active");
        }
        assert_eq!(tenant.key_item(&id).await, before);
        // A use after the overlap writes nothing.
        let past = json!({ ":past": { "N": "1" } });
        tenant
            .edit_key(
                "admin",
                &id,
                "SET previous_ends_at = :past, last_used_at = :past",
                past,
            )
            .await;
        let before = tenant.key_item(&id).await;
        assert_eq!(tenant.verdict(&old).await, "superseded");
        assert_eq!(tenant.key_item(&id).await, before);
    });
}

#[test]
fn retrying_a_rotation_does_not_shorten_the_lifetime_of_the_next_secret() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = self_rotating(&tenant, "viewer").await;
        let mut body = body();
        body["self_rotate"] = json!(true);
        body["expires_in_days"] = json!(30);
        let rotation = tenant.rotation("admin", &id, &body);
        let rotation = rotation.header("idempotency-key", "x");
        let first = send(rotation.try_clone().unwrap()).await.expect(200);
        until(now() + 2).await;
        let repeated = send(rotation).await.expect(200);
        assert_eq!(first["expires_at"], repeated["expires_at"]);
        let rotated = self_rotate(&tenant, repeated.string("access_key"), json!({})).await;
        for answer in [first, repeated, rotated.expect(200)] {
            let claims = claims(answer.string("access_key"));
            let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
            assert_eq!(lifetime, 30 * DAY);
        }
    });
}
