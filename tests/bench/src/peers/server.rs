//! The HTTP server of another key library, in its own process.

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use nix::{time::clock_getcpuclockid, unistd::Pid};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
};

use super::{Figures, KEYS};
use crate::{binaries::root, function::resident, report::milliseconds};

type Request = hyper::Request<Full<Bytes>>;

pub struct Peer {
    pub name: String,
    /// The versions and settings that the server reports.
    pub about: Value,
    child: Child,
    address: String,
    pids: Vec<Pid>,
    /// The server's description of a request that checks a key.
    described: Value,
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
            about: json!({ "versions": ready["versions"], "settings": ready["settings"] }),
            child,
            address: text("url")?.replace("http://", ""),
            pids: pids
                .map(|pid| Ok(Pid::from_raw(i32::try_from(pid)?)))
                .collect::<Result<_>>()?,
            described: ready["request"].clone(),
            keys: ready["keys"].clone(),
        })
    }

    /// Builds a request to `path`, with the header and the body that the peer needs, if any.
    fn request(&self, path: &str, header: Option<(&str, String)>, body: String) -> Result<Request> {
        let mut request = hyper::Request::post(path).header("host", &self.address);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        Ok(request.body(Full::from(body))?)
    }

    fn verification(&self, key: &str) -> Result<Request> {
        let text = |name: &str| self.described[name].as_str();
        let path = text("path").context("no path")?;
        match (text("body"), text("header")) {
            (Some(name), _) => {
                let json = Some(("content-type", "application/json".to_owned()));
                self.request(path, json, json!({ name: key }).to_string())
            }
            (_, Some(name)) => {
                let prefix = text("prefix").unwrap_or_default();
                self.request(path, Some((name, format!("{prefix}{key}"))), String::new())
            }
            _ => bail!("the peer's output does not describe a request"),
        }
    }

    /// Returns the requests of a mix.
    fn requests(&self, mix: &str) -> Result<Vec<Request>> {
        if mix == "create" {
            return Ok(vec![self.request("/keys", None, String::new())?]);
        }
        let keys = self.keys[mix].as_array().into_iter().flatten();
        let keys = keys.filter_map(Value::as_str);
        keys.map(|key| self.verification(key)).collect()
    }

    /// Sends the requests of a mix over the given number of connections until `limit` has passed.
    #[allow(clippy::cast_precision_loss)]
    pub async fn measure(
        &self,
        mix: &'static str,
        connections: usize,
        limit: Duration,
    ) -> Result<Figures> {
        let requests = self.requests(mix)?;
        let before = self.cpu()?;
        let started = Instant::now();
        let wall = call_all(&self.address, requests, mix, connections, limit);
        let wall = wall.await.with_context(|| self.name.clone())?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(!wall.is_empty(), "{}: no call of {mix}", self.name);
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

    /// Returns the resident memory of the server's processes, in bytes.
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

/// Sends one request after another over each connection until `limit` has passed. Returns the latencies in
/// milliseconds.
async fn call_all(
    address: &str,
    requests: Vec<Request>,
    mix: &'static str,
    connections: usize,
    limit: Duration,
) -> Result<Vec<f64>> {
    let requests = Arc::new(requests);
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for n in 0..connections {
        let requests = requests.clone();
        let mut connection = connect(address).await?;
        callers.spawn(async move {
            let mut wall = Vec::new();
            for request in requests.iter().cycle().skip(n * 7) {
                if started.elapsed() > limit {
                    break;
                }
                wall.push(call(&mut connection, request.clone(), mix).await?);
            }
            anyhow::Ok(wall)
        });
    }
    let mut wall = Vec::new();
    while let Some(caller) = callers.join_next().await {
        wall.extend(caller??);
    }
    Ok(wall)
}

/// Opens a connection. A client with a pool would sometimes open a second connection and leave it idle. A peer with one
/// thread would then wait for a request on that connection.
async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends a request and checks the response. Returns the latency in milliseconds.
async fn call(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request,
    mix: &str,
) -> Result<f64> {
    connection.ready().await?;
    let sent = Instant::now();
    let answer = connection.send_request(request).await?;
    let (status, body) = (answer.status(), answer.into_body().collect().await?);
    let latency = milliseconds(sent.elapsed());
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Accepts any key on any connection. Returns the number of connections once no new connection has been opened for
    /// `limit`.
    async fn serve(listener: TcpListener, limit: Duration) -> usize {
        const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"valid\":true}";
        let mut connections = 0;
        while let Ok(accepted) = tokio::time::timeout(limit, listener.accept()).await {
            let (mut stream, _) = accepted.unwrap();
            connections += 1;
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while matches!(stream.read(&mut buffer).await, Ok(1..)) {
                    stream.write_all(ANSWER).await.unwrap();
                }
            });
        }
        connections
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_caller_keeps_one_connection() {
        for wanted in [1, 8] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = tokio::spawn(serve(listener, Duration::from_secs(4)));
            let request = hyper::Request::post("/").header("host", &address);
            let requests = vec![request.body(Full::default()).unwrap()];
            let limit = Duration::from_secs(2);
            let calls = call_all(&address, requests, "valid", wanted, limit);
            let calls = calls.await.unwrap();
            assert!(calls.len() > wanted, "{} calls", calls.len());
            assert_eq!(server.await.unwrap(), wanted);
        }
    }
}
