//! Sends a tenant's events of a given period again, based on the audit trail. An operator does this when records of the
//! table's stream have been lost.

use std::time::Instant;

use serde::Serialize;

use super::publish_entries::{PublishError, event};
use crate::{
    bus::Bus,
    model::{Happening, TenantId, Timestamp},
    process::{
        events,
        metrics::{self, Metric},
        telemetry,
    },
    store::{List, Position, Store},
};

/// The number of entries to read from each partition between two reads of the clock.
const PAGE: i32 = 10;

/// Which events to send again.
#[derive(Debug)]
pub struct Republication {
    pub tenant: TenantId,
    /// Only entries at or after this time.
    pub from: Timestamp,
    /// Only entries before this time.
    pub to: Timestamp,
    /// The `next` of the previous report.
    pub after: Option<String>,
    /// The time at which the call stops. It then reports where the next call continues.
    pub deadline: Instant,
}

/// The result of a call. Events are sent newest first.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepublishReport {
    pub sent: usize,
    /// Damaged entries. The log names them.
    pub unreadable: usize,
    /// Where the next call continues: with the entries that are older than this position. Absent once everything is
    /// sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Why the call ended early. Some or all of the events that are older than `next` were not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Sends the events of a period again, with the same ids. Each call completes at least one page, unless a request
/// fails. Returns `None` if `request.after` is a position that no report can have contained.
pub async fn republish(
    (store, bus): (&Store, &Bus),
    request: &Republication,
    render: impl Fn(Happening) -> String,
    now: Timestamp,
) -> Option<RepublishReport> {
    let Republication { tenant, .. } = request;
    let from = request.from.max(store.oldest_entry(now));
    let end = Position::before(request.to.min(now));
    let mut after = match &request.after {
        None => end,
        Some(next) => {
            Position::parse(next, List::AuditTrail).filter(|after| !end.is_before(after))?
        }
    };
    let mut report = RepublishReport::default();
    loop {
        let page = match store.audit_trail(tenant, &after, from, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                report.stopped(&after, &error.into());
                break;
            }
        };
        let events: Vec<_> = page
            .items
            .into_iter()
            .map(|entry| event(Happening::Entry(entry), &render))
            .collect();
        let results = bus.send(&events).await;
        report.sent += results.iter().filter(|result| result.is_ok()).count();
        if let Some(error) = results.into_iter().find_map(Result::err) {
            metrics::count(Metric::EventFailed);
            report.stopped(&after, &error.into());
            break;
        }
        report.unreadable += page.skipped;
        let Some(next) = page.next else { break };
        after = next;
        if Instant::now() >= request.deadline {
            report.next = Some(after.0);
            break;
        }
    }
    tracing::info!(
        event.name = events::EVENTS_REPUBLISHED,
        tenant.id = %tenant,
        republish.report = ?report,
        "sent events again"
    );
    Some(report)
}

impl RepublishReport {
    fn stopped(&mut self, Position(after): &Position, error: &PublishError) {
        self.next = Some(after.clone());
        self.error = Some(telemetry::chain(error));
    }
}
