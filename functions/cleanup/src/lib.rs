//! Archives expired keys. Lambda invokes this function with records from the table's stream after TTL has removed
//! items.

use std::time::Duration;

use access_keys::{
    http::batch::{BatchResponse, stream_records},
    process::{
        clock,
        config::{self, Environment},
    },
    service::{self, Store, archive_expired_key},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
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

/// Handles each stream record of a batch independently of the others.
///
/// # Errors
/// Fails if the event is not a batch of stream records.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<BatchResponse, Diagnostic> {
    let mut response = BatchResponse::default();
    let now = clock::now();
    for (sequence, record) in stream_records(&event.payload)? {
        let Some(record) = record else {
            response.fail(sequence, None);
            continue;
        };
        if let Err(error) = archive_expired_key(&app.store, record, app.history, now).await {
            response.fail(sequence, Some(error.causes()));
        }
    }
    Ok(response)
}
