//! Join tokens: the end of their time, and answers that are lost.

use harness::{Fault, Rule, Service, Tenant, now, run, stack};
use serde_json::json;

#[test]
fn a_join_token_dies_with_its_time_its_key_and_its_cluster() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(2).await;
        let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
        let body = |token: &str| json!({ "join_token": token, "cluster_name": "a" });

        let token = tenant.join_token(&key, "a").await;
        let hash = stored_hash(&tenant, 1).await.pop().unwrap();
        let item = tenant.partition(&format!("J#{hash}")).await.pop().unwrap();
        let expires_at: i64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
        assert!((now() + 590..=now() + 600).contains(&expires_at));
        assert!(
            !item.to_string().contains(&token),
            "only the hash is stored"
        );
        age(&tenant, &hash).await;
        tenant
            .redeem(&platform, body(&token))
            .await
            .expect_problem(409, "join_token_expired");

        // A cluster that was deleted, even if it is onboarded again, is not the one that the token is for.
        let token = tenant.join_token(&key, "a").await;
        tenant.delete("admin", "/v1/clusters/a").await.expect(204);
        tenant
            .redeem(&platform, body(&token))
            .await
            .expect_problem(409, "join_token_invalid");
        let fresh = tenant.join_token(&key, "a").await;
        tenant
            .redeem(&platform, body(&token))
            .await
            .expect_problem(409, "join_token_invalid");
        tenant
            .delete("admin", &format!("/v1/users/me/access-keys/{id}"))
            .await
            .expect(204);
        tenant
            .redeem(&platform, body(&fresh))
            .await
            .expect_problem(409, "join_token_invalid");
        // Nor is it worth more than the key's owner is now.
        tenant.user("editor", "editor").await;
        let (_, key) = tenant.key("editor", "editor").await;
        let token = tenant.join_token(&key, "a").await;
        tenant
            .send(
                "admin",
                "PATCH",
                "/v1/users/editor",
                json!({ "role": "viewer" }),
            )
            .await
            .expect(200);
        tenant
            .redeem(&platform, body(&token))
            .await
            .expect_problem(409, "join_token_invalid");
    });
}

#[test]
fn a_redemption_whose_answer_is_lost_succeeds() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(1).await;
        let platform = tenant.platform_token(json!({ "tenant_id": tenant.id }));
        let token = tenant.join_token(&key, "a").await;
        let hash = stored_hash(&tenant, 1).await.pop().unwrap();
        let rule = stack().inject(
            Rule::new(Fault::DropAfter)
                .service(Service::DynamoDb)
                .action("UpdateItem")
                .function("onboard")
                .containing(&hash)
                .times(1),
        );
        let body = json!({ "join_token": token, "cluster_name": "a" });
        tenant.redeem(&platform, body.clone()).await.expect(200);
        assert_eq!(rule.hits(), 1);
        tenant
            .redeem(&platform, body)
            .await
            .expect_problem(409, "join_token_redeemed");
    });
}

/// The hashes of the tenant's join tokens, from what the functions wrote.
async fn stored_hash(tenant: &Tenant<'_>, count: usize) -> Vec<String> {
    let mut hashes = Vec::new();
    for request in stack().requests() {
        let items = request.body["TransactItems"].as_array();
        for item in items.into_iter().flatten() {
            let item = &item["Put"]["Item"];
            if item["sk"]["S"] == "JOIN" && item["tenant_id"]["S"] == tenant.id.as_str() {
                hashes.push(item["pk"]["S"].as_str().unwrap()["J#".len()..].to_owned());
            }
        }
    }
    assert_eq!(hashes.len(), count);
    hashes
}

/// Moves a join token's end into the past.
async fn age(tenant: &Tenant<'_>, hash: &str) {
    let past = json!({ ":past": { "N": now().to_string() } });
    let pk = format!("J#{hash}");
    tenant
        .edit_item(&pk, "JOIN", "SET expires_at = :past", past)
        .await;
}
