//! Archives expired keys. Lambda invokes this function with records of the table's stream, after TTL has removed items.

use std::time::Duration;

use access_keys::{
    process::{
        clock,
        config::{self, Environment},
    },
    service::{self, Store, StreamRecord, archive_expired_key},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub struct App {
    store: Store,
    history: Duration,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            store: service::table(environment),
            history: config::history(environment),
        }
    }
}

/// A partial batch response: the failed records. Lambda retries the batch from the first failed record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: Value,
}

/// Handles each stream record of a batch, independently of the others.
///
/// # Errors
/// When the event is not a batch of stream records.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<BatchResponse, Diagnostic> {
    let records = event.payload["Records"].as_array();
    let records = records.ok_or_else(not_a_stream_event)?;
    let now = clock::now();
    let mut batch_item_failures = Vec::new();
    for record in records {
        let item_identifier = &record["dynamodb"]["SequenceNumber"];
        let archived = match StreamRecord::deserialize(record) {
            Ok(record) => archive_expired_key(&app.store, record, app.history, now)
                .await
                .map_err(|error| error.causes()),
            // An error message from serde would quote the event.
            Err(_) => Err("not a record of a DynamoDB stream".to_owned()),
        };
        if let Err(causes) = archived {
            tracing::error!(
                stream.sequence = %item_identifier,
                error.cause = causes,
                "could not process the stream record"
            );
            batch_item_failures.push(BatchItemFailure {
                item_identifier: item_identifier.clone(),
            });
        }
    }
    Ok(BatchResponse {
        batch_item_failures,
    })
}

fn not_a_stream_event() -> Diagnostic {
    let cause = "the event has no Records: map this function to a DynamoDB stream";
    tracing::error!(error.cause = cause, "could not read the event");
    Diagnostic {
        error_type: "NotAStreamEvent".into(),
        error_message: cause.into(),
    }
}
