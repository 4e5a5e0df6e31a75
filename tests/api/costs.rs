//! What a call costs the store, in requests.

use serde_json::json;

use crate::{
    onboarding::onboarding_key,
    stack::stack,
    world::{Tenant, onboard, process, run, send},
};

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
            let requests = stack().requests();
            let ours: Vec<_> = requests[before.min(requests.len())..]
                .iter()
                .filter(|r| r.body.to_string().contains(&format!("#{}", tenant.id)))
                .map(|r| r.action.as_str())
                .collect();
            assert_eq!(ours, ["BatchGetItem", "TransactWriteItems"]);
        }
        // A key that is refused by its signature costs nothing.
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
