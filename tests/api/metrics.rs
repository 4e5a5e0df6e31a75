//! What CloudWatch is to count: one line in the embedded metric format for each thing that happened. The stack is this
//! test's own, because a metric does not say who caused it.

use std::{collections::BTreeMap, time::Duration};

use local_stack::{Fault, Options, Rule, Service, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::world::{now, rfc3339, until};

struct World {
    stack: Stack,
    client: reqwest::Client,
}

impl World {
    async fn start() -> Self {
        let parameters = [("BootstrapAdmins", "acme/admin"), ("MinExpirySeconds", "1")];
        let parameters = parameters
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        let options = Options {
            parameters,
            processes_per_function: 1,
            ..Options::default()
        };
        let stack = Stack::start(options).await.expect("the local stack starts");
        Self {
            stack,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn send(&self, method: Method, path: &str, bearer: &str, body: Value) -> (u16, Value) {
        let request = self
            .client
            .request(method, format!("{}{path}", self.stack.url()));
        let request = request
            .header("authorization", format!("Bearer {bearer}"))
            .json(&body);
        let response = request.send().await.expect("the gateway answers");
        (
            response.status().as_u16(),
            serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default(),
        )
    }

    async fn as_admin(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let admin = self
            .stack
            .token(json!({ "sub": "admin", "tenant_id": "acme" }));
        self.send(method, path, &admin, body).await
    }

    async fn key(&self, body: Value) -> (String, String) {
        let (status, key) = self
            .as_admin(Method::POST, "/v1/users/me/access-keys", body)
            .await;
        assert_eq!(status, 201, "{key}");
        (
            key["id"].as_str().unwrap().to_owned(),
            key["access_key"].as_str().unwrap().to_owned(),
        )
    }

    async fn validate(&self, key: &str) -> u16 {
        self.send(
            Method::POST,
            "/v1/access-keys/validate",
            "",
            json!({ "access_key": key }),
        )
        .await
        .0
    }

    async fn onboard(&self, key: &str, cluster: &str) -> (u16, Value) {
        let body = json!({ "cluster_name": cluster, "type": "K8s", "token": key });
        self.send(Method::POST, "/access-token/api/v1/process", key, body)
            .await
    }

    /// How often each metric was counted, by function, name and dimensions.
    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for line in self.stack.logs() {
            let Ok(metric) = serde_json::from_str::<Value>(&line.line) else {
                continue;
            };
            let Some(directive) = metric["_aws"]["CloudWatchMetrics"].get(0) else {
                continue;
            };
            assert_eq!(directive["Namespace"], "access-keys/local");
            let age = now() - metric["_aws"]["Timestamp"].as_i64().unwrap() / 1000;
            assert!((0..600).contains(&age), "{metric}");
            let dimensions = directive["Dimensions"][0].as_array().unwrap();
            let name = directive["Metrics"][0]["Name"].as_str().unwrap();
            let mut path = vec![line.function.as_str(), name];
            path.extend(
                dimensions
                    .iter()
                    .map(|name| metric[name.as_str().unwrap()].as_str().unwrap()),
            );
            *counts.entry(path.join(" ")).or_default() += metric[name].as_u64().unwrap();
        }
        counts
    }
}

#[test]
fn everything_that_happens_is_counted_once() {
    Runtime::new().unwrap().block_on(async {
        let world = World::start().await;
        let end = now() + 3;
        let (_, expiring) =
            world.key(json!({ "name": "a", "role": "viewer", "expires_at": rfc3339(end) })).await;
        let (id, key) = world.key(json!({ "name": "b", "role": "editor" })).await;
        assert_eq!(world.validate(&key).await, 200);
        assert_eq!(world.validate("nonsense").await, 200);
        assert_eq!(world.send(Method::GET, "/v1/access-keys/self", &key, json!({})).await.0, 200);

        let (_, joined) = world.onboard(&key, "prod").await;
        assert_eq!(world.onboard(&key, "prod").await.0, 200);
        assert_eq!(world.onboard(&key, "other").await.0, 409);
        let token = world.stack.token(json!({ "sub": "spire", "scope": "join-tokens:redeem" }));
        let redeem =
            json!({ "join_token": joined["join_token"], "cluster_name": "prod", "tenant_id": "acme" });
        for status in [200, 409] {
            let answer = world.send(Method::POST, "/v1/join-tokens/redeem", &token, redeem.clone()).await;
            assert_eq!(answer.0, status);
        }

        let path = format!("/v1/users/me/access-keys/{id}");
        for _ in 0..2 {
            assert_eq!(world.as_admin(Method::DELETE, &path, json!({})).await.0, 204);
        }
        assert_eq!(world.as_admin(Method::DELETE, "/v1/users/me/access-keys", json!({})).await.0, 204);
        assert_eq!(world.validate(&key).await, 200);

        until(end).await;
        assert_eq!(world.validate(&expiring).await, 200);

        let rule = Rule::new(Fault::Refuse).service(Service::Kms).action("Sign");
        let refused = world.stack.inject(rule);
        let body = json!({ "name": "c", "role": "viewer" });
        assert_eq!(world.as_admin(Method::POST, "/v1/users/me/access-keys", body).await.0, 503);
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
        // What a function writes arrives a moment after its answer, and TTL a second after the expiry.
        for _ in 0..100 {
            if world.counts() == expected {
                break;
            }
            world.stack.sweep_ttl().unwrap();
            world.stack.drain_events().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(world.counts(), expected);
        world.stack.stop().await;
    });
}
