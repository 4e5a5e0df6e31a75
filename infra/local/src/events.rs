//! Event source mappings: filter and batch the table's stream records, and invoke a function with Lambda's retries.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
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

use crate::{
    clock,
    dynamo::{Dynamo, public_arn},
    files,
    function::Function,
    iam::{Permission, Permissions},
    runtime_api::InvokeError,
    template::{REGION, Resource, number, text},
};

/// dynoxide does not say when there is something new.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Batches that were given up, in the shape in which Lambda sends them to a queue.
pub(crate) type DeadLetters = Arc<Mutex<Vec<Value>>>;

/// One mapping. Its poller runs until its task is aborted.
pub(crate) struct Mapping {
    database: Database,
    function: Arc<Function>,
    /// The stream as dynoxide names it.
    stream: String,
    shard: String,
    from_start: bool,
    filters: Vec<Value>,
    batch_size: usize,
    bisect: bool,
    partial: bool,
    retries: u64,
    dead_letters: Option<DeadLetters>,
    /// Where the sequence number of the last record that is done with is kept.
    position: Option<PathBuf>,
    /// How often someone has asked for everything to be processed, and which of these asks has been met.
    asked: watch::Sender<u64>,
    met: watch::Sender<u64>,
}

impl Mapping {
    pub(crate) fn new(
        resource: &Resource,
        dynamo: &Dynamo,
        function: Arc<Function>,
        data: Option<&Path>,
        dead_letters: &DeadLetters,
        permissions: &Permissions,
    ) -> Result<Arc<Self>> {
        let (id, properties) = (&resource.id, &resource.properties);
        let source = properties["EventSourceArn"].as_str().unwrap_or_default();
        let stream = dynamo
            .stream
            .clone()
            .filter(|stream| public_arn(stream) == source)
            .ok_or_else(|| anyhow!("{id}: {source} is not the table's stream"))?;
        let filters = filters(id, &properties["FilterCriteria"])?;
        let shard = first_shard(id, &dynamo.database, &stream)?;
        let destination = &properties["DestinationConfig"]["OnFailure"]["Destination"];
        require_permissions(id, function.name(), source, destination, permissions)?;
        let kinds = properties["FunctionResponseTypes"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(Arc::new(Self {
            database: dynamo.database.clone(),
            function,
            stream,
            shard,
            from_start: properties["StartingPosition"] != "LATEST",
            filters,
            batch_size: number(&properties["BatchSize"])
                .and_then(|size| size.try_into().ok())
                .unwrap_or(100),
            bisect: properties["BisectBatchOnFunctionError"] == true,
            partial: kinds.iter().any(|kind| kind == "ReportBatchItemFailures"),
            retries: number(&properties["MaximumRetryAttempts"]).unwrap_or(u64::MAX),
            dead_letters: destination.is_string().then(|| dead_letters.clone()),
            position: data.map(|data| data.join(format!("{id}.position"))),
            asked: watch::Sender::new(0),
            met: watch::Sender::new(0),
        }))
    }

    /// Resolves when everything that is in the stream now has been processed.
    pub(crate) async fn drain(&self) {
        let mut ask = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            ask = *asked;
        });
        let _ = self.met.subscribe().wait_for(|met| *met >= ask).await;
    }

    /// Looks now instead of at the next interval.
    pub(crate) fn wake(&self) {
        self.asked.send_modify(|asked| *asked += 1);
    }

    /// Polls for ever; ends only with an error.
    pub(crate) async fn poll(&self) -> Result<()> {
        let mut iterator = self.iterator().await?;
        let mut asked = self.asked.subscribe();
        loop {
            let ask = *asked.borrow_and_update();
            loop {
                let (records, next) = self.read(iterator).await?;
                iterator = next;
                let Some(last) = records.last().map(sequence_number) else {
                    break;
                };
                let last = last.to_owned();
                self.process(
                    records
                        .into_iter()
                        .filter(|record| self.wants(record))
                        .collect(),
                )
                .await;
                self.keep(last).await?;
            }
            self.met.send_replace(ask);
            // An error would mean that the sender is gone, and it is ours.
            let _ = tokio::time::timeout(POLL_INTERVAL, asked.changed()).await;
        }
    }

    fn wants(&self, record: &Value) -> bool {
        self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| matches(filter, Some(record)))
    }

    /// Delivers a batch, in order; what fails too often becomes a dead letter.
    async fn process(&self, batch: Vec<Value>) {
        let mut work = VecDeque::from([(batch, 0)]);
        while let Some((mut batch, retried)) =
            work.pop_front().filter(|(batch, _)| !batch.is_empty())
        {
            let outcome = self.function.invoke(json!({ "Records": batch })).await;
            let failed = match &outcome {
                Ok(answer) if self.partial => first_failure(answer, &batch),
                Ok(_) => None,
                Err(_) => Some(0),
            };
            match failed {
                None => {}
                Some(done @ 1..) => work.push_front((batch.split_off(done), retried)),
                // As in Lambda, splitting a batch is no retry.
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
        let arrival =
            |record: &Value| timestamp(record["dynamodb"]["ApproximateCreationDateTime"].as_f64());
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
            "timestamp": timestamp(Some(clock::now().as_secs_f64())),
            "DDBStreamBatchInfo": {
                "shardId": self.shard,
                "startSequenceNumber": sequence_number(first),
                "endSequenceNumber": sequence_number(last),
                "approximateArrivalOfFirstRecord": arrival(first),
                "approximateArrivalOfLastRecord": arrival(last),
                "batchSize": batch.len(),
                "streamArn": public_arn(&self.stream),
            },
        });
        queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(letter);
    }

    async fn iterator(&self) -> Result<String> {
        let kept = match &self.position {
            Some(path) => {
                files::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            None => None,
        };
        let kept = kept.map(|kept| String::from_utf8_lossy(&kept).into_owned());
        let kind = match (&kept, self.from_start) {
            (Some(_), _) => "AFTER_SEQUENCE_NUMBER",
            (None, true) => "TRIM_HORIZON",
            (None, false) => "LATEST",
        };
        let request = GetShardIteratorRequest {
            stream_arn: self.stream.clone(),
            shard_id: self.shard.clone(),
            shard_iterator_type: kind.to_owned(),
            sequence_number: kept,
        };
        let answer = self.database.get_shard_iterator(request);
        let answer = answer.context("cannot read the stream")?;
        answer
            .shard_iterator
            .ok_or_else(|| anyhow!("the stream has ended"))
    }

    /// The next records, as Lambda would deliver them, and where to go on.
    async fn read(&self, iterator: String) -> Result<(Vec<Value>, String)> {
        let database = self.database.clone();
        let request = GetRecordsRequest {
            shard_iterator: iterator,
            limit: Some(self.batch_size),
        };
        let answer = tokio::task::spawn_blocking(move || database.get_records(request)).await;
        let answer = answer.context("the stream's reader ended")?;
        let answer = answer.context("cannot read the stream")?;
        let source = public_arn(&self.stream);
        let records = answer.records.iter().map(|record| {
            let mut record = serde_json::to_value(record).context("a stream record is no JSON")?;
            record["awsRegion"] = REGION.into();
            record["eventSource"] = "aws:dynamodb".into();
            record["eventSourceARN"] = source.as_str().into();
            Ok(record)
        });
        let next = answer
            .next_shard_iterator
            .ok_or_else(|| anyhow!("the stream has ended"))?;
        Ok((records.collect::<Result<_>>()?, next))
    }

    async fn keep(&self, position: String) -> Result<()> {
        let Some(path) = self.position.clone() else {
            return Ok(());
        };
        let kept =
            tokio::task::spawn_blocking(move || files::replace(&path, position.as_bytes())).await;
        let kept = kept.context("the stream's reader ended")?;
        kept.context("cannot keep the position in the stream")
    }
}

/// The id of the stream's shard. dynoxide gives every stream one shard.
fn first_shard(id: &str, database: &Database, stream: &str) -> Result<String> {
    let request = DescribeStreamRequest {
        stream_arn: stream.to_owned(),
        ..Default::default()
    };
    let description = database
        .describe_stream(request)
        .with_context(|| format!("{id}: cannot read the stream"))?
        .stream_description;
    let shard = description.shards.into_iter().next();
    shard
        .map(|shard| shard.shard_id)
        .ok_or_else(|| anyhow!("{id}: the stream has no shard"))
}

/// Refuses a mapping whose function lacks a permission that the mapping needs. Lambda does the same, because it uses
/// the function's role to read the stream and to send dead letters.
fn require_permissions(
    id: &str,
    function: &str,
    source: &str,
    destination: &Value,
    permissions: &Permissions,
) -> Result<()> {
    let mut needed: Vec<_> = ["DescribeStream", "GetRecords", "GetShardIterator"]
        .map(|action| Permission {
            action: format!("dynamodb:{action}"),
            resource: source.to_owned(),
        })
        .into();
    needed.extend(text(destination).map(|queue| Permission {
        action: "sqs:SendMessage".to_owned(),
        resource: queue,
    }));
    for permission in &needed {
        if !permissions.is_allowed(function, permission) {
            let Permission { action, resource } = permission;
            bail!("{id}: the function lacks {action} on {resource}");
        }
    }
    Ok(())
}

fn sequence_number(record: &Value) -> &str {
    record["dynamodb"]["SequenceNumber"]
        .as_str()
        .unwrap_or_default()
}

fn timestamp(seconds: Option<f64>) -> String {
    let time =
        jiff::SignedDuration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default();
    jiff::Timestamp::from_duration(time)
        .unwrap_or_default()
        .to_string()
}

/// Where the batch must be taken up again: at its first failed record, or at its start if the answer makes no sense.
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

/// The patterns of a mapping's `FilterCriteria`.
fn filters(id: &str, criteria: &Value) -> Result<Vec<Value>> {
    criteria["Filters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|filter| pattern(id, &filter["Pattern"]))
        .collect()
}

/// Reads a filter's pattern and refuses what `matches` does not know.
fn pattern(id: &str, text: &Value) -> Result<Value> {
    fn known(pattern: &Value) -> bool {
        match pattern {
            Value::Object(fields) => fields.values().all(known),
            Value::Array(choices) => choices.iter().all(|choice| match choice {
                Value::Object(rule) => {
                    rule.len() == 1
                        && (rule.get("exists").is_some_and(Value::is_boolean)
                            || rule.get("prefix").is_some_and(Value::is_string))
                }
                Value::Array(_) => false,
                _ => true,
            }),
            _ => false,
        }
    }
    let pattern = serde_json::from_str(text.as_str().unwrap_or_default());
    let pattern: Value = pattern.with_context(|| format!("{id}: a filter pattern is not JSON"))?;
    if pattern.is_object() && known(&pattern) {
        Ok(pattern)
    } else {
        Err(anyhow!(
            "{id}: the local stack does not know all of the filter pattern {pattern}"
        ))
    }
}

/// EventBridge's rule: every field must match one of its choices.
fn matches(pattern: &Value, value: Option<&Value>) -> bool {
    match pattern {
        Value::Object(fields) => fields
            .iter()
            .all(|(name, pattern)| matches(pattern, value.and_then(|value| value.get(name)))),
        Value::Array(choices) => choices.iter().any(|choice| {
            if let Some(exists) = choice.get("exists") {
                return *exists == value.is_some();
            }
            let accepts = |value: &Value| match choice.get("prefix").and_then(Value::as_str) {
                Some(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
                None => value == choice,
            };
            match value {
                Some(Value::Array(values)) => values.iter().any(accepts),
                Some(value) => accepts(value),
                None => false,
            }
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Result<Value> {
        pattern("Mapping", &text.into())
    }

    #[test]
    fn a_filter_wants_every_field_and_one_of_its_choices() {
        let removal =
            filter(r#"{"eventName":["REMOVE"],"userIdentity":{"type":["Service"]},"x":[{"exists":false}]}"#)
                .unwrap();
        let record = json!({ "eventName": "REMOVE", "userIdentity": { "type": "Service" } });
        assert!(matches(&removal, Some(&record)));
        for other in [
            json!({ "eventName": "INSERT", "userIdentity": { "type": "Service" } }),
            json!({ "eventName": "REMOVE" }),
            json!({ "eventName": "REMOVE", "userIdentity": { "type": "Service" }, "x": 1 }),
        ] {
            assert!(!matches(&removal, Some(&other)), "{other}");
        }
        let prefix = filter(r#"{"sk":[{"prefix":"KEY#"}]}"#).unwrap();
        assert!(matches(&prefix, Some(&json!({ "sk": "KEY#1" }))));
        assert!(!matches(&prefix, Some(&json!({ "sk": "USER" }))));
    }

    #[test]
    fn a_pattern_that_is_not_understood_is_refused_at_the_start() {
        for bad in ["", "[]", r#"{"a":"b"}"#, r#"{"a":[{"numeric":[">",1]}]}"#] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_batch_is_taken_up_again_at_its_first_failure() {
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
