//! Batches of DynamoDB stream records, and the responses to them.

use lambda_http::lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::service::StreamRecord;

/// Returns the DynamoDB stream records in an event, each with its sequence number. `None` stands for an unreadable
/// record.
///
/// # Errors
/// Fails if the event is not a batch of stream records.
pub fn stream_records(event: &Value) -> Result<Vec<(Value, Option<StreamRecord>)>, Diagnostic> {
    let records = event["Records"].as_array().ok_or_else(not_a_batch)?;
    let read = |record: &Value| {
        let sequence = record["dynamodb"]["SequenceNumber"].clone();
        // The error is dropped, because serde's message would quote the event.
        (sequence, StreamRecord::deserialize(record).ok())
    };
    Ok(records.iter().map(read).collect())
}

/// A partial batch response, which lists the failed records. Lambda retries the batch from the first failed record.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: Value,
}

impl BatchResponse {
    /// Logs why a record failed and adds the record to the response. `causes` is `None` if the record could not be
    /// read.
    pub fn fail(&mut self, sequence: Value, causes: Option<String>) {
        tracing::error!(
            stream.sequence = %sequence,
            error.cause = causes.as_deref().unwrap_or("not a record of a DynamoDB stream"),
            "could not process the stream record"
        );
        self.batch_item_failures.push(BatchItemFailure {
            item_identifier: sequence,
        });
    }
}

fn not_a_batch() -> Diagnostic {
    let cause = "the event has no Records: map this function to a DynamoDB stream";
    tracing::error!(error.cause = cause, "could not read the event");
    Diagnostic {
        error_type: "NotAStreamEvent".into(),
        error_message: cause.into(),
    }
}
