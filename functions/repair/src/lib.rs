//! Checks the items of a tenant against each other, and repairs inconsistencies. The function has no route. An operator
//! invokes it, for example after the table was restored. See "Repair a tenant" in infra/README.md.

use std::time::{Duration, Instant};

use access_keys::{
    model::TenantId,
    process::{clock, config::Environment},
    service::{self, RepairReport, RepairRequest, RepairStep, Store, repair_tenant},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Deserialize;
use serde_json::Value;

/// The maximum value of `seconds`, which leaves a minute of the function's timeout for the last step.
const MOST_SECONDS: u64 = 840;

pub struct App {
    store: Store,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let store = service::table(environment);
        Self { store }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    tenant_id: TenantId,
    /// Whether to repair the inconsistencies found. By default, the function only reports them.
    #[serde(default)]
    apply: bool,
    /// The value of `next` in the previous report.
    next: Option<RepairStep>,
    /// The number of seconds after which the call stops and returns a report. `next` in that report shows where to
    /// continue.
    #[serde(default = "default_seconds")]
    seconds: u64,
}

/// The default value of `seconds`: half of the AWS CLI's default read timeout of 60 s.
const fn default_seconds() -> u64 {
    30
}

/// Returns the inconsistencies that were found and, with `apply`, repaired.
///
/// # Errors
/// Fails if the event is not a request for a repair, or if a request to the table fails.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<RepairReport, Diagnostic> {
    let started = Instant::now();
    // The error from serde is dropped, because its message would quote the event.
    let event = Event::deserialize(&event.payload).ok();
    let event = event.filter(|event| event.seconds <= MOST_SECONDS);
    let event = event.ok_or_else(|| {
        let rule = "send {\"tenant_id\": …, \"apply\": false or true, \"next\": absent or from the previous report, \
                    \"seconds\": absent or at most 840}";
        diagnostic("InvalidEvent", rule.into())
    })?;
    let request = RepairRequest {
        tenant: event.tenant_id,
        apply: event.apply,
        step: event.next.unwrap_or(RepairStep::Users),
        deadline: started + Duration::from_secs(event.seconds),
    };
    let report = repair_tenant(&app.store, &request, clock::now()).await;
    report.map_err(|error| diagnostic("RepairFailed", error.causes()))
}

fn diagnostic(error_type: &str, cause: String) -> Diagnostic {
    tracing::error!(error.cause = cause, "could not repair the tenant");
    Diagnostic {
        error_type: error_type.into(),
        error_message: cause,
    }
}
