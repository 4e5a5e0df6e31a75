//! Requests to DynamoDB: reads, writes and transactions. Writes that conflict with other requests are retried.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::{
        put_item::PutItemError, transact_write_items::TransactWriteItemsError,
        update_item::UpdateItemError,
    },
    types::{
        AttributeValue, ConditionCheck, Delete, KeysAndAttributes, Put,
        ReturnValuesOnConditionCheckFailure::{self, AllOld},
        TransactWriteItem, Update,
    },
};
use rand::{TryRng, rngs::SysRng};
use serde::Serialize;
use tokio::time::Instant;

use super::schema::{BadItem, Batch, Item, PrimaryKey, to_item};
use crate::process::aws::is_permanent;

/// Why a request to DynamoDB failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request failed despite the SDK's retries.
    #[error("DynamoDB {action}: {code}")]
    Request {
        action: &'static str,
        /// The error code, or the kind of failure.
        code: String,
        /// Whether the same request would fail again.
        is_permanent: bool,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("DynamoDB repeatedly left part of a batch unprocessed")]
    Unprocessed,
    /// The request can be retried.
    #[error("another transaction holds one of the items, or DynamoDB is throttling requests")]
    Busy,
    #[error(transparent)]
    Item(#[from] BadItem),
    #[error("the request to DynamoDB could not be built")]
    Build(#[from] BuildError),
}

impl StoreError {
    /// Whether repeating the request is useless, because it would fail again.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Request { is_permanent, .. } => *is_permanent,
            Self::Item(_) | Self::Build(_) => true,
            Self::Unprocessed | Self::Busy => false,
        }
    }
}

/// Limits the attempts at an operation that can conflict with concurrent requests. All attempts start within three
/// seconds. The pauses between attempts are random and grow, so that two callers do not keep conflicting.
#[derive(Debug)]
pub(crate) struct Attempts {
    made: u32,
    deadline: Instant,
}

impl Attempts {
    pub fn new() -> Self {
        let deadline = Instant::now() + Duration::from_secs(3);
        Self { made: 0, deadline }
    }

    /// Whether so many attempts have been made that a remaining inconsistency must be due to damage rather than to a
    /// concurrent change.
    pub fn are_many(&self) -> bool {
        self.made > 3
    }

    /// Waits until the next attempt is due. The first is due immediately. Returns false when no time is left.
    pub async fn next(&mut self) -> bool {
        if self.made > 0 {
            let longest = Duration::from_millis(20 << self.made.min(5));
            let mut random = [u8::MAX];
            // If the random number generator fails, the pause has its maximum length.
            let _ = SysRng.try_fill_bytes(&mut random);
            let pause = longest.mul_f64(f64::from(random[0]) / 255.0);
            if Instant::now() + pause > self.deadline {
                return false;
            }
            tokio::time::sleep(pause).await;
        }
        self.made += 1;
        true
    }
}

/// Repeats a write that fails with [`StoreError::Busy`], as long as time is left.
async fn retry_on_conflict<F>(mut write: impl FnMut() -> F) -> Result<Outcome, StoreError>
where
    F: Future<Output = Result<Outcome, StoreError>>,
{
    let mut attempts = Attempts::new();
    while attempts.next().await {
        match write().await {
            Err(StoreError::Busy) => {}
            outcome => return outcome,
        }
    }
    Err(StoreError::Busy)
}

/// Converts a value to an attribute value.
fn to_value(value: impl Serialize) -> AttributeValue {
    // Serialization cannot fail, because the values are strings, numbers, bytes, lists and sets. Even if it did fail,
    // the NULL would be harmless, because reads reject it.
    serde_dynamo::to_attribute_value(value).unwrap_or(AttributeValue::Null(true))
}

/// The result of a write.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// At least one condition failed, and nothing was written.
    Refused(Refusals),
}

impl Outcome {
    /// Returns the outcome of a request that writes one item and is refused.
    fn refused(item: Option<Item>) -> Self {
        Self::Refused(Refusals(vec![Some(item)]))
    }
}

/// For each write of a request, whether its condition failed. The entry of a failed condition holds the existing item,
/// if there is one and [`Write::return_item`] was set.
#[derive(Debug)]
pub(super) struct Refusals(Vec<Option<Option<Item>>>);

impl Refusals {
    /// Whether the condition of the write at this position failed.
    pub fn has(&self, position: usize) -> bool {
        self.0.get(position).is_some_and(Option::is_some)
    }

    /// Whether the condition of the write at this position failed and no other condition did.
    pub fn has_only(&self, position: usize) -> bool {
        let refused = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, refusal)| refusal.is_some());
        refused.map(|(refused, _)| refused).eq([position])
    }

    /// Removes the refusal of the write at this position, and returns the existing item that the refusal holds.
    pub fn take_item(&mut self, position: usize) -> Option<Item> {
        self.0.get_mut(position)?.take()?
    }
}

/// A write of one item, as a request of its own or as part of a transaction.
#[derive(Debug, Clone)]
pub(super) struct Write {
    kind: WriteKind,
    /// The whole item for a put, and the primary key otherwise.
    item: Item,
    update: Option<String>,
    condition: Option<String>,
    values: Item,
    return_item: Option<ReturnValuesOnConditionCheckFailure>,
}

#[derive(Debug, Clone, Copy)]
enum WriteKind {
    Put,
    Update,
    Delete,
    Check,
}

impl Write {
    fn new(kind: WriteKind, item: Item, update: Option<String>) -> Self {
        Self {
            kind,
            item,
            update,
            condition: None,
            values: Item::new(),
            return_item: None,
        }
    }

    /// Writes a whole item.
    pub fn put(item: &impl Serialize) -> Self {
        Self::new(WriteKind::Put, to_item(item), None)
    }

    /// Changes attributes of an item.
    pub fn update(PrimaryKey(key): PrimaryKey, expression: impl Into<String>) -> Self {
        Self::new(WriteKind::Update, key, Some(expression.into()))
    }

    /// Changes the attributes in which two versions of an item differ, and leaves all others as they are.
    pub fn change(old: &impl Serialize, new: &impl Serialize) -> Self {
        let (old, new) = (to_item(old), to_item(new));
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        let mut write = Self::new(WriteKind::Check, Item::new(), None);
        for (name, value) in &new {
            if name == "pk" || name == "sk" {
                write.item.insert(name.clone(), value.clone());
            } else if old.get(name) != Some(value) {
                sets.push(format!("#{name} = :new_{name}"));
                write.values.insert(format!(":new_{name}"), value.clone());
            }
        }
        removes.extend(
            old.keys()
                .filter(|name| !new.contains_key(*name))
                .map(|name| format!("#{name}")),
        );
        let clauses = [("SET", sets), ("REMOVE", removes)].into_iter();
        let clauses = clauses.filter(|(_, changes)| !changes.is_empty());
        let clauses: Vec<_> = clauses
            .map(|(clause, changes)| format!("{clause} {}", changes.join(", ")))
            .collect();
        if !clauses.is_empty() {
            write.kind = WriteKind::Update;
            write.update = Some(clauses.join(" "));
        }
        write
    }

    pub fn delete(PrimaryKey(key): PrimaryKey) -> Self {
        Self::new(WriteKind::Delete, key, None)
    }

    /// Writes nothing, but makes the transaction fail unless the condition holds.
    pub fn check(PrimaryKey(key): PrimaryKey) -> Self {
        Self::new(WriteKind::Check, key, None)
    }

    /// Sets another attribute.
    pub fn and_set(self, name: &str, value: impl Serialize) -> Self {
        self.and_set_raw(name, to_value(value))
    }

    /// Like [`Self::and_set`], but accepts an [`AttributeValue`].
    pub fn and_set_raw(mut self, name: &str, value: AttributeValue) -> Self {
        let rest = self.update.take().unwrap_or_default();
        let set = format!("SET #{name} = :{name}");
        self.update = Some(match rest.strip_prefix("SET ") {
            Some(sets) => format!("{set}, {sets}"),
            None => format!("{set} {rest}"),
        });
        self.kind = WriteKind::Update;
        self.raw(&format!(":{name}"), value)
    }

    /// Adds a condition to those that the write already has.
    pub fn and(mut self, condition: &str) -> Self {
        let first = self.condition.take();
        self.condition = Some(match first {
            Some(first) => format!("({first}) AND {condition}"),
            None => condition.to_owned(),
        });
        self
    }

    pub fn when(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    pub fn when_absent(self) -> Self {
        self.when("attribute_not_exists(pk)")
    }

    /// Sets the value of a placeholder such as `:now`.
    pub fn value(mut self, placeholder: &str, value: impl Serialize) -> Self {
        self.values.insert(placeholder.to_owned(), to_value(value));
        self
    }

    /// Like [`Self::value`], but accepts an [`AttributeValue`].
    pub fn raw(mut self, placeholder: &str, value: AttributeValue) -> Self {
        self.values.insert(placeholder.to_owned(), value);
        self
    }

    /// Makes a failed condition return the existing item.
    pub fn return_item(mut self) -> Self {
        self.return_item = Some(AllOld);
        self
    }

    fn values(&self) -> Option<Item> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    /// Each `#name` in an expression stands for the attribute `name`, which may be one of DynamoDB's reserved words.
    fn names(&self) -> Option<HashMap<String, String>> {
        let is_name = |c: char| c == '#' || c == '_' || c.is_alphanumeric();
        let expressions = [&self.update, &self.condition];
        let names: HashMap<_, _> = expressions
            .into_iter()
            .flatten()
            .flat_map(|expression| expression.split(|c| !is_name(c)))
            .filter_map(|word| Some((word.to_owned(), word.strip_prefix('#')?.to_owned())))
            .collect();
        (!names.is_empty()).then_some(names)
    }

    fn in_transaction(&self, table: &str) -> Result<TransactWriteItem, BuildError> {
        let (names, values, item) = (self.names(), self.values(), Some(self.item.clone()));
        let (condition, return_item) = (self.condition.clone(), self.return_item.clone());
        let write = TransactWriteItem::builder();
        let write = match self.kind {
            WriteKind::Put => write.put(
                Put::builder()
                    .table_name(table)
                    .set_item(item)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values_on_condition_check_failure(return_item)
                    .build()?,
            ),
            WriteKind::Update => write.update(
                Update::builder()
                    .table_name(table)
                    .set_key(item)
                    .set_update_expression(self.update.clone())
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values_on_condition_check_failure(return_item)
                    .build()?,
            ),
            WriteKind::Delete => write.delete(
                Delete::builder()
                    .table_name(table)
                    .set_key(item)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .build()?,
            ),
            WriteKind::Check => write.condition_check(
                ConditionCheck::builder()
                    .table_name(table)
                    .set_key(item)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .build()?,
            ),
        };
        Ok(write.build())
    }
}

/// A query of one partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    /// `None` for the table itself. Reads of an index are eventually consistent.
    pub index: Option<&'static str>,
    pub partition: String,
    /// Only items whose sort keys begin with this prefix.
    pub prefix: Option<String>,
    pub descending: bool,
    /// The key of the item after which the query continues.
    pub after: Option<Item>,
    pub limit: Option<i32>,
}

/// The table, accessed through the SDK's client.
#[derive(Debug, Clone)]
pub(super) struct Table {
    client: Client,
    name: String,
}

impl Table {
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Opens a connection by reading an item that does not exist.
    pub async fn warm_up(&self) -> Result<(), StoreError> {
        self.batch_get(vec![PrimaryKey::warm_up()]).await.map(drop)
    }

    pub async fn get(&self, PrimaryKey(key): PrimaryKey) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.name);
        let request = request.set_key(Some(key)).consistent_read(true);
        let answer = request.send().await.map_err(failed("GetItem"))?;
        Ok(answer.item)
    }

    /// Returns the items that exist under the given keys. Sends one request per 100 keys.
    pub async fn batch_get_all(&self, keys: Vec<PrimaryKey>) -> Result<Vec<Item>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(100) {
            let Batch(items) = self.batch_get(keys.to_vec()).await?;
            found.extend(items);
        }
        Ok(found)
    }

    /// Returns the items that exist under the given keys. Accepts up to 100 different keys. The read of each item is
    /// strongly consistent, but the items may have been read at different moments.
    pub async fn batch_get(&self, keys: Vec<PrimaryKey>) -> Result<Batch, StoreError> {
        if keys.is_empty() {
            return Ok(Batch(Vec::new()));
        }
        let mut found = Vec::with_capacity(keys.len());
        let keys = keys.into_iter().map(|PrimaryKey(key)| key).collect();
        let mut wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .build()?;
        let mut attempts = Attempts::new();
        while attempts.next().await {
            let request = self.client.batch_get_item();
            let request = request.request_items(&self.name, wanted);
            let answer = request.send().await.map_err(failed("BatchGetItem"))?;
            let tables = answer.responses.into_iter().flatten();
            found.extend(tables.flat_map(|(_, items)| items));
            let mut unprocessed = answer.unprocessed_keys.unwrap_or_default();
            match unprocessed.remove(&self.name) {
                Some(rest) if !rest.keys().is_empty() => wanted = rest,
                _ => return Ok(Batch(found)),
            }
        }
        Err(StoreError::Unprocessed)
    }

    /// Returns one page of a query's results and, if there are more, the key after which the next page begins.
    pub async fn query(&self, query: Query) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let prefix = query.index.map(|index| format!("{index}_"));
        let [pk, sk] = ["pk", "sk"].map(|name| prefix.clone().unwrap_or_default() + name);
        let condition = match &query.prefix {
            None => format!("{pk} = :pk"),
            Some(_) => format!("{pk} = :pk AND begins_with({sk}, :prefix)"),
        };
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .set_index_name(query.index.map(str::to_owned))
            .consistent_read(query.index.is_none())
            .key_condition_expression(condition)
            .expression_attribute_values(":pk", AttributeValue::S(query.partition))
            .scan_index_forward(!query.descending)
            .set_exclusive_start_key(query.after)
            .set_limit(query.limit);
        if let Some(prefix) = query.prefix {
            request = request.expression_attribute_values(":prefix", AttributeValue::S(prefix));
        }
        let answer = request.send().await.map_err(failed("Query"))?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }

    /// Puts one item. Retries while a transaction holds the item. The SDK does not retry in this case.
    pub async fn put(&self, write: &Write) -> Result<Outcome, StoreError> {
        retry_on_conflict(|| self.try_put(write)).await
    }

    async fn try_put(&self, write: &Write) -> Result<Outcome, StoreError> {
        let request = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(write.item.clone()))
            .set_condition_expression(write.condition.clone())
            .set_expression_attribute_names(write.names())
            .set_expression_attribute_values(write.values())
            .set_return_values_on_condition_check_failure(write.return_item.clone());
        let Err(error) = request.send().await else {
            return Ok(Outcome::Done);
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failure)) => {
                Ok(Outcome::refused(failure.item.clone()))
            }
            Some(PutItemError::TransactionConflictException(_)) => Err(StoreError::Busy),
            _ => Err(failed("PutItem")(error)),
        }
    }

    /// Updates one item. Retries while a transaction holds the item. The SDK does not retry in this case.
    pub async fn update(&self, write: &Write) -> Result<Outcome, StoreError> {
        retry_on_conflict(|| self.try_update(write)).await
    }

    /// Updates one item, or fails with [`StoreError::Busy`] if a transaction holds it.
    pub async fn try_update(&self, write: &Write) -> Result<Outcome, StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(write.item.clone()))
            .set_update_expression(write.update.clone())
            .set_condition_expression(write.condition.clone())
            .set_expression_attribute_names(write.names())
            .set_expression_attribute_values(write.values())
            .set_return_values_on_condition_check_failure(write.return_item.clone());
        let Err(error) = request.send().await else {
            return Ok(Outcome::Done);
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failure)) => {
                Ok(Outcome::refused(failure.item.clone()))
            }
            Some(UpdateItemError::TransactionConflictException(_)) => Err(StoreError::Busy),
            _ => Err(failed("UpdateItem")(error)),
        }
    }

    /// Makes all of the writes or none of them. Retries while another transaction holds one of the items, or while the
    /// writes are throttled.
    pub async fn transact(&self, writes: &[Write]) -> Result<Outcome, StoreError> {
        retry_on_conflict(|| self.try_transact(writes)).await
    }

    /// Makes all of the writes or none of them. Fails with [`StoreError::Busy`] if another transaction holds one of the
    /// items, or if the writes are throttled.
    pub async fn try_transact(&self, writes: &[Write]) -> Result<Outcome, StoreError> {
        let items = writes.iter().map(|write| write.in_transaction(&self.name));
        let items = items.collect::<Result<_, _>>()?;
        let request = self.client.transact_write_items();
        let request = request.set_transact_items(Some(items));
        let Err(error) = request.send().await else {
            return Ok(Outcome::Done);
        };
        let reasons = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
                return Err(StoreError::Busy);
            }
            Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                canceled.cancellation_reasons()
            }
            _ => &[],
        };
        let refusals: Vec<_> = reasons
            .iter()
            .map(|reason| {
                let is_refused = reason.code() == Some("ConditionalCheckFailed");
                is_refused.then(|| reason.item.clone())
            })
            .collect();
        if refusals.iter().any(Option::is_some) {
            return Ok(Outcome::Refused(Refusals(refusals)));
        }
        let is_temporary = |code| {
            matches!(
                code,
                "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"
            )
        };
        if reasons
            .iter()
            .filter_map(|reason| reason.code())
            .any(is_temporary)
        {
            return Err(StoreError::Busy);
        }
        Err(failed("TransactWriteItems")(error))
    }
}

fn failed<E>(action: &'static str) -> impl FnOnce(SdkError<E>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
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
            is_permanent: is_permanent(&error),
            source: Box::new(error),
        }
    }
}
