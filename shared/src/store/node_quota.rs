//! The quota of active nodes of a cluster.
//!
//! The item `QUOTA` counts the nodes that were added since the active nodes were last counted. A node that stops calling
//! stays in it. When the number reaches the quota, the nodes are counted again, but not while a counted node may still
//! be missing from the table.

use std::time::Duration;

use super::{
    handle::Store,
    schema::{Item, NodeQuotaItem, PrimaryKey},
    table::{Attempts, Outcome, StoreError, Write},
};
use crate::model::{ClusterNumber, Node, NodeQuota, TenantId, Timestamp};

/// Longer than a call can take. It also limits how often a full cluster is counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(30);

impl Store {
    /// Counts a new node of a cluster. False if the quota is reached.
    pub(crate) async fn count_node(
        &self,
        tenant: &TenantId,
        cluster: ClusterNumber,
        quota: &NodeQuota,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let item = || PrimaryKey::node_quota(tenant, cluster);
        let add = Write::update(
            item(),
            "SET nodes = nodes + :one, changed_at = :now, #ttl = :ttl",
        )
        .when("nodes < :limit")
        .value(":one", 1)
        .value(":limit", quota.nodes)
        .value(":now", now)
        .value(":ttl", now + quota.history)
        .return_item();
        let mut attempts = Attempts::new();
        while attempts.next().await {
            let Outcome::Refused(mut refusals) = self.table.update(&add).await? else {
                return Ok(true);
            };
            let found = refusals.take_item(0).unwrap_or_default();
            if is_counted(&found, quota, now) {
                return Ok(false);
            }
            let active = self.active_nodes(tenant, cluster, quota, now).await?;
            let count = Write::update(
                item(),
                "SET nodes = :active, changed_at = :now, #ttl = :ttl",
            );
            let count = match found.get("changed_at") {
                Some(read) => count.when("changed_at = :read").raw(":read", read.clone()),
                None => count.when("attribute_not_exists(changed_at)"),
            };
            let count = count
                .value(":active", active)
                .value(":now", now)
                .value(":ttl", now + quota.history);
            let outcome = self.table.update(&count).await?;
            if active >= quota.nodes && matches!(outcome, Outcome::Done) {
                return Ok(false);
            }
        }
        Err(StoreError::Busy)
    }

    /// The number of active nodes of a cluster, up to the quota.
    async fn active_nodes(
        &self,
        tenant: &TenantId,
        cluster: ClusterNumber,
        quota: &NodeQuota,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        let (mut active, mut after) = (0, None);
        loop {
            let page = self.nodes(tenant, cluster, after.as_ref()).await?;
            let nodes = page.items.iter();
            let is_active = |node: &&Node| quota.is_active(node, now);
            active += u32::try_from(nodes.filter(is_active).count()).unwrap_or(u32::MAX);
            after = page.next;
            if after.is_none() || active >= quota.nodes {
                return Ok(active);
            }
        }
    }
}

/// Whether the quota is reached, and the nodes need not be counted again yet.
fn is_counted(item: &Item, quota: &NodeQuota, now: Timestamp) -> bool {
    let item: Result<NodeQuotaItem, _> = serde_dynamo::from_item(item.clone());
    item.is_ok_and(|item| {
        let age = now.since(item.changed_at);
        item.nodes >= quota.nodes && age.is_some_and(|age| age < COUNT_INTERVAL)
    })
}
