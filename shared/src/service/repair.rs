//! Checks the items of a tenant against each other, and mends them. For operators, after a restore of the table or a
//! write by someone else.
//!
//! The slots of a key determine its counter and the holders of clusters. The users determine the set of administrators,
//! and the revocations determine the epoch of a user. A repair never makes a refused key valid. Other calls may run at
//! the same time: each write checks what it relies on.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{clusters, error::Error};
use crate::{
    model::{Cluster, KeyRecord, TenantId, Timestamp, User},
    process::events,
    store::{FalseHolders, List, Position, Store, StoreError},
};

/// More slots than a key can hold.
const MOST_SLOTS: i32 = 200;
/// How many keys one call checks.
const KEYS_PER_CALL: usize = 5_000;
const NEXT_RULE: &str = "must be an unchanged next of the previous report";

/// The findings of a repair. With `apply`, it has mended them, unless other calls changed the same items meanwhile.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    pub keys_checked: usize,
    /// Users who are active administrators but not in the set of administrators, or the other way round.
    pub administrators: usize,
    /// Users whose epoch was older than their latest revocation or than one of their keys.
    pub epochs: usize,
    /// Live keys whose counter was not the number of their slots.
    pub counters: usize,
    /// Slots of a cluster that does not exist, or of a key that is not live.
    pub slots: usize,
    /// Holders of a cluster without a slot for it, and slots for it without a holder.
    pub holders: usize,
    /// Clusters whose deletion had stopped halfway.
    pub deletions: usize,
    /// Damaged items, which the log names. A repair does not change them, except for the set of administrators.
    pub unreadable: usize,
    /// Where the next call continues; absent once all keys are checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The tenant, and whether to mend what is found.
#[derive(Debug)]
pub struct RepairRequest {
    pub tenant: TenantId,
    pub apply: bool,
    /// The `next` of the previous call.
    pub after: Option<String>,
}

/// Checks a tenant, and mends it if `apply` is set. A call checks 5,000 keys; the first also checks users and clusters.
///
/// # Errors
/// When a request to the table fails. What was mended until then stays mended, and repeating the call continues.
pub async fn repair_tenant(
    store: &Store,
    request: &RepairRequest,
    now: Timestamp,
) -> Result<RepairReport, Error> {
    let repair = Repair {
        store,
        request,
        now,
    };
    let mut report = RepairReport::default();
    if request.after.is_none() {
        repair.users(&mut report).await?;
        repair.clusters(&mut report).await?;
    }
    repair.keys(&mut report).await?;
    tracing::info!(
        event.name = events::TENANT_REPAIRED,
        tenant.id = %request.tenant,
        repair.is_applied = request.apply,
        repair.report = ?report,
        "checked the items of the tenant"
    );
    Ok(report)
}

struct Repair<'a> {
    store: &'a Store,
    request: &'a RepairRequest,
    now: Timestamp,
}

impl Repair<'_> {
    async fn users(&self, report: &mut RepairReport) -> Result<(), Error> {
        let (store, RepairRequest { tenant, apply, .. }) = (self.store, self.request);
        let mut listed = match store.admins(tenant).await {
            Err(StoreError::Item(_)) => {
                report.unreadable += 1;
                if *apply {
                    store.delete_admins(tenant).await?;
                }
                BTreeSet::new()
            }
            admins => admins?,
        };
        let mut after = None;
        loop {
            let page = store.tenant_users(tenant, after.as_ref(), 100).await?;
            report.unreadable += page.skipped;
            for user in page.items {
                let is_admin = user.is_active_admin();
                let was_listed = listed.remove(&user.user_id);
                report.administrators += usize::from(is_admin != was_listed);
                if *apply && is_admin && !was_listed {
                    store.restore_admins(tenant, &[user]).await?;
                } else if *apply && !is_admin && was_listed {
                    store.remove_admin(tenant, &user.user_id).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // The index does not list those who remain. One of them may still be an administrator whose item is damaged.
        for user in &listed {
            let is_admin = match store.user(tenant, user).await {
                Err(StoreError::Item(_)) => true,
                found => found?.is_some_and(|user| user.is_active_admin()),
            };
            report.administrators += usize::from(!is_admin);
            if *apply && !is_admin {
                store.remove_admin(tenant, user).await?;
            }
        }
        Ok(())
    }

    async fn clusters(&self, report: &mut RepairReport) -> Result<(), Error> {
        let (store, RepairRequest { tenant, apply, .. }) = (self.store, self.request);
        let mut after = None;
        loop {
            let page = store.clusters(tenant, after.as_ref(), 100).await?;
            report.unreadable += page.skipped;
            for cluster in page.items {
                let is_left = |began: Timestamp| self.now >= began + clusters::DELETION_PATIENCE;
                if cluster.deleting.is_some_and(is_left) {
                    report.deletions += 1;
                    if *apply {
                        clusters::delete(store, cluster, self.now).await?;
                    }
                    continue;
                }
                let FalseHolders { without_slot, dead } = store.false_holders(&cluster).await?;
                report.holders += without_slot.len() + dead.len();
                for key in without_slot.iter().filter(|_| *apply) {
                    store.forget_holder(&cluster, *key).await?;
                }
                for (key, owner) in dead.iter().filter(|_| *apply) {
                    let name = &cluster.name;
                    store.release_slot(tenant, owner, *key, name).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn keys(&self, report: &mut RepairReport) -> Result<(), Error> {
        let (store, tenant) = (self.store, &self.request.tenant);
        let mut after = match &self.request.after {
            None => None,
            Some(text) => {
                let position = Position::parse(text, List::TenantKeys);
                Some(position.ok_or_else(|| Error::field("next", NEXT_RULE))?)
            }
        };
        loop {
            let (page, owners) = store.tenant_keys(tenant, after.as_ref(), 100).await?;
            for owner in &owners {
                self.epoch(owner, &page.items, report).await?;
            }
            for key in &page.items {
                self.slots(key, report).await?;
            }
            report.unreadable += page.skipped;
            report.keys_checked += page.items.len();
            after = page.next;
            if after.is_none() || report.keys_checked >= KEYS_PER_CALL {
                report.next = after.map(|Position(position)| position);
                return Ok(());
            }
        }
    }

    async fn epoch(
        &self,
        owner: &User,
        keys: &[KeyRecord],
        report: &mut RepairReport,
    ) -> Result<(), Error> {
        let of_owner = keys.iter().filter(|key| key.user_id == owner.user_id);
        let latest = self.store.latest_epoch(owner).await?;
        let latest = of_owner.map(|key| key.epoch).chain(latest).max();
        if let Some(latest) = latest.filter(|latest| owner.epoch < *latest) {
            report.epochs += 1;
            if self.request.apply {
                self.store.raise_epoch(owner, latest).await?;
            }
        }
        Ok(())
    }

    async fn slots(&self, key: &KeyRecord, report: &mut RepairReport) -> Result<(), Error> {
        let (store, RepairRequest { tenant, apply, .. }) = (self.store, self.request);
        let is_live = key.hash.is_some();
        let mut held = 0;
        for name in store.slots(tenant, key.key_id, MOST_SLOTS).await? {
            let cluster = match store.cluster(tenant, &name).await {
                // The list of clusters has counted it.
                Err(StoreError::Item(_)) => {
                    held += 1;
                    continue;
                }
                cluster => cluster?,
            };
            let holds = |cluster: &Cluster| cluster.holders.contains(&key.key_id);
            match cluster {
                Some(_) if !is_live => {
                    report.slots += 1;
                    if *apply {
                        let owner = &key.user_id;
                        store.release_slot(tenant, owner, key.key_id, &name).await?;
                    }
                }
                None => {
                    report.slots += 1;
                    if *apply {
                        store.remove_slot(tenant, key.key_id, &name).await?;
                    }
                }
                Some(cluster) if !holds(&cluster) => {
                    (held, report.holders) = (held + 1, report.holders + 1);
                    if *apply {
                        store.add_holder(&cluster, key.key_id).await?;
                    }
                }
                Some(_) => held += 1,
            }
        }
        if !is_live || held == key.clusters_used {
            return Ok(());
        }
        // The page may be old, and the key may have taken a slot since.
        let key = store.key(tenant, &key.user_id, key.key_id).await?;
        let is_wrong = |key: &KeyRecord| key.hash.is_some() && key.clusters_used != held;
        if let Some(key) = key.filter(is_wrong) {
            report.counters += 1;
            if *apply {
                store.correct_count(&key, held).await?;
            }
        }
        Ok(())
    }
}
