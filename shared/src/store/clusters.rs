//! Clusters, their nodes, and the slots that keys hold for them.

use std::collections::BTreeSet;

use serde_dynamo::string_set::StringSet;

use super::{
    handle::Store,
    page::{Page, Position},
    schema::{
        Batch, ClusterItem, ClusterPk, ClusterSk, KeyItem, NodeItem, NodeSk, PrimaryKey, SlotItem,
        SlotPk, SlotSk, read,
    },
    table::{Outcome, Query, StoreError, Write},
};
use crate::model::{Cluster, ClusterName, ClusterNumber, KeyId, KeyRecord, Node, TenantId, UserId};

/// The maximum number of keys whose slots are freed in one transaction. Each key uses up to two of the 100 items that a
/// transaction may contain.
const FREED_AT_ONCE: usize = 40;

/// The progress of a cluster's deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Done,
    /// The slots of some holders are freed. Others remain.
    Progress,
    /// The cluster or one of its holders has changed since it was read, or another transaction holds an item.
    Stale,
}

impl Store {
    /// Whether a key holds a slot for a cluster.
    pub(crate) async fn has_slot(
        &self,
        tenant: &TenantId,
        key: KeyId,
        cluster: &ClusterName,
    ) -> Result<bool, StoreError> {
        let slot = self
            .table
            .get(PrimaryKey::slot(tenant, key, cluster))
            .await?;
        Ok(slot.is_some())
    }

    /// The clusters for which a key holds slots, up to `limit`.
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
        let page: Page<SlotItem> = self.table.page::<SlotItem, _>(query).await?;
        let names = page.items.into_iter().map(|slot| slot.sk.cluster);
        Ok(names.collect())
    }

    /// Removes the slot of an expired key. The cluster remains, but the key is no longer one of its holders.
    pub(crate) async fn release_slot(
        &self,
        tenant: &TenantId,
        key: KeyId,
        cluster: &ClusterName,
    ) -> Result<(), StoreError> {
        let slot = Write::delete(PrimaryKey::slot(tenant, key, cluster));
        let forget = Write::update(PrimaryKey::cluster(tenant, cluster), "DELETE holders :key")
            .when("attribute_exists(pk)")
            .value(":key", StringSet([key]));
        let outcome = self.table.transact(&[slot.clone(), forget]).await?;
        if let Outcome::Refused(_) = outcome {
            // The cluster was deleted in the meantime.
            self.table.transact(&[slot]).await?;
        }
        Ok(())
    }

    pub(crate) async fn cluster(
        &self,
        tenant: &TenantId,
        name: &ClusterName,
    ) -> Result<Option<Cluster>, StoreError> {
        let item = self.table.get(PrimaryKey::cluster(tenant, name)).await?;
        Ok(item.map(read::<ClusterItem, _>).transpose()?)
    }

    /// A page of a tenant's clusters, sorted by name.
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

    /// A page of a cluster's nodes, sorted by name. DynamoDB determines the size of the page.
    pub(crate) async fn nodes(
        &self,
        tenant: &TenantId,
        cluster: ClusterNumber,
        after: Option<&Node>,
    ) -> Result<Page<Node>, StoreError> {
        let pk = ClusterPk {
            tenant: tenant.clone(),
        };
        let query = Query {
            partition: pk.to_string(),
            prefix: Some(format!("{}#{cluster}#", NodeSk::PREFIX)),
            after: after.map(|node| PrimaryKey::node(tenant, node.cluster, &node.name).0),
            ..Query::default()
        };
        self.table.page::<NodeItem, _>(query).await
    }

    /// Takes one step in the deletion of a cluster: frees the slots of some of its holders or, in the last step,
    /// deletes the cluster together with the remaining slots. Decrements the counter of each live key whose slot is
    /// freed.
    pub(crate) async fn delete_cluster_step(
        &self,
        cluster: &Cluster,
    ) -> Result<Deletion, StoreError> {
        let freed: Vec<KeyId> = cluster
            .holders
            .iter()
            .copied()
            .take(FREED_AT_ONCE)
            .collect();
        let is_last = freed.len() == cluster.holders.len();
        let mut writes = vec![if is_last {
            delete_if_unchanged(cluster)
        } else {
            forget_holders(cluster, &freed)
        }];
        let slots = self.slots_of(cluster, &freed).await?;
        let live = self.live_keys(&cluster.tenant_id, &slots).await?;
        for (key, user) in &slots {
            writes.extend(free_slot(cluster, *key, user, live.contains(key)));
        }
        Ok(match self.table.try_transact(&writes).await {
            Ok(Outcome::Done) if is_last => Deletion::Done,
            Ok(Outcome::Done) => Deletion::Progress,
            Ok(Outcome::Refused(_)) | Err(StoreError::Busy) => Deletion::Stale,
            Err(error) => return Err(error),
        })
    }

    /// The given keys that hold slots for a cluster, with their owners.
    async fn slots_of(
        &self,
        cluster: &Cluster,
        keys: &[KeyId],
    ) -> Result<Vec<(KeyId, UserId)>, StoreError> {
        let slot = |key: &KeyId| PrimaryKey::slot(&cluster.tenant_id, *key, &cluster.name);
        let keys = keys.iter().map(slot).collect();
        let Batch(items) = self.table.batch_get(keys).await?;
        let slots = items.into_iter().map(|item| {
            let slot: SlotItem = read::<SlotItem, _>(item)?;
            Ok((slot.pk.key, slot.user_id))
        });
        slots.collect()
    }

    async fn live_keys(
        &self,
        tenant: &TenantId,
        keys: &[(KeyId, UserId)],
    ) -> Result<BTreeSet<KeyId>, StoreError> {
        let keys = keys
            .iter()
            .map(|(key, user)| PrimaryKey::key(tenant, user, *key));
        let mut live = BTreeSet::new();
        let Batch(items) = self.table.batch_get(keys.collect()).await?;
        for item in items {
            let key: KeyRecord = read::<KeyItem, _>(item)?;
            if key.hash.is_some() {
                live.insert(key.key_id);
            }
        }
        Ok(live)
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

/// Frees a key's slot for a cluster. If the key is live, also decrements its counter. The history of an expired key
/// keeps its count.
fn free_slot(cluster: &Cluster, key: KeyId, user: &UserId, is_live: bool) -> Vec<Write> {
    let tenant = &cluster.tenant_id;
    let slot =
        Write::delete(PrimaryKey::slot(tenant, key, &cluster.name)).when("attribute_exists(pk)");
    let mut writes = vec![slot];
    if is_live {
        let count = Write::update(
            PrimaryKey::key(tenant, user, key),
            "SET clusters_used = clusters_used - :one",
        );
        writes.push(count.when("attribute_exists(#hash)").value(":one", 1));
    }
    writes
}
