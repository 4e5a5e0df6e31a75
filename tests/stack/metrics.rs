//! Metrics: for each event, a function logs one line in the CloudWatch embedded metric format.

use std::{collections::BTreeMap, time::Duration};

use harness::{Fault, KEYS, ProtectedApi, Rule, Service, Stack, Tenant, now, send, until};
use serde_json::{Value, json};

use crate::own_stack;

/// Returns the sum of each metric, keyed by function, name and dimensions.
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

/// Causes each event as many times as [`EXPECTED`] states.
async fn cause_events(stack: &Stack) {
    let tenant = Tenant::acme(stack);
    let (_, expiring, end) = tenant.short_lived("viewer", 3).await;
    let (id, key) = tenant.key("admin", "editor").await;
    assert_eq!(tenant.verdict(&key).await, "active");
    assert_eq!(tenant.verdict("nonsense").await, "invalid");
    let api = ProtectedApi::start(stack).await;
    send(api.get(&key)).await.expect(200);
    send(tenant.own_record(&key)).await.expect(200);

    let join_token = tenant.join_token(&key, "prod").await;
    tenant.onboard(&key, "prod").await.expect(200);
    tenant.onboard(&key, "other").await.expect(409);
    let platform = tenant.platform_token(json!({}));
    let body = json!({ "join_token": join_token, "cluster_name": "prod", "tenant_id": "acme" });
    for status in [200, 409] {
        tenant.redeem(&platform, body.clone()).await.expect(status);
    }

    for _ in 0..2 {
        tenant.revoke_by_id(&id).await;
    }
    tenant.delete("admin", KEYS).await.expect(204);
    assert_eq!(tenant.verdict(&key).await, "revoked");

    use_superseded(&tenant, &api).await;

    until(end).await;
    assert_eq!(tenant.verdict(&expiring).await, "expired");

    let refuse = Rule::new(Fault::Refuse).service(Service::Kms);
    let _refuse = stack.inject(refuse.action("Sign"));
    let body = json!({ "name": "c", "role": "viewer" });
    send(tenant.creation("admin", &body)).await.expect(500);
}

/// Uses a superseded secret in every call that accepts a key.
async fn use_superseded(tenant: &Tenant<'_>, api: &ProtectedApi) {
    let mut body = json!({ "role": "editor", "max_clusters": 1, "self_rotate": true });
    let mut new = body.clone();
    new["name"] = json!("rotated");
    let (id, old) = tenant.key_of("admin", new).await;
    body["overlap_seconds"] = json!(0);
    send(tenant.rotation("admin", &id, &body)).await.expect(200);
    assert_eq!(tenant.verdict(&old).await, "superseded");
    send(tenant.own_record(&old)).await.expect(401);
    send(api.get(&old)).await.expect(403);
    let clusters = tenant.call("GET", "/v1/clusters").bearer_auth(&old);
    send(clusters).await.expect(401);
    tenant.onboard(&old, "prod").await.expect(401);
    send(tenant.self_rotation(&old, &json!({})))
        .await
        .expect(401);
    send(tenant.revocation(&old)).await.expect(401);
}

const EXPECTED: [(&str, u64); 24] = [
    ("authorize Validations authorize active", 1),
    ("authorize SupersededUses", 1),
    ("authorize Validations authorize superseded", 1),
    ("cleanup KeysExpired", 1),
    ("clusters SupersededUses", 1),
    ("create KeysCreated", 3),
    ("create KmsFailures", 1),
    ("onboard JoinTokens redeemed", 1),
    ("onboard JoinTokens replayed", 1),
    ("onboard Onboardings limit_reached", 1),
    ("onboard Onboardings onboarded", 1),
    ("onboard Onboardings repeated", 1),
    ("onboard SupersededUses", 1),
    ("revoke Revocations key", 1),
    ("revoke Revocations user", 1),
    ("revoke SupersededUses", 1),
    ("rotate Rotations key", 1),
    ("rotate SupersededUses", 1),
    ("validate SupersededUses", 2),
    ("validate Validations validate active", 2),
    ("validate Validations validate expired", 1),
    ("validate Validations validate invalid", 1),
    ("validate Validations validate revoked", 1),
    ("validate Validations validate superseded", 2),
];

/// The test has its own stack, because a metric does not name a tenant. On a shared stack, the events of other tests
/// would be counted too.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_counted_once() {
    let stack = own_stack(&[]).await;
    cause_events(&stack).await;
    let expected = EXPECTED.map(|(metric, count)| (metric.to_owned(), count));
    let expected = BTreeMap::from(expected);
    // A log line arrives shortly after the response, and TTL removes a key a second after it expires.
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
