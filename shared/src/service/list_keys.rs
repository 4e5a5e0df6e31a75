//! Lists keys in pages, newest first.

use std::collections::BTreeSet;

use super::{
    error::Error,
    page::{Gather, Listing, PageRequest},
    users,
};
use crate::{
    model::{
        Actor, KeyId, KeyRecord, KeySnapshot, KeyStatus, Role, TenantId, Timestamp, User, UserId,
    },
    policy,
    store::{Position, Store},
};

#[derive(Debug, Clone, Copy)]
pub struct KeyFilter {
    pub status: Option<KeyStatus>,
    pub role: Option<Role>,
}

impl KeyFilter {
    fn is_set(&self) -> bool {
        self.status.is_some() || self.role.is_some()
    }

    fn snapshot(
        &self,
        key: KeyRecord,
        owner: Option<&User>,
        now: Timestamp,
    ) -> Option<KeySnapshot> {
        let key = key.snapshot(owner, now);
        let is_wanted = self.status.is_none_or(|status| status == key.status)
            && self.role.is_none_or(|role| role == key.record.role);
        is_wanted.then_some(key)
    }
}

/// A page of a user's keys, from strongly consistent reads.
pub async fn list_user_keys(
    actor: &Actor,
    store: &Store,
    owner_id: &UserId,
    filter: KeyFilter,
    page: &PageRequest,
    now: Timestamp,
) -> Result<Listing<KeySnapshot>, Error> {
    let (me, owner) = users::resolve_both(actor, store, owner_id, now).await?;
    let owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
    let mut gather = Gather::new(page);
    let size = gather.page_size(filter.is_set());
    loop {
        let keys = store
            .user_keys(&owner.tenant_id, owner_id, gather.position(), size)
            .await?;
        let show = |key| filter.snapshot(key, Some(&owner), now);
        if gather.take(keys, Position::after_key, show) {
            return Ok(gather.finish());
        }
    }
}

/// A page of all keys in the actor's tenant, from an index that may lag slightly behind the table.
pub async fn list_tenant_keys(
    actor: &Actor,
    store: &Store,
    filter: KeyFilter,
    page: &PageRequest,
    now: Timestamp,
) -> Result<Listing<KeySnapshot>, Error> {
    let me = users::resolve(actor, store, now).await?;
    policy::may_list_tenant_keys(&me)?;
    let tenant = &me.tenant_id;
    let mut gather = Gather::new(page);
    loop {
        // A page of at most 100 keys has at most 100 owners, which one BatchGetItem can read.
        let keys = store.tenant_keys(tenant, gather.position(), 100).await?;
        let ids = keys.items.iter().map(|key| key.user_id.clone());
        let ids: BTreeSet<_> = ids.collect();
        let owners = store.users(tenant, &Vec::from_iter(&ids)).await?;
        let show = |key: KeyRecord| {
            let owner = owners.iter().find(|owner| owner.user_id == key.user_id);
            filter.snapshot(key, owner, now)
        };
        if gather.take(keys, Position::after_tenant_key, show) {
            return Ok(gather.finish());
        }
    }
}

pub async fn get_key(
    actor: &Actor,
    store: &Store,
    owner_id: &UserId,
    key_id: KeyId,
    now: Timestamp,
) -> Result<KeySnapshot, Error> {
    let (me, owner) = users::resolve_both(actor, store, owner_id, now).await?;
    let owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
    let key = store.key(&owner.tenant_id, owner_id, key_id).await?;
    let key = key.ok_or(Error::NotFound)?;
    Ok(key.snapshot(Some(&owner), now))
}

/// The record of the calling key, which the Lambda authorizer has validated.
pub async fn get_calling_key(
    store: &Store,
    tenant_id: &TenantId,
    owner_id: &UserId,
    key_id: KeyId,
    now: Timestamp,
) -> Result<KeySnapshot, Error> {
    let owner = store.user(tenant_id, owner_id).await?;
    let owner = owner.ok_or(Error::NotFound)?;
    let key = store.key(tenant_id, owner_id, key_id).await?;
    let key = key.ok_or(Error::NotFound)?;
    Ok(key.snapshot(Some(&owner), now))
}
