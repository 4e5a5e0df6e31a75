//! Calls whose requests to DynamoDB overlap, and the responses to calls that the policy refuses.

use harness::{Answer, Fault, KEYS, RuleGuard, Tenant, eventually, run, send, stack};
use reqwest::RequestBuilder;
use serde_json::json;

/// Sends a request and holds both of its DynamoDB actions until both have been sent. Returns the response.
async fn overlapping(tenant: &Tenant<'_>, actions: [&str; 2], request: RequestBuilder) -> Answer {
    let held = actions.map(|action| stack().inject(tenant.rule(action, Fault::Hold)));
    let release = async {
        let are_sent = || async { held.iter().all(|rule| rule.hits() > 0).then_some(()) };
        eventually("both requests are sent", are_sent).await;
        drop(held);
    };
    tokio::join!(send(request), release).0
}

fn fail(tenant: &Tenant<'_>, action: &str) -> RuleGuard {
    stack().inject(tenant.rule(action, Fault::Refuse))
}

#[test]
fn a_list_of_the_callers_own_keys_reads_the_caller_and_the_keys_at_the_same_time() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, _) = tenant.key("admin", "viewer").await;
        let request = tenant.request("admin", "GET", KEYS);
        let list = overlapping(&tenant, ["GetItem", "Query"], request).await;
        assert_eq!(list.expect(200).array("items")[0]["id"], id.as_str());
    });
}

#[test]
fn a_deactivated_user_is_forbidden_to_list_their_keys_even_if_the_keys_cannot_be_read() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("editor", "editor").await;
        tenant.key("editor", "viewer").await;
        tenant
            .change_user("editor", json!({ "status": "inactive" }))
            .await;
        let expected = tenant.get("editor", KEYS).await;
        expected.expect_problem(403, "forbidden");
        let failing = fail(&tenant, "Query");
        let refused = tenant.get("editor", KEYS).await;
        refused.expect_problem(403, "forbidden");
        assert_eq!(failing.hits(), 1);
    });
}

#[test]
fn a_refused_list_of_another_users_keys_does_not_read_the_keys() {
    run(async {
        let tenant = Tenant::fresh();
        tenant.user("viewer", "viewer").await;
        let before = tenant.store_requests();
        let keys = "/v1/users/admin/access-keys";
        let refused = tenant.get("viewer", keys).await;
        refused.expect_problem(404, "not_found");
        assert_eq!(tenant.store_actions()[before..], ["BatchGetItem"]);
    });
}

#[test]
fn a_node_that_names_no_cluster_reads_the_key_and_its_slots_at_the_same_time() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(1).await;
        tenant.onboard(&key, "a").await.expect(200);
        let node = json!({ "cluster_name": "", "node_name": "n", "type": "Node" });
        let request = || tenant.process(&key, node.clone());
        let joined = overlapping(&tenant, ["BatchGetItem", "Query"], request()).await;
        joined.expect(200);

        // A revoked key is refused as such, even if its slots cannot be read.
        tenant.revoke_by_id(&id).await;
        let failing = fail(&tenant, "Query");
        let refused = send(request()).await;
        refused.expect_accuknox(401, "key_revoked");
        assert_eq!(failing.hits(), 1);
    });
}
