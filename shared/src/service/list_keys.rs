//! Lists keys in pages, newest first.

use std::{collections::BTreeSet, time::Duration};

use super::{
    error::Error,
    page::{Gather, Listing, PageRequest},
    users,
};
use crate::{
    model::{
        Actor, KeyId, KeyRecord, KeySnapshot, KeyStatus, Name, Principal, Role, Timestamp, User,
        UserId, begin_words, words,
    },
    policy,
    store::{Position, Store},
};

/// The minimum length of a partial id. Shorter partial ids find nothing, because all ids begin with the same
/// characters.
const SHORTEST_PART_OF_ID: usize = 4;

/// A search for keys by their names and ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySearch {
    words: BTreeSet<String>,
    /// A complete id, or the beginning or end of one.
    id: String,
}

impl KeySearch {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            words: words(text),
            id: text.trim().to_ascii_lowercase(),
        }
    }

    fn finds(&self, key: &KeyRecord) -> bool {
        let id = key.key_id.to_string();
        let is_id = self.id.len() >= SHORTEST_PART_OF_ID
            && (id.starts_with(&self.id) || id.ends_with(&self.id));
        is_id || begin_words(&self.words, &words(&key.name))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    pub search: Option<KeySearch>,
    pub status: Option<KeyStatus>,
    pub role: Option<Role>,
    pub owner: Option<UserId>,
    pub created_by: Option<Principal>,
    pub label: Option<Name>,
    pub expires_before: Option<Timestamp>,
    /// How long the key must have been unused. If it has not been used since it was created or last rotated, the period
    /// is counted from that time.
    pub unused_for: Option<Duration>,
}

/// The time at which keys are listed, and how long expired keys stay in the list.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    pub history: Duration,
    pub now: Timestamp,
}

impl KeyFilter {
    fn is_set(&self) -> bool {
        *self != Self::default()
    }

    /// Returns the id of the only key that can match, if the search is for a complete id.
    #[must_use]
    pub fn key_id(&self) -> Option<KeyId> {
        self.search.as_ref()?.id.parse().ok()
    }

    /// Whether the search contains no word. Such a search finds nothing.
    fn finds_nothing(&self) -> bool {
        let search = self.search.as_ref();
        search.is_some_and(|search| search.words.is_empty())
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
        let is_wanted = self.role.is_none_or(|role| role == key.role)
            && self
                .owner
                .as_ref()
                .is_none_or(|owner| *owner == key.user_id)
            && self
                .created_by
                .as_ref()
                .is_none_or(|by| *by == key.created_by)
            && self
                .label
                .as_ref()
                .is_none_or(|label| key.labels.contains(label))
            && self.expires_before.is_none_or(|at| key.expires_at < at)
            && self
                .unused_for
                .is_none_or(|unused| key.idle_since() + unused <= now)
            && self.search.as_ref().is_none_or(|search| search.finds(&key));
        let is_status = |key: &KeySnapshot| self.status.is_none_or(|status| status == key.status);
        Some(key)
            .filter(|_| is_wanted)
            .map(|key| key.snapshot(owner, now))
            .filter(is_status)
    }
}

/// Returns a page of a user's keys, from strongly consistent reads. A caller's own keys are read in parallel with the
/// data for the policy. Another user's keys are read only after the policy has allowed the call, so that a refused call
/// does not read them and its duration does not depend on them.
pub async fn list_user_keys(
    actor: &Actor,
    store: &Store,
    owner_id: &UserId,
    filter: &KeyFilter,
    page: &PageRequest,
    horizon: Horizon,
) -> Result<Listing<KeySnapshot>, Error> {
    let mut gather = Gather::new(page);
    let size = gather.page_size(filter.is_set());
    let (tenant, key_id) = (&actor.tenant_id, filter.key_id());
    let read = async |after: Option<&Position>| {
        store.user_keys(tenant, owner_id, key_id, after, size).await
    };
    let me = actor.person().map(|person| &person.user_id);
    let is_early = me == Some(owner_id) && !filter.finds_nothing();
    let first = async {
        match is_early {
            true => Some(read(gather.position()).await),
            false => None,
        }
    };
    let users = users::resolve_both(actor, store, owner_id, horizon.now);
    let (users, mut first) = tokio::join!(users, first);
    let (me, owner) = users?;
    let mut owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
    if filter.finds_nothing() {
        return Ok(Listing::empty());
    }
    loop {
        let keys = match first.take() {
            Some(keys) => keys?,
            None => read(gather.position()).await?,
        };
        let epochs = keys.items.iter().map(|key| key.epoch);
        owner = store.with_ends_of(owner, epochs).await?;
        let show = |key| filter.snapshot(key, Some(&owner), horizon);
        if gather.take(keys, Position::after_key, show) {
            return Ok(gather.finish());
        }
    }
}

/// Returns a page of all keys in the actor's tenant. The index that lists them may lag slightly behind the table.
pub async fn list_tenant_keys(
    actor: &Actor,
    store: &Store,
    filter: &KeyFilter,
    page: &PageRequest,
    horizon: Horizon,
) -> Result<Listing<KeySnapshot>, Error> {
    let me = users::resolve(actor, store, horizon.now).await?;
    policy::may_list_tenant_keys(&me)?;
    if filter.finds_nothing() {
        return Ok(Listing::empty());
    }
    let tenant = me.tenant_id();
    let mut gather = Gather::new(page);
    let size = gather.page_size(filter.is_set()).min(100);
    loop {
        let (id, after) = (filter.key_id(), gather.position());
        let (keys, owners) = store.tenant_keys(tenant, id, after, size).await?;
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
