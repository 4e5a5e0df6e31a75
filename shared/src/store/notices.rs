//! The keys that `notify` must check, and what it writes about them.

use std::collections::BTreeSet;

use super::{
    handle::Store,
    schema::{
        DueKey, DuePk, DueSk, IndexedDueKey, Item, KeyItem, Kind, PrimaryKey, UserItem, is_kind,
        readable,
    },
    table::{Outcome, Query, StoreError, Write},
};
use crate::model::{AuditEntry, KeyRecord, Timestamp, User};

/// The number of keys in a page.
const PAGE: i32 = 50;

impl Store {
    /// Returns a page of the keys that became due on a given day, at or before `now`, sorted by time. The page is empty
    /// once no such key is left. `after` is the last key of the previous page. The index may lag slightly behind the
    /// table.
    pub(crate) async fn due_keys(
        &self,
        (day, shard): (&str, u8),
        after: Option<&DueKey>,
        now: Timestamp,
    ) -> Result<Vec<DueKey>, StoreError> {
        let day = day.to_owned();
        let pk = DuePk { day, shard };
        let position = |key: &DueKey| {
            PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id).in_index(
                "due",
                &pk,
                &DueSk(key.at),
            )
        };
        let query = Query {
            index: Some("due"),
            partition: pk.to_string(),
            after: after.map(position),
            limit: Some(PAGE),
            ..Query::default()
        };
        let (mut keys, _) = self.table.entries::<IndexedDueKey, DueKey>(query).await?;
        keys.retain(|key| key.at <= now);
        Ok(keys)
    }

    /// Reads the given keys and their owners. Leaves out keys and owners that cannot be read.
    pub(crate) async fn keys_and_owners(
        &self,
        keys: &[DueKey],
    ) -> Result<(Vec<KeyRecord>, Vec<User>), StoreError> {
        let owners: BTreeSet<_> = keys
            .iter()
            .map(|key| (&key.tenant_id, &key.user_id))
            .collect();
        let owners = owners
            .into_iter()
            .map(|(tenant, user)| PrimaryKey::user(tenant, user));
        let keys = keys
            .iter()
            .map(|key| PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id));
        let items = self
            .table
            .batch_get_all(owners.chain(keys).collect())
            .await?;
        let is_user = |item: &Item| is_kind(item, UserItem::SK);
        let (users, keys): (Vec<_>, Vec<_>) = items.into_iter().partition(is_user);
        let keys = readable::<KeyItem, _>(keys).collect();
        Ok((keys, readable::<UserItem, _>(users).collect()))
    }

    /// Writes notices about a key, and sets the time of its next check. Returns false if another run has done so since
    /// the key was read.
    pub(crate) async fn write_notices(
        &self,
        old: &KeyRecord,
        new: &KeyRecord,
        notices: &[AuditEntry],
    ) -> Result<bool, StoreError> {
        let item = |key: &KeyRecord| KeyItem::new(key, key.expires_at);
        let change = Write::change(&item(old), &item(new));
        let change = match old.due_at {
            Some(at) => change.when("due_sk = :seen").value(":seen", DueSk(at)),
            None => change.when("attribute_exists(pk) AND attribute_not_exists(due_sk)"),
        };
        let outcome = if notices.is_empty() {
            self.table.update(&change).await?
        } else {
            let notices = notices.iter().map(|notice| self.entered(notice));
            let writes: Vec<_> = [change].into_iter().chain(notices).collect();
            self.table.transact(&writes).await?
        };
        Ok(matches!(outcome, Outcome::Done))
    }
}
