//! Adds entries to the audit trail, and lists them by time or for a single key, user or cluster.

use std::{cmp::Reverse, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use tokio::task::JoinSet;

use super::{
    handle::Store,
    page::{Page, Position},
    schema::{
        AuditItem, AuditPk, AuditSk, BadItem, Batch, IndexedEntry, Item, PendingItem, PendingPk,
        PrimaryKey, TargetPk, audit_pk, logged, partition_key, read, readable, sort_key, to_item,
    },
    table::{Outcome, Query, StoreError, Write},
};
use crate::{
    model::{AuditEntry, KeyRecord, Target, TenantId, Timestamp},
    process::{events, telemetry},
};

/// The attribute for an entry that could not be written together with the change that it records.
pub(super) const PENDING: &str = "pending_audit";
/// The time limit for writing a change together with its entry, if the change grants nothing. The limit is short,
/// because the change itself must be made before the request's deadline, even if its entry has to wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// An entry that waits in an item, and the primary key of that item.
pub(crate) struct PendingEntry {
    item: PrimaryKey,
    /// Whether the item contains nothing but the entry.
    is_alone: bool,
    entry: AuditItem,
}

impl PendingEntry {
    /// # Errors
    /// Fails if the attribute does not contain a complete entry.
    pub(super) fn read(key: &Item, attribute: AttributeValue) -> Result<Self, BadItem> {
        let (pk, sk) = (partition_key(key), sort_key(key));
        let not_a_map = |_| BadItem::new(pk, sk, format_args!("{PENDING} is not a map"));
        let entry = match attribute {
            AttributeValue::M(entry) => Ok(entry),
            other => Err(other),
        };
        Ok(Self {
            item: PrimaryKey::new(&pk, &sk),
            is_alone: pk.parse::<PendingPk>().is_ok(),
            entry: read::<AuditItem, _>(entry.map_err(not_a_map)?)?,
        })
    }
}

impl Store {
    /// Adds a waiting entry to the audit trail, unless the entry is already there. Afterwards, deletes the item in
    /// which the entry waited. If that item is an access key, removes only the entry, provided that no other entry has
    /// taken its place.
    pub(crate) async fn enter_pending(
        &self,
        pending: PendingEntry,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let PendingEntry {
            item,
            is_alone,
            mut entry,
        } = pending;
        entry.recorded_at = Some(now);
        self.table.put(&Write::put(&entry).when_absent()).await?;
        if is_alone {
            return self.table.transact(&[Write::delete(item)]).await.map(drop);
        }
        let remove = Write::update(item, format!("REMOVE {PENDING}"));
        let remove = remove.when(format!("{PENDING}.sk = :sk"));
        self.table.update(&remove.value(":sk", &entry.sk)).await?;
        Ok(())
    }

    /// Returns the entries older than `before` that wait in items of their own, and the number of damaged items.
    pub(crate) async fn waiting(
        &self,
        tenant: &TenantId,
        before: Timestamp,
    ) -> Result<(Vec<PendingEntry>, usize), StoreError> {
        let mut found = Vec::new();
        for shard in 0..Target::SHARDS {
            let tenant = tenant.clone();
            let mut query = Query {
                partition: PendingPk { tenant, shard }.to_string(),
                ..Query::default()
            };
            loop {
                let (items, last) = self.table.query(query.clone()).await?;
                found.extend(items);
                query.after = last;
                if query.after.is_none() {
                    break;
                }
            }
        }
        Ok(older_than(before, found))
    }

    /// Returns the entries older than `before` that wait in the items of keys, and the number of damaged items.
    pub(crate) async fn waiting_in(
        &self,
        keys: &[KeyRecord],
        before: Timestamp,
    ) -> Result<(Vec<PendingEntry>, usize), StoreError> {
        let revoked = keys.iter().filter(|key| key.revocation.is_some());
        let keys = revoked.map(|key| PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id));
        let mut items = self.table.batch_get_all(keys.collect()).await?;
        items.retain(|item| item.contains_key(PENDING));
        Ok(older_than(before, items))
    }

    /// Returns the write that adds an entry to the audit trail. It belongs in the transaction that makes the change.
    pub(super) fn entered(&self, entry: &AuditEntry) -> Write {
        Write::put(&AuditItem::new(entry, self.audit_retention))
    }

    /// Revokes a key and adds the entry about the revocation. If the two cannot be written together, the entry waits in
    /// the key's item.
    pub(super) async fn revoke_and_enter(
        &self,
        revocation: Write,
        entry: &AuditEntry,
    ) -> Result<Outcome, StoreError> {
        let audited = [revocation.clone(), self.entered(entry)];
        match self.try_to_enter(&audited, entry).await {
            Some(outcome) => Ok(outcome),
            None => {
                let pending = to_item(&AuditItem::new(entry, self.audit_retention));
                let pending = revocation.and_set_raw(PENDING, AttributeValue::M(pending));
                self.table.update(&pending).await
            }
        }
    }

    /// Changes a user and adds the entry about the change. If the two cannot be written together, the entry waits in an
    /// item of its own rather than in the user's item, because the user can change several times before the first
    /// waiting entry is added to the audit trail.
    pub(super) async fn change_and_enter(
        &self,
        mut writes: Vec<Write>,
        entry: &AuditEntry,
    ) -> Result<Outcome, StoreError> {
        let last = writes.len();
        writes.push(self.entered(entry));
        if let Some(outcome) = self.try_to_enter(&writes, entry).await {
            return Ok(outcome);
        }
        writes.truncate(last);
        let entry = AuditItem::new(entry, self.audit_retention);
        writes.push(Write::put(&PendingItem::new(entry)));
        self.table.transact(&writes).await
    }

    /// Makes a change together with its entry. Returns `None` if the transaction takes longer than a second or fails
    /// for any reason other than a failed condition, because a problem that concerns only the audit trail must not
    /// delay a change that takes something away.
    async fn try_to_enter(&self, audited: &[Write], entry: &AuditEntry) -> Option<Outcome> {
        let change = tokio::time::timeout(PATIENCE, self.table.try_transact(audited));
        let error = match change.await {
            Ok(Ok(outcome)) => return Some(outcome),
            Ok(Err(error)) => telemetry::chain(&error),
            Err(late) => late.to_string(),
        };
        tracing::warn!(
            event.name = events::AUDIT_ENTRY_PENDING,
            audit.action = entry.action.as_str(),
            tenant.id = %entry.tenant_id,
            target = %entry.target,
            error.cause = error,
            "could not write an entry of the audit trail with its change"
        );
        None
    }

    /// Returns the earliest time for which entries are kept.
    pub(crate) fn oldest_entry(&self, now: Timestamp) -> Timestamp {
        now - self.audit_retention
    }

    /// Returns a page of a tenant's entries, newest first. The page begins after the position `after` and contains no
    /// entry older than `from`. Skips months without entries.
    pub(crate) async fn audit_trail(
        &self,
        tenant: &TenantId,
        after: &Position,
        from: Timestamp,
        limit: i32,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let from = from.to_millis_text();
        let mut before = after.clone();
        loop {
            let page = self.month(tenant, &before, &from, limit).await?;
            match page.next {
                Some(next) if page.items.is_empty() && page.skipped == 0 => before = next,
                _ => return Ok(page),
            }
        }
    }

    /// Returns the entries of the month that contains the last moment before a position.
    async fn month(
        &self,
        tenant: &TenantId,
        before: &Position,
        from: &str,
        limit: i32,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let month = month_before(before);
        let mut queries = JoinSet::new();
        for shard in 0..Target::SHARDS {
            let (tenant, month) = (tenant.clone(), month.clone());
            let pk = AuditPk {
                tenant,
                month,
                shard,
            };
            let query = Query {
                partition: pk.to_string(),
                descending: true,
                after: Some(before.in_partition(&pk)),
                limit: Some(limit),
                ..Query::default()
            };
            let table = self.table.clone();
            queries.spawn(async move { table.query(query).await });
        }
        let (mut items, mut complete_to) = (Vec::new(), None);
        while let Some(finished) = queries.join_next().await {
            // An error means that a dependency panicked.
            let (found, last) = finished.map_err(|_| StoreError::Busy)??;
            // If the query stopped at a `last` entry, this shard may contain older entries, so the result is complete
            // only as far back as `last`.
            let last = last.map(|last| sort_key(&last).to_owned());
            complete_to = complete_to.max(last);
            items.extend(found);
        }
        let first = format!("{month}-01T00:00:00.000Z");
        let end = complete_to.clone().unwrap_or_default();
        items.retain(|item| sort_key(item) >= from && sort_key(item) >= end.as_str());
        items.sort_by_key(|item| Reverse(sort_key(item).to_owned()));
        let next = complete_to.unwrap_or(first);
        let next = (next.as_str() > from).then_some(Position(next));
        Ok(page(items, next))
    }

    /// Returns a page of the entries about one key, user or cluster, newest first. The index may lag slightly behind
    /// the table.
    pub(crate) async fn audit_trail_of(
        &self,
        tenant: &TenantId,
        target: &Target,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let pk = TargetPk {
            tenant: tenant.clone(),
            target: target.clone(),
        };
        let query = Query {
            index: Some("target"),
            partition: pk.to_string(),
            descending: true,
            after: after.and_then(|position| position.in_target(&pk)),
            limit: Some(limit),
            ..Query::default()
        };
        let (keys, has_more) = self
            .table
            .entries::<IndexedEntry, (AuditPk, AuditSk)>(query)
            .await?;
        let next = keys.last().filter(|_| has_more);
        let next = next.map(|(_, sk)| Position(sk.to_string()));
        let keys = keys.iter().map(|(pk, sk)| PrimaryKey::new(pk, sk));
        let Batch(mut items) = self.table.batch_get(keys.collect()).await?;
        items.sort_by_key(|item| Reverse(sort_key(item).to_owned()));
        Ok(page(items, next))
    }
}

/// Returns the entries older than `before` that wait in `items`, and the number of damaged items.
fn older_than(before: Timestamp, items: Vec<Item>) -> (Vec<PendingEntry>, usize) {
    let read = items.len();
    let entries = items.into_iter().map(|mut item| {
        let entry = item.remove(PENDING);
        let entry = entry.unwrap_or(AttributeValue::Null(true));
        PendingEntry::read(&item, entry)
    });
    let mut entries: Vec<_> = logged(entries).collect();
    let damaged = read - entries.len();
    entries.retain(|pending| pending.entry.sk.at < before);
    (entries, damaged)
}

fn page(items: Vec<Item>, next: Option<Position>) -> Page<AuditEntry> {
    let read = items.len();
    let items: Vec<AuditEntry> = readable::<AuditItem, _>(items).collect();
    Page {
        skipped: read - items.len(),
        items,
        next,
    }
}

/// Returns the month that contains the last moment before a position.
fn month_before(Position(position): &Position) -> String {
    let (time, _) = position.split_once('#').unwrap_or((position, ""));
    let at = Timestamp::from_millis_text(time).unwrap_or(Timestamp::from_millis(0));
    let is_entry = position.contains('#');
    let last = if is_entry {
        at
    } else {
        Timestamp::from_millis(at.as_millis().saturating_sub(1))
    };
    last.month()
}

impl Position {
    /// Returns the position in the audit trail that separates the entries at or after `time` from the older ones.
    pub(crate) fn before(time: Timestamp) -> Self {
        Self(time.to_millis_text())
    }

    /// Whether this position in the audit trail is earlier than another one.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        self.0 < other.0
    }

    /// Returns the position after an entry in the audit trail.
    pub(crate) fn after_entry(entry: &AuditEntry) -> Self {
        let (at, id) = (entry.at, entry.id);
        Self(AuditSk { at, id }.to_string())
    }

    /// Whether a text is a position in the audit trail: that of an entry, or one that [`Self::before`] returns.
    pub(super) fn is_in_audit_trail(text: &str) -> bool {
        text.parse::<AuditSk>().is_ok() || Timestamp::from_millis_text(text).is_some()
    }

    /// Returns the key after which a query of a target's entries continues, or `None` for a position in another list.
    fn in_target(&self, target_pk: &TargetPk) -> Option<Item> {
        let sk: AuditSk = self.0.parse().ok()?;
        let TargetPk { tenant, target } = target_pk;
        let key = PrimaryKey::new(&audit_pk(tenant, target, sk.at), &sk);
        Some(key.in_index("target", target_pk, &sk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_moment_before_a_month_is_in_the_month_before() {
        let month = |text: &str| month_before(&Position(text.into()));
        assert_eq!(month("2026-11-01T00:00:00.000Z"), "2026-10");
        assert_eq!(month("2026-11-01T00:00:00.001Z"), "2026-11");
        assert_eq!(month("2027-01-01T00:00:00.000Z"), "2026-12");
        assert_eq!(month("2026-11-01T00:00:00.000Z#id"), "2026-11");
    }
}
