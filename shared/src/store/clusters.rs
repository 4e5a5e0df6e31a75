//! Clusters, their nodes, and the slots that keys hold for clusters.

use serde_dynamo::string_set::StringSet;

use super::{
    handle::Store,
    page::{Page, Position},
    schema::{
        Batch, ClusterItem, ClusterPk, ClusterSk, KeyItem, NodeItem, NodePk, NodeSk, PrimaryKey,
        SlotItem, SlotPk, SlotSk, partition_key, read, readable, sort_key,
    },
    table::{Outcome, Query, StoreError, Write},
};
use crate::model::{
    AuditEntry, Cluster, ClusterName, ClusterNumber, KeyId, KeyRecord, Node, Principal, TenantId,
    Timestamp, UserId,
};

/// The maximum number of keys whose slots are freed in one transaction. Each key uses up to two of the 100 items that a
/// transaction may contain.
const FREED_AT_ONCE: usize = 40;

/// The progress of a cluster's deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Done,
    /// The slots of some holders are freed, but other holders remain.
    Progress,
    /// The cluster or one of its holders has changed since it was read, or another transaction holds an item.
    Stale,
}

impl Store {
    /// Returns up to `limit` clusters for which a key holds slots.
    pub(crate) async fn slots(
        &self,
        tenant: &TenantId,
        key: KeyId,
        limit: i32,
    ) -> Result<Vec<ClusterName>, StoreError> {
        let tenant = tenant.clone();
        let query = Query {
            partition: SlotPk { tenant, key }.to_string(),
            prefix: Some(format!("{}#", SlotSk::PREFIX)),
            limit: Some(limit),
            ..Query::default()
        };
        let (items, _) = self.table.query(query).await?;
        // The sort key contains everything that is needed, so a damaged slot counts like any other.
        let slots = items.iter().map(|item| sort_key(item).parse::<SlotSk>());
        Ok(slots.flatten().map(|slot| slot.cluster).collect())
    }

    /// Deletes the slot that a key holds for a cluster and removes the key from the cluster's holders, provided that
    /// the key has expired. Returns false if it has not.
    pub(crate) async fn release_slot(
        &self,
        tenant: &TenantId,
        owner: &UserId,
        key: KeyId,
        cluster: &ClusterName,
    ) -> Result<bool, StoreError> {
        let is_over =
            Write::check(PrimaryKey::key(tenant, owner, key)).when("attribute_not_exists(#hash)");
        let slot = Write::delete(PrimaryKey::slot(tenant, key, cluster));
        let forget = Write::update(PrimaryKey::cluster(tenant, cluster), "DELETE holders :key")
            .when("attribute_exists(pk)")
            .value(":key", StringSet([key]));
        let writes = [is_over, slot, forget];
        match self.table.transact(&writes).await? {
            Outcome::Done => Ok(true),
            Outcome::Refused(refusals) if refusals.has(0) => Ok(false),
            // The cluster was deleted in the meantime.
            Outcome::Refused(_) => {
                let outcome = self.table.transact(&writes[..2]).await?;
                Ok(matches!(outcome, Outcome::Done))
            }
        }
    }

    pub(crate) async fn cluster(
        &self,
        tenant: &TenantId,
        name: &ClusterName,
    ) -> Result<Option<Cluster>, StoreError> {
        let item = self.table.get(PrimaryKey::cluster(tenant, name)).await?;
        Ok(item.map(read::<ClusterItem, _>).transpose()?)
    }

    /// Returns a page of a tenant's clusters, sorted by name.
    pub(crate) async fn clusters(
        &self,
        tenant: &TenantId,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<Cluster>, StoreError> {
        let tenant = tenant.clone();
        let pk = ClusterPk { tenant };
        let query = Query {
            partition: pk.to_string(),
            prefix: Some(format!("{}#", ClusterSk::PREFIX)),
            after: after.map(|position| position.in_partition(&pk)),
            limit: Some(limit),
            ..Query::default()
        };
        self.table.page::<ClusterItem, _>(query).await
    }

    /// Returns a page of a cluster's nodes, sorted by name. DynamoDB determines the size of the page.
    pub(crate) async fn nodes(
        &self,
        tenant: &TenantId,
        cluster: ClusterNumber,
        after: Option<&Position>,
    ) -> Result<Page<Node>, StoreError> {
        let tenant = tenant.clone();
        let pk = NodePk { tenant, cluster };
        let query = Query {
            partition: pk.to_string(),
            prefix: Some(format!("{}#", NodeSk::PREFIX)),
            after: after.map(|position| position.in_partition(&pk)),
            ..Query::default()
        };
        self.table.page::<NodeItem, _>(query).await
    }

    /// Marks a cluster as being deleted, so that no key can onboard it any more. Returns false if the cluster no longer
    /// exists.
    pub(crate) async fn mark_deleting(
        &self,
        cluster: &Cluster,
        by: &Principal,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = PrimaryKey::cluster(&cluster.tenant_id, &cluster.name);
        let update = Write::update(key, "SET deleting = :now, deleting_by = :by")
            .when("id = :id")
            .value(":id", cluster.number)
            .value(":by", by)
            .value(":now", now);
        let outcome = self.table.update(&update).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Takes one step in the deletion of a cluster: it frees the slots of some of its holders or, in the last step,
    /// deletes the cluster together with the remaining slots. Decrements the counter of each unexpired key whose slot
    /// is freed. The last step also writes `entry`.
    pub(crate) async fn delete_cluster_step(
        &self,
        cluster: &Cluster,
        entry: &AuditEntry,
    ) -> Result<Deletion, StoreError> {
        let holders = cluster.holders.iter().copied();
        let freed: Vec<KeyId> = holders.take(FREED_AT_ONCE).collect();
        let is_last = freed.len() == cluster.holders.len();
        let mut writes = vec![if is_last {
            delete_if_unchanged(cluster)
        } else {
            forget_holders(cluster, &freed)
        }];
        writes.extend(self.free_slots(cluster, &freed).await?);
        writes.extend(is_last.then(|| self.entered(entry)));
        Ok(match self.table.try_transact(&writes).await {
            Ok(Outcome::Done) if is_last => Deletion::Done,
            Ok(Outcome::Done) => Deletion::Progress,
            Ok(Outcome::Refused(_)) | Err(StoreError::Busy) => Deletion::Stale,
            Err(error) => return Err(error),
        })
    }

    /// Returns the writes that free the given keys' slots for a cluster. A holder that has no slot, or whose slot or
    /// key is damaged, does not prevent the deletion.
    async fn free_slots(
        &self,
        cluster: &Cluster,
        keys: &[KeyId],
    ) -> Result<Vec<Write>, StoreError> {
        let tenant = &cluster.tenant_id;
        let slot = |key: &KeyId| PrimaryKey::slot(tenant, *key, &cluster.name);
        let Batch(slots) = self
            .table
            .batch_get(keys.iter().map(slot).collect())
            .await?;
        let found = slots
            .iter()
            .filter_map(|item| partition_key(item).parse().ok());
        let mut writes: Vec<Write> = found
            .map(|SlotPk { key, .. }| Write::delete(slot(&key)).when("attribute_exists(pk)"))
            .collect();
        let slots = readable::<SlotItem, SlotItem>(slots);
        let counted = slots.map(|slot| PrimaryKey::key(tenant, &slot.user_id, slot.pk.key));
        let Batch(keys) = self.table.batch_get(counted.collect()).await?;
        // In the history of an expired key, `clusters_used` does not change.
        let counting = |key: &KeyRecord| key.hash.is_some() && key.clusters_used > 0;
        let keys = readable::<KeyItem, KeyRecord>(keys).filter(counting);
        writes.extend(keys.map(|key| {
            let item = PrimaryKey::key(tenant, &key.user_id, key.key_id);
            Write::update(item, "SET clusters_used = clusters_used - :one")
                .when("attribute_exists(#hash) AND clusters_used >= :one")
                .value(":one", 1)
        }));
        Ok(writes)
    }
}

fn delete_if_unchanged(cluster: &Cluster) -> Write {
    let delete = Write::delete(PrimaryKey::cluster(&cluster.tenant_id, &cluster.name));
    let delete = if cluster.holders.is_empty() {
        delete.when("id = :id AND attribute_not_exists(holders)")
    } else {
        delete
            .when("id = :id AND holders = :holders")
            .value(":holders", StringSet(&cluster.holders))
    };
    delete.value(":id", cluster.number)
}

fn forget_holders(cluster: &Cluster, freed: &[KeyId]) -> Write {
    let key = PrimaryKey::cluster(&cluster.tenant_id, &cluster.name);
    Write::update(key, "DELETE holders :freed")
        .when("id = :id AND holders = :holders")
        .value(":id", cluster.number)
        .value(":freed", StringSet(freed))
        .value(":holders", StringSet(&cluster.holders))
}
