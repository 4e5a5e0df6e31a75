//! Redeeming a join token.

use harness::{Tenant, all_at_once, run, send};
use serde_json::json;

#[test]
fn a_join_token_is_good_once_for_its_tenant_and_cluster() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(2).await;
        let platform = tenant.platform_token(json!({}));
        let body = |token: &str, cluster: &str, tenant: &str| json!({ "join_token": token, "cluster_name": cluster, "tenant_id": tenant });
        let token = tenant.join_token(&key, "a").await;
        tenant.join_token(&key, "b").await;
        // A wrong cluster or tenant does not use it up.
        for wrong in [
            body(&token, "b", &tenant.id),
            body(&token, "a", "elsewhere"),
            body("00000000-0000-4000-8000-000000000000", "a", &tenant.id),
            body(&token.to_uppercase(), "a", &tenant.id),
        ] {
            tenant
                .redeem(&platform, wrong)
                .await
                .expect_problem(409, "join_token_invalid");
        }
        let good = body(&token, "a", &tenant.id);
        let answers = all_at_once((0..100).map(|_| tenant.redemption(&platform, &good))).await;
        let good: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .collect();
        assert_eq!(good.len(), 1);
        assert!(
            answers
                .iter()
                .all(|a| a.status == 200 || a.code() == "join_token_redeemed"),
            "{answers:?}"
        );
        let cluster = tenant.get("admin", "/v1/clusters/a").await.expect(200).body;
        let expected = json!({
            "tenant_id": tenant.id, "cluster_name": "a", "cluster_id": cluster["id"], "node_name": null, "key_id": id,
        });
        assert_eq!(good[0].body, expected);

        // Who may redeem: a token with the scope, and a tenant's own only for that tenant.
        let token = tenant.join_token(&key, "a").await;
        let all = body(&token, "a", &tenant.id);
        tenant
            .redeem(&tenant.token("admin"), all.clone())
            .await
            .expect(403);
        tenant.redeem(&key, all.clone()).await.expect(401);
        tenant
            .redeem(
                &tenant.platform_token(json!({ "tenant_id": "elsewhere" })),
                all.clone(),
            )
            .await
            .expect_problem(403, "tenant_mismatch");
        let of_nobody = json!({ "join_token": token, "cluster_name": "a" });
        tenant
            .redeem(&platform, of_nobody.clone())
            .await
            .expect_problem(400, "invalid_request");
        tenant
            .redeem(
                &tenant.platform_token(json!({ "tenant_id": "elsewhere" })),
                of_nobody.clone(),
            )
            .await
            .expect_problem(409, "join_token_invalid");
        let elsewhere = tenant
            .call("POST", "/v1/join-tokens/redeem")
            .bearer_auth(&platform)
            .json(&all);
        send(elsewhere.header("x-tenant-id", "elsewhere"))
            .await
            .expect_problem(403, "tenant_mismatch");
        tenant
            .redeem(
                &tenant.platform_token(json!({ "tenant_id": tenant.id })),
                of_nobody,
            )
            .await
            .expect(200);
    });
}
