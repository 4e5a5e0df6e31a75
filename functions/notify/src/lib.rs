//! Writes notices about keys that expire soon, have expired or are unused, and revokes keys that stay unused. A
//! schedule invokes this function every hour.

use access_keys::{
    model::Timestamp,
    process::{
        clock,
        config::{Environment, NoticeSettings},
    },
    service::{self, NoticeReport, Store, write_notices},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Deserialize;
use serde_json::Value;

pub struct App {
    store: Store,
    settings: NoticeSettings,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            store: service::table(environment),
            settings: NoticeSettings::read(environment),
        }
    }
}

/// The event that the schedule sends.
#[derive(Deserialize)]
struct Event {
    /// The time for which the run was scheduled (RFC 3339). Lambda may deliver the event late, and more than once.
    time: String,
}

/// Returns a report of what the run did.
///
/// # Errors
/// Fails if the event has no time, or if a request to the table fails. Lambda then invokes the function again, and that
/// run does the remaining work.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<NoticeReport, Diagnostic> {
    // The error from serde is dropped, because its message would quote the event.
    let time = Event::deserialize(&event.payload).ok();
    let time: Option<Timestamp> = time.and_then(|event| event.time.parse().ok());
    let time = time.ok_or_else(|| Diagnostic {
        error_type: "InvalidEvent".into(),
        error_message:
            "send {\"time\": \"<RFC 3339>\"}, the time of the run, which must not be in the future"
                .into(),
    })?;
    let report = write_notices(&app.store, &app.settings, time.min(clock::now())).await;
    if report.failed == 0 {
        return Ok(report);
    }
    Err(Diagnostic {
        error_type: "NoticesFailed".into(),
        error_message: format!("{} of {} keys failed", report.failed, report.keys_checked),
    })
}
