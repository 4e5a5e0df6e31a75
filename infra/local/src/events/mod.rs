//! Event source mappings. Each mapping filters and batches the records of the table's stream and invokes a function
//! with each batch. Failed batches are retried as in Lambda.

mod pattern;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use dynoxide::{
    Database,
    actions::{
        describe_stream::DescribeStreamRequest, get_records::GetRecordsRequest,
        get_shard_iterator::GetShardIteratorRequest,
    },
};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use self::pattern::Pattern;
use crate::{
    backends::Backends,
    clock,
    dynamo::{Dynamo, public_arn},
    files,
    function::Function,
    iam::{Access, Permissions},
    runtime_api::InvokeError,
    template::{EventSourceMapping, REGION, Resource},
};

/// How often the stream is polled. Polling is necessary because dynoxide does not announce new records.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Batches that failed on every attempt, in the form in which Lambda sends them to a queue.
pub(crate) type DeadLetters = Arc<Mutex<Vec<Value>>>;

pub(crate) struct Mapping {
    function: Arc<Function>,
    stream: Stream,
    filters: Vec<Pattern>,
    bisect: bool,
    partial: bool,
    retries: u64,
    dead_letters: Option<DeadLetters>,
    /// Counts the requests to process the stream.
    requested: watch::Sender<u64>,
    /// The value of `requested` up to which all requests have been fulfilled.
    fulfilled: watch::Sender<u64>,
}

/// A mapping's view of the table's stream.
struct Stream {
    database: Database,
    /// The ARN that dynoxide uses for the stream.
    arn: String,
    shard: String,
    batch_size: usize,
    from_start: bool,
    /// The file that stores the sequence number of the last processed record.
    position: Option<PathBuf>,
}

impl Mapping {
    pub(crate) fn new(
        Resource { id, properties, .. }: Resource<EventSourceMapping>,
        backends: &Backends,
        function: Arc<Function>,
        data: Option<&Path>,
        dead_letters: &DeadLetters,
    ) -> Result<Self> {
        let position = data.map(|data| data.join(format!("{id}.position")));
        let stream = Stream::open(&properties, &backends.dynamo, position)?;
        require_permissions(function.name(), &properties, &backends.permissions)?;
        let filters = properties.filter_criteria.filters.iter();
        let filters = filters.map(|filter| Pattern::parse(&filter.pattern));
        let reports_failures = |kind: &String| kind == "ReportBatchItemFailures";
        Ok(Self {
            function,
            stream,
            filters: filters.collect::<Result<_>>()?,
            bisect: properties
                .bisect_batch_on_function_error
                .is_some_and(|bisect| bisect.0),
            partial: properties
                .function_response_types
                .iter()
                .any(reports_failures),
            retries: properties
                .maximum_retry_attempts
                .and_then(|retries| u64::try_from(retries.0).ok())
                .unwrap_or(u64::MAX),
            dead_letters: properties.on_failure().map(|_| dead_letters.clone()),
            requested: watch::Sender::new(0),
            fulfilled: watch::Sender::new(0),
        })
    }

    /// Waits until every record that was in the stream at the time of the call has been processed.
    pub(crate) async fn drain(&self) {
        let mut request = 0;
        self.requested.send_modify(|requested| {
            *requested += 1;
            request = *requested;
        });
        let mut fulfilled = self.fulfilled.subscribe();
        let _ = fulfilled.wait_for(|fulfilled| *fulfilled >= request).await;
    }

    /// Makes [`Self::poll`] read the stream immediately, without waiting for the interval.
    pub(crate) fn wake(&self) {
        self.requested.send_modify(|requested| *requested += 1);
    }

    /// Polls the stream. Returns only if an error occurs.
    pub(crate) async fn poll(&self) -> Result<()> {
        let mut iterator = self.stream.iterator()?;
        let mut requested = self.requested.subscribe();
        loop {
            let request = *requested.borrow_and_update();
            loop {
                let (mut records, next) = self.stream.read(iterator).await?;
                iterator = next;
                let Some(last) = records.last().map(sequence_number) else {
                    break;
                };
                let last = last.to_owned();
                records.retain(|record| self.wants(record));
                self.process(records).await;
                self.stream.save_position(last).await?;
            }
            self.fulfilled.send_replace(request);
            // `changed` fails only if the sender is dropped, which cannot happen here because `self` holds the sender.
            let _ = tokio::time::timeout(POLL_INTERVAL, requested.changed()).await;
        }
    }

    fn wants(&self, record: &Value) -> bool {
        let mut filters = self.filters.iter();
        self.filters.is_empty() || filters.any(|filter| filter.matches(Some(record)))
    }

    /// Delivers a batch in order. If a part of the batch fails on every attempt, that part becomes a dead letter.
    async fn process(&self, batch: Vec<Value>) {
        let mut work = VecDeque::from([(batch, 0)]);
        while let Some((mut batch, retried)) = work.pop_front() {
            if batch.is_empty() {
                continue;
            }
            let outcome = self.function.invoke(json!({ "Records": batch })).await;
            let failed = match &outcome {
                Ok(answer) if self.partial => first_failure(answer, &batch),
                Ok(_) => None,
                Err(_) => Some(0),
            };
            match failed {
                None => {}
                Some(done @ 1..) => work.push_front((batch.split_off(done), retried)),
                // As in Lambda, splitting a batch does not count as a retry.
                Some(0) if self.bisect && batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    work.push_front((second, retried));
                    work.push_front((batch, retried));
                }
                Some(0) if retried < self.retries => {
                    work.push_front((batch, retried + 1));
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Some(0) => self.give_up(&batch, retried + 1, outcome.err()),
            }
        }
    }

    fn give_up(&self, batch: &[Value], invocations: u64, error: Option<InvokeError>) {
        let (Some(queue), Some(first), Some(last)) =
            (&self.dead_letters, batch.first(), batch.last())
        else {
            return;
        };
        let letter = json!({
            "requestContext": {
                "requestId": Uuid::new_v4(),
                "functionArn": self.function.arn(),
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": invocations,
            },
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": error.map(|_| "Unhandled"),
            },
            "version": "1.0",
            "timestamp": timestamp(clock::now().as_secs_f64()),
            "DDBStreamBatchInfo": {
                "shardId": self.stream.shard,
                "startSequenceNumber": sequence_number(first),
                "endSequenceNumber": sequence_number(last),
                "approximateArrivalOfFirstRecord": arrival(first),
                "approximateArrivalOfLastRecord": arrival(last),
                "batchSize": batch.len(),
                "streamArn": public_arn(&self.stream.arn),
            },
        });
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(letter);
    }
}

impl Stream {
    fn open(
        mapping: &EventSourceMapping,
        dynamo: &Dynamo,
        position: Option<PathBuf>,
    ) -> Result<Self> {
        let source = &mapping.event_source_arn;
        let arn = dynamo
            .stream
            .clone()
            .filter(|stream| public_arn(stream) == *source)
            .with_context(|| format!("{source} is not the table's stream"))?;
        Ok(Self {
            shard: first_shard(&dynamo.database, &arn)?,
            database: dynamo.database.clone(),
            arn,
            batch_size: mapping.batch_size.map_or(100, |size| size.0),
            from_start: mapping.starting_position != "LATEST",
            position,
        })
    }

    /// Returns an iterator that starts after the saved position or, if none is saved, at the mapping's starting
    /// position.
    fn iterator(&self) -> Result<String> {
        let saved = match &self.position {
            Some(path) => {
                files::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            None => None,
        };
        let saved = saved.map(|saved| String::from_utf8_lossy(&saved).into_owned());
        let kind = match (&saved, self.from_start) {
            (Some(_), _) => "AFTER_SEQUENCE_NUMBER",
            (None, true) => "TRIM_HORIZON",
            (None, false) => "LATEST",
        };
        let request = GetShardIteratorRequest {
            stream_arn: self.arn.clone(),
            shard_id: self.shard.clone(),
            shard_iterator_type: kind.to_owned(),
            sequence_number: saved,
        };
        let response = self.database.get_shard_iterator(request);
        let response = response.context("cannot read the stream")?;
        response.shard_iterator.context("the stream has ended")
    }

    /// Reads the next records. Returns them in the form in which Lambda delivers them, together with the next iterator.
    async fn read(&self, iterator: String) -> Result<(Vec<Value>, String)> {
        let database = self.database.clone();
        let request = GetRecordsRequest {
            shard_iterator: iterator,
            limit: Some(self.batch_size),
        };
        let response = tokio::task::spawn_blocking(move || database.get_records(request)).await;
        let response = response.context("the task that reads the stream failed")?;
        let response = response.context("cannot read the stream")?;
        let source = public_arn(&self.arn);
        let records = response.records.iter().map(|record| {
            let mut record = serde_json::to_value(record).context("a stream record is not JSON")?;
            record["awsRegion"] = REGION.into();
            record["eventSource"] = "aws:dynamodb".into();
            record["eventSourceARN"] = source.as_str().into();
            Ok(record)
        });
        let next = response.next_shard_iterator;
        let next = next.context("the stream has ended")?;
        Ok((records.collect::<Result<_>>()?, next))
    }

    async fn save_position(&self, position: String) -> Result<()> {
        let Some(path) = self.position.clone() else {
            return Ok(());
        };
        tokio::task::spawn_blocking(move || files::replace(&path, position.as_bytes()))
            .await
            .context("the task that saves the position failed")?
            .context("cannot save the position in the stream")
    }
}

/// Returns the id of the stream's shard. In dynoxide, every stream has exactly one shard.
fn first_shard(database: &Database, stream: &str) -> Result<String> {
    let request = DescribeStreamRequest {
        stream_arn: stream.to_owned(),
        ..Default::default()
    };
    let description = database.describe_stream(request);
    let description = description.context("cannot read the stream")?;
    let mut shards = description.stream_description.shards.into_iter();
    let shard = shards.next().context("the stream has no shard")?;
    Ok(shard.shard_id)
}

/// Refuses a mapping whose function lacks a permission that the mapping needs. Lambda does the same, because it uses
/// the function's role to read the stream and to send dead letters.
pub(crate) fn require_permissions(
    function: &str,
    mapping: &EventSourceMapping,
    permissions: &Permissions,
) -> Result<()> {
    let reads = [
        "DescribeStream",
        "GetRecords",
        "GetShardIterator",
        "ListStreams",
    ];
    let reads =
        reads.map(|action| Access::plain(format!("dynamodb:{action}"), &mapping.event_source_arn));
    let sends = mapping
        .on_failure()
        .map(|queue| Access::plain("sqs:SendMessage", queue));
    for access in reads.iter().chain(&sends) {
        if !permissions.is_allowed(function, access) {
            let Access {
                action, resource, ..
            } = access;
            bail!("the function {function} lacks {action} on {resource}");
        }
    }
    Ok(())
}

fn sequence_number(record: &Value) -> &str {
    record["dynamodb"]["SequenceNumber"]
        .as_str()
        .unwrap_or_default()
}

fn arrival(record: &Value) -> String {
    let seconds = record["dynamodb"]["ApproximateCreationDateTime"].as_f64();
    timestamp(seconds.unwrap_or_default())
}

fn timestamp(seconds: f64) -> String {
    let time = jiff::SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
    let time = jiff::Timestamp::from_duration(time).unwrap_or_default();
    time.to_string()
}

/// Returns the index of the first record that must be processed again, or 0 if the response names an unknown record.
fn first_failure(answer: &Value, batch: &[Value]) -> Option<usize> {
    let failures = answer["batchItemFailures"].as_array()?;
    let place = |failure: &Value| {
        let id = failure["itemIdentifier"].as_str()?;
        batch
            .iter()
            .position(|record| sequence_number(record) == id)
    };
    failures
        .iter()
        .map(|failure| place(failure).unwrap_or(0))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_retried_from_its_first_failure() {
        let record = |n: u8| json!({ "dynamodb": { "SequenceNumber": n.to_string() } });
        let batch = [record(1), record(2), record(3)];
        let failures = |ids: &[&str]| {
            let items: Vec<_> = ids
                .iter()
                .map(|id| json!({ "itemIdentifier": id }))
                .collect();
            first_failure(&json!({ "batchItemFailures": items }), &batch)
        };
        assert_eq!(failures(&[]), None);
        assert_eq!(failures(&["3", "2"]), Some(1));
        assert_eq!(failures(&["9"]), Some(0));
    }
}
