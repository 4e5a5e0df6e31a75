//! Checks the items of a tenant against each other, and mends them. No route leads here: an operator invokes the
//! function, for example after a restore of the table. See "Repair a tenant" in infra/README.md.

use access_keys::{
    model::TenantId,
    process::{clock, config::Environment},
    service::{self, RepairReport, RepairRequest, Store, repair_tenant},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Deserialize;
use serde_json::Value;

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
    /// Whether to mend what is found. By default, the function only reports.
    #[serde(default)]
    apply: bool,
    next: Option<String>,
}

/// Returns what was found and, with `apply`, mended.
///
/// # Errors
/// When the event is not a request for a repair, or a request to the table fails.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<RepairReport, Diagnostic> {
    // An error message from serde would quote the event.
    let event = Event::deserialize(&event.payload).map_err(|_| {
        let rule = "send {\"tenant_id\": …, \"apply\": false or true, \"next\": absent or from the previous report}";
        diagnostic("InvalidEvent", rule.into())
    })?;
    let request = RepairRequest {
        tenant: event.tenant_id,
        apply: event.apply,
        after: event.next,
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
