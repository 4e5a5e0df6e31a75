//! Publishes the audit trail on EventBridge. Lambda invokes this function with records of the table's stream: of new
//! entries, and of items that contain an entry that could not be written with its change.

use access_keys::{
    http::{
        batch::{BatchResponse, stream_records},
        views::AuditEntryView,
    },
    model::AuditEntry,
    process::{
        clock,
        config::Environment,
        metrics::{self, Metric},
        telemetry,
    },
    service::{self, Bus, Store, publish_entries},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;

pub struct App {
    store: Store,
    bus: Bus,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            store: service::table(environment),
            bus: Bus::read(environment),
        }
    }
}

/// Handles the stream records of a batch. A record that fails does not stop the others.
///
/// # Errors
/// When the event is not a batch of stream records.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<BatchResponse, Diagnostic> {
    let mut response = BatchResponse::default();
    let mut records = Vec::new();
    for (sequence, record) in stream_records(&event.payload)? {
        match record {
            Some(record) => records.push((sequence, record)),
            None => {
                metrics::count(Metric::EventFailed);
                response.fail(sequence, None);
            }
        }
    }
    let to = (&app.store, &app.bus);
    for (sequence, error) in publish_entries(to, records, rendered, clock::now()).await {
        response.fail(sequence, Some(telemetry::chain(&error)));
    }
    Ok(response)
}

/// The entry as `GET /v1/audit` returns it.
fn rendered(entry: AuditEntry) -> String {
    // Cannot fail: a view consists of strings and numbers. EventBridge would refuse an empty detail.
    serde_json::to_string(&AuditEntryView::from(entry)).unwrap_or_default()
}
