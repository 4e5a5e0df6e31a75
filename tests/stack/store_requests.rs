//! The number of requests that a call sends to DynamoDB.

use harness::{KEYS, Tenant, forged, run, send};
use serde_json::json;

use crate::own_stack;

/// Sorts actions, because a call can send several requests at the same time.
fn sorted(mut actions: Vec<String>) -> Vec<String> {
    actions.sort();
    actions
}

/// Returns the DynamoDB actions that functions have requested for this tenant, skipping the first `before` actions.
fn actions(tenant: &Tenant<'_>, before: usize) -> Vec<String> {
    tenant.store_actions().split_off(before)
}

#[test]
fn creating_a_key_sends_one_read_and_one_transaction() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        // This call records the sign-in. The calls below do not record it again, because that happens at most once an
        // hour.
        tenant.key("admin", "viewer").await;
        for owner in ["admin", "editor"] {
            let before = tenant.store_requests();
            let path = format!("/v1/users/{owner}/access-keys");
            let body = json!({ "name": "k", "role": "viewer" });
            let request = tenant.request("admin", "POST", &path).json(&body);
            let request = request.header("idempotency-key", owner);
            send(request).await.expect(201);
            let expected = ["BatchGetItem", "TransactWriteItems"];
            assert_eq!(actions(&tenant, before), expected, "{owner}");
        }
    });
}

#[test]
fn a_call_about_another_user_reads_both_users_in_one_request() {
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
            ("DELETE", &key, ["BatchGetItem", "TransactWriteItems"]),
            ("DELETE", &keys, ["BatchGetItem", "TransactWriteItems"]),
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
fn a_search_for_a_complete_id_reads_only_that_key() {
    run(async {
        let (tenant, other) = (Tenant::fresh(), Tenant::fresh());
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(tenant.key("admin", "viewer").await.0);
        }
        let (foreign, _) = other.key("admin", "viewer").await;
        // GetItem reads the caller.
        let of_tenant = ["BatchGetItem", "GetItem", "Query"];
        let of_user = ["GetItem", "Query"];
        for (list, id, expected, keys) in [
            ("/v1/access-keys", &ids[1], &of_tenant[..], 1),
            ("/v1/access-keys", &foreign, &of_user, 0),
            (KEYS, &ids[1], &of_user, 1),
            (KEYS, &foreign, &of_user, 0),
        ] {
            let before = tenant.store_requests();
            let page = tenant.get("admin", &format!("{list}?q={id}")).await;
            let page = page.expect(200);
            assert_eq!(sorted(actions(&tenant, before)), expected, "{list}");
            let found = (page.array("items").len(), &page["examined"]);
            assert_eq!(found, (keys, &json!(keys)), "{list}");
        }
        // A search that finds nothing reads no keys.
        let before = tenant.store_requests();
        for list in ["/v1/access-keys", KEYS] {
            tenant
                .get("admin", &format!("{list}?q=-"))
                .await
                .expect(200);
        }
        assert_eq!(actions(&tenant, before), ["GetItem", "GetItem"]);
    });
}

#[test]
fn a_repeated_onboarding_sends_one_read_and_one_transaction() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(5).await;
        tenant.onboard(&key, "warm").await.expect(200);
        let node = json!({ "cluster_name": "a", "node_name": "n", "type": "K8s" });
        for expected in [
            // The first onboarding takes a new slot and therefore also counts the slots.
            &["BatchGetItem", "Query", "TransactWriteItems"][..],
            &["BatchGetItem", "TransactWriteItems"],
        ] {
            let before = tenant.store_requests();
            send(tenant.process(&key, node.clone())).await.expect(200);
            assert_eq!(actions(&tenant, before), expected);
        }
        // A key with an invalid signature causes no request to DynamoDB.
        let before = tenant.store_requests();
        tenant.onboard(&forged(&key), "a").await.expect(401);
        assert_eq!(tenant.store_requests(), before);
    });
}

#[test]
fn revoking_all_keys_of_a_user_takes_one_write_however_many_keys_there_are() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        for _ in 0..20 {
            tenant.key("editor", "viewer").await;
        }
        let before = tenant.store_requests();
        tenant.delete("editor", KEYS).await.expect(204);
        let actions = actions(&tenant, before);
        let writes = actions
            .iter()
            .filter(|action| *action == "TransactWriteItems");
        assert_eq!(writes.count(), 1, "{actions:?}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_sends_one_read_and_a_list_sends_two_and_neither_calls_kms() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    // These calls record the first use of the key and the administrator's sign-in.
    assert_eq!(tenant.verdict(&key).await, "active");
    tenant.get("admin", KEYS).await.expect(200);
    // From here on, no call makes a change, so nothing is published.
    stack.drain_events().await;

    let actions = |before: usize| {
        let requests = stack.requests().into_iter().skip(before);
        requests.map(|request| request.action).collect::<Vec<_>>()
    };
    let oversize = "A".repeat(50_000);
    for (text, expected) in [
        (&*key, &["BatchGetItem"][..]),
        (&forged(&key), &[]),
        ("nonsense", &[]),
        (&oversize, &[]),
    ] {
        let before = stack.requests().len();
        tenant.validate(text).await;
        assert_eq!(actions(before), expected);
    }
    let before = stack.requests().len();
    tenant.get("admin", KEYS).await.expect(200);
    assert_eq!(sorted(actions(before)), ["GetItem", "Query"]);
    stack.stop().await;
}
