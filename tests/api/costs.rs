//! How many requests a call sends to the store.

use serde_json::json;

use crate::{
    onboarding::onboarding_key,
    stack::stack,
    world::{Tenant, onboard, process, run, send},
};

/// The actions that functions have requested from DynamoDB for this tenant, after the first `before` requests.
fn actions(tenant: &Tenant, before: usize) -> Vec<String> {
    let requests = stack().requests();
    requests[before.min(requests.len())..]
        .iter()
        .filter(|request| {
            request
                .body
                .to_string()
                .contains(&format!("#{}", tenant.id))
        })
        .map(|request| request.action.clone())
        .collect()
}

#[test]
fn a_creation_is_one_read_and_one_transaction() {
    run(async {
        let tenant = Tenant::new();
        tenant.user("editor", "editor").await;
        // This call records the sign-in, which happens at most once an hour.
        tenant.key("admin", "viewer").await;
        for owner in ["admin", "editor"] {
            let before = stack().requests().len();
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
        let tenant = Tenant::new();
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
            let before = stack().requests().len();
            let answer = send(tenant.request("admin", method, path)).await;
            assert!(answer.status < 300, "{method} {path}: {}", answer.text);
            assert_eq!(actions(&tenant, before), expected, "{method} {path}");
        }
    });
}

#[test]
fn an_onboarding_is_one_read_and_one_transaction() {
    run(async {
        let tenant = Tenant::new();
        let (_, key) = onboarding_key(&tenant, 5).await;
        onboard(&key, "warm").await.expect(200);
        let node = json!({ "cluster_name": "a", "node_name": "n", "type": "K8s" });
        for body in [node.clone(), node] {
            let before = stack().requests().len();
            send(process(&key, body)).await.expect(200);
            assert_eq!(
                actions(&tenant, before),
                ["BatchGetItem", "TransactWriteItems"]
            );
        }
        // A key with an invalid signature costs no requests.
        let before = tenant.store_requests();
        onboard(&format!("{}AAAA", &key[..key.len() - 4]), "a")
            .await
            .expect(401);
        assert_eq!(tenant.store_requests(), before);
    });
}

#[test]
fn revoking_all_is_one_write_however_many_keys_there_are() {
    run(async {
        let tenant = Tenant::new();
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
