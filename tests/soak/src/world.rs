//! The stack that all races use, and what interferes with it.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Result;
use harness::{Answer, Options, RuleGuard, Stack, Tenant, contradictions, options};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::RequestBuilder;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::RwLock;

use crate::{
    Race,
    chaos::{self, Chaos, Plan},
    report::Tally,
};

/// The maximum number of faults that are active at the same time.
const ACTIVE_FAULTS: usize = 6;

pub struct World {
    options: Options,
    /// The stack. `None` only while the stack restarts.
    stack: RwLock<Option<Stack>>,
    starts: AtomicU64,
    has_crashes: AtomicBool,
    client: reqwest::Client,
    plan: Mutex<Option<Plan>>,
    faults: Mutex<VecDeque<RuleGuard>>,
    data: TempDir,
}

impl World {
    pub async fn start() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let options = Options {
            data: Some(data.path().to_owned()),
            ..options(&[])
        };
        let stack = Stack::start(options.clone()).await?;
        index_stream(&data)?;
        Ok(Self {
            stack: RwLock::new(Some(stack)),
            options,
            starts: AtomicU64::new(0),
            has_crashes: AtomicBool::new(false),
            client: reqwest::Client::builder().no_proxy().build()?,
            plan: Mutex::default(),
            faults: Mutex::default(),
            data,
        })
    }

    /// Begins a race. The plan decides what interferes with the race.
    pub fn begin(&self, plan: Plan) {
        *self.plan.lock().unwrap() = Some(plan);
    }

    /// Whether a kill or a restart has begun, in this race or in an earlier one.
    pub fn has_crashes(&self) -> bool {
        self.has_crashes.load(Ordering::SeqCst)
    }

    /// Calls `act` with a tenant. The stack does not stop until `act` has returned.
    pub async fn with<T>(&self, id: &str, act: impl AsyncFnOnce(&Tenant<'_>) -> T) -> T {
        let stack = self.stack.read().await;
        let stack = stack.as_ref().expect("the stack runs");
        act(&Tenant::of(stack, id, &self.client)).await
    }

    /// Sends a request. If the stack stops in the meantime, the status of the response may be 0.
    pub async fn send(
        self: &Arc<Self>,
        race: &Race,
        tenant: &str,
        tally: &Arc<Tally>,
        request: impl FnOnce(&Tenant<'_>) -> RequestBuilder,
    ) -> Answer {
        let chaos = self.plan.lock().unwrap().as_mut().map(Plan::next);
        for chaos in chaos.into_iter().flatten() {
            let (world, race, tally) = (self.clone(), *race, tally.clone());
            tokio::spawn(async move { world.interfere(chaos, &race, &tally).await });
        }
        let (request, starts) = {
            let stack = self.stack.read().await;
            let stack = stack.as_ref().expect("the stack runs");
            let tenant = Tenant::of(stack, tenant, &self.client);
            (request(&tenant), self.starts.load(Ordering::SeqCst))
        };
        match received(request).await {
            Ok(answer) => answer,
            Err(error) => {
                if self.starts.load(Ordering::SeqCst) == starts {
                    tally.violation(0, format!("the gateway closed a connection: {error}"));
                }
                Answer {
                    status: 0,
                    headers: reqwest::header::HeaderMap::new(),
                    text: error.to_string(),
                    body: Value::Null,
                }
            }
        }
    }

    async fn interfere(&self, chaos: Chaos, race: &Race, tally: &Tally) {
        match chaos {
            Chaos::Fault(rule) => {
                let stack = self.stack.read().await;
                let rule = stack.as_ref().expect("the stack runs").inject(rule);
                let mut faults = self.faults.lock().unwrap();
                faults.push_back(rule);
                if faults.len() > ACTIVE_FAULTS {
                    tally.faulted(faults.pop_front());
                }
            }
            Chaos::Kill { function, which } => {
                self.has_crashes.store(true, Ordering::SeqCst);
                for other in 0..race.functions.len() {
                    let function = race.functions[(function + other) % race.functions.len()];
                    if self.kill(function, which).await {
                        return tally.killed();
                    }
                }
                let mut plan = self.plan.lock().unwrap();
                if let Some(plan) = plan.as_mut() {
                    plan.postpone(chaos);
                }
            }
            Chaos::Restart => {
                self.has_crashes.store(true, Ordering::SeqCst);
                self.restart(tally).await.expect("the stack starts again");
                tally.restarted();
            }
        }
    }

    /// Kills a process of a function while the function is handling requests. Returns false if the function is not
    /// handling a request.
    async fn kill(&self, function: &str, which: usize) -> bool {
        let stack = self.stack.read().await;
        let stack = stack.as_ref().expect("the stack runs");
        let held = stack.inject(chaos::pause(function));
        let waiting = async {
            while held.hits() == 0 {
                tokio::task::yield_now().await;
            }
        };
        let is_busy = tokio::time::timeout(chaos::PATIENCE, waiting).await.is_ok();
        let processes = stack.process_ids(function);
        let Some(pid) = processes.get(which % processes.len().max(1)) else {
            return false;
        };
        is_busy && kill(Pid::from_raw(*pid as i32), Signal::SIGKILL).is_ok()
    }

    /// Stops the stack while it handles requests, and starts it again with the same data.
    async fn restart(&self, tally: &Tally) -> Result<()> {
        let mut stack = self.stack.write().await;
        self.starts.fetch_add(1, Ordering::SeqCst);
        tally.faulted(self.faults.lock().unwrap().drain(..));
        if let Some(stack) = stack.take() {
            stack.stop().await;
        }
        // Deletes the stream's records. No race depends on these records, because the function `cleanup` handles only
        // expired keys, and no key expires during a race.
        let database = Connection::open(database_in(&self.data))?;
        database.execute("DELETE FROM _stream_records", ())?;
        *stack = Some(Stack::start(self.options.clone()).await?);
        Ok(())
    }

    /// Ends all faults.
    pub async fn calm(&self, tally: &Tally) {
        let _stack = self.stack.write().await;
        tally.faulted(self.faults.lock().unwrap().drain(..));
    }

    /// Compares the audit trail of a race with the table.
    pub async fn compare_trail(&self, tenant: &str, tally: &Tally) {
        let found = self.with(tenant, async |tenant| contradictions(tenant).await);
        for contradiction in found.await {
            tally.violation(0, contradiction);
        }
    }

    pub async fn stop(&self) {
        if let Some(stack) = self.stack.write().await.take() {
            stack.stop().await;
        }
    }
}

fn database_in(data: &TempDir) -> PathBuf {
    data.path().join("dynamodb.sqlite")
}

/// Adds an index to the records of the table's stream. Without this index, dynoxide reads all records on each write to
/// find the latest sequence number.
fn index_stream(data: &TempDir) -> Result<()> {
    let index =
        "CREATE INDEX latest ON _stream_records (table_name, CAST(sequence_number AS INTEGER))";
    Connection::open(database_in(data))?.execute(index, ())?;
    Ok(())
}

async fn received(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or_default();
    Ok(Answer {
        status,
        headers,
        text,
        body,
    })
}
