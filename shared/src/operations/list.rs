//! Listing keys: newest first, complete, by pages of any size.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    clock::Seconds,
    cursor::Position,
    error::Error,
    id::{KeyId, UserId},
    input::{KeysRequest, PageRequest},
    record::{KeyRecord, User},
    role::Permission,
    store::Store,
};

/// Pages of the table that one answer may read: a filter that matches little then answers fewer items than asked
/// for, and a cursor.
pub(super) const PAGES: usize = 10;

/// What is gathered for an answer.
pub(super) struct Gathered<'a> {
    request: &'a PageRequest,
    items: Vec<Value>,
    /// Where the next page of the table begins.
    pub last: Option<Position>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(request: &'a PageRequest) -> Self {
        Self {
            request,
            items: Vec::with_capacity(request.limit),
            last: request.after.clone(),
        }
    }

    /// Takes what stands at a position, if the filters let it pass. False when the answer is full.
    pub(super) fn take(&mut self, position: String, item: impl FnOnce() -> Option<Value>) -> bool {
        if self.items.len() == self.request.limit {
            return false;
        }
        self.last = Some(Position(position));
        self.items.extend(item());
        true
    }

    pub(super) fn answer(self, is_complete: bool) -> Value {
        let next = self
            .last
            .filter(|_| !is_complete)
            .map(|last| last.to_cursor(&self.request.list));
        json!({ "items": self.items, "next_cursor": next })
    }
}

/// The record for the wire, if it is asked for.
fn shown(
    request: &KeysRequest,
    record: &KeyRecord,
    owner: Option<&User>,
    now: Seconds,
) -> Option<Value> {
    let is_wanted = request
        .status
        .is_none_or(|status| status == record.status(owner, now))
        && request.role.is_none_or(|role| role == record.role);
    is_wanted.then(|| record.to_json(owner, now))
}

/// How many items to read at once for a list that shows some of them, or all.
pub(super) fn page_size(request: &PageRequest, is_filtered: bool) -> i32 {
    // One more than fits tells whether there is more.
    let size = if is_filtered { 250 } else { request.limit + 1 };
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// The keys of `owner`, read consistently.
///
/// # Errors
/// When the table does not answer in time.
pub async fn user_keys(
    store: &Store,
    owner: &User,
    request: &KeysRequest,
    now: Seconds,
) -> Result<Value, Error> {
    let mut gathered = Gathered::new(&request.page);
    let size = page_size(
        &request.page,
        request.status.is_some() || request.role.is_some(),
    );
    for _ in 0..PAGES {
        let page = store
            .user_keys(
                &owner.tenant_id,
                &owner.user_id,
                gathered.last.as_ref(),
                size,
            )
            .await?;
        for record in &page.items {
            let position = format!("KEY#{}", record.key_id);
            if !gathered.take(position, || shown(request, record, Some(owner), now)) {
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
    request: &KeysRequest,
    now: Seconds,
) -> Result<Value, Error> {
    if !me.role.permissions().contains(Permission::AccessKeysManage) {
        return Err(Error::Forbidden(
            "only an administrator may list the keys of the tenant",
        ));
    }
    let mut gathered = Gathered::new(&request.page);
    for _ in 0..PAGES {
        // At most 100: the owners of a page are read with one BatchGetItem.
        let page = store
            .tenant_keys(&me.tenant_id, gathered.last.as_ref(), 100)
            .await?;
        let ids: BTreeSet<&str> = page
            .items
            .iter()
            .map(|record| record.user_id.as_str())
            .collect();
        let ids: Vec<UserId> = ids.into_iter().filter_map(|id| id.parse().ok()).collect();
        let owners = store
            .users_of(&me.tenant_id, &ids.iter().collect::<Vec<_>>())
            .await?;
        for record in &page.items {
            let owner = owners.iter().find(|owner| owner.user_id == record.user_id);
            let position = format!("{}#{}", record.user_id, record.key_id);
            if !gathered.take(position, || shown(request, record, owner, now)) {
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
    let record = store
        .key(&owner.tenant_id, &owner.user_id, key_id)
        .await?
        .ok_or(Error::NotFound)?;
    Ok(record.to_json(Some(owner), now))
}
