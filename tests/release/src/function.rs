//! A process that runs a release binary, with its own Runtime API.

use std::{
    env::consts::ARCH,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use harness::{InvokeError, RuntimeApi};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:release";
/// The time limit of the function. It is longer than in Lambda, because emulation is slow.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// The command that starts the emulator with the folder of the arm64 C library. The names are those that Debian uses.
const EMULATOR: [&str; 3] = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"];

type Lines = Arc<Mutex<Vec<String>>>;

pub struct Function {
    child: Child,
    api: RuntimeApi,
    lines: Lines,
    readers: [JoinHandle<()>; 2],
}

impl Function {
    /// Starts an arm64 binary, in an emulator if necessary, and waits until the binary requests its first event.
    pub async fn start(binary: &Path, environment: &[(String, String)]) -> Result<Self> {
        let api = RuntimeApi::start(ARN).await?;
        let mut command = if ARCH == "aarch64" {
            Command::new(binary)
        } else {
            let [emulator, options @ ..] = EMULATOR;
            let mut command = Command::new(emulator);
            command.args(options).arg(binary);
            command
        };
        let mut child = command
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let lines = Lines::default();
        let output = child.stdout.take().context("there is no stdout")?;
        let errors = child.stderr.take().context("there is no stderr")?;
        let readers = [collect(output, &lines), collect(errors, &lines)];
        let mut function = Self {
            child,
            api,
            lines,
            readers,
        };
        function.next_requested().await?;
        Ok(function)
    }

    /// Sends an event and waits until the process has responded and requested the next event. Fails if the process ends
    /// or does not respond.
    pub async fn invoke(&mut self, event: &Value) -> Result<Result<Value, InvokeError>> {
        let outcome = tokio::select! {
            outcome = self.api.invoke(event.to_string().into(), TIME_LIMIT) => outcome,
            status = self.child.wait() => return self.ended(status?),
        };
        if matches!(outcome, Err(InvokeError::Crashed | InvokeError::TimedOut)) {
            bail!("the process has not answered");
        }
        self.next_requested().await?;
        Ok(outcome)
    }

    /// Kills the process and returns every line that it has logged.
    pub async fn stop(mut self) -> Result<Vec<String>> {
        self.child.kill().await?;
        for reader in self.readers {
            reader.await?;
        }
        Ok(std::mem::take(&mut *self.lines.lock().unwrap()))
    }

    async fn next_requested(&mut self) -> Result<()> {
        tokio::select! {
            requested = timeout(TIME_LIMIT, self.api.next_requested()) => {
                let requested = requested.context("the process does not ask for an event")?;
                requested.context("the process cannot start")
            }
            status = self.child.wait() => self.ended(status?),
        }
    }

    fn ended<T>(&self, status: ExitStatus) -> Result<T> {
        let lines = self.lines.lock().unwrap();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        bail!("the process has ended: {status}. Its last lines:\n{last}")
    }
}

fn collect(output: impl AsyncRead + Unpin + Send + 'static, lines: &Lines) -> JoinHandle<()> {
    let lines = lines.clone();
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(line)) = output.next_line().await {
            lines.lock().unwrap().push(line);
        }
    })
}
