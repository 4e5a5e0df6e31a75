//! Join tokens: the stored hash, expiry and invalidation, and redemptions when a response from DynamoDB is lost.

use harness::{Fault, Tenant, now, run, stack};
use serde_json::{Value, json};

fn redemption(token: &str) -> Value {
    json!({ "join_token": token, "cluster_name": "a" })
}

async fn refuse(tenant: &Tenant<'_>, token: &str, code: &str) {
    let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
    let refused = tenant.redeem(&platform, redemption(token)).await;
    refused.expect_problem(409, code);
}

#[test]
fn a_join_token_is_stored_as_a_hash_and_expires_after_ten_minutes() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(1).await;
        let token = tenant.join_token(&key, "a").await;
        let pk = join_token_pk(&tenant);
        let item = tenant.partition(&pk).await.pop().unwrap();
        let expires_at: i64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
        assert!((now() + 590..=now() + 600).contains(&expires_at));
        assert!(!item.to_string().contains(&token), "contains the token");
        let past = json!({ ":past": { "N": now().to_string() } });
        tenant
            .edit_item(&pk, "JOIN", "SET expires_at = :past", past)
            .await;
        refuse(&tenant, &token, "join_token_invalid").await;
    });
}

#[test]
fn a_join_token_is_invalid_once_its_cluster_is_deleted_or_its_key_revoked_or_the_owner_demoted() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(2).await;
        let refuse = |token| refuse(&tenant, token, "join_token_invalid");

        let first = tenant.join_token(&key, "a").await;
        tenant.delete("admin", "/v1/clusters/a").await.expect(204);
        refuse(&first).await;
        // A new cluster with the same name is a different cluster.
        let second = tenant.join_token(&key, "a").await;
        refuse(&first).await;
        tenant.revoke_by_id(&id).await;
        refuse(&second).await;

        tenant.user("editor", "editor").await;
        let (_, key) = tenant.key("editor", "editor").await;
        let token = tenant.join_token(&key, "a").await;
        let demotion = json!({ "role": "viewer" });
        tenant.change_user("editor", demotion).await;
        refuse(&token).await;
    });
}

#[test]
fn a_redemption_succeeds_exactly_once_even_if_the_response_from_dynamodb_is_lost() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(1).await;
        let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
        let token = tenant.join_token(&key, "a").await;
        let lost = tenant.rule("TransactWriteItems", Fault::DropAfter);
        let lost = lost.function("onboard").containing(&join_token_pk(&tenant));
        let lost = stack().inject(lost.times(1));
        let redeemed = tenant.redeem(&platform, redemption(&token)).await;
        redeemed.expect(200);
        assert_eq!(lost.hits(), 1);
        refuse(&tenant, &token, "join_token_redeemed").await;
    });
}

/// Finds the partition key of the tenant's only join token in the requests that the functions sent.
fn join_token_pk(tenant: &Tenant<'_>) -> String {
    let mut keys = Vec::new();
    for request in stack().requests() {
        let writes = request.body["TransactItems"].as_array();
        for write in writes.into_iter().flatten() {
            let item = &write["Put"]["Item"];
            if item["sk"]["S"] == "JOIN" && item["tenant_id"]["S"] == tenant.id {
                keys.push(item["pk"]["S"].as_str().unwrap().to_owned());
            }
        }
    }
    let [key] = &keys[..] else {
        panic!("{} does not have one join token: {keys:?}", tenant.id)
    };
    key.clone()
}
