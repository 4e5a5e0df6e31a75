//! Lists the audit trail, newest first.

use std::time::Duration;

use super::{
    error::Error,
    page::{Gather, Listing, PageRequest},
    users,
};
use crate::{
    model::{Action, Actor, AuditEntry, Principal, Target, Timestamp},
    policy,
    store::{Position, Store},
};

/// The maximum difference between the clocks of two processes.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Selects entries. An entry must match all fields that are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFilter {
    pub actor: Option<Principal>,
    pub target: Option<Target>,
    pub action: Option<Action>,
    /// Only entries at or after this time.
    pub from: Option<Timestamp>,
    /// Only entries before this time.
    pub to: Option<Timestamp>,
}

impl AuditFilter {
    fn matches(&self, entry: &AuditEntry) -> bool {
        self.actor
            .as_ref()
            .is_none_or(|actor| *actor == entry.actor)
            && self.action.is_none_or(|action| action == entry.action)
            && self.from.is_none_or(|from| from <= entry.at)
            && self.to.is_none_or(|to| entry.at < to)
    }
}

/// Returns a page of the tenant's audit trail. Entries from the last minute may still be missing. Older entries may
/// also be missing if they could not be written together with the change that they record, because such entries are
/// added later. If the filter selects a target, the entries come from an index, which may lag slightly behind the
/// table.
pub async fn list_audit_trail(
    actor: &Actor,
    store: &Store,
    filter: &AuditFilter,
    page: &PageRequest,
    now: Timestamp,
) -> Result<Listing<AuditEntry>, Error> {
    let me = users::resolve(actor, store, now).await?;
    policy::may_read_audit_trail(&me)?;
    let tenant = me.tenant_id();
    // Leaves out entries whose retention has ended but that TTL has not removed yet.
    let kept = store.oldest_entry(now);
    let from = filter.from.map_or(kept, |from| from.max(kept));
    // Without this limit, a `to` or a forged cursor in the far future would make the call query every month up to that
    // time.
    let latest = now + CLOCK_SKEW;
    let newest = Position::before(filter.to.map_or(latest, |to| to.min(latest)));
    let mut gather = Gather::new(page);
    let is_filtered = filter.actor.is_some() || filter.action.is_some();
    let size = gather.page_size(is_filtered).min(100);
    loop {
        let entries = match &filter.target {
            Some(target) => {
                let after = gather.position();
                store.audit_trail_of(tenant, target, after, size).await?
            }
            None => {
                let after = gather.position();
                let after = after.filter(|after| after.is_before(&newest));
                let after = after.unwrap_or(&newest);
                store.audit_trail(tenant, after, from, size).await?
            }
        };
        let show = |entry: AuditEntry| {
            let is_wanted = entry.at >= from && filter.matches(&entry);
            is_wanted.then_some(entry)
        };
        if gather.take(entries, Position::after_entry, show) {
            return Ok(gather.finish());
        }
    }
}
