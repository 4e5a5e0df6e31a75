//! Lambda: every function is a pool of OS processes, each with its own Runtime API.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    logs::Logs,
    runtime_api::{InvokeError, Outcome, RuntimeApi},
    template::REGION,
};

/// How long a process may take to request its first invocation. Lambda has the same limit.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The environment variables that the processes inherit from this program.
const INHERITED: [&str; 2] = ["PATH", "LLVM_PROFILE_FILE"];

/// The settings of a function, from the template and the options of the stack.
pub(crate) struct Settings {
    /// The name of the binary, which identifies the function in the local stack.
    pub name: String,
    /// The function's name in AWS.
    pub function_name: String,
    /// The function's ARN, with the alias if the template declares one.
    pub arn: String,
    pub executable: PathBuf,
    pub timeout: Duration,
    /// The memory in megabytes.
    pub memory: u64,
    pub environment: Vec<(String, String)>,
    /// How many processes may run at the same time.
    pub processes: usize,
}

impl Settings {
    /// The environment of a process, without `AWS_LAMBDA_RUNTIME_API`.
    fn process_environment(&self) -> Vec<(String, String)> {
        let log_group = format!("/aws/lambda/{}", self.function_name);
        let variables = [
            ("AWS_ACCESS_KEY_ID", self.name.as_str()),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            // Nothing listens on this port, so calls to services without a local endpoint fail instead of reaching AWS.
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

/// A function and its processes.
pub(crate) struct Function {
    settings: Settings,
    logs: Logs,
    /// One permit for each process that may run. Invocations get permits in order of arrival.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Process>>,
    running: Arc<Mutex<BTreeSet<u32>>>,
    stop: watch::Sender<bool>,
}

impl Function {
    pub(crate) fn new(settings: Settings, logs: Logs) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(settings.processes.max(1))),
            settings,
            logs,
            idle: Mutex::default(),
            running: Arc::default(),
            stop: watch::Sender::new(false),
        })
    }

    /// Starts the first process and waits until it requests an invocation.
    pub(crate) async fn start(&self) -> Result<()> {
        let name = &self.settings.name;
        let process = self.ready_process().await.with_context(|| {
            let last = self.logs.last(name, 5).join("\n  ");
            format!("the function {name} does not start. Its last log lines:\n  {last}\n")
        })?;
        lock(&self.idle).push(process);
        Ok(())
    }

    /// Invokes the function and waits for its response. If this future is dropped while the invocation waits for a free
    /// process, the invocation is cancelled: Lambda would have refused it, because no process was free. If the future
    /// is dropped later, the invocation continues.
    pub(crate) async fn invoke(self: &Arc<Self>, event: Value) -> Outcome {
        let Ok(permit) = self.permits.clone().acquire_owned().await else {
            return Err(InvokeError::Crashed);
        };
        let function = self.clone();
        let run = tokio::spawn(async move {
            let outcome = function.run(event.to_string().into()).await;
            drop(permit);
            outcome
        });
        run.await.unwrap_or(Err(InvokeError::Crashed))
    }

    pub(crate) fn arn(&self) -> &str {
        &self.settings.arn
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.settings.process_environment()
    }

    pub(crate) fn process_ids(&self) -> Vec<u32> {
        lock(&self.running).iter().copied().collect()
    }

    /// Kills every process and waits until all have ended. Running invocations fail.
    pub(crate) async fn stop(&self) {
        self.kill();
        // An invocation holds its permit for as long as it uses a process, so holding all permits means that no
        // invocation is running.
        let everyone = u32::try_from(self.settings.processes.max(1)).unwrap_or(u32::MAX);
        let _all = self.permits.acquire_many(everyone).await;
        let idle = std::mem::take(&mut *lock(&self.idle));
        for mut process in idle {
            let _ = process.child.kill().await;
        }
    }

    /// Kills every process without waiting.
    pub(crate) fn kill(&self) {
        self.stop.send_replace(true);
        for process in lock(&self.idle).iter_mut() {
            let _ = process.child.start_kill();
        }
    }

    async fn run(&self, event: Bytes) -> Outcome {
        loop {
            let idle = lock(&self.idle).pop();
            let mut process = match idle {
                Some(process) => process,
                None => self.ready_process().await?,
            };
            let outcome = tokio::select! {
                outcome = process.invoke(event.clone(), self.settings.timeout) => outcome,
                () = self.stopped() => Some(Err(InvokeError::Crashed)),
            };
            match outcome {
                // The process ended before it received the event, so another process can receive the event.
                None => {}
                Some(Err(error @ (InvokeError::Crashed | InvokeError::TimedOut))) => {
                    let _ = process.child.kill().await;
                    return Err(error);
                }
                Some(outcome) => {
                    lock(&self.idle).push(process);
                    return outcome;
                }
            }
        }
    }

    async fn stopped(&self) {
        // Waiting fails only if the sender is dropped, which cannot happen here because `self` holds the sender.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Starts a process and waits until the process requests an invocation. Retries once, like Lambda.
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
            // A process that reports an error also exits. Check for the reported error first, because it is more
            // specific.
            biased;
            ready = timeout(INIT_TIMEOUT, process.api.next_requested()) => {
                ready.unwrap_or(Err(InvokeError::TimedOut))
            }
            () = self.stopped() => Err(InvokeError::Crashed),
            _ = process.child.wait() => Err(InvokeError::Crashed),
        };
        if ready.is_err() {
            let _ = process.child.kill().await;
        }
        ready.map(|()| process)
    }

    async fn spawn(&self) -> Result<Process> {
        let settings = &self.settings;
        let api = RuntimeApi::start(&settings.arn).await?;
        let inherited = INHERITED
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut child = Command::new(&settings.executable)
            .env_clear()
            .envs(inherited)
            .envs(settings.process_environment())
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", settings.executable.display()))?;
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
            api,
            running: self.running.clone(),
        })
    }
}

/// A process of a function. It is either idle or running one invocation.
struct Process {
    child: Child,
    pid: u32,
    api: RuntimeApi,
    running: Arc<Mutex<BTreeSet<u32>>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.pid);
    }
}

impl Process {
    /// Runs one invocation. Returns `None` if the process ended before it received the event.
    async fn invoke(&mut self, event: Bytes, time_limit: Duration) -> Option<Outcome> {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return None;
        }
        tokio::select! {
            // A process may end right after it responds. The response still counts.
            biased;
            outcome = self.api.invoke(event, time_limit) => Some(outcome),
            _ = self.child.wait() => self.api.is_running().then_some(Err(InvokeError::Crashed)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
