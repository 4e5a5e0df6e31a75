//! The quota of active nodes in a cluster, and the limit on listed nodes.
//!
//! The item `QUOTA` holds the result of the last count plus the nodes added since. This total still includes nodes that
//! have since stopped calling. When a limit is reached, one call counts the nodes again, but only after every node that
//! `QUOTA` includes has had time to be written to the table. No node can be added during a count.

use std::time::Duration;

use super::{
    handle::Store,
    schema::{Item, NodeQuotaItem, PrimaryKey},
    table::{Attempts, Outcome, StoreError, Write},
};
use crate::model::{ClusterNumber, Node, NodeQuota, TenantId, Timestamp};

/// The minimum time between two counts of the nodes of a full cluster. It is longer than any call can take.
const COUNT_INTERVAL: Duration = Duration::from_secs(30);

/// How many nodes a cluster has.
#[derive(Debug, Clone, Copy, Default)]
struct NodeCount {
    active: u32,
    listed: u32,
}

impl NodeCount {
    fn is_full(self, quota: &NodeQuota) -> bool {
        self.active >= quota.nodes || self.listed >= NodeQuota::LISTED
    }
}

impl Store {
    /// Counts a new node against the quota of its cluster. Returns false if the cluster is full.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another call does not finish counting the nodes in time.
    pub(crate) async fn count_node(
        &self,
        tenant: &TenantId,
        node: &Node,
        quota: &NodeQuota,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let item = || PrimaryKey::node_quota(tenant, node.cluster);
        let update = |expression: &str| {
            let update = Write::update(
                item(),
                format!("SET changed_at = :now, #ttl = :ttl, {expression}"),
            );
            let update = update.value(":now", now);
            update.value(":ttl", now + quota.history)
        };
        let add = update("active = active + :one, listed = listed + :one")
            .when("active >= :zero AND active < :quota AND listed >= :zero AND listed < :most")
            .value(":one", 1)
            .value(":zero", 0)
            .value(":quota", quota.nodes)
            .value(":most", NodeQuota::LISTED)
            .return_item();
        let mut attempts = Attempts::new();
        while attempts.next().await {
            let Outcome::Refused(mut refusals) = self.table.update(&add).await? else {
                return Ok(true);
            };
            let found = refusals.take_item(0).unwrap_or_default();
            match state(&found, now) {
                State::Counted => return Ok(false),
                State::BeingCounted => continue,
                State::Due => {}
            }
            let begin = update("counting = :me").value(":me", node.number);
            let begin = as_found(begin, &found, "changed_at");
            let begin = as_found(begin, &found, "counting");
            if !matches!(self.table.update(&begin).await?, Outcome::Done) {
                continue;
            }
            let count = self.count_nodes(tenant, node.cluster, quota, now).await?;
            let end = update("active = :active, listed = :listed REMOVE counting")
                .when("counting = :me")
                .value(":active", count.active)
                .value(":listed", count.listed)
                .value(":me", node.number);
            let is_counted = matches!(self.table.update(&end).await?, Outcome::Done);
            if is_counted && count.is_full(quota) {
                return Ok(false);
            }
        }
        Err(StoreError::Busy)
    }

    /// Counts the nodes of a cluster. Stops as soon as the count shows that the cluster is full.
    async fn count_nodes(
        &self,
        tenant: &TenantId,
        cluster: ClusterNumber,
        quota: &NodeQuota,
        now: Timestamp,
    ) -> Result<NodeCount, StoreError> {
        let (mut count, mut after) = (NodeCount::default(), None);
        loop {
            let page = self.nodes(tenant, cluster, after.as_ref()).await?;
            for node in page.items.iter().filter(|node| node.forgotten_at > now) {
                count.listed += 1;
                count.active += u32::from(quota.is_active(node, now));
            }
            after = page.next;
            if after.is_none() || count.is_full(quota) {
                return Ok(count);
            }
        }
    }
}

/// Makes a write fail unless an attribute still has the value that was read, or is still absent.
fn as_found(write: Write, item: &Item, name: &str) -> Write {
    match item.get(name) {
        Some(found) => {
            let placeholder = format!(":found_{name}");
            let write = write.and(&format!("{name} = {placeholder}"));
            write.raw(&placeholder, found.clone())
        }
        None => write.and(&format!("attribute_not_exists({name})")),
    }
}

/// Why a node could not be added to the count.
enum State {
    /// The cluster is full, and `QUOTA` changed less than [`COUNT_INTERVAL`] ago, so the nodes are not counted again.
    Counted,
    /// The nodes have no count yet, and another call is counting them.
    BeingCounted,
    /// `QUOTA` is missing or damaged, or last changed at least [`COUNT_INTERVAL`] ago.
    Due,
}

fn state(item: &Item, now: Timestamp) -> State {
    let item: Result<NodeQuotaItem, _> = serde_dynamo::from_item(item.clone());
    let Ok(item) = item else {
        return State::Due;
    };
    // The call that wrote `QUOTA` may have begun after this one, so `changed_at` can be later than `now`.
    let is_recent =
        now < item.changed_at + COUNT_INTERVAL && item.changed_at < now + COUNT_INTERVAL;
    match (is_recent, item.active.zip(item.listed), item.counting) {
        (true, Some(_), _) => State::Counted,
        (true, None, Some(_)) => State::BeingCounted,
        _ => State::Due,
    }
}
