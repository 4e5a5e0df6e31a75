//! How many requests a call sends to the store.

use harness::{Tenant, run, send, stack};
use serde_json::json;

use crate::own_stack;

/// The actions that functions have requested from DynamoDB for this tenant, after the first `before`.
fn actions(tenant: &Tenant<'_>, before: usize) -> Vec<String> {
    tenant.store_actions().split_off(before)
}

#[test]
fn a_creation_is_one_read_and_one_transaction() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        // This call records the sign-in, which happens at most once an hour.
        tenant.key("admin", "viewer").await;
        for owner in ["admin", "editor"] {
            let before = tenant.store_requests();
            let path = format!("/v1/users/{owner}/access-keys");
            let body = json!({ "name": "k", "role": "viewer" });
            let request = tenant.request("admin", "POST", &path).json(&body);
            let request = request.header("idempotency-key", owner);
            send(request).await.expect(201);
            assert_eq!(
                actions(&tenant, before),
                ["BatchGetItem", "TransactWriteItems"],
                "{owner}"
            );
        }
    });
}

#[test]
fn a_call_about_somebody_else_reads_both_users_at_once() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        let (id, _) = tenant.key("editor", "viewer").await;
        let keys = "/v1/users/editor/access-keys".to_owned();
        let key = format!("{keys}/{id}");
        let user = "/v1/users/editor".to_owned();
        for (method, path, expected) in [
            ("GET", &keys, ["BatchGetItem", "Query"]),
            ("GET", &key, ["BatchGetItem", "GetItem"]),
            ("DELETE", &key, ["BatchGetItem", "UpdateItem"]),
            ("DELETE", &keys, ["BatchGetItem", "UpdateItem"]),
            ("DELETE", &user, ["BatchGetItem", "TransactWriteItems"]),
        ] {
            let before = tenant.store_requests();
            let answer = send(tenant.request("admin", method, path)).await;
            assert!(answer.status < 300, "{method} {path}: {}", answer.text);
            assert_eq!(actions(&tenant, before), expected, "{method} {path}");
        }
    });
}

#[test]
fn an_onboarding_is_one_read_and_one_transaction() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(5).await;
        tenant.onboard(&key, "warm").await.expect(200);
        let node = json!({ "cluster_name": "a", "node_name": "n", "type": "K8s" });
        for body in [node.clone(), node] {
            let before = tenant.store_requests();
            send(tenant.process(&key, body)).await.expect(200);
            assert_eq!(
                actions(&tenant, before),
                ["BatchGetItem", "TransactWriteItems"]
            );
        }
        // A key with an invalid signature costs no requests.
        let before = tenant.store_requests();
        tenant
            .onboard(&format!("{}AAAA", &key[..key.len() - 4]), "a")
            .await
            .expect(401);
        assert_eq!(tenant.store_requests(), before);
    });
}

#[test]
fn revoking_all_is_one_write_however_many_keys_there_are() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        for _ in 0..20 {
            tenant.key("editor", "viewer").await;
        }
        let writes = || {
            stack().count(|request| {
                request.function == "revoke"
                    && request.action == "UpdateItem"
                    && request.body.to_string().contains(&tenant.pk("editor"))
            })
        };
        let before = writes();
        tenant
            .delete("editor", "/v1/users/me/access-keys")
            .await
            .expect(204);
        assert_eq!(writes(), before + 1);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_is_one_read_a_refusal_none_a_list_one_query_and_kms_is_not_asked() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    // These calls write the first use of the key and the administrator's sign-in.
    assert_eq!(tenant.verdict(&key).await, "active");
    tenant
        .get("admin", "/v1/users/me/access-keys")
        .await
        .expect(200);

    let actions = |before: usize| {
        let requests = stack.requests().into_iter().skip(before);
        requests.map(|request| request.action).collect::<Vec<_>>()
    };
    let forged = format!("{}AAAA", &key[..key.len() - 4]);
    let oversize = "A".repeat(50_000);
    for (text, expected) in [
        (&*key, &["BatchGetItem"][..]),
        (&forged, &[]),
        ("nonsense", &[]),
        (&oversize, &[]),
    ] {
        let before = stack.requests().len();
        tenant.validate(text).await;
        assert_eq!(actions(before), expected);
    }
    let before = stack.requests().len();
    tenant
        .get("admin", "/v1/users/me/access-keys")
        .await
        .expect(200);
    assert_eq!(actions(before), ["GetItem", "Query"]);
    stack.stop().await;
}
