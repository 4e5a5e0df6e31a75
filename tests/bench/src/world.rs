//! What is measured against: the local stack, with TLS before its DynamoDB and KMS, and keys made through its gateway.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use local_stack::{Fault, Options, Rule, RuleGuard, Service, Stack};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{function::Function, tls::Front};

pub const TENANT: &str = "bench";
pub const ADMIN: &str = "admin";

/// The stack, and where a measured process reaches it.
pub struct World {
    pub stack: Stack,
    dynamodb: String,
    kms: String,
    bundle: PathBuf,
    client: reqwest::Client,
    token: String,
    meters: Vec<Meter>,
    _directory: TempDir,
}

/// Delays the requests of a function to a service, and counts them.
struct Meter {
    function: String,
    service: Service,
    rule: RuleGuard,
}

/// A key, and what its answer says of it.
pub struct Key {
    pub id: String,
    pub text: String,
    pub expires_at: i64,
}

impl World {
    /// Starts everything; DynamoDB and KMS answer after `latency`.
    pub async fn start(latency: Duration) -> Result<Self> {
        let parameters = [
            ("BootstrapAdmins", format!("{TENANT}/{ADMIN}")),
            ("MinExpirySeconds", "1".into()),
        ];
        let parameters = parameters
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec();
        let stack = Stack::start(Options {
            parameters,
            ..Options::default()
        })
        .await?;
        let directory = TempDir::new()?;
        let bundle = directory.path().join("authorities.pem");
        let front = Front::new(&bundle)?;
        let environment = stack.environment("validate");
        let plain = |name: &str| {
            let found = environment.iter().find(|(variable, _)| variable == name);
            found
                .map(|(_, value)| value.clone())
                .with_context(|| format!("no {name}"))
        };
        let dynamodb = front.serve(&plain("AWS_ENDPOINT_URL_DYNAMODB")?).await?;
        let kms = front.serve(&plain("AWS_ENDPOINT_URL_KMS")?).await?;
        let mut meters = Vec::new();
        for function in stack.function_names() {
            for service in [Service::DynamoDb, Service::Kms] {
                let rule = Rule::new(Fault::Latency(latency))
                    .service(service)
                    .function(function);
                meters.push(Meter {
                    function: function.to_owned(),
                    service,
                    rule: stack.inject(rule),
                });
            }
        }
        let token = stack.token(json!({
            "sub": ADMIN,
            "tenant_id": TENANT,
            "name": "Admin",
            "email": "admin@bench.example",
            "email_verified": true,
            "exp": local_stack::unix_time() + 12 * 60 * 60,
        }));
        Ok(Self {
            stack,
            dynamodb,
            kms,
            bundle,
            client: reqwest::Client::builder().no_proxy().build()?,
            token,
            meters,
            _directory: directory,
        })
    }

    /// What Lambda would tell a process of `function`, with the endpoints behind TLS.
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
        Ok(
            Function::start(&binaries.join(function), &self.environment(function))
                .await?
                .0,
        )
    }

    /// Asks the API, as the administrator.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let url = format!("{}{path}", self.stack.url());
        let request = self
            .client
            .request(method.parse()?, url)
            .bearer_auth(&self.token);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{method} {path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Creates a key of the administrator; `expires_at` may be null.
    pub async fn key(&self, name: &str, expires_at: Option<i64>) -> Result<Key> {
        let mut body = json!({ "name": name, "role": "admin", "max_clusters": 100 });
        if let Some(second) = expires_at {
            body["expires_at"] = jiff::Timestamp::from_second(second)?.to_string().into();
        }
        let answer = self.call("POST", "/v1/users/me/access-keys", body).await?;
        let text = |name: &str| {
            answer[name]
                .as_str()
                .map(str::to_owned)
                .context("no such member")
        };
        let expires_at: jiff::Timestamp = text("expires_at")?.parse()?;
        Ok(Key {
            id: text("id")?,
            text: text("access_key")?,
            expires_at: expires_at.as_second(),
        })
    }

    /// How many requests a function has sent to DynamoDB, and to KMS.
    pub fn requests(&self, function: &str) -> (u32, u32) {
        let of = |service| {
            let meters = self
                .meters
                .iter()
                .filter(|m| m.function == function && m.service == service);
            meters.map(|meter| meter.rule.hits()).sum()
        };
        (of(Service::DynamoDb), of(Service::Kms))
    }
}

impl World {
    /// Ends the stack, and waits for its processes.
    pub async fn stop(self) {
        self.stack.stop().await;
    }
}

/// Builds release binaries of this checkout; gives the folder they are in.
pub fn build(functions: &[&str]) -> Result<PathBuf> {
    let root = root();
    let target = root.join("target");
    build_in(&root, &target, functions, &[])?;
    Ok(target.join("release"))
}

/// Builds release binaries of the workspace in `root` into `target`.
pub fn build_in(
    root: &Path,
    target: &Path,
    functions: &[&str],
    environment: &[(&str, &str)],
) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(root)
        .args(["build", "--release", "--target-dir"])
        .arg(target);
    for function in functions {
        cargo.args(["-p", function]);
    }
    let status = cargo.envs(environment.iter().copied()).status()?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(())
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An event of the gateway, as `tests/events` has it, with what real requests have besides.
pub fn event(function: &str, route: &str, path: &str, body: &Value) -> Result<Value> {
    let file = root().join("tests/events").join(format!("{function}.json"));
    let mut event: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let (method, _) = route.split_once(' ').context("a route has a method")?;
    event["routeKey"] = route.into();
    event["rawPath"] = path.into();
    event["requestContext"]["routeKey"] = route.into();
    event["requestContext"]["http"]["method"] = method.into();
    event["requestContext"]["http"]["path"] = path.into();
    event["headers"] = json!({
        "accept": "*/*",
        "accept-encoding": "gzip, deflate, br",
        "content-type": "application/json",
        "host": "api.example",
        "user-agent": "bench/1.0",
        "x-amzn-trace-id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    event["body"] = if body.is_null() {
        Value::Null
    } else {
        body.to_string().into()
    };
    if let Some(claims) = event["requestContext"]["authorizer"]["jwt"]["claims"].as_object_mut() {
        claims.insert("sub".into(), ADMIN.into());
        claims.insert("tenant_id".into(), TENANT.into());
    }
    Ok(event)
}

/// A call of `validate` with this key.
pub fn validation(key: &str, max_staleness: Option<u32>) -> Result<Bytes> {
    let mut body = json!({ "access_key": key });
    if let Some(seconds) = max_staleness {
        body["max_staleness"] = seconds.into();
    }
    let route = "POST /v1/access-keys/validate";
    Ok(event("validate", route, "/v1/access-keys/validate", &body)?
        .to_string()
        .into())
}

/// A call of the authorizer with this key.
pub fn authorization(key: &str) -> Result<Bytes> {
    let mut event = event("authorize", "GET /protected", "/protected", &Value::Null)?;
    event["headers"]["authorization"] = format!("Bearer {key}").into();
    event["identitySource"] = json!([format!("Bearer {key}")]);
    Ok(event.to_string().into())
}

/// The key with another signature of the same form: forged.
pub fn forged(key: &str) -> Result<String> {
    let (signed, signature) = key.rsplit_once('.').context("a key has three parts")?;
    let middle = signature.len() / 2;
    let other = if signature.as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    Ok(format!(
        "{signed}.{}{other}{}",
        &signature[..middle],
        &signature[middle + 1..]
    ))
}
