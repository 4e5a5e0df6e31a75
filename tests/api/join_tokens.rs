//! Redeeming a join token.

use harness::{Tenant, all_at_once, run, send};
use serde_json::{Value, json};

fn body(token: &str, cluster: &str, tenant: &str) -> Value {
    json!({ "join_token": token, "cluster_name": cluster, "tenant_id": tenant })
}

#[test]
fn a_join_token_can_be_redeemed_only_once_and_only_for_its_tenant_and_cluster() {
    run(async {
        let tenant = Tenant::fresh();
        let (id, key) = tenant.onboarding_key(2).await;
        let platform = tenant.platform_token(json!({}));
        let token = tenant.join_token(&key, "a").await;
        tenant.join_token(&key, "b").await;
        // A wrong cluster or tenant does not use up the token.
        for wrong in [
            body(&token, "b", &tenant.id),
            body(&token, "a", "elsewhere"),
            body("00000000-0000-4000-8000-000000000000", "a", &tenant.id),
            body(&token.to_uppercase(), "a", &tenant.id),
        ] {
            let refused = tenant.redeem(&platform, wrong).await;
            refused.expect_problem(409, "join_token_invalid");
        }
        let right = body(&token, "a", &tenant.id);
        let answers = all_at_once((0..100).map(|_| tenant.redemption(&platform, &right))).await;
        let (redeemed, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(redeemed.len(), 1);
        let mut codes = refused.iter().map(|answer| answer.code());
        assert!(
            codes.all(|code| code == "join_token_redeemed"),
            "{refused:?}"
        );
        let expected = json!({
            "tenant_id": tenant.id, "cluster_name": "a", "cluster_id": tenant.cluster("a").await["id"],
            "node_name": null, "key_id": id,
        });
        assert_eq!(redeemed[0].body, expected);
    });
}

#[test]
fn the_name_of_a_platform_client_comes_from_client_id_or_else_azp_or_else_sub() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(1).await;
        for claims in [
            json!({ "sub": "a", "azp": "b", "client_id": "spire-server" }),
            json!({ "sub": "a", "azp": "spire-server" }),
            json!({ "sub": "spire-server" }),
        ] {
            let token = tenant.join_token(&key, "a").await;
            let platform = tenant.platform_token(claims);
            let redeemed = tenant
                .redeem(&platform, body(&token, "a", &tenant.id))
                .await;
            redeemed.expect(200);
        }
    });
}

#[test]
fn a_redemption_requires_the_redeem_scope_and_a_token_that_covers_the_tenant() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.onboarding_key(1).await;
        let token = tenant.join_token(&key, "a").await;
        let tokens_for = |tenant_id: &str| tenant.platform_token(json!({ "tenant_id": tenant_id }));
        let (all, ours) = (tenant.platform_token(json!({})), tokens_for(&tenant.id));
        let theirs = tokens_for("elsewhere");
        // The name of the client is the value of client_id, or else of azp, or else of sub.
        for claims in [
            json!({ "sub": "another" }),
            json!({ "azp": "another" }),
            json!({ "client_id": "another", "azp": "spire-server" }),
        ] {
            let stranger = tenant.platform_token(claims);
            let body = body(&token, "a", &tenant.id);
            let refused = send(tenant.redemption(&stranger, &body)).await;
            refused.expect_problem(403, "forbidden");
        }
        let without_tenant = json!({ "join_token": token, "cluster_name": "a" });
        let body = body(&token, "a", &tenant.id);
        let redeem = |token: &str, body: &Value| send(tenant.redemption(token, body));

        redeem(&tenant.token("admin"), &body).await.expect(403);
        redeem(&key, &body).await.expect(401);
        let refused = redeem(&theirs, &body).await;
        refused.expect_problem(403, "tenant_mismatch");
        let refused = redeem(&all, &without_tenant).await;
        refused.expect_problem(400, "invalid_request");
        let refused = redeem(&theirs, &without_tenant).await;
        refused.expect_problem(409, "join_token_invalid");
        let elsewhere = tenant.redemption(&all, &body);
        let elsewhere = send(elsewhere.header("x-tenant-id", "elsewhere")).await;
        elsewhere.expect_problem(403, "tenant_mismatch");
        redeem(&ours, &without_tenant).await.expect(200);
    });
}
