//! The table's stream after TTL: moves expired keys to the history.

use access_keys::{
    aws::AwsSettings,
    clock::{self, Seconds},
    config::{self, Environment},
    edge,
    operations::cleanup,
    store::Store,
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};

/// What the function works with.
pub struct App {
    store: Store,
    history: Seconds,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        Self {
            store: Store::read(environment, &aws),
            history: config::history(environment),
        }
    }
}

/// Handles a batch of stream records, and names those that failed: the others are not delivered again for them.
///
/// # Errors
/// When the event is no batch of stream records.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    let records = event.payload["Records"]
        .as_array()
        .ok_or_else(|| Diagnostic {
            error_type: "NotAStreamEvent".into(),
            error_message: "the event has no Records: map this function to a DynamoDB stream"
                .into(),
        })?;
    let now = clock::now();
    let mut failures = Vec::new();
    for record in records {
        if let Err(error) = cleanup::removed(&app.store, record, app.history, now).await {
            let sequence_number = &record["dynamodb"]["SequenceNumber"];
            tracing::error!(stream.sequence = %sequence_number, error.cause = edge::cause(&error), "record failed");
            failures.push(json!({ "itemIdentifier": sequence_number }));
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}
