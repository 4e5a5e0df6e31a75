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
    /// How many items were left out because they are damaged.
    pub skipped: usize,
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
    /// The entries of one page of an index, without damaged ones, and whether there are more. If there are more, there
    /// is at least one entry, after which the next page can continue.
    pub async fn entries<I, R>(&self, mut query: Query) -> Result<(Vec<R>, bool), StoreError>
    where
        I: DeserializeOwned,
        R: TryFrom<I>,
        BadItem: From<R::Error>,
    {
        loop {
            let (items, has_more) = self.query(query.clone()).await?;
            query.after = items.last().cloned();
            let entries: Vec<R> = readable::<I, R>(items).collect();
            if !entries.is_empty() || !has_more {
                return Ok((entries, has_more));
            }
        }
    }

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
        let read = items.len();
        let items: Vec<R> = readable::<I, R>(items).collect();
        Ok(Page {
            skipped: read - items.len(),
            items,
            next,
        })
    }
}
