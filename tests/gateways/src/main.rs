//! Runs nginx and Caddy with the configurations in `infra/integrate` and tries to get requests past them to a service.
//! A request that should be refused must not reach the service, even if the API fails.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot continue has failed"
)]

mod front;
mod gateway;

use anyhow::{Result, ensure};
use harness::{Answer, Fault, Rule, Service, Stack, Tenant, Upstream, forged, options, send};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::{
    front::Front,
    gateway::{Gateway, Places},
};

/// A gateway under test, and the service behind it.
struct Trial<'a> {
    gateway: &'a Gateway,
    client: reqwest::Client,
    service: Upstream,
}

impl Trial<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.gateway.url))
    }

    fn get(&self, key: &str) -> RequestBuilder {
        self.request(Method::GET, "/orders").bearer_auth(key)
    }

    /// Sends a request that must reach the service. Returns the headers that the service received.
    async fn admitted(&self, request: RequestBuilder) -> Vec<(String, String)> {
        let before = self.service.received();
        let answer = send(request).await;
        assert_eq!(answer.status, 200, "{}: {}", self.gateway.name, answer.text);
        assert_eq!(self.service.received(), before + 1);
        let pairs = answer.body.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        pairs
            .iter()
            .map(|pair| (text(&pair[0]), text(&pair[1])))
            .collect()
    }

    /// Sends a request that must not reach the service.
    async fn refused(&self, what: &str, request: RequestBuilder) -> Answer {
        let before = self.service.received();
        let answer = send(request).await;
        let name = self.gateway.name;
        assert!(
            answer.status >= 400,
            "{name} admits {what}: {}",
            answer.status
        );
        assert_eq!(self.service.received(), before, "{name} admits {what}");
        answer
    }
}

async fn good_keys(trial: &Trial<'_>, tenant: &Tenant<'_>, id: &str, key: &str) {
    let request = trial.get(key);
    // The client forges all of these headers. Only the forged `x-auth-anything`, which the gateway does not set, may
    // reach the service.
    let request = [
        "x-auth-role",
        "X-Auth-Tenant",
        "x-auth-anything",
        "X_Auth_Role",
        "x_auth-scope",
    ]
    .into_iter()
    .fold(request, |request, name| request.header(name, "forged"));
    let headers = trial.admitted(request).await;
    let forged: Vec<_> = headers
        .iter()
        .filter(|(_, value)| value == "forged")
        .collect();
    let known = |(name, _): &&&(String, String)| name != "x-auth-anything";
    assert_eq!(forged.iter().filter(known).count(), 0, "{headers:?}");
    for (name, value) in [
        ("x-auth-tenant", tenant.id.as_str()),
        ("x-auth-user", "admin"),
        ("x-auth-key-id", id),
        ("x-auth-role", "viewer"),
        (
            "x-auth-scope",
            "cspm:read cwpp:read aspm:read clusters:read",
        ),
    ] {
        let found: Vec<_> = headers.iter().filter(|(known, _)| known == name).collect();
        assert_eq!(
            found,
            [&(name.to_owned(), value.to_owned())],
            "{}",
            trial.gateway.name
        );
    }
    for method in [Method::HEAD, Method::POST, Method::DELETE] {
        let request = trial.request(method.clone(), "/orders").bearer_auth(key);
        let request = match method {
            Method::POST => request.body(vec![b'x'; 200_000]),
            _ => request,
        };
        trial.admitted(request).await;
    }
    // Proxies remove the headers that are named in Connection, but the gateway's own headers must reach the service.
    let names = "close, X-Auth-Tenant, X-Auth-Role, X-Auth-Scope";
    let headers = trial
        .admitted(trial.get(key).header("connection", names))
        .await;
    for name in ["x-auth-tenant", "x-auth-role", "x-auth-scope"] {
        assert!(
            headers.iter().any(|(known, _)| known == name),
            "{}: {headers:?}",
            trial.gateway.name
        );
    }
    let cookie = "c=".to_owned() + &"x".repeat(6_000);
    trial
        .admitted(trial.get(key).header("cookie", cookie))
        .await;
    trial
        .admitted(trial.get(key).header("x-tenant-id", &tenant.id))
        .await;
}

async fn bad_keys(trial: &Trial<'_>, tenant: &Tenant<'_>, key: &str) {
    let (_, revoked) = tenant.key("admin", "viewer").await;
    trial.admitted(trial.get(&revoked)).await;
    tenant.revoke(&revoked).await;
    let token = tenant.token("admin");
    for (what, key) in [
        ("a revoked key", &*revoked),
        ("a forged key", &forged(key)),
        ("garbage", "garbage"),
        ("a token of the identity provider", &token),
    ] {
        let answer = trial.refused(what, trial.get(key)).await.expect(401);
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(
            challenge.starts_with("Bearer"),
            "{}: {challenge}",
            trial.gateway.name
        );
        // The query belongs to the protected request and must not influence the check.
        let query = [("max_staleness", "3600"), ("permission", "cspm:read")];
        trial.refused(what, trial.get(key).query(&query)).await;
    }
    let without_key = trial.request(Method::GET, "/orders");
    trial
        .refused("a request without a key", without_key)
        .await
        .expect(401);
    let elsewhere = trial.get(key).header("x-tenant-id", "other");
    trial
        .refused("a key of another tenant", elsewhere)
        .await
        .expect(403);
    let (_, onboards) = tenant.key("admin", "cluster_onboarding").await;
    for query in [
        "",
        "?permission=clusters:onboard",
        "?any_of=clusters:onboard",
    ] {
        let path = format!("/orders{query}");
        let request = trial.request(Method::GET, &path).bearer_auth(&onboards);
        trial
            .refused("a missing permission", request)
            .await
            .expect(403);
    }
    for path in ["/_check", "//_check", "/orders/../_check"] {
        let request = trial.request(Method::GET, path);
        trial
            .refused("a request for the check itself", request)
            .await;
    }
}

async fn try_gateway(
    stack: &Stack,
    front: Front,
    gateway: Gateway,
    service: Upstream,
) -> Result<()> {
    let tenant = &Tenant::acme(stack);
    let (id, key) = tenant.key("admin", "viewer").await;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let trial = Trial {
        gateway: &gateway,
        client,
        service,
    };
    good_keys(&trial, tenant, &id, &key).await;
    bad_keys(&trial, tenant, &key).await;
    let outage = Rule::new(Fault::DropBefore).service(Service::DynamoDb);
    let outage = stack.inject(outage);
    let answer = trial
        .refused("a key that cannot be checked", trial.get(&key))
        .await;
    ensure!(answer.status >= 500, "{}: {}", gateway.name, answer.status);
    drop(outage);
    trial.admitted(trial.get(&key)).await;
    drop(front);
    for what in [
        "a key while the API is down",
        "a key while the API is still down",
    ] {
        let answer = trial.refused(what, trial.get(&key)).await;
        ensure!(answer.status >= 500, "{}: {}", gateway.name, answer.status);
    }
    println!("{}: no bad request reached the service", gateway.name);
    gateway.stop().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let stack = Stack::start(options(&[])).await?;
    let certificate = directory.path().join("certificate.pem");
    for name in ["nginx", "caddy"] {
        let service = Upstream::start().await;
        let front = Front::start(stack.url(), &certificate).await?;
        let places = Places {
            api: front.port,
            service: service.port,
            certificate: &certificate,
        };
        let gateway = match name {
            "nginx" => Gateway::nginx(directory.path(), &places).await?,
            _ => Gateway::caddy(directory.path(), &places).await?,
        };
        try_gateway(&stack, front, gateway, service).await?;
    }
    stack.stop().await;
    Ok(())
}
