//! The HTTP server of another key library, in its own process.

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{time::clock_getcpuclockid, unistd::Pid};
use reqwest::{Client, Request};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

use super::{Figures, KEYS};
use crate::{binaries::root, function::resident, report::milliseconds};

pub struct Peer {
    pub name: String,
    pub about: String,
    child: Child,
    url: String,
    pids: Vec<Pid>,
    request: Value,
    keys: Value,
}

impl Peer {
    /// Starts the server, which prints a line of JSON when it is ready.
    pub async fn start(name: &str, directory: &Path) -> Result<Self> {
        let mut server = Command::new(root().join("tests/peers").join(name).join("serve"));
        server.arg(directory).args(["--keys", KEYS]);
        server.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = server.spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("no stdout")?;
        BufReader::new(output).read_line(&mut line).await?;
        let ready: Value =
            serde_json::from_str(&line).with_context(|| format!("{name} printed {line:?}"))?;
        let text = |name: &str| {
            let text = ready[name].as_str().map(str::to_owned);
            text.with_context(|| format!("the peer's output has no {name}"))
        };
        let pids = ready["pids"].as_array().into_iter().flatten();
        let pids = pids.filter_map(Value::as_i64);
        Ok(Self {
            name: text("name")?,
            about: text("storage")?,
            child,
            url: text("url")?,
            pids: pids
                .map(|pid| Ok(Pid::from_raw(i32::try_from(pid)?)))
                .collect::<Result<_>>()?,
            request: ready["request"].clone(),
            keys: ready["keys"].clone(),
        })
    }

    fn verification(&self, client: &Client, key: &str) -> Result<Request> {
        let text = |name: &str| self.request[name].as_str();
        let url = format!("{}{}", self.url, text("path").context("no path")?);
        let request = client.post(url);
        let request = match (text("body"), text("header")) {
            (Some(name), _) => request.json(&json!({ name: key })),
            (_, Some(name)) => {
                let prefix = text("prefix").unwrap_or_default();
                request.header(name, format!("{prefix}{key}"))
            }
            _ => bail!("the peer's output does not describe a request"),
        };
        Ok(request.build()?)
    }

    /// The requests of a mix.
    fn requests(&self, client: &Client, mix: &str) -> Result<Vec<Request>> {
        if mix == "create" {
            return Ok(vec![client.post(format!("{}/keys", self.url)).build()?]);
        }
        let keys = self.keys[mix].as_array().into_iter().flatten();
        let keys = keys.filter_map(Value::as_str);
        keys.map(|key| self.verification(client, key)).collect()
    }

    /// Sends the requests of a mix over several connections until `limit` has passed.
    #[allow(clippy::cast_precision_loss)]
    pub async fn measure(
        &self,
        client: &Client,
        mix: &'static str,
        connections: usize,
        limit: Duration,
    ) -> Result<Figures> {
        let requests = Arc::new(self.requests(client, mix)?);
        let before = self.cpu()?;
        let started = Instant::now();
        let mut callers = JoinSet::new();
        for n in 0..connections {
            let (requests, client, name) = (requests.clone(), client.clone(), self.name.clone());
            callers.spawn(async move {
                let mut wall = Vec::new();
                for request in requests.iter().cycle().skip(n * 7) {
                    if started.elapsed() > limit {
                        break;
                    }
                    let call = call(&client, request, mix).await;
                    wall.push(call.with_context(|| name.clone())?);
                }
                anyhow::Ok(wall)
            });
        }
        let mut wall = Vec::new();
        while let Some(caller) = callers.join_next().await {
            wall.extend(caller??);
        }
        let seconds = started.elapsed().as_secs_f64();
        let cpu = milliseconds(self.cpu()?.saturating_sub(before)) / wall.len() as f64;
        Ok(Figures {
            cpu: vec![cpu],
            cpu_with_store: vec![cpu],
            wall,
            seconds,
            store_requests: f64::NAN,
        })
    }

    fn cpu(&self) -> Result<Duration> {
        let cpu = |pid: &Pid| Ok(Duration::from(clock_getcpuclockid(*pid)?.now()?));
        self.pids.iter().map(cpu).sum()
    }

    /// The resident memory of the server's processes, in bytes.
    pub fn resident(&self) -> Result<u64> {
        self.pids.iter().map(|pid| resident(*pid)).sum()
    }

    /// Stops the server by closing its standard input.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().await?;
        Ok(())
    }
}

/// Sends a request and checks the response. Returns the latency in milliseconds.
async fn call(client: &Client, request: &Request, mix: &str) -> Result<f64> {
    let request = request
        .try_clone()
        .context("the request cannot be cloned")?;
    let sent = Instant::now();
    let answer = client.execute(request).await?;
    let (status, body) = (answer.status(), answer.text().await?);
    let latency = milliseconds(sent.elapsed());
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let is_valid = status == 200 && body["valid"] == true;
    let is_expected = if mix == "create" {
        status == 201
    } else {
        is_valid == (mix == "valid")
    };
    ensure!(
        is_expected && !status.is_server_error(),
        "{mix}: {status} {body}"
    );
    Ok(latency)
}
