//! The same `Idempotency-Key` never makes a second key.

use harness::{Tenant, run, send};
use serde_json::{Value, json};
use tokio::task::JoinSet;

fn create(tenant: &Tenant, header: &str, body: &Value) -> reqwest::RequestBuilder {
    tenant
        .request("admin", "POST", "/v1/users/me/access-keys")
        .header("idempotency-key", header)
        .json(body)
}

#[test]
fn a_retry_gives_the_same_key_a_fresh_secret() {
    run(async {
        let tenant = Tenant::fresh();
        let body = json!({ "name": "ci", "role": "viewer" });
        let first = send(create(&tenant, "one", &body)).await.expect(201).body;
        let second = send(create(&tenant, "one", &body)).await.expect(201).body;
        assert_eq!(
            (&first["id"], &first["expires_at"]),
            (&second["id"], &second["expires_at"])
        );
        assert_eq!(
            tenant.verdict(first["access_key"].as_str().unwrap()).await,
            "invalid"
        );
        assert_eq!(
            tenant.verdict(second["access_key"].as_str().unwrap()).await,
            "active"
        );
        assert_eq!(
            tenant.all("admin", "/v1/users/me/access-keys").await.len(),
            1
        );

        let other = json!({ "name": "other", "role": "viewer" });
        send(create(&tenant, "one", &other))
            .await
            .expect_problem(409, "idempotency_key_reused");
        let third = send(create(&tenant, "two", &body)).await.expect(201).body;
        assert_ne!(first["id"], third["id"]);

        let id = second["id"].as_str().unwrap();
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        send(create(&tenant, "one", &body))
            .await
            .expect_problem(409, "key_gone");
        for bad in ["", "a b", &"x".repeat(256)] {
            send(create(&tenant, bad, &body))
                .await
                .expect_problem(400, "invalid_request");
        }
    });
}

#[test]
fn twenty_at_once_leave_one_key_with_one_good_secret() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.get("admin", "/v1/users/me").await.expect(200);
        let body = json!({ "name": "ci", "role": "viewer" });
        let mut requests = JoinSet::new();
        for _ in 0..20 {
            requests.spawn(send(create(&tenant, "race", &body)));
        }
        let answers = requests.join_all().await;
        let records = tenant.all("admin", "/v1/users/me/access-keys").await;
        assert_eq!(records.len(), 1);
        let mut good = 0;
        for answer in answers {
            let answer = answer.expect(201);
            assert_eq!(answer.body["id"], records[0]["id"]);
            good += usize::from(
                tenant
                    .verdict(answer.body["access_key"].as_str().unwrap())
                    .await
                    == "active",
            );
        }
        assert_eq!(good, 1);
    });
}
