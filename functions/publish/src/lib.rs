//! Publishes the audit trail, and the first use of each replaced secret, on EventBridge. Lambda invokes this function
//! with the stream records of three kinds of items: new audit entries, keys whose replaced secret was used, and items
//! that contain a waiting entry (an audit entry that could not be written together with the change that it describes).
//! If stream records were lost, an operator can invoke the function to send the events of a given period again: see
//! "Send events again" in infra/README.md.

use std::time::{Duration, Instant};

use access_keys::{
    http::{
        batch::{BatchResponse, stream_records},
        views::{AuditEntryView, SupersededUseView},
    },
    model::{Happening, TenantId},
    process::{
        clock,
        config::Environment,
        metrics::{self, Metric},
        telemetry,
    },
    service::{self, Bus, Republication, RepublishReport, Store, publish_entries, republish},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The maximum value of `seconds`, which leaves half of the function's timeout for the last page.
const MOST_SECONDS: u64 = 30;

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

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Batch(BatchResponse),
    Report(RepublishReport),
}

/// Handles the stream records of a batch, or sends the events of a given period again.
///
/// # Errors
/// Fails if the event is neither a batch of stream records nor a request with a valid period.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<Answer, Diagnostic> {
    match event.payload.get("republish") {
        Some(request) => send_again(app, request).await.map(Answer::Report),
        None => publish(app, &event.payload).await.map(Answer::Batch),
    }
}

/// Handles each stream record, even if others fail.
async fn publish(app: &App, event: &Value) -> Result<BatchResponse, Diagnostic> {
    let mut response = BatchResponse::default();
    let mut records = Vec::new();
    for (sequence, record) in stream_records(event)? {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Period {
    tenant_id: TenantId,
    from: String,
    to: String,
    /// The value of `next` in the previous report.
    next: Option<String>,
    /// The number of seconds after which the call stops and returns a report. `next` in that report shows where to
    /// continue.
    #[serde(default = "most_seconds")]
    seconds: u64,
}

const fn most_seconds() -> u64 {
    MOST_SECONDS
}

impl Period {
    fn read(request: &Value) -> Option<Republication> {
        let started = Instant::now();
        // The error from serde is dropped, because its message would quote the event.
        let period = Self::deserialize(request).ok()?;
        let is_short = period.seconds <= MOST_SECONDS;
        is_short.then_some(Republication {
            from: period.from.parse().ok()?,
            to: period.to.parse().ok()?,
            tenant: period.tenant_id,
            after: period.next,
            deadline: started + Duration::from_secs(period.seconds),
        })
    }
}

async fn send_again(app: &App, request: &Value) -> Result<RepublishReport, Diagnostic> {
    let request = Period::read(request).ok_or_else(invalid)?;
    let with = (&app.store, &app.bus);
    let report = republish(with, &request, rendered, clock::now()).await;
    report.ok_or_else(invalid)
}

fn invalid() -> Diagnostic {
    let rule = "send {\"republish\": {\"tenant_id\": …, \"from\": …, \"to\": …, \"next\": absent or from the previous \
                report, \"seconds\": absent or at most 30}}";
    tracing::error!(error.cause = rule, "could not send events again");
    Diagnostic {
        error_type: "InvalidEvent".into(),
        error_message: rule.into(),
    }
}

/// Returns the JSON that describes an entry (in the format of `GET /v1/audit`) or the use of a replaced secret.
fn rendered(happening: Happening) -> String {
    // Serializing cannot fail, because a view consists of strings and numbers. If it did fail, the result would be an
    // empty text, which EventBridge would refuse as the detail of an event.
    match happening {
        Happening::Entry(entry) => serde_json::to_string(&AuditEntryView::from(entry)),
        Happening::SupersededUse(used) => serde_json::to_string(&SupersededUseView::from(used)),
    }
    .unwrap_or_default()
}
