//! The environment of a measurement: the local stack, TLS in front of its DynamoDB and KMS, and a count of requests.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use harness::{Fault, Rule, RuleGuard, Service, Stack, Tenant, options};
use serde_json::json;
use tempfile::TempDir;

use crate::{function::Function, replay, tls::Front};

pub const TENANT: &str = "acme";
pub const ADMIN: &str = "admin";

/// The local stack, and the endpoints that a measured process calls.
pub struct Bench {
    pub stack: Stack,
    dynamodb: String,
    kms: String,
    bundle: PathBuf,
    front: Front,
    meters: Vec<Meter>,
    _directory: TempDir,
}

/// Delays and counts a function's requests to a service.
struct Meter {
    function: String,
    service: Service,
    rule: RuleGuard,
}

impl Bench {
    /// Starts the environment. DynamoDB and KMS respond after `latency`.
    pub async fn start(latency: Duration) -> Result<Self> {
        Self::start_with(latency, false).await
    }

    /// Starts an environment in which all calls of one kind are alike: DynamoDB responds to a repeated request as it
    /// did the first time, and the functions do not trust the system's certificate authorities, whose number differs
    /// between machines.
    pub async fn recorded() -> Result<Self> {
        Self::start_with(Duration::ZERO, true).await
    }

    async fn start_with(latency: Duration, is_recorded: bool) -> Result<Self> {
        let stack = Stack::start(options(&[])).await?;
        let directory = TempDir::new()?;
        let bundle = directory.path().join("authorities.pem");
        let front = Front::new(&bundle, !is_recorded)?;
        let environment = stack.environment("validate");
        let plain = |name: &str| {
            let found = environment.iter().find(|(variable, _)| variable == name);
            let (_, url) = found.with_context(|| format!("the environment has no {name}"))?;
            anyhow::Ok(url.as_str())
        };
        let mut dynamodb = plain("AWS_ENDPOINT_URL_DYNAMODB")?.to_owned();
        if is_recorded {
            dynamodb = replay::serve(dynamodb).await?;
        }
        let dynamodb = front.serve(&dynamodb).await?;
        let kms = front.serve(plain("AWS_ENDPOINT_URL_KMS")?).await?;
        let mut meters = Vec::new();
        for function in stack.function_names() {
            for service in [Service::DynamoDb, Service::Kms] {
                let rule = Rule::new(Fault::Latency(latency));
                meters.push(Meter {
                    function: function.to_owned(),
                    service,
                    rule: stack.inject(rule.service(service).function(function)),
                });
            }
        }
        Ok(Self {
            stack,
            dynamodb,
            kms,
            bundle,
            front,
            meters,
            _directory: directory,
        })
    }

    pub fn tenant(&self) -> Tenant<'_> {
        Tenant::acme(&self.stack)
    }

    /// Creates a key for the administrator, with all permissions. Returns the id of the key and the key itself.
    pub async fn key(&self, name: &str) -> (String, String) {
        let body = json!({ "name": name, "role": "admin", "max_clusters": 100 });
        self.tenant().key_of(ADMIN, body).await
    }

    /// Returns the environment variables for a process of `function`, with the TLS endpoints of DynamoDB and KMS.
    pub fn environment(&self, function: &str) -> Vec<(String, String)> {
        let mut environment = self.stack.environment(function);
        environment.retain(|(name, _)| !name.starts_with("AWS_ENDPOINT_URL"));
        environment.extend(
            [
                ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.clone()),
                ("AWS_ENDPOINT_URL_KMS", self.kms.clone()),
                ("SSL_CERT_FILE", self.bundle.to_string_lossy().into_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        environment
    }

    /// Starts the release binary of `function`.
    pub async fn function(&self, binaries: &Path, function: &str) -> Result<Function> {
        let environment = self.environment(function);
        let (function, _) = Function::start(&binaries.join(function), &environment).await?;
        Ok(function)
    }

    /// Returns the number of connections that functions have opened to DynamoDB and KMS.
    pub fn connections(&self) -> usize {
        self.front.connections()
    }

    /// Returns the number of requests that a function has sent to DynamoDB, and the number that it has sent to KMS.
    pub fn requests(&self, function: &str) -> (u32, u32) {
        let of = |service| {
            let of_both = |m: &&Meter| m.function == function && m.service == service;
            let meters = self.meters.iter().filter(of_both);
            meters.map(|meter| meter.rule.hits()).sum()
        };
        (of(Service::DynamoDb), of(Service::Kms))
    }

    /// Stops the stack and waits until its processes have ended.
    pub async fn stop(self) {
        self.stack.stop().await;
    }
}
