//! Lists keys in pages, newest first.

use std::time::Duration;

use super::{
    error::Error,
    page::{Gather, Listing, PageRequest},
    users,
};
use crate::{
    model::{Actor, KeyId, KeyRecord, KeySnapshot, KeyStatus, Role, Timestamp, User, UserId},
    policy,
    store::{Position, Store},
};

#[derive(Debug, Clone, Copy)]
pub struct KeyFilter {
    pub status: Option<KeyStatus>,
    pub role: Option<Role>,
}

/// The time of a list, and how long expired keys stay in it.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    pub history: Duration,
    pub now: Timestamp,
}

impl KeyFilter {
    fn is_set(&self) -> bool {
        self.status.is_some() || self.role.is_some()
    }

    fn snapshot(
        &self,
        key: KeyRecord,
        owner: Option<&User>,
        horizon: Horizon,
    ) -> Option<KeySnapshot> {
        let Horizon { history, now } = horizon;
        if key.is_forgotten(history, now) {
            return None;
        }
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
    horizon: Horizon,
) -> Result<Listing<KeySnapshot>, Error> {
    let (me, owner) = users::resolve_both(actor, store, owner_id, horizon.now).await?;
    let mut owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
    let mut gather = Gather::new(page);
    let size = gather.page_size(filter.is_set());
    loop {
        let keys = store
            .user_keys(&owner.tenant_id, owner_id, gather.position(), size)
            .await?;
        let epochs = keys.items.iter().map(|key| key.epoch);
        owner = store.with_ends_of(owner, epochs).await?;
        let show = |key| filter.snapshot(key, Some(&owner), horizon);
        if gather.take(keys, Position::after_key, show) {
            return Ok(gather.finish());
        }
    }
}

/// A page of all keys in the actor's tenant. The index that lists them may lag slightly behind the table.
pub async fn list_tenant_keys(
    actor: &Actor,
    store: &Store,
    filter: KeyFilter,
    page: &PageRequest,
    horizon: Horizon,
) -> Result<Listing<KeySnapshot>, Error> {
    let me = users::resolve(actor, store, horizon.now).await?;
    policy::may_list_tenant_keys(&me)?;
    let tenant = me.tenant_id();
    let mut gather = Gather::new(page);
    let size = gather.page_size(filter.is_set()).min(100);
    loop {
        let (keys, owners) = store.tenant_keys(tenant, gather.position(), size).await?;
        let mut complete = Vec::with_capacity(owners.len());
        for owner in owners {
            let of_owner = keys.items.iter().filter(|key| key.user_id == owner.user_id);
            let epochs = of_owner.map(|key| key.epoch);
            complete.push(store.with_ends_of(owner.clone(), epochs).await?);
        }
        let show = |key: KeyRecord| {
            let owner = complete.iter().find(|owner| owner.user_id == key.user_id);
            filter.snapshot(key, owner, horizon)
        };
        let position = |key: &KeyRecord| Position::after_tenant_key(&key.user_id, key.key_id);
        if gather.take(keys, position, show) {
            return Ok(gather.finish());
        }
    }
}

pub async fn get_key(
    actor: &Actor,
    store: &Store,
    owner_id: &UserId,
    key_id: KeyId,
    horizon: Horizon,
) -> Result<KeySnapshot, Error> {
    let (me, owner) = users::resolve_both(actor, store, owner_id, horizon.now).await?;
    let owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
    let Horizon { history, now } = horizon;
    let key = store.key(&owner.tenant_id, &owner.user_id, key_id).await?;
    let key = key.filter(|key| !key.is_forgotten(history, now));
    let key = key.ok_or(Error::NotFound)?;
    let owner = store.with_ends_of(owner, [key.epoch].into_iter()).await?;
    Ok(key.snapshot(Some(&owner), now))
}
