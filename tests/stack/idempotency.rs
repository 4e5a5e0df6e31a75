//! Retries with an `Idempotency-Key`: late retries, concurrent retries, and retries after the table was edited.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use harness::{
    Fault, KEYS, Options, Rule, Service, Stack, Tenant, all_at_once, eventually, now, options,
    rfc3339, run, send, until,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::own_stack;

fn create(tenant: &Tenant, idempotency_key: &str, body: &Value) -> RequestBuilder {
    let request = tenant.creation("admin", body);
    request.header("idempotency-key", idempotency_key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_succeeds_even_if_its_expiry_is_too_soon_for_a_new_key() {
    let stack = own_stack(&[("MinExpirySeconds", "3")]).await;
    let tenant = Tenant::acme(&stack);
    let end = now() + 6;
    let body = json!({ "name": "ci", "role": "viewer", "expires_at": rfc3339(end) });
    let first = send(create(&tenant, "one", &body)).await.expect(201);
    // Waits until it is too late to create a new key that expires at `end`.
    until(end - 2).await;
    for request in [
        create(&tenant, "two", &body),
        tenant.creation("admin", &body),
    ] {
        send(request).await.expect_fields(&["expires_at"]);
    }
    let second = send(create(&tenant, "one", &body)).await.expect(201);
    assert_eq!(first["id"], second["id"]);
    // If another field is invalid too, the response reports both that field and the expiry.
    let wrong = json!({ "name": "", "role": "viewer", "expires_at": rfc3339(end) });
    let refused = send(create(&tenant, "one", &wrong)).await;
    refused.expect_fields(&["name", "expires_at"]);
    until(end).await;
    let late = send(create(&tenant, "one", &body)).await;
    late.expect_problem(409, "idempotency_key_completed");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_concurrent_requests_succeeds_and_its_secret_stays_valid() {
    let options = Options {
        processes_per_function: 5,
        ..options(&[])
    };
    let stack = Stack::start(options).await;
    let stack = stack.expect("the local stack starts");
    let tenant = Tenant::acme(&stack);
    tenant.get("admin", "/v1/users/me").await.expect(200);
    let body = json!({ "name": "ci", "role": "viewer" });
    // Holds the requests, so that all of them have read the table before the first one writes.
    let rule = Rule::new(Fault::Hold).service(Service::Kms).action("Sign");
    let rule = stack.inject(rule);
    let requests = all_at_once((0..5).map(|_| create(&tenant, "race", &body)));
    let release = async {
        let are_held = || async { (rule.hits() >= 5).then_some(()) };
        eventually("all requests are held", are_held).await;
        drop(rule);
    };
    let (answers, ()) = tokio::join!(requests, release);
    let (created, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 201);
    for answer in refused {
        answer.expect_problem(409, "idempotency_in_progress");
    }
    let [created] = created.as_slice() else {
        panic!("{} requests succeeded", created.len());
    };
    assert_eq!(tenant.verdict(created.string("access_key")).await, "active");
    stack.stop().await;
}

#[test]
fn a_retry_signs_the_values_from_the_request_even_if_the_record_was_edited() {
    run(async {
        let tenant = Tenant::fresh();
        let body = json!({ "name": "ci", "role": "viewer", "max_clusters": 2 });
        let first = send(create(&tenant, "one", &body)).await.expect(201);
        let more = "SET #role = :admin, max_clusters = :many, signed_max_clusters = :many, \
                    created_at = :past, expires_at = :far, #ttl = :far";
        let values = json!({
            ":admin": { "S": "admin" }, ":many": { "N": "1000000" },
            ":past": { "N": "0" }, ":far": { "N": "4000000000" },
        });
        tenant
            .edit_key("admin", first.string("id"), more, values)
            .await;
        let second = send(create(&tenant, "one", &body)).await.expect(201);
        let claims = |key: &str| -> Value {
            let payload = key.split('.').nth(1).unwrap();
            serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap()
        };
        let [before, after] = [&first, &second].map(|answer| claims(answer.string("access_key")));
        for claim in [
            "iss",
            "aud",
            "tenant-id",
            "sub",
            "jti",
            "role",
            "max_clusters",
        ] {
            assert_eq!(before[claim], after[claim], "{claim}");
        }
        for claim in ["iat", "exp"] {
            let later = after[claim].as_i64().unwrap() - before[claim].as_i64().unwrap();
            assert!((0..60).contains(&later), "{claim}");
        }
        let grant = tenant.validate(second.string("access_key")).await;
        assert_eq!(grant["role"], "viewer");
        assert_eq!(grant["max_clusters"], 2);
        assert_eq!(tenant.all("admin", KEYS).await.len(), 1);
    });
}
