//! Pages of lists.

use serde::de::DeserializeOwned;

use super::{
    schema::{BadItem, ClusterSk, IndexedKeysPk, IndexedUsersPk, Item, KeySk, PrimaryKey, read},
    table::{Query, StoreError, Table},
};
use crate::model::{Cluster, KeyRecord, TenantId, User, UserId};

/// Part of a list, in order.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub has_more: bool,
}

/// A position in a list, directly after an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position(pub(crate) String);

impl Position {
    /// The position after a key in the list of a user's keys.
    pub(crate) fn after_key(key: &KeyRecord) -> Self {
        let key = key.key_id;
        Self(KeySk { key }.to_string())
    }

    /// The position after a key in the list of a tenant's keys.
    pub(crate) fn after_tenant_key(key: &KeyRecord) -> Self {
        Self(format!("{}#{}", key.user_id, key.key_id))
    }

    /// The position after a user in the list of a tenant's users.
    pub(crate) fn after_user(user: &User) -> Self {
        Self(user.user_id.to_string())
    }

    /// The position after a cluster in the list of a tenant's clusters.
    pub(crate) fn after_cluster(cluster: &Cluster) -> Self {
        let cluster = cluster.name.clone();
        Self(ClusterSk { cluster }.to_string())
    }

    /// The key after which a query of a partition continues.
    pub(super) fn in_partition(&self, pk: &impl ToString) -> Item {
        PrimaryKey::new(pk, &self.0).0
    }

    /// The key after which a query of the tenant's keys continues; `None` for a position in another list.
    pub(super) fn in_tenant_keys(&self, tenant: &TenantId) -> Option<Item> {
        let (user, key) = self.0.rsplit_once('#')?;
        let (user, key): (UserId, _) = (user.parse().ok()?, key.parse().ok()?);
        let partition = IndexedKeysPk {
            tenant: tenant.clone(),
        };
        let item = PrimaryKey::key(tenant, &user, key);
        Some(item.in_tenant_index(&partition, &key))
    }

    /// The key after which a query of the tenant's users continues; `None` for a position in another list.
    pub(super) fn in_tenant_users(&self, tenant: &TenantId) -> Option<Item> {
        let user: UserId = self.0.parse().ok()?;
        let partition = IndexedUsersPk {
            tenant: tenant.clone(),
        };
        Some(PrimaryKey::user(tenant, &user).in_tenant_index(&partition, &user))
    }
}

impl Table {
    /// One page of a query's results, converted to records.
    pub async fn page<I, R>(&self, query: Query) -> Result<Page<R>, StoreError>
    where
        I: DeserializeOwned,
        R: TryFrom<I>,
        BadItem: From<R::Error>,
    {
        let (items, has_more) = self.query(query).await?;
        let items = items.into_iter().map(read::<I, R>);
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            has_more,
        })
    }
}
