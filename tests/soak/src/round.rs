//! A round: a short part of a race, with users, keys and clusters that no other round uses.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use harness::{Answer, Tenant};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{
    Race,
    report::{Tally, is_crash},
    world::World,
};

/// A status and a code that a request may return. `""` stands for no code.
pub type Expected = (u16, &'static str);

/// How many times a client sends a request before it gives up on learning whether the request took effect.
const ATTEMPTS: usize = 30;

pub struct Round {
    world: Arc<World>,
    race: Race,
    tenant: String,
    number: u64,
    tally: Arc<Tally>,
}

/// Returns true if the client cannot tell whether the request took effect, because the response was lost or told the
/// client to try again.
pub fn is_unknown(answer: &Answer) -> bool {
    let is_transient = matches!(answer.status, 0 | 503) || answer.code() == "changed_meanwhile";
    is_transient || is_crash(answer)
}

impl Round {
    pub fn new(
        world: &Arc<World>,
        race: &Race,
        tenant: &str,
        number: u64,
        tally: &Arc<Tally>,
    ) -> Self {
        Self {
            world: world.clone(),
            race: *race,
            tenant: tenant.to_owned(),
            number,
            tally: tally.clone(),
        }
    }

    pub fn violation(&self, what: impl ToString) {
        self.tally.violation(self.number, what.to_string());
    }

    /// Reports a violation unless `holds` is true.
    pub fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violation(what());
        }
    }

    /// Returns a name that no other round uses.
    pub fn name(&self, of: &str) -> String {
        format!("{}-{}-{of}", self.race.name, self.number)
    }

    /// Sends a request once. Reports a violation unless the response is in `expected` or is a failure that a fault, a
    /// kill or a conflict can cause.
    pub async fn call(
        &self,
        request: impl FnOnce(&Tenant<'_>) -> RequestBuilder,
        expected: &[Expected],
    ) -> Answer {
        let sent = self
            .world
            .send(&self.race, &self.tenant, &self.tally, request);
        let answer = sent.await;
        self.tally.answered(&answer);
        let is_expected = expected.contains(&(answer.status, answer.code()));
        let is_allowed = match answer.status {
            0 => true,
            _ if is_crash(&answer) => self.world.has_crashes(),
            503 => matches!(answer.code(), "unavailable" | harness::GATEWAY),
            409 => answer.code() == "changed_meanwhile",
            _ => false,
        };
        self.check(is_expected || is_allowed, || {
            format!("unexpected {}: {}", answer.status, answer.text)
        });
        answer
    }

    /// Repeats a request until it is certain whether the request took effect.
    pub async fn settle(
        &self,
        request: impl Fn(&Tenant<'_>) -> RequestBuilder,
        expected: &[Expected],
    ) -> Result<Answer> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let answer = self.call(&request, expected).await;
            if !is_unknown(&answer) {
                if expected.contains(&(answer.status, answer.code())) {
                    return Ok(answer);
                }
                bail!("cannot continue after {}: {}", answer.status, answer.text);
            }
            if answer.status == 503 {
                // After KMS fails, a process remembers the failure for a second, and Retry-After tells clients to wait
                // that long.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            last = format!("{}: {}", answer.status, answer.text);
        }
        bail!("no answer after {ATTEMPTS} attempts, the last of which returned {last}")
    }

    /// Reads the table directly, without faults.
    pub async fn dynamodb(&self, action: &str, body: Value) -> Value {
        let read = async |tenant: &Tenant<'_>| tenant.dynamodb(action, body).await;
        self.world.with(&self.tenant, read).await
    }

    pub async fn with<T>(&self, act: impl AsyncFnOnce(&Tenant<'_>) -> T) -> T {
        self.world.with(&self.tenant, act).await
    }

    /// Provisions a user.
    pub async fn user(&self, id: &str, role: &str) -> Result<()> {
        let path = format!("/v1/users/{id}");
        let body = json!({ "role": role });
        let put = |tenant: &Tenant<'_>| tenant.request("admin", "PUT", &path).json(&body);
        self.settle(put, &[(200, ""), (201, "")]).await?;
        Ok(())
    }

    /// As the administrator, creates a key. Returns its id and the access key.
    pub async fn key(&self, owner: &str, role: &str, limit: u64) -> Result<(String, String)> {
        let body = json!({ "name": "soak", "role": role, "max_clusters": limit });
        self.key_of(owner, body).await
    }

    /// Like [`Self::key`], but takes a custom request body.
    pub async fn key_of(&self, owner: &str, body: Value) -> Result<(String, String)> {
        let path = format!("/v1/users/{owner}/access-keys");
        let post = |tenant: &Tenant<'_>| tenant.request("admin", "POST", &path).json(&body);
        let created = self.settle(post, &[(201, "")]).await?;
        let string = |name| created.string(name).to_owned();
        Ok((string("id"), string("access_key")))
    }

    /// Validates a key. Repeats the request until it returns a validation result.
    pub async fn validate(&self, key: &str) -> Result<Answer> {
        let validation = |tenant: &Tenant<'_>| tenant.validation(key);
        self.settle(validation, &VALIDATED).await
    }
}

/// The possible responses to a validation.
pub const VALIDATED: [Expected; 5] = [
    (200, ""),
    (200, "revoked"),
    (200, "owner_inactive"),
    (200, "invalid"),
    (200, "forbidden"),
];

/// The stage of a change: not sent, sent or acknowledged.
#[derive(Debug, Default)]
pub struct Stage(AtomicU8);

impl Stage {
    pub const NOT_SENT: u8 = 0;
    pub const SENT: u8 = 1;
    pub const ACKNOWLEDGED: u8 = 2;

    pub fn now(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn set(&self, stage: u8) {
        self.0.store(stage, Ordering::SeqCst);
    }
}

/// The stages that a change had reached when a request was sent and when the request was answered.
#[derive(Debug, Clone, Copy)]
pub struct During {
    pub sent: u8,
    pub answered: u8,
}

impl During {
    /// Whether the request was sent after the change was acknowledged.
    pub fn is_after(self) -> bool {
        self.sent == Stage::ACKNOWLEDGED
    }

    /// Whether the request was answered before the change was sent.
    pub fn is_before(self) -> bool {
        self.answered == Stage::NOT_SENT
    }
}

/// Waits for a request, and notes the stage of a change before and after the request.
pub async fn during<T>(stage: &Stage, request: impl Future<Output = T>) -> (T, During) {
    let sent = stage.now();
    let answer = request.await;
    let answered = stage.now();
    (answer, During { sent, answered })
}

/// Runs tasks concurrently. Returns the results in the order of the tasks.
pub async fn all<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Result<Vec<T>> {
    let running: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::new();
    for task in running {
        results.push(task.await?);
    }
    Ok(results)
}
