//! Reads the state on which an onboarding depends, and writes the onboarding in one transaction.

use std::time::Duration;

use serde_dynamo::string_set::StringSet;

use super::{
    handle::Store,
    keys::with_use,
    schema::{ClusterItem, JoinTokenItem, KeyItem, PrimaryKey, SlotItem, SlotPk, SlotSk, UserItem},
    table::{Outcome, StoreError, Write},
    users::is_unchanged,
};
use crate::model::{
    AuditEntry, Cluster, ClusterName, JoinToken, JoinTokenRecord, KeyId, KeyRecord, Node, Secret,
    TenantId, Timestamp, User, UserId,
};

/// The minimum time between two writes of a cluster's `last_seen_at`.
const SEEN_PRECISION: Duration = Duration::from_secs(3600);

/// The data needed to decide on an onboarding. The read of each item is strongly consistent, but the items may have
/// been read at different moments.
#[derive(Debug, Clone)]
pub struct OnboardingState {
    pub key: Option<KeyRecord>,
    pub owner: Option<User>,
    pub cluster: Option<Cluster>,
    /// Whether the key holds a slot for the cluster.
    pub has_slot: bool,
}

/// The data that an onboarding writes.
#[derive(Debug)]
pub struct Onboarding {
    pub key: KeyRecord,
    /// The secret that was presented.
    pub secret: Secret,
    pub owner: User,
    pub slot: Slot,
    /// The cluster as it was read, or as the onboarding will create it.
    pub cluster: Cluster,
    pub is_new_cluster: bool,
    /// The node that joins.
    pub node: Option<Node>,
    /// Whether the node was counted against the quota of its cluster, so that the write may create the node.
    pub may_add_node: bool,
    pub join_token: JoinTokenRecord,
    pub now: Timestamp,
}

/// The result of an onboarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onboarded {
    Done,
    /// A condition failed because something has changed since the read, or another transaction holds one of the items.
    Changed,
    /// Nothing was written, because the node is new or no longer listed, and [`Onboarding::may_add_node`] is false.
    NewNode,
}

/// Whether the onboarding takes a new slot or the key already holds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The key takes a slot, unless it already holds `limit` slots.
    Take { limit: u32 },
    Held {
        /// Whether to record the use of the key. [`Self::Take`] always records it.
        record_use: bool,
        /// Whether the cluster already lists the key as a holder. It should, because the key holds a slot.
        is_holder: bool,
    },
}

impl Slot {
    /// Whether the key takes a slot that it does not hold yet.
    #[must_use]
    pub fn is_new(self) -> bool {
        !matches!(self, Self::Held { .. })
    }
}

impl Store {
    /// Reads everything needed to decide on an onboarding, in one strongly consistent request.
    pub(crate) async fn onboarding_state(
        &self,
        tenant: &TenantId,
        user: &UserId,
        key: KeyId,
        cluster: &ClusterName,
    ) -> Result<OnboardingState, StoreError> {
        let keys = vec![
            PrimaryKey::key(tenant, user, key),
            PrimaryKey::user(tenant, user),
            PrimaryKey::slot(tenant, key, cluster),
            PrimaryKey::cluster(tenant, cluster),
        ];
        let mut batch = self.table.batch_get(keys).await?;
        Ok(OnboardingState {
            key: batch.take::<KeyItem, _>()?,
            owner: batch.take::<UserItem, _>()?,
            cluster: batch.take::<ClusterItem, _>()?,
            has_slot: batch.has::<SlotItem>(),
        })
    }

    /// Onboards a cluster or a node. `entry` is `Some` if the key takes a new slot.
    pub(crate) async fn onboard(
        &self,
        onboarding: &Onboarding,
        token: &JoinToken,
        entry: Option<&AuditEntry>,
    ) -> Result<Onboarded, StoreError> {
        let mut writes = onboarding.slot_writes();
        writes.extend(onboarding.cluster_write());
        let node_at = writes.len();
        writes.extend(onboarding.node_write());
        let join_token = JoinTokenItem::new(&onboarding.join_token, token.hash());
        writes.push(Write::put(&join_token));
        writes.extend(entry.map(|entry| self.entered(entry)));
        match self.table.try_transact(&writes).await {
            Ok(Outcome::Done) => Ok(Onboarded::Done),
            Ok(Outcome::Refused(refusals)) if refusals.has_only(node_at) => Ok(Onboarded::NewNode),
            Ok(Outcome::Refused(_)) | Err(StoreError::Busy) => Ok(Onboarded::Changed),
            Err(error) => Err(error),
        }
    }
}

impl Onboarding {
    fn slot_writes(&self) -> Vec<Write> {
        let key = &self.key;
        let key_item = PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id);
        let slot = Write::put(&SlotItem {
            pk: SlotPk {
                tenant: key.tenant_id.clone(),
                key: key.key_id,
            },
            sk: SlotSk {
                cluster: self.cluster.name.clone(),
            },
            user_id: key.user_id.clone(),
            created_at: self.now,
        });
        match self.slot {
            Slot::Take { limit } => {
                let take = Write::update(key_item, "SET clusters_used = clusters_used + :one");
                let take = with_use(take, key, self.secret, self.now).when(
                    "#hash = :hash AND attribute_not_exists(revoked_at) AND expires_at > :now AND \
                     clusters_used < :limit AND clusters_used < max_clusters",
                )
                .value(":hash", key.hash)
                .value(":limit", limit)
                .value(":now", self.now)
                .value(":one", 1);
                vec![take, is_unchanged(&self.owner), slot.when_absent()]
            }
            Slot::Held {
                record_use,
                is_holder,
            } => {
                let update = with_use(Write::check(key_item), key, self.secret, self.now);
                let update = match (self.secret, &key.previous) {
                    (Secret::Previous(_), Some(previous)) => update
                        .when("previous_generation = :previous_generation")
                        .value(":previous_generation", previous.generation),
                    // Without this condition, a late write could lower `used_generation` after a rotation.
                    _ => update.when("#hash = :hash").value(":hash", key.hash),
                };
                let mut writes = Vec::from_iter(record_use.then_some(update));
                if !is_holder {
                    // The slot may have been freed since it was read.
                    writes.push(slot.when("attribute_exists(pk)"));
                    writes.push(is_unchanged(&self.owner));
                }
                writes
            }
        }
    }

    /// Returns the write to the cluster's item, if one is due. A known cluster is written at most once an hour, unless
    /// the key becomes a holder. This limits the load, because all nodes of the cluster may call at the same time, and
    /// all clusters of a tenant share a partition.
    fn cluster_write(&self) -> Option<Write> {
        if self.is_new_cluster {
            return Some(Write::put(&ClusterItem::from(&self.cluster)).when_absent());
        }
        let key = PrimaryKey::cluster(&self.key.tenant_id, &self.cluster.name);
        let is_holder = matches!(
            self.slot,
            Slot::Held {
                is_holder: true,
                ..
            }
        );
        let update = if !is_holder {
            Write::update(key, "SET last_seen_at = :now ADD holders :key")
                .value(":key", StringSet([self.key.key_id]))
        } else if self.cluster.last_seen_at + SEEN_PRECISION <= self.now {
            Write::update(key, "SET last_seen_at = :now")
        } else {
            return None;
        };
        let update = update.when("id = :id AND attribute_not_exists(deleting)");
        Some(
            update
                .value(":id", self.cluster.number)
                .value(":now", self.now),
        )
    }

    fn node_write(&self) -> Option<Write> {
        let node = self.node.as_ref()?;
        let update = Write::update(
            PrimaryKey::node(&self.key.tenant_id, node.cluster, &node.name),
            "SET id = if_not_exists(id, :id), created_at = if_not_exists(created_at, :now), \
             last_seen_at = :now, #ttl = :ttl",
        );
        let update = update.value(":id", node.number).value(":now", self.now);
        let update = update.value(":ttl", node.forgotten_at);
        // Every node of a new cluster is new, and may be added without being counted first.
        let is_unlimited = self.may_add_node || self.is_new_cluster;
        Some(if is_unlimited {
            update
        } else {
            update.when("#ttl > :now")
        })
    }
}
