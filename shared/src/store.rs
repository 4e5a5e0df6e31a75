//! The table: every request that is made to DynamoDB, and nothing else.
//!
//! | pk | sk | What |
//! | --- | --- | --- |
//! | `U#<tenant>#<user>` | `USER` | the user |
//! | `U#<tenant>#<user>` | `KEY#<key id>` | a key; after its expiry, the same without its hash |
//! | `U#<tenant>#<user>` | `IDEM#<sha256>` | which key an `Idempotency-Key` made |
//! | `T#<tenant>` | `ADMINS` | the set of active administrators |
//! | `K#<tenant>#<key id>` | `SLOT#<cluster>` | a cluster that counts towards the key's limit |
//! | `C#<tenant>` | `CLUSTER#<name>` | a cluster, and which keys hold slots for it |
//! | `C#<tenant>` | `NODE#<cluster's number>#<name>` | a node |
//! | `J#<sha256>` | `JOIN` | a join token |
//!
//! A key's own claims name its partition, so validation and a user's list are strongly consistent without an index.
//! The sparse index `tenant` (`tenant_pk`, `tenant_sk`) serves the administrator's lists.

mod clusters;
mod item;
mod keys;
mod users;

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::update_item::{UpdateItemError, UpdateItemOutput},
    types::{CancellationReason, TransactWriteItem},
};
use rand::{TryRng, rngs::SysRng};

pub use clusters::{Onboarding, Seen};
pub use item::BadItem;
pub use keys::{Archived, Idempotency, Issued, NewKey, Revoked, key_from_image};
pub use users::AdminChange;

use crate::{
    aws::{AwsSettings, warmed_up},
    config::Environment,
    cursor::Position,
};

/// The table, through the SDK's client.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table: String,
}

/// Why DynamoDB did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request failed, after the SDK's retries.
    #[error("DynamoDB {action}: {code}")]
    Request {
        /// The API action.
        action: &'static str,
        /// The error code, or the kind of failure.
        code: String,
        /// The SDK's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Part of a batch was left unprocessed, again and again.
    #[error("DynamoDB left part of a batch unprocessed")]
    Unprocessed,
    /// Others wrote the same items, again and again.
    #[error("DynamoDB cancelled a transaction for conflicts, again and again")]
    Contention,
    /// An item does not have the shape that we wrote.
    #[error("the item cannot be read")]
    Item(#[from] BadItem),
    /// A request could not be built.
    #[error("the request could not be built")]
    Build(#[from] BuildError),
}

/// A page of a list: the items, and where the next page begins.
#[derive(Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; none after the last.
    pub next: Option<Position>,
}

/// What became of a transaction.
enum Outcome {
    Done,
    /// One reason per item, in order.
    Refused(Vec<CancellationReason>),
}

impl Store {
    /// The table that `TABLE_NAME` names.
    pub fn read(environment: &mut Environment<'_>, aws: &AwsSettings) -> Self {
        Self {
            client: aws.dynamodb(),
            table: environment.required("TABLE_NAME"),
        }
    }

    /// Connects to DynamoDB in the init phase, where a function has a whole CPU: by a `GetItem` of nothing. If DynamoDB
    /// does not answer at once, the first request tries again.
    pub async fn warm_up(&self) {
        let read = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(nothing()))
            .send();
        warmed_up("DynamoDB", async { read.await.is_ok() }).await;
    }

    /// [`Self::warm_up`] for a function whose role has `BatchGetItem` instead.
    pub async fn warm_up_by_batch(&self) {
        warmed_up("DynamoDB", async {
            self.batch_get(vec![nothing()], false).await.is_ok()
        })
        .await;
    }

    /// Runs a transaction. A conflict with another transaction is tried again with jitter: somebody's succeeds
    /// each time, so the wait is short.
    async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<Outcome, StoreError> {
        for attempt in 0..8 {
            back_off(attempt).await;
            if let Some(outcome) = self.try_transact(&items).await? {
                return Ok(outcome);
            }
        }
        Err(StoreError::Contention)
    }

    /// Runs a transaction once; none when it was in conflict with another.
    async fn try_transact(
        &self,
        items: &[TransactWriteItem],
    ) -> Result<Option<Outcome>, StoreError> {
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items.to_vec()));
        let Err(error) = request.send().await else {
            return Ok(Some(Outcome::Done));
        };
        let reasons = match error.as_service_error() {
            Some(e) if e.is_transaction_in_progress_exception() => return Ok(None),
            Some(e) => cancellation(e).unwrap_or_default(),
            None => Vec::new(),
        };
        let any = |codes: &[&str]| {
            reasons
                .iter()
                .any(|r| r.code().is_some_and(|code| codes.contains(&code)))
        };
        if any(&["ConditionalCheckFailed"]) {
            return Ok(Some(Outcome::Refused(reasons)));
        }
        if any(&[
            "TransactionConflict",
            "ThrottlingError",
            "ProvisionedThroughputExceeded",
        ]) {
            return Ok(None);
        }
        Err(failed("TransactWriteItems")(error))
    }
}

/// The key of an item that does not exist.
fn nothing() -> item::Item {
    [("pk", "WARM"), ("sk", "UP")]
        .map(|(name, value)| (name.to_owned(), item::s(value)))
        .into()
}

/// Sends a write of one item, again while a transaction on that item is under way: the SDK does not.
async fn settled<T, E, F>(send: impl Fn() -> F) -> Result<T, SdkError<E>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E>>>,
{
    let mut attempt = 0;
    loop {
        back_off(attempt).await;
        attempt += 1;
        match send().await {
            Err(error) if error.code() == Some("TransactionConflictException") && attempt < 8 => {}
            answer => return answer,
        }
    }
}

/// Waits before an attempt, the longer the more were made before, and never equally long.
pub async fn back_off(attempt: u32) {
    if attempt > 0 {
        jitter(Duration::from_millis(20 << attempt.min(5))).await;
    }
}

fn cancellation(
    error: &aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError,
) -> Option<Vec<CancellationReason>> {
    use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException;
    match error {
        TransactionCanceledException(canceled) => Some(canceled.cancellation_reasons().to_vec()),
        _ => None,
    }
}

/// Whether an update was made; a failed condition is no error.
fn made(answer: Result<UpdateItemOutput, SdkError<UpdateItemError>>) -> Result<bool, StoreError> {
    match answer {
        Ok(_) => Ok(true),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
        {
            Ok(false)
        }
        Err(error) => Err(failed("UpdateItem")(error)),
    }
}

/// Whether the reason at `index` is a failed condition.
fn condition_failed(reasons: &[CancellationReason], index: usize) -> bool {
    reasons.get(index).and_then(CancellationReason::code) == Some("ConditionalCheckFailed")
}

/// Waits for a random time up to `most`.
async fn jitter(most: Duration) {
    let mut byte = [u8::MAX];
    // Without randomness the full wait is as good.
    let _ = SysRng.try_fill_bytes(&mut byte);
    tokio::time::sleep(most.mul_f64(f64::from(byte[0]) / 255.0)).await;
}

fn failed<E, R>(action: &'static str) -> impl FnOnce(SdkError<E, R>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    move |error| {
        let kind = match &error {
            SdkError::TimeoutError(_) => "timeout",
            SdkError::DispatchFailure(_) => "dispatch failure",
            SdkError::ResponseError(_) => "unreadable response",
            _ => "failure",
        };
        let code = error.code().unwrap_or(kind).to_owned();
        StoreError::Request {
            action,
            code,
            source: Box::new(error),
        }
    }
}
