//! One line in the embedded metric format for each event. The stack is this test's own, because a metric does not name
//! its tenant.

use std::{collections::BTreeMap, time::Duration};

use harness::{Fault, Rule, Service, Stack, Tenant, now, send, until};
use serde_json::{Value, json};

use crate::own_stack;

/// How often each metric was counted, by function, name and dimensions.
fn counts(stack: &Stack) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in stack.logs() {
        let Ok(metric) = serde_json::from_str::<Value>(&line.line) else {
            continue;
        };
        let Some(directive) = metric["_aws"]["CloudWatchMetrics"].get(0) else {
            continue;
        };
        assert_eq!(directive["Namespace"], "access-keys/local");
        let age = now() - metric["_aws"]["Timestamp"].as_i64().unwrap() / 1000;
        assert!((0..600).contains(&age), "{metric}");
        let dimensions = directive["Dimensions"][0].as_array().unwrap().iter();
        let name = directive["Metrics"][0]["Name"].as_str().unwrap();
        let mut path = vec![line.function.as_str(), name];
        path.extend(dimensions.map(|name| metric[name.as_str().unwrap()].as_str().unwrap()));
        *counts.entry(path.join(" ")).or_default() += metric[name].as_u64().unwrap();
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_counted_once() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, expiring, end) = tenant.short_lived(3).await;
    let body = json!({ "name": "b", "role": "editor" });
    let (id, key) = tenant.key_of("admin", body).await;
    assert_eq!(tenant.verdict(&key).await, "active");
    assert_eq!(tenant.verdict("nonsense").await, "invalid");
    let own_record = tenant.call("GET", "/v1/access-keys/self");
    send(own_record.bearer_auth(&key)).await.expect(200);

    let join_token = tenant.join_token(&key, "prod").await;
    tenant.onboard(&key, "prod").await.expect(200);
    tenant.onboard(&key, "other").await.expect(409);
    let platform = tenant.platform_token(json!({}));
    let body = json!({ "join_token": join_token, "cluster_name": "prod", "tenant_id": "acme" });
    for status in [200, 409] {
        tenant.redeem(&platform, body.clone()).await.expect(status);
    }

    let keys = "/v1/users/me/access-keys";
    for _ in 0..2 {
        let path = format!("{keys}/{id}");
        tenant.delete("admin", &path).await.expect(204);
    }
    tenant.delete("admin", keys).await.expect(204);
    assert_eq!(tenant.verdict(&key).await, "revoked");

    until(end).await;
    assert_eq!(tenant.verdict(&expiring).await, "expired");

    let refused = stack.inject(
        Rule::new(Fault::Refuse)
            .service(Service::Kms)
            .action("Sign"),
    );
    let body = json!({ "name": "c", "role": "viewer" });
    tenant.send("admin", "POST", keys, body).await.expect(503);
    drop(refused);

    let expected = BTreeMap::from(
        [
            ("authorize Validations authorize active", 1),
            ("cleanup KeysExpired", 1),
            ("create KeysCreated", 2),
            ("create KmsFailures", 1),
            ("onboard JoinTokens redeemed", 1),
            ("onboard JoinTokens replayed", 1),
            ("onboard Onboardings limit_reached", 1),
            ("onboard Onboardings onboarded", 1),
            ("onboard Onboardings repeated", 1),
            ("revoke Revocations key", 1),
            ("revoke Revocations user", 1),
            ("validate Validations validate active", 1),
            ("validate Validations validate expired", 1),
            ("validate Validations validate invalid", 1),
            ("validate Validations validate revoked", 1),
        ]
        .map(|(metric, count)| (metric.to_owned(), count)),
    );
    // A line arrives a moment after its answer, and TTL a second after the expiry.
    for _ in 0..100 {
        if counts(&stack) == expected {
            break;
        }
        stack.sweep_ttl().unwrap();
        stack.drain_events().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(counts(&stack), expected);
    stack.stop().await;
}
