//! Pages of lists.

use serde::de::DeserializeOwned;

use super::{
    schema::{
        BadItem, ClusterSk, IndexedKeysPk, IndexedUsersPk, Item, KeySk, PrimaryKey, readable,
        sort_key,
    },
    table::{Query, StoreError, Table},
};
use crate::model::{Cluster, KeyId, KeyRecord, TenantId, UserId};

/// Part of a list, in order.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The position after the last item that was read; `None` at the end of the list.
    pub next: Option<Position>,
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
    pub(crate) fn after_tenant_key(user: &UserId, key: KeyId) -> Self {
        Self(format!("{user}#{key}"))
    }

    /// The position after a user in the list of a tenant's users.
    pub(crate) fn after_user(user: &UserId) -> Self {
        Self(user.to_string())
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
    /// One page of a query of the table, converted to records. Leaves out damaged items.
    pub async fn page<I, R>(&self, query: Query) -> Result<Page<R>, StoreError>
    where
        I: DeserializeOwned,
        R: TryFrom<I>,
        BadItem: From<R::Error>,
    {
        let (items, has_more) = self.query(query).await?;
        let last = items.last().filter(|_| has_more);
        let next = last.map(|item| Position(sort_key(item).to_owned()));
        let items = readable::<I, R>(items).collect();
        Ok(Page { items, next })
    }
}
