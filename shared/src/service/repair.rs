//! Checks the items of a tenant against each other and repairs contradictions. Operators run a repair after they have
//! restored the table, or after something other than this service has written to the table.
//!
//! A repair assumes that the slots of a key are correct, and derives the key's counter and the holders of clusters from
//! them. It derives the set of administrators from the users, and the epoch of a user from the user's revocations and
//! keys. A repair never makes a refused key valid. Other calls may run at the same time, because each write of a repair
//! checks the data on which it relies.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{clusters, error::Error, notices};
use crate::{
    model::{Cluster, KeyRecord, KeyStatus, Origin, Principal, TenantId, Timestamp, User},
    process::{clock, events},
    store::{FalseHolders, List, PendingEntry, Position, Store, StoreError},
};

/// The limit of a query for a key's slots. It is higher than the number of slots that a key can hold.
const MOST_SLOTS: i32 = 200;
/// The number of clusters or keys to check between two reads of the clock.
const PAGE: i32 = 25;
/// How long an entry may wait in another item before a repair adds it to the audit trail.
const ENTRY_PATIENCE: Duration = Duration::from_secs(60 * 60);
const NEXT_RULE: &str = "must be the unchanged next of the previous report";

/// The findings of a repair. If `apply` was set, everything that the repair found has been repaired, except damaged
/// items (see `unreadable`) and items that another call changed in the meantime.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    pub keys_checked: usize,
    /// Active administrators who were missing from the set of administrators, and users in the set who were not active
    /// administrators.
    pub administrators: usize,
    /// Users whose epoch was older than that of their latest revocation or of one of their keys.
    pub epochs: usize,
    /// Live keys whose counter differed from the number of their slots.
    pub counters: usize,
    /// Slots whose cluster did not exist, and slots whose key was neither live nor listed as a holder of the cluster.
    pub slots: usize,
    /// Keys that were listed as holders of a cluster but held no slot for it or were not live, and keys that held a
    /// slot for a cluster but were not listed as its holders.
    pub holders: usize,
    /// Live keys that `notify` would never have checked again.
    pub notices: usize,
    /// Clusters whose deletion had stopped halfway.
    pub deletions: usize,
    /// Audit entries that had been waiting in other items for more than an hour.
    pub entries: usize,
    /// Damaged items. The log names them. A repair changes none of them except the set of administrators.
    pub unreadable: usize,
    /// Where the next call continues; absent once everything is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<RepairStep>,
}

/// The part of a tenant to check next, and the position in that part's list at which to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepairStep {
    Users,
    Clusters(Option<String>),
    Keys(Option<String>),
}

/// The tenant to check, and whether to repair what is found.
#[derive(Debug)]
pub struct RepairRequest {
    pub tenant: TenantId,
    pub apply: bool,
    /// Where to begin: at [`RepairStep::Users`], or at the `next` of the previous report.
    pub step: RepairStep,
    /// The time at which the call stops. It then reports where the next call continues.
    pub deadline: Instant,
}

/// Checks a tenant and, if `apply` is set, repairs it. Each call completes at least one step, even after the deadline.
/// A step covers up to 25 clusters, up to 25 keys, or all users. The step for the users also covers the waiting entries
/// that are stored in items of their own.
///
/// # Errors
/// Fails if `step` contains a position that cannot have come from a report, or if a request to the table fails.
/// Everything that was repaired before the failure stays repaired, and repeating the call continues the repair.
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
    let mut step = request.step.clone();
    loop {
        report.next = match step {
            RepairStep::Users => {
                repair.users(&mut report).await?;
                let waiting = store
                    .waiting(&request.tenant, repair.enter_before())
                    .await?;
                repair.enter(waiting, &mut report).await?;
                Some(RepairStep::Clusters(None))
            }
            RepairStep::Clusters(after) => {
                let after = position(after, List::Clusters)?;
                let next = repair.clusters(after, &mut report).await?;
                Some(next.map_or(RepairStep::Keys(None), |next| {
                    RepairStep::Clusters(Some(next))
                }))
            }
            RepairStep::Keys(after) => {
                let after = position(after, List::TenantKeys)?;
                let next = repair.keys(after, &mut report).await?;
                next.map(|next| RepairStep::Keys(Some(next)))
            }
        };
        match &report.next {
            Some(next) if Instant::now() < request.deadline => step = next.clone(),
            _ => break,
        }
    }
    tracing::info!(
        event.name = events::TENANT_REPAIRED,
        tenant.id = %request.tenant,
        repair.is_applied = request.apply,
        repair.report = ?report,
        "checked the items of the tenant"
    );
    Ok(report)
}

fn position(text: Option<String>, list: List) -> Result<Option<Position>, Error> {
    let parse = |text: String| Position::parse(&text, list);
    let parsed = text.map(|text| parse(text).ok_or_else(|| Error::field("next", NEXT_RULE)));
    parsed.transpose()
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
        // The users who remain in `listed` did not appear in the index. Any of them may nevertheless be an
        // administrator whose item is damaged.
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

    /// Returns a time. The repair adds only waiting entries that are older than this time to the audit trail. `publish`
    /// may still be processing newer entries.
    fn enter_before(&self) -> Timestamp {
        self.now - ENTRY_PATIENCE
    }

    /// Adds waiting entries to the audit trail.
    async fn enter(
        &self,
        (entries, damaged): (Vec<PendingEntry>, usize),
        report: &mut RepairReport,
    ) -> Result<(), Error> {
        report.entries += entries.len();
        report.unreadable += damaged;
        for entry in entries.into_iter().filter(|_| self.request.apply) {
            // A call can take minutes, so each entry records the time of its own write.
            self.store.enter_pending(entry, clock::now()).await?;
        }
        Ok(())
    }

    /// Checks a page of clusters. Returns the position of the next page.
    async fn clusters(
        &self,
        after: Option<Position>,
        report: &mut RepairReport,
    ) -> Result<Option<String>, Error> {
        let (store, RepairRequest { tenant, apply, .. }) = (self.store, self.request);
        let page = store.clusters(tenant, after.as_ref(), PAGE).await?;
        report.unreadable += page.skipped;
        for cluster in page.items {
            let is_left = |began: Timestamp| self.now >= began + clusters::DELETION_PATIENCE;
            if cluster.deleting.is_some_and(is_left) {
                report.deletions += 1;
                if *apply {
                    let by = (&Principal::system(), &Origin::default());
                    clusters::delete(store, cluster, by, clock::now()).await?;
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
        Ok(page.next.map(|Position(next)| next))
    }

    /// Checks a page of keys and their owners. Returns the position of the next page.
    async fn keys(
        &self,
        after: Option<Position>,
        report: &mut RepairReport,
    ) -> Result<Option<String>, Error> {
        let (store, tenant) = (self.store, &self.request.tenant);
        let (page, owners) = store
            .tenant_keys(tenant, None, after.as_ref(), PAGE)
            .await?;
        for owner in &owners {
            self.epoch(owner, &page.items, report).await?;
        }
        for key in &page.items {
            let owner = owners.iter().find(|owner| owner.user_id == key.user_id);
            self.notices(key, owner, report).await?;
            self.slots(key, report).await?;
        }
        let waiting = store.waiting_in(&page.items, self.enter_before());
        self.enter(waiting.await?, report).await?;
        report.unreadable += page.skipped;
        report.keys_checked += page.items.len();
        Ok(page.next.map(|Position(next)| next))
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

    async fn notices(
        &self,
        key: &KeyRecord,
        owner: Option<&User>,
        report: &mut RepairReport,
    ) -> Result<(), Error> {
        let is_live = key.status(owner, self.now) == KeyStatus::Active;
        if is_live && notices::is_lost(key, self.now) {
            report.notices += 1;
            if self.request.apply {
                let at = notices::due_again(self.now);
                self.store.make_due(key, at).await?;
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
                // The check of the clusters has already counted this damaged item.
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
        // The key may have taken a slot since the page was read.
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
