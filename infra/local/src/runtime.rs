//! Lambda: every function is a pool of OS processes that speak the Runtime API.

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, request::Parts};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use uuid::Uuid;

use crate::{
    clock,
    template::REGION,
    web::{self, Answer, Server},
};

/// As in Lambda: what a process may take until it asks for its first invocation.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// As in Lambda: the largest event, and the largest response.
pub(crate) const LARGEST_PAYLOAD: usize = 6 << 20;
const REMEMBERED_LINES: usize = 50_000;

/// Why an invocation has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function reported an error, or answered with something that is not JSON.
    #[error("{error_type}: {message}")]
    Function { error_type: String, message: String },
    /// The process ended before it answered.
    #[error("the process ended before it answered")]
    Crashed,
    /// The process was killed at its deadline.
    #[error("timed out")]
    TimedOut,
}

impl InvokeError {
    fn function(error_type: &str, message: impl Into<String>) -> Self {
        Self::Function {
            error_type: error_type.to_owned(),
            message: message.into(),
        }
    }
}

type Outcome = std::result::Result<Value, InvokeError>;

/// A line that a function's process wrote to stdout or stderr.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// The binary's name.
    pub function: String,
    pub line: String,
}

/// The lines of all functions.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    lines: Arc<Mutex<VecDeque<LogLine>>>,
    print: bool,
}

impl Logs {
    /// Logs that also go to stderr, if `print` says so.
    pub(crate) fn printing(print: bool) -> Self {
        Self {
            print,
            ..Self::default()
        }
    }

    pub(crate) fn all(&self) -> Vec<LogLine> {
        lock(&self.lines).iter().cloned().collect()
    }

    fn add(&self, function: &str, line: String) {
        if self.print {
            eprintln!("{function}: {line}");
        }
        let mut lines = lock(&self.lines);
        if lines.len() == REMEMBERED_LINES {
            lines.pop_front();
        }
        lines.push_back(LogLine {
            function: function.to_owned(),
            line,
        });
    }

    /// Collects what a process writes until it ends.
    fn collect(&self, function: &str, output: impl AsyncRead + Unpin + Send + 'static) {
        let (logs, function) = (self.clone(), function.to_owned());
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
                logs.add(
                    &function,
                    String::from_utf8_lossy(&line).trim_end().to_owned(),
                );
                line.clear();
            }
        });
    }
}

/// What the template says of a function.
pub(crate) struct Settings {
    /// The binary's name, by which everything here calls the function.
    pub name: String,
    /// The function's name in AWS.
    pub function_name: String,
    pub arn: String,
    pub executable: PathBuf,
    pub timeout: Duration,
    pub memory: u64,
    pub environment: Vec<(String, String)>,
    pub processes: usize,
}

impl Settings {
    /// What Lambda tells a process of the function, but for where its Runtime API is.
    fn process_environment(&self) -> Vec<(String, String)> {
        let log_group = format!("/aws/lambda/{}", self.function_name);
        let variables = [
            ("AWS_ACCESS_KEY_ID", self.name.as_str()),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            // What has no endpoint of its own must not reach the cloud: nothing listens here.
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &self.memory.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", &self.function_name),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &log_group),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "local"),
            ("AWS_REGION", REGION),
            ("_HANDLER", "bootstrap"),
        ];
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        variables.chain(self.environment.iter().cloned()).collect()
    }
}

/// A function, and its processes.
pub(crate) struct Function {
    settings: Settings,
    logs: Logs,
    /// One permit per process that may run. It is fair: invocations wait in the order in which they came.
    permits: Semaphore,
    idle: Mutex<Vec<Process>>,
    running: Arc<Mutex<BTreeSet<u32>>>,
    stop: watch::Sender<bool>,
}

impl Function {
    pub(crate) fn new(settings: Settings, logs: Logs) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(settings.processes.max(1)),
            settings,
            logs,
            idle: Mutex::default(),
            running: Arc::default(),
            stop: watch::Sender::new(false),
        })
    }

    /// Starts the first process and waits until it asks for an invocation.
    pub(crate) async fn start(&self) -> Result<()> {
        let process = self.ready_process().await.map_err(|error| {
            let lines = self.logs.all();
            let last = lines
                .iter()
                .rev()
                .filter(|line| line.function == self.settings.name)
                .take(5);
            let last: Vec<_> = last.map(|line| line.line.as_str()).collect();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
            anyhow::Error::new(error).context(format!(
                "the function {} does not start; its last lines:\n  {last}\n",
                self.settings.name
            ))
        })?;
        lock(&self.idle).push(process);
        Ok(())
    }

    /// Invokes the function and waits for its answer. It runs to its end even if nobody waits any more.
    pub(crate) async fn invoke(self: &Arc<Self>, event: Value) -> Outcome {
        let function = self.clone();
        let run = tokio::spawn(async move { function.run(event.to_string().into()).await });
        run.await.unwrap_or(Err(InvokeError::Crashed))
    }

    pub(crate) fn arn(&self) -> &str {
        &self.settings.arn
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether the template means this function by a name or an ARN.
    pub(crate) fn is(&self, reference: &str) -> bool {
        reference == self.settings.function_name || reference == self.settings.arn
    }

    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.settings.process_environment()
    }

    pub(crate) fn process_ids(&self) -> Vec<u32> {
        lock(&self.running).iter().copied().collect()
    }

    /// Kills every process and waits for their ends; invocations under way fail.
    pub(crate) async fn stop(&self) {
        self.kill();
        // Every permit is back only when no invocation holds a process.
        let everyone = u32::try_from(self.settings.processes.max(1)).unwrap_or(u32::MAX);
        let _all = self.permits.acquire_many(everyone).await;
        let idle = std::mem::take(&mut *lock(&self.idle));
        for mut process in idle {
            let _ = process.child.kill().await;
        }
    }

    /// Tells every process to end, without waiting.
    pub(crate) fn kill(&self) {
        self.stop.send_replace(true);
        lock(&self.idle)
            .iter_mut()
            .for_each(|process| drop(process.child.start_kill()));
    }

    async fn run(&self, event: Bytes) -> Outcome {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(InvokeError::Crashed);
        };
        loop {
            let idle = lock(&self.idle).pop();
            let mut process = match idle {
                Some(process) => process,
                None => self.ready_process().await?,
            };
            let run = tokio::select! {
                run = process.run(&self.settings, event.clone()) => run,
                () = self.stopped() => Some(Err(InvokeError::Crashed)),
            };
            match run {
                // It had ended before it took the event: this invocation has not happened yet.
                None => {}
                Some(Ok(outcome)) => {
                    lock(&self.idle).push(process);
                    return outcome;
                }
                Some(Err(error)) => {
                    let _ = process.child.kill().await;
                    return Err(error);
                }
            }
        }
    }

    async fn stopped(&self) {
        // An error would mean that the sender is gone, and it is ours.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// A new process that has initialised; a first failure is tried again, as Lambda does.
    async fn ready_process(&self) -> Result<Process, InvokeError> {
        match self.try_process().await {
            Err(_) => self.try_process().await,
            process => process,
        }
    }

    async fn try_process(&self) -> Result<Process, InvokeError> {
        let mut process = self.spawn().await.map_err(|error| {
            InvokeError::function("Runtime.InvalidEntrypoint", format!("{error:#}"))
        })?;
        let ready = tokio::select! {
            ready = timeout(INIT_TIMEOUT, &mut process.ready) => match ready {
                Ok(Ok(ready)) => ready,
                Ok(Err(_)) => Err(InvokeError::Crashed),
                Err(_) => Err(InvokeError::TimedOut),
            },
            () = self.stopped() => Err(InvokeError::Crashed),
            _ = process.child.wait() => process.ready.try_recv().unwrap_or(Err(InvokeError::Crashed)),
        };
        if ready.is_err() {
            let _ = process.child.kill().await;
        }
        ready.map(|()| process)
    }

    async fn spawn(&self) -> Result<Process> {
        let settings = &self.settings;
        let cannot = || format!("cannot run {}", settings.executable.display());
        let (events, queue) = mpsc::channel(1);
        let (ready, is_ready) = oneshot::channel();
        let api = Arc::new(Api {
            arn: settings.arn.clone(),
            queue: AsyncMutex::new(queue),
            current: Mutex::default(),
            ready: Mutex::new(Some(ready)),
        });
        let current = api.clone();
        let server = web::serve(web::bind(0).await?, move |parts, body| {
            api.clone().answer(parts, body)
        })?;
        let address = server.url.trim_start_matches("http://");
        let mut command = Command::new(&settings.executable);
        command.env_clear();
        for kept in ["PATH", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command
            .envs(settings.process_environment())
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(cannot)?;
        if let Some(output) = child.stdout.take() {
            self.logs.collect(&settings.name, output);
        }
        if let Some(output) = child.stderr.take() {
            self.logs.collect(&settings.name, output);
        }
        let pid = child.id().unwrap_or_default();
        lock(&self.running).insert(pid);
        Ok(Process {
            child,
            pid,
            events,
            api: current,
            ready: is_ready,
            running: self.running.clone(),
            _server: server,
        })
    }
}

/// One process, idle or held by the one invocation that it handles.
struct Process {
    child: Child,
    pid: u32,
    events: mpsc::Sender<Invocation>,
    api: Arc<Api>,
    ready: oneshot::Receiver<Result<(), InvokeError>>,
    running: Arc<Mutex<BTreeSet<u32>>>,
    _server: Server,
}

impl Drop for Process {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.pid);
    }
}

impl Process {
    /// Runs one invocation: `None` if the process was gone before it took it, `Err` if it is not fit for another.
    async fn run(
        &mut self,
        settings: &Settings,
        event: Bytes,
    ) -> Option<Result<Outcome, InvokeError>> {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return None;
        }
        let (answer, mut answered) = oneshot::channel();
        let deadline = Instant::now() + settings.timeout;
        let deadline_ms = (clock::now() + settings.timeout).as_millis();
        let id = Uuid::new_v4().to_string();
        self.events
            .send(Invocation {
                id,
                deadline_ms,
                event,
                answer,
            })
            .await
            .ok()?;
        let exited = tokio::select! {
            outcome = timeout_at(deadline, &mut answered) => match outcome {
                Ok(Ok(outcome)) => return Some(Ok(outcome)),
                Ok(Err(_)) => true,
                Err(_) => false,
            },
            _ = self.child.wait() => true,
        };
        if !exited {
            return Some(Err(InvokeError::TimedOut));
        }
        // It may have answered just before it ended.
        if let Ok(outcome) = answered.try_recv() {
            return Some(Ok(outcome));
        }
        let taken = lock(&self.api.current).is_some();
        taken.then_some(Err(InvokeError::Crashed))
    }
}

struct Invocation {
    id: String,
    deadline_ms: u128,
    event: Bytes,
    answer: oneshot::Sender<Outcome>,
}

/// The Runtime API of one process.
struct Api {
    arn: String,
    queue: AsyncMutex<mpsc::Receiver<Invocation>>,
    current: Mutex<Option<(String, oneshot::Sender<Outcome>)>>,
    ready: Mutex<Option<oneshot::Sender<Result<(), InvokeError>>>>,
}

impl Api {
    async fn answer(self: Arc<Self>, parts: Parts, body: Bytes) -> Answer {
        let path = parts
            .uri
            .path()
            .strip_prefix("/2018-06-01/runtime/")
            .unwrap_or_default();
        let path: Vec<_> = path.split('/').collect();
        let post = parts.method == Method::POST;
        match path.as_slice() {
            ["invocation", "next"] if parts.method == Method::GET => Ok(self.next().await),
            ["invocation", id, "response"] if post => Ok(self.finish(id, result(&body))),
            ["invocation", id, "error"] if post => Ok(self.finish(id, Err(reported(&body)))),
            ["init", "error"] if post => {
                self.is_ready(Err(reported(&body)));
                Ok(accepted())
            }
            _ => Ok(web::message(
                StatusCode::NOT_FOUND,
                "the Runtime API has no such call",
            )),
        }
    }

    fn is_ready(&self, ready: Result<(), InvokeError>) {
        if let Some(waiting) = lock(&self.ready).take() {
            let _ = waiting.send(ready);
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        self.is_ready(Ok(()));
        let Some(invocation) = self.queue.lock().await.recv().await else {
            return web::message(StatusCode::GONE, "the process is about to be ended");
        };
        let trace = format!(
            "Root=1-{:08x}-{}",
            clock::now().as_secs(),
            &Uuid::new_v4().simple().to_string()[..24]
        );
        let mut response = Response::new(Full::from(invocation.event));
        for (name, value) in [
            ("content-type", "application/json"),
            ("lambda-runtime-aws-request-id", invocation.id.as_str()),
            (
                "lambda-runtime-deadline-ms",
                &invocation.deadline_ms.to_string(),
            ),
            ("lambda-runtime-invoked-function-arn", &self.arn),
            ("lambda-runtime-trace-id", &trace),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        *lock(&self.current) = Some((invocation.id, invocation.answer));
        response
    }

    fn finish(&self, id: &str, outcome: Outcome) -> Response<Full<Bytes>> {
        let mut current = lock(&self.current);
        match current.take() {
            Some((expected, answer)) if expected == id => {
                let _ = answer.send(outcome);
                accepted()
            }
            other => {
                *current = other;
                let body = json!({ "errorType": "InvalidRequestID", "errorMessage": "Invalid request ID" });
                web::json(StatusCode::BAD_REQUEST, &body)
            }
        }
    }
}

fn accepted() -> Response<Full<Bytes>> {
    web::json(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
}

fn result(body: &[u8]) -> Outcome {
    if body.len() > LARGEST_PAYLOAD {
        let message = format!(
            "Response payload size exceeded maximum allowed payload size ({LARGEST_PAYLOAD} bytes)."
        );
        return Err(InvokeError::function(
            "Function.ResponseSizeTooLarge",
            message,
        ));
    }
    serde_json::from_slice(body)
        .map_err(|error| InvokeError::function("Runtime.MalformedResponse", error.to_string()))
}

fn reported(body: &[u8]) -> InvokeError {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    InvokeError::function(text("errorType"), text("errorMessage"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
