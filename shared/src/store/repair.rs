//! The reads and writes of a repair. Onboarding also uses `correct_count`.

use std::collections::{BTreeMap, BTreeSet};

use serde_dynamo::string_set::StringSet;

use super::{
    handle::Store,
    schema::{
        AdminsItem, EpochItem, EpochSk, Item, KeySk, PrimaryKey, SlotItem, SlotPk, partition_key,
        read, readable, sort_key, user_pk,
    },
    table::{Outcome, Query, StoreError, Write},
    users::update_admins,
};
use crate::model::{
    Cluster, ClusterName, Epoch, EpochEnd, KeyId, KeyRecord, Role, TenantId, Timestamp, User,
    UserId, UserStatus,
};

/// Keys that are wrongly listed as holders of a cluster.
#[derive(Debug)]
pub struct FalseHolders {
    pub without_slot: Vec<KeyId>,
    /// Keys that have a slot but are not live, with their owners.
    pub dead: BTreeMap<KeyId, UserId>,
}

impl Store {
    /// Deletes a damaged set of administrators.
    pub(crate) async fn delete_admins(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let delete = Write::delete(PrimaryKey::admins(tenant));
        self.table.transact(&[delete]).await.map(drop)
    }

    /// Returns the set of administrators, which may differ from the users who are in fact active administrators.
    pub(crate) async fn admins(&self, tenant: &TenantId) -> Result<BTreeSet<UserId>, StoreError> {
        let item = self.table.get(PrimaryKey::admins(tenant)).await?;
        let admins = item.map(read::<AdminsItem, BTreeSet<UserId>>).transpose()?;
        Ok(admins.unwrap_or_default())
    }

    /// Removes a user who is not an active administrator from the set of administrators. Returns false if the user is
    /// an active administrator.
    pub(crate) async fn remove_admin(
        &self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<bool, StoreError> {
        let is_none = Write::check(PrimaryKey::user(tenant, user))
            .when("attribute_not_exists(pk) OR #role <> :admin OR #status <> :active")
            .value(":admin", Role::Admin)
            .value(":active", UserStatus::Active);
        let remove = update_admins(tenant, "DELETE admins :users", &[user]);
        let outcome = self.table.transact(&[is_none, remove]).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Returns the epoch that began with the latest revocation of all of a user's keys.
    pub(crate) async fn latest_epoch(&self, user: &User) -> Result<Option<Epoch>, StoreError> {
        let query = Query {
            partition: user_pk(&user.tenant_id, &user.user_id).to_string(),
            prefix: Some(format!("{}#", EpochSk::PREFIX)),
            descending: true,
            limit: Some(1),
            ..Query::default()
        };
        let page = self.table.page::<EpochItem, EpochEnd>(query).await?;
        Ok(page.items.first().map(|end| end.began))
    }

    /// Raises the epoch of a user. Returns false if the epoch has changed since it was read.
    pub(crate) async fn raise_epoch(&self, user: &User, epoch: Epoch) -> Result<bool, StoreError> {
        let update = Write::update(
            PrimaryKey::user(&user.tenant_id, &user.user_id),
            "SET epoch = :new",
        )
        .when("epoch = :old")
        .value(":old", user.epoch)
        .value(":new", epoch);
        let outcome = self.table.update(&update).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Makes a key due at `at`. Returns false if the time of the next check has changed since it was read.
    pub(crate) async fn make_due(
        &self,
        key: &KeyRecord,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let due = KeyRecord {
            due_at: Some(at),
            ..key.clone()
        };
        self.write_notices(key, &due, &[]).await
    }

    /// Sets the counter of a key to the number of slots that the key holds. Returns false if the counter has changed
    /// since it was read.
    pub(crate) async fn correct_count(
        &self,
        key: &KeyRecord,
        held: u32,
    ) -> Result<bool, StoreError> {
        let item = PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id);
        let update = Write::update(item, "SET clusters_used = :held")
            .when("attribute_exists(#hash) AND clusters_used = :old")
            .value(":held", held)
            .value(":old", key.clusters_used);
        let outcome = self.table.update(&update).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Adds a key that holds a slot for a cluster to the cluster's holders. Returns false if the cluster has changed
    /// since it was read.
    pub(crate) async fn add_holder(
        &self,
        cluster: &Cluster,
        key: KeyId,
    ) -> Result<bool, StoreError> {
        let item = PrimaryKey::cluster(&cluster.tenant_id, &cluster.name);
        let update = Write::update(item, "ADD holders :key")
            .when("id = :id AND attribute_not_exists(deleting)")
            .value(":id", cluster.number)
            .value(":key", StringSet([key]));
        let outcome = self.table.update(&update).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Returns the holders that a cluster should not have. Leaves out holders whose slot or key is damaged.
    pub(crate) async fn false_holders(
        &self,
        cluster: &Cluster,
    ) -> Result<FalseHolders, StoreError> {
        let tenant = &cluster.tenant_id;
        let holders = cluster.holders.iter();
        let slots = holders.map(|key| PrimaryKey::slot(tenant, *key, &cluster.name));
        let slots = self.table.batch_get_all(slots.collect()).await?;
        let of_slot = |item: &Item| partition_key(item).parse().ok().map(|pk: SlotPk| pk.key);
        let with_slot: BTreeSet<KeyId> = slots.iter().filter_map(of_slot).collect();
        let without_slot = cluster.holders.difference(&with_slot).copied().collect();
        let slots = readable::<SlotItem, SlotItem>(slots);
        let mut dead: BTreeMap<_, _> = slots.map(|slot| (slot.pk.key, slot.user_id)).collect();
        let keys = dead.iter();
        let keys = keys.map(|(key, owner)| PrimaryKey::key(tenant, owner, *key));
        for item in self.table.batch_get_all(keys.collect()).await? {
            if let Ok(KeySk { key }) = sort_key(&item).parse()
                && item.contains_key("hash")
            {
                dead.remove(&key);
            }
        }
        Ok(FalseHolders { without_slot, dead })
    }

    /// Removes a key from a cluster's holders, provided that the key has no slot for the cluster. Returns false if the
    /// key or the cluster has changed since it was read.
    pub(crate) async fn forget_holder(
        &self,
        cluster: &Cluster,
        key: KeyId,
    ) -> Result<bool, StoreError> {
        let tenant = &cluster.tenant_id;
        let is_free = Write::check(PrimaryKey::slot(tenant, key, &cluster.name))
            .when("attribute_not_exists(pk)");
        let item = PrimaryKey::cluster(tenant, &cluster.name);
        let forget = Write::update(item, "DELETE holders :key")
            .when("id = :id")
            .value(":id", cluster.number)
            .value(":key", StringSet([key]));
        let outcome = self.table.transact(&[is_free, forget]).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Removes a slot for a cluster that no longer exists.
    pub(crate) async fn remove_slot(
        &self,
        tenant: &TenantId,
        key: KeyId,
        cluster: &ClusterName,
    ) -> Result<bool, StoreError> {
        let is_gone =
            Write::check(PrimaryKey::cluster(tenant, cluster)).when("attribute_not_exists(pk)");
        let slot = Write::delete(PrimaryKey::slot(tenant, key, cluster));
        let outcome = self.table.transact(&[is_gone, slot]).await?;
        Ok(matches!(outcome, Outcome::Done))
    }
}
