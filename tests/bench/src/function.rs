//! Runs a release binary of a function as one process with its own Runtime API. The CPU time of the process can be read
//! between any two calls.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use harness::RuntimeApi;
use nix::{
    sys::signal::{Signal, kill},
    time::clock_getcpuclockid,
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time::timeout,
};

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:bench";
/// The timeout of a function, as in the template.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How long a process may take to request the next event.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to wait for a process to become idle before its CPU time is read.
const REST: Duration = Duration::from_millis(4);

/// A process that is waiting for an invocation.
pub struct Function {
    child: Child,
    pid: Pid,
    api: RuntimeApi,
}

/// The response to an invocation, and the time from sending the event to receiving the response.
pub struct Answer {
    pub body: Value,
    pub wall: Duration,
}

/// The CPU time and the elapsed time that a process took to request its first invocation.
pub struct Init {
    pub cpu: Duration,
    pub wall: Duration,
}

impl Function {
    /// Starts a binary as Lambda does and waits until the process requests its first invocation.
    pub async fn start(binary: &Path, environment: &[(String, String)]) -> Result<(Self, Init)> {
        Self::run(Command::new(binary), environment).await
    }

    /// Like [`Self::start`], but takes a command that runs the binary.
    pub async fn run(
        mut command: Command,
        environment: &[(String, String)],
    ) -> Result<(Self, Init)> {
        let api = RuntimeApi::start(ARN).await?;
        let started = Instant::now();
        let mut child = command
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {:?}", command.as_std().get_program()))?;
        // Reads and discards the output, because the process would block if the pipe were full.
        if let Some(mut log) = child.stdout.take() {
            tokio::spawn(async move {
                let mut buffer = [0; 8192];
                while matches!(log.read(&mut buffer).await, Ok(1..)) {}
            });
        }
        let pid = Pid::from_raw(i32::try_from(child.id().context("the process has ended")?)?);
        let mut function = Self { child, pid, api };
        function.next_requested().await?;
        let wall = started.elapsed();
        tokio::time::sleep(REST).await;
        let cpu = function.cpu()?;
        Ok((function, Init { cpu, wall }))
    }

    /// Sends an event. Returns when the process has responded and requested the next event.
    pub async fn invoke(&mut self, event: &Bytes) -> Result<Answer> {
        let sent = Instant::now();
        let body = tokio::select! {
            answer = self.api.invoke(event.clone(), TIME_LIMIT) => answer?,
            status = self.child.wait() => bail!("the function has ended: {}", status?),
        };
        let wall = sent.elapsed();
        self.next_requested().await?;
        Ok(Answer { body, wall })
    }

    /// Returns the user and system CPU time of the process since it started. The value comes from the CPU-time clock of
    /// the process, which counts the same time as `getrusage`, but with the resolution of the scheduler.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(clock_getcpuclockid(self.pid)?.now()?.into())
    }

    /// Waits until the process is idle and then reads [`Self::cpu`].
    pub async fn cpu_at_rest(&self) -> Result<Duration> {
        tokio::time::sleep(REST).await;
        self.cpu()
    }

    /// Returns the resident memory, in bytes.
    pub fn resident(&self) -> Result<u64> {
        resident(self.pid)
    }

    /// Asks the process to end and waits until it has ended.
    pub async fn terminate(mut self) -> Result<()> {
        kill(self.pid, Signal::SIGTERM)?;
        self.child.wait().await?;
        Ok(())
    }

    /// Kills the process.
    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn next_requested(&mut self) -> Result<()> {
        tokio::select! {
            requested = timeout(PATIENCE, self.api.next_requested()) => {
                let requested = requested.context("the function did not ask for the next event")?;
                requested.context("the function failed to start")
            }
            status = self.child.wait() => bail!("the function has ended: {}", status?),
        }
    }
}

/// Returns the resident memory of a process, in bytes.
pub fn resident(pid: Pid) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
