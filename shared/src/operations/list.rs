//! Listing keys: newest first, complete, by pages of any size.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    clock::Seconds,
    cursor::Position,
    error::Error,
    id::{KeyId, UserId},
    input::ListRequest,
    record::{KeyRecord, User},
    role::Permission,
    store::Store,
};

/// Pages of the table that one answer may read: a filter that matches little then answers fewer items than asked
/// for, and a cursor.
const PAGES: usize = 10;

/// What is gathered for an answer.
struct Gathered<'a> {
    request: &'a ListRequest,
    now: Seconds,
    items: Vec<Value>,
    last: Option<Position>,
}

impl<'a> Gathered<'a> {
    fn new(request: &'a ListRequest, now: Seconds) -> Self {
        Self { request, now, items: Vec::with_capacity(request.limit), last: request.after.clone() }
    }

    fn is_filtered(&self) -> bool {
        self.request.status.is_some() || self.request.role.is_some()
    }

    /// Takes a record, unless the answer is full.
    fn take(&mut self, record: &KeyRecord, owner: Option<&User>, position: String) -> bool {
        if self.items.len() == self.request.limit {
            return false;
        }
        self.last = Some(Position(position));
        let status = record.status(owner, self.now);
        if self.request.status.is_none_or(|s| s == status)
            && self.request.role.is_none_or(|r| r == record.role)
        {
            self.items.push(record.to_json(owner, self.now));
        }
        true
    }

    fn answer(self, is_complete: bool) -> Value {
        let next = self.last.filter(|_| !is_complete).map(|last| last.to_cursor(&self.request.list));
        json!({ "items": self.items, "next_cursor": next })
    }
}

/// The keys of `owner`, read consistently.
///
/// # Errors
/// When the table does not answer in time.
pub async fn user_keys(
    store: &Store,
    owner: &User,
    request: &ListRequest,
    now: Seconds,
) -> Result<Value, Error> {
    let mut gathered = Gathered::new(request, now);
    for _ in 0..PAGES {
        // One more than fits tells whether there is more.
        let size = if gathered.is_filtered() { 250 } else { request.limit + 1 };
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        let page = store.user_keys(&owner.tenant_id, &owner.user_id, gathered.last.as_ref(), size).await?;
        for record in &page.items {
            if !gathered.take(record, Some(owner), format!("KEY#{}", record.key_id)) {
                return Ok(gathered.answer(false));
            }
        }
        if page.next.is_none() {
            return Ok(gathered.answer(true));
        }
    }
    Ok(gathered.answer(false))
}

/// The keys of the whole tenant of `me`.
///
/// # Errors
/// When `me` is no administrator.
pub async fn tenant_keys(
    store: &Store,
    me: &User,
    request: &ListRequest,
    now: Seconds,
) -> Result<Value, Error> {
    if !me.role.permissions().contains(Permission::AccessKeysManage) {
        return Err(Error::Forbidden("only an administrator may list the keys of the tenant"));
    }
    let mut gathered = Gathered::new(request, now);
    for _ in 0..PAGES {
        // At most 100: the owners of a page are read with one BatchGetItem.
        let page = store.tenant_keys(&me.tenant_id, gathered.last.as_ref(), 100).await?;
        let ids: BTreeSet<&str> = page.items.iter().map(|record| record.user_id.as_str()).collect();
        let ids: Vec<UserId> = ids.into_iter().filter_map(|id| id.parse().ok()).collect();
        let owners = store.users_of(&me.tenant_id, &ids.iter().collect::<Vec<_>>()).await?;
        for record in &page.items {
            let owner = owners.iter().find(|owner| owner.user_id == record.user_id);
            if !gathered.take(record, owner, format!("{}#{}", record.user_id, record.key_id)) {
                return Ok(gathered.answer(false));
            }
        }
        if page.next.is_none() {
            return Ok(gathered.answer(true));
        }
    }
    Ok(gathered.answer(false))
}

/// One key of `owner`.
///
/// # Errors
/// When there is no such key.
pub async fn key(store: &Store, owner: &User, key_id: KeyId, now: Seconds) -> Result<Value, Error> {
    let record = store.key(&owner.tenant_id, &owner.user_id, key_id).await?.ok_or(Error::NotFound)?;
    Ok(record.to_json(Some(owner), now))
}
