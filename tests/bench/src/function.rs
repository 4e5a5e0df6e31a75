//! One process of a function: a release binary with a Runtime API of its own, so that its CPU time can be read between
//! any two calls.

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use nix::{time::clock_getcpuclockid, unistd::Pid};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex, mpsc},
    time::timeout,
};

/// No call takes longer, or the run is over.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a process is given to come to rest before its clock is read.
const REST: Duration = Duration::from_millis(4);

/// A process that waits for an invocation.
pub struct Function {
    child: Child,
    pid: Pid,
    events: mpsc::Sender<Bytes>,
    from_api: mpsc::Receiver<Said>,
}

/// What the Runtime API hears from the process.
enum Said {
    /// It asks for an invocation.
    Next,
    Answer(Bytes),
    Error(Bytes),
}

/// The answer to an invocation, and how long it took from the event's departure.
pub struct Answer {
    pub body: Value,
    pub wall: Duration,
}

/// How long a process took to ask for its first invocation.
pub struct Init {
    pub cpu: Duration,
    pub wall: Duration,
}

impl Function {
    /// Starts a binary as Lambda does, and waits until it asks for its first invocation.
    pub async fn start(binary: &Path, environment: &[(String, String)]) -> Result<(Self, Init)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (events, queue) = mpsc::channel(1);
        let (said, from_api) = mpsc::channel(8);
        let api = Arc::new(Api {
            queue: Mutex::new(queue),
            said,
        });
        tokio::spawn(serve(listener, api));

        let started = Instant::now();
        let mut child = Command::new(binary)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        // Lambda reads what a function writes; nobody else here does.
        if let Some(mut log) = child.stdout.take() {
            tokio::spawn(async move {
                let mut buffer = [0; 8192];
                while matches!(log.read(&mut buffer).await, Ok(1..)) {}
            });
        }
        let pid = Pid::from_raw(i32::try_from(child.id().context("the process has ended")?)?);
        let mut function = Self {
            child,
            pid,
            events,
            from_api,
        };
        function.until_next().await?;
        let wall = started.elapsed();
        tokio::time::sleep(REST).await;
        let init = Init {
            cpu: function.cpu()?,
            wall,
        };
        Ok((function, init))
    }

    /// Sends an event and waits for the answer, and until the process asks for the next.
    pub async fn invoke(&mut self, event: &Bytes) -> Result<Answer> {
        let sent = Instant::now();
        self.events.send(event.clone()).await?;
        let body = match self.hear().await? {
            Said::Answer(body) => body,
            Said::Error(body) => bail!("the function failed: {}", String::from_utf8_lossy(&body)),
            Said::Next => bail!("the function asked for the next event before it answered"),
        };
        let wall = sent.elapsed();
        self.until_next().await?;
        Ok(Answer {
            body: serde_json::from_slice(&body)?,
            wall,
        })
    }

    /// The CPU time, user and system, of the process since it began: its CPU-time clock, which has the resolution of
    /// the scheduler and counts what `getrusage` counts.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(clock_getcpuclockid(self.pid)?.now()?.into())
    }

    /// [`Self::cpu`], when the process has come to rest.
    pub async fn cpu_at_rest(&self) -> Result<Duration> {
        tokio::time::sleep(REST).await;
        self.cpu()
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> Result<u64> {
        resident(self.pid)
    }

    /// Ends the process.
    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn until_next(&mut self) -> Result<()> {
        match self.hear().await? {
            Said::Next => Ok(()),
            Said::Answer(body) | Said::Error(body) => {
                bail!(
                    "the function does not start: {}",
                    String::from_utf8_lossy(&body)
                )
            }
        }
    }

    async fn hear(&mut self) -> Result<Said> {
        tokio::select! {
            said = timeout(PATIENCE, self.from_api.recv()) => {
                said.context("the function does not answer")?.context("the Runtime API has ended")
            }
            status = self.child.wait() => bail!("the function has ended: {}", status?),
        }
    }
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: Pid) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

struct Api {
    queue: Mutex<mpsc::Receiver<Bytes>>,
    said: mpsc::Sender<Said>,
}

async fn serve(listener: TcpListener, api: Arc<Api>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let api = api.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(api.clone(), request));
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(api: Arc<Api>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = parts.uri.path();
    if parts.method == Method::GET && path.ends_with("/invocation/next") {
        api.said.send(Said::Next).await?;
        let event = api
            .queue
            .lock()
            .await
            .recv()
            .await
            .context("the process is about to be ended")?;
        let response = Response::builder()
            .header("content-type", "application/json")
            .header(
                "lambda-runtime-aws-request-id",
                "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            )
            .header("lambda-runtime-deadline-ms", deadline_ms().to_string())
            .header(
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:us-east-1:000000000000:function:bench",
            )
            .header(
                "lambda-runtime-trace-id",
                "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
            );
        return Ok(response.body(Full::from(event))?);
    }
    let said = if path.ends_with("/response") {
        Said::Answer(body)
    } else {
        Said::Error(body)
    };
    api.said.send(said).await?;
    Ok(Response::builder()
        .status(StatusCode::ACCEPTED)
        .body(Full::default())?)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the Runtime API tells the deadline by the real clock"
)]
fn deadline_ms() -> u128 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    (now + Duration::from_secs(5)).as_millis()
}
