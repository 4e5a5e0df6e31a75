//! Reads, issues, revokes and archives keys, and records when they are used.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use serde_dynamo::string_set::StringSet;

use super::{
    handle::Store,
    page::{Page, Position},
    schema::{
        DueSk, EarlierRequest, IdempotencyItem, IdempotencySk, IndexedKey, IndexedKeysPk, Item,
        KeyItem, KeySk, Kind, PrimaryKey, QuotaItem, UserItem, is_kind, read, readable, user_pk,
    },
    table::{Outcome, Query, StoreError, Write},
    users::{is_unchanged, may_still},
};
use crate::{
    model::{
        Actor, AuditEntry, Caller, KeyHash, KeyId, KeyRecord, Labels, PreviousSecret, Revocation,
        Secret, TenantId, Timestamp, User, UserId,
    },
    token::Claims,
};

/// How long an `Idempotency-Key` is remembered.
pub(crate) const IDEMPOTENCY_LIFETIME: Duration = Duration::from_secs(86_400);

/// The request that an `Idempotency-Key` identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The hash of the caller's id and the `Idempotency-Key`.
    pub id: String,
    /// The hash of the request's parameters.
    pub fingerprint: String,
}

/// The data needed to create a key, from one strongly consistent request.
#[derive(Debug, Default)]
pub struct CreationState {
    pub actor: Option<User>,
    pub owner: Option<User>,
    /// The earlier request with the same `Idempotency-Key`, which may be older than 24 hours.
    pub earlier: Option<EarlierRequest>,
    pub quota: Quota,
}

/// The data needed to rotate a key, from one strongly consistent request.
#[derive(Debug)]
pub struct RotationState {
    /// The person, if any, who rotates the key.
    pub actor: Option<User>,
    pub owner: Option<User>,
    pub key: Option<KeyRecord>,
    /// The earlier request with the same `Idempotency-Key`, which may be older than 24 hours.
    pub earlier: Option<EarlierRequest>,
}

/// The keys that count against the owner's quota.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Some of these keys may no longer be live. Empty if the item is damaged.
    pub live: BTreeSet<KeyId>,
    is_damaged: bool,
}

/// The result of writing a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    Done,
    /// Something on which the write depends, such as the caller or the owner, has changed since it was read.
    Changed,
    /// For a new key or a rotation: another request with the same `Idempotency-Key` was written first. For a repeated
    /// creation: the key has expired, or has been used, reissued or revoked since it was read.
    Taken,
}

/// The result of a revocation.
#[derive(Debug)]
pub enum Revoked {
    Now,
    /// The key had already been revoked or had expired. Nothing has changed.
    Before(Box<KeyRecord>),
    NotFound,
}

/// The result of archiving a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    Now,
    Before,
}

/// Returns condition checks that make a transaction fail if `caller` may no longer issue a key for `owner`, or if the
/// issued key would not be valid.
fn still_valid(caller: &Caller, owner: &User) -> Vec<Write> {
    let is_another = |user: &&User| user.user_id != owner.user_id;
    let another = caller.user().filter(is_another);
    let mut checks = vec![is_unchanged(owner)];
    checks.extend(another.map(may_still));
    checks
}

/// Makes a write of a key fail if any of the attributes on which a rotation depends has changed since the key was read.
/// The transaction also checks the owner's epoch, so it fails too if all keys of the owner have been revoked since
/// then.
fn as_read(write: Write, read: &KeyRecord) -> Write {
    let write = write
        .when(
            "#hash = :read_hash AND attribute_not_exists(revoked_at) AND expires_at = :read_end \
             AND epoch = :read_epoch AND max_clusters = :read_max",
        )
        .value(":read_hash", read.hash)
        .value(":read_end", read.expires_at)
        .value(":read_epoch", read.epoch)
        .value(":read_max", read.max_clusters);
    let used = read.used_generation;
    let write = match used {
        0 => write.and("attribute_not_exists(used_generation)"),
        _ => write
            .and("used_generation = :read_used")
            .value(":read_used", used),
    };
    match read.previous.as_ref().and_then(|previous| previous.used_at) {
        None => write.and("attribute_not_exists(previous_used_at)"),
        Some(at) => write
            .and("previous_used_at = :read_previous_use")
            .value(":read_previous_use", at),
    }
}

/// Returns the write that records which request created or rotated a key. The write fails if another request with the
/// same `Idempotency-Key` created or rotated a key within the last 24 hours.
fn remember(
    key: &KeyRecord,
    idempotency: &Idempotency,
    generation: Option<u32>,
    began: Timestamp,
) -> Write {
    let item = IdempotencyItem {
        pk: user_pk(&key.tenant_id, &key.user_id),
        sk: IdempotencySk {
            hash: idempotency.id.clone(),
        },
        key_id: key.key_id,
        fingerprint: idempotency.fingerprint.clone(),
        generation,
        created_at: began,
        ttl: began + IDEMPOTENCY_LIFETIME,
    };
    Write::put(&item)
        .when("attribute_not_exists(pk) OR created_at <= :forgotten_before")
        .value(":forgotten_before", began - IDEMPOTENCY_LIFETIME)
}

/// Adds to a write the attributes that record a use of one of the key's secrets.
pub(super) fn with_use(write: Write, key: &KeyRecord, secret: Secret, now: Timestamp) -> Write {
    let write = write.and_set("last_used_at", now);
    match secret {
        Secret::Previous(_) => write.and_set("previous_used_at", now),
        Secret::Current if key.generation > 0 => write.and_set("used_generation", key.generation),
        Secret::Current => write,
    }
}

/// Returns the write that adds a new key to its owner's quota. The write fails if the quota is full, and replaces the
/// item of the quota if that item is damaged.
fn count_key(key: &KeyRecord, (quota, limit): (&Quota, usize)) -> Write {
    let item = PrimaryKey::quota(&key.tenant_id, &key.user_id);
    let write = if quota.is_damaged {
        Write::update(item, "SET live = :key")
    } else {
        Write::update(item, "ADD live :key")
            .when("attribute_not_exists(live) OR size(live) < :limit")
            .value(":limit", limit)
    };
    write.value(":key", StringSet([key.key_id]))
}

/// Makes a write of a key fail unless the key still has the labels that were read. Damaged labels are read as if there
/// were none.
fn with_labels(write: Write, read: &Labels) -> Write {
    if read.is_empty() {
        write
            .and("(attribute_not_exists(#labels) OR NOT attribute_type(#labels, :set))")
            .value(":set", "SS")
    } else {
        let read: Vec<&str> = read.iter().collect();
        write
            .and("#labels = :read_labels")
            .value(":read_labels", StringSet(read))
    }
}

/// Returns the write that revokes a key, provided that the key is not revoked yet and has not expired.
fn revocation_of(
    (tenant, user, key): (&TenantId, &UserId, KeyId),
    revocation: &Revocation,
    now: Timestamp,
) -> Write {
    let mut expression = "SET revoked_at = :at, revoked_by = :by".to_owned();
    if revocation.reason.is_some() {
        expression.push_str(", revoked_reason = :reason");
    }
    let update = Write::update(PrimaryKey::key(tenant, user, key), expression)
        .when("attribute_exists(pk) AND attribute_not_exists(revoked_at) AND expires_at > :now")
        .value(":at", revocation.at)
        .value(":by", &revocation.by)
        .value(":now", now);
    match &revocation.reason {
        Some(reason) => update.value(":reason", reason),
        None => update,
    }
}

impl Store {
    /// Reads everything that a validation needs: a key and its owner.
    pub(crate) async fn key_and_owner(
        &self,
        key: &Claims,
    ) -> Result<(Option<KeyRecord>, Option<User>), StoreError> {
        let (tenant, user) = (&key.tenant_id, &key.user_id);
        let keys = vec![
            PrimaryKey::key(tenant, user, key.key_id),
            PrimaryKey::user(tenant, user),
        ];
        let mut batch = self.table.batch_get(keys).await?;
        Ok((batch.take::<KeyItem, _>()?, batch.take::<UserItem, _>()?))
    }

    pub(crate) async fn key(
        &self,
        tenant: &TenantId,
        user: &UserId,
        key: KeyId,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let item = self.table.get(PrimaryKey::key(tenant, user, key)).await?;
        Ok(item.map(read::<KeyItem, _>).transpose()?)
    }

    pub(crate) async fn creation_state(
        &self,
        actor: &Actor,
        owner: &UserId,
        idempotency: Option<&Idempotency>,
    ) -> Result<CreationState, StoreError> {
        let tenant = &actor.tenant_id;
        let me = actor.person().map(|person| &person.user_id);
        let another = me.filter(|me| *me != owner);
        let users = another.into_iter().chain([owner]);
        let mut keys: Vec<_> = users.map(|user| PrimaryKey::user(tenant, user)).collect();
        keys.push(PrimaryKey::quota(tenant, owner));
        keys.extend(idempotency.map(|i| PrimaryKey::idempotency(tenant, owner, &i.id)));
        let mut batch = self.table.batch_get(keys).await?;
        // If the attribute is a list instead of a set, it can still be read, but no key can be added to it.
        let is_list = |item: &Item| item.get("live").is_some_and(|live| !live.is_ss());
        let mut quotas = batch.0.iter().filter(|item| is_kind(item, QuotaItem::SK));
        let is_damaged = quotas.any(is_list);
        let mut state = CreationState {
            earlier: batch.take::<IdempotencyItem, _>()?,
            quota: match batch.take::<QuotaItem, _>() {
                Ok(live) if !is_damaged => Quota {
                    live: live.unwrap_or_default(),
                    is_damaged,
                },
                _ => Quota {
                    live: BTreeSet::new(),
                    is_damaged: true,
                },
            },
            ..CreationState::default()
        };
        while let Some(user) = batch.take::<UserItem, User>()? {
            if user.user_id == *owner {
                state.owner = Some(user.clone());
            }
            if Some(&user.user_id) == me {
                state.actor = Some(user);
            }
        }
        Ok(state)
    }

    /// Removes keys that are no longer live from a user's quota. It does not remove keys that were added after the
    /// quota was read. Returns how many of the keys in `quota` are live.
    pub(crate) async fn recount_quota(
        &self,
        owner: &User,
        quota: &Quota,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let (tenant, user) = (&owner.tenant_id, &owner.user_id);
        let keys = quota.live.iter();
        let keys = keys.map(|key| PrimaryKey::key(tenant, user, *key));
        let keys = self.table.batch_get_all(keys.collect()).await?;
        let live = readable::<KeyItem, KeyRecord>(keys).filter(|key| key.is_live(owner, now));
        let live: BTreeSet<KeyId> = live.map(|key| key.key_id).collect();
        if live.len() < quota.live.len() {
            let ended: Vec<_> = quota.live.difference(&live).collect();
            let update = Write::update(PrimaryKey::quota(tenant, user), "DELETE live :ended");
            self.table
                .update(&update.value(":ended", StringSet(ended)))
                .await?;
        }
        Ok(live.len())
    }

    /// Writes a new key, provided that the caller and the owner have not changed since they were read, that the owner
    /// has fewer keys than the quota allows, and that the `Idempotency-Key` has not been used within the last 24 hours.
    pub(crate) async fn create_key(
        &self,
        key: &KeyRecord,
        parties: (&Caller, &User),
        idempotency: Option<&Idempotency>,
        quota: (&Quota, usize),
        entry: &AuditEntry,
    ) -> Result<Issued, StoreError> {
        let (caller, owner) = parties;
        let item = KeyItem::new(key, key.expires_at);
        let mut writes = vec![Write::put(&item).when_absent().return_item()];
        writes.extend(idempotency.map(|idem| remember(key, idem, None, key.created_at)));
        let is_idempotent = writes.len() == 2;
        writes.push(count_key(key, quota));
        writes.extend(still_valid(caller, owner));
        writes.push(self.entered(entry));
        let Outcome::Refused(mut refusals) = self.table.transact(&writes).await? else {
            return Ok(Issued::Done);
        };
        let found = refusals.take_item(0).map(read::<KeyItem, KeyRecord>);
        Ok(match found {
            // An earlier attempt wrote the key, but its response was lost.
            Some(Ok(found)) if found.hash == key.hash => Issued::Done,
            _ if is_idempotent && refusals.has(1) => Issued::Taken,
            _ => Issued::Changed,
        })
    }

    /// Replaces the hash of a key with the hash of a new secret, provided that the key still has the hash `earlier` and
    /// has never been used, and that the caller and the owner have not changed since they were read.
    pub(crate) async fn reissue_key(
        &self,
        key: &KeyRecord,
        earlier: KeyHash,
        caller: &Caller,
        owner: &User,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<Issued, StoreError> {
        let key_item = PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id);
        let update = Write::update(key_item, "SET #hash = :hash")
            .when(
                "#hash = :earlier AND attribute_not_exists(last_used_at) AND \
                 attribute_not_exists(revoked_at) AND expires_at > :now AND epoch = :epoch",
            )
            .value(":hash", key.hash)
            .value(":earlier", earlier)
            .value(":now", now)
            .value(":epoch", owner.epoch)
            .return_item();
        let mut writes = vec![update];
        writes.extend(still_valid(caller, owner));
        writes.push(self.entered(entry));
        let Outcome::Refused(mut refusals) = self.table.transact(&writes).await? else {
            return Ok(Issued::Done);
        };
        if !refusals.has(0) {
            return Ok(Issued::Changed);
        }
        let found = refusals.take_item(0).map(read::<KeyItem, KeyRecord>);
        Ok(match found {
            // An earlier attempt wrote the new hash, but its response was lost.
            Some(Ok(found)) if found.hash == key.hash => Issued::Done,
            _ => Issued::Taken,
        })
    }

    /// Reads everything that a rotation depends on. `actor` is `None` if the holder of the key rotates it.
    pub(crate) async fn rotation_state(
        &self,
        (tenant, owner, key): (&TenantId, &UserId, KeyId),
        actor: Option<&UserId>,
        idempotency: Option<&Idempotency>,
    ) -> Result<RotationState, StoreError> {
        let another = actor.filter(|actor| *actor != owner);
        let users = another.into_iter().chain([owner]);
        let mut keys: Vec<_> = users.map(|user| PrimaryKey::user(tenant, user)).collect();
        keys.push(PrimaryKey::key(tenant, owner, key));
        keys.extend(idempotency.map(|i| PrimaryKey::idempotency(tenant, owner, &i.id)));
        let mut batch = self.table.batch_get(keys).await?;
        let mut state = RotationState {
            actor: None,
            owner: None,
            key: batch.take::<KeyItem, _>()?,
            earlier: batch.take::<IdempotencyItem, _>()?,
        };
        while let Some(user) = batch.take::<UserItem, User>()? {
            if user.user_id == *owner {
                state.owner = Some(user.clone());
            }
            if Some(&user.user_id) == actor {
                state.actor = Some(user);
            }
        }
        Ok(state)
    }

    /// Replaces `read_key` with `key`, which has a new secret. Requires that the key, its owner and the caller (if any)
    /// have not changed since they were read, and that the `Idempotency-Key` has not been used within the last 24
    /// hours.
    pub(crate) async fn rotate_key(
        &self,
        (read_key, key): (&KeyRecord, &KeyRecord),
        (caller, owner): (Option<&Caller>, &User),
        idempotency: Option<&Idempotency>,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<Issued, StoreError> {
        let (old, new) = (read_key.expires_at, key.expires_at);
        // When a key is read, its expiry caps the end of its previous secret. The item itself can contain a later end,
        // which would take effect again if the expiry were extended. The update therefore always writes the end, even
        // if it appears unchanged.
        let mut read_item = read_key.clone();
        if let Some(previous) = &mut read_item.previous {
            previous.ends_at = Timestamp::from_seconds(0);
        }
        let update = Write::change(&KeyItem::new(&read_item, old), &KeyItem::new(key, new));
        let mut writes = vec![as_read(update, read_key).return_item()];
        writes.extend(idempotency.map(|idem| remember(key, idem, Some(key.generation), now)));
        match caller {
            Some(caller) => writes.extend(still_valid(caller, owner)),
            None => writes.push(is_unchanged(owner)),
        }
        writes.push(self.entered(entry));
        let Outcome::Refused(mut refusals) = self.table.transact(&writes).await? else {
            return Ok(Issued::Done);
        };
        let is_remembered = idempotency.is_some() && refusals.has(1);
        let found = refusals.take_item(0).map(read::<KeyItem, KeyRecord>);
        Ok(match found {
            // An earlier attempt rotated the key, but its response was lost.
            Some(Ok(found)) if found.hash == key.hash => Issued::Done,
            _ if is_remembered => Issued::Taken,
            _ => Issued::Changed,
        })
    }

    /// Returns a page of a user's keys, newest first. If `id` is set, the page can contain only the key with that id.
    pub(crate) async fn user_keys(
        &self,
        tenant: &TenantId,
        user: &UserId,
        id: Option<KeyId>,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<KeyRecord>, StoreError> {
        let pk = user_pk(tenant, user);
        let any = || format!("{}#", KeySk::PREFIX);
        let query = Query {
            partition: pk.to_string(),
            prefix: Some(id.map_or_else(any, |key| KeySk { key }.to_string())),
            descending: true,
            after: after.map(|position| position.in_partition(&pk)),
            limit: Some(limit),
            ..Query::default()
        };
        self.table.page::<KeyItem, _>(query).await
    }

    /// Returns a page of a tenant's keys, newest first, and the owners of these keys. If `id` is set, the page can
    /// contain only the key with that id. The keys are listed from an index, which may lag slightly behind the table,
    /// but their items are read from the table itself.
    pub(crate) async fn tenant_keys(
        &self,
        tenant: &TenantId,
        id: Option<KeyId>,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<(Page<KeyRecord>, Vec<User>), StoreError> {
        let query = Query {
            index: Some("tenant"),
            after: after.and_then(|position| position.in_tenant_keys(tenant)),
            partition: IndexedKeysPk {
                tenant: tenant.clone(),
            }
            .to_string(),
            prefix: id.map(|id| id.to_string()),
            descending: true,
            limit: Some(limit),
        };
        let (ids, has_more) = self
            .table
            .entries::<IndexedKey, (UserId, KeyId)>(query)
            .await?;
        let last = ids.last().filter(|_| has_more);
        let next = last.map(|(user, key)| Position::after_tenant_key(user, *key));
        let owners: BTreeSet<_> = ids.iter().map(|(user, _)| user).collect();
        let owners = owners
            .into_iter()
            .map(|user| PrimaryKey::user(tenant, user));
        let keys = ids
            .iter()
            .map(|(user, key)| PrimaryKey::key(tenant, user, *key));
        let items = self
            .table
            .batch_get_all(owners.chain(keys).collect())
            .await?;
        let is_user = |item: &Item| is_kind(item, UserItem::SK);
        let (users, keys): (Vec<_>, Vec<_>) = items.into_iter().partition(is_user);
        let read = keys.len();
        let mut items: Vec<KeyRecord> = readable::<KeyItem, _>(keys).collect();
        let skipped = read - items.len();
        items.sort_by_key(|key| Reverse(key.key_id));
        let owners = readable::<UserItem, _>(users).collect();
        let page = Page {
            items,
            skipped,
            next,
        };
        Ok((page, owners))
    }

    /// Revokes a key that is not revoked yet and has not expired.
    pub(crate) async fn revoke_key(
        &self,
        key: (&TenantId, &UserId, KeyId),
        revocation: &Revocation,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<Revoked, StoreError> {
        let update = revocation_of(key, revocation, now).return_item();
        Ok(match self.revoke_and_enter(update, entry).await? {
            Outcome::Done => Revoked::Now,
            Outcome::Refused(mut refusals) => match refusals.take_item(0) {
                Some(item) => Revoked::Before(Box::new(read::<KeyItem, _>(item)?)),
                None => Revoked::NotFound,
            },
        })
    }

    /// Revokes a key, unless it has expired, or has been used, rotated, revoked or removed since it was read. Returns
    /// whether the key was revoked.
    pub(crate) async fn revoke_unused_key(
        &self,
        key: &KeyRecord,
        revocation: &Revocation,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        let id = (&key.tenant_id, &key.user_id, key.key_id);
        let update = revocation_of(id, revocation, now);
        let update = match key.last_used_at {
            Some(at) => update.and("last_used_at = :used").value(":used", at),
            None => update.and("attribute_not_exists(last_used_at)"),
        };
        // A rotation changes the time at which the key is due, so this condition also fails after a rotation.
        let update = update
            .and("due_sk = :due")
            .value(":due", key.due_at.map(DueSk));
        let outcome = self.revoke_and_enter(update, entry).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Records a use of one of a key's secrets, unless another use was recorded after `since`. Does not retry while a
    /// transaction holds the key.
    ///
    /// The condition names only attributes that validations may write, because IAM does not distinguish between the
    /// attributes that a request reads and those that it writes.
    pub(crate) async fn record_use(
        &self,
        key: &KeyRecord,
        secret: Secret,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let item = PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id);
        let update = with_use(Write::check(item), key, secret, now).value(":since", since);
        let update = match (secret, &key.previous) {
            (Secret::Previous(_), Some(previous)) => update
                .when(
                    "previous_generation = :previous_generation AND \
                     (attribute_not_exists(previous_used_at) OR previous_used_at <= :since)",
                )
                .value(":previous_generation", previous.generation),
            _ if key.generation > 0 => update.when(
                "attribute_exists(pk) AND \
                 (attribute_not_exists(last_used_at) OR last_used_at <= :since OR \
                 attribute_not_exists(used_generation) OR used_generation < :used_generation)",
            ),
            _ => update.when(
                "attribute_exists(pk) AND \
                 (attribute_not_exists(last_used_at) OR last_used_at <= :since)",
            ),
        };
        self.table.try_update(&update).await.map(drop)
    }

    /// Changes the name, labels, expiry and cluster limit of a key from those of `read_key` to those of `key`. Changes
    /// nothing and returns false if the expiry or one of the values to change is no longer the one that was read, if
    /// the new limit exceeds the one that was last signed, or if the caller who raises the limit (`giver`) no longer
    /// has the role and status that were read.
    ///
    /// The condition does not name `revoked_at`, because an IAM policy that allows the condition to read this attribute
    /// would also allow the function to write it.
    pub(crate) async fn change_key(
        &self,
        (read_key, key): (&KeyRecord, &KeyRecord),
        giver: Option<&Caller>,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        let (old, new) = (read_key.expires_at, key.expires_at);
        let change = Write::change(&KeyItem::new(read_key, old), &KeyItem::new(key, new));
        let mut change = change
            .when("expires_at = :read_end")
            .value(":read_end", old);
        if key.max_clusters != read_key.max_clusters {
            change = change
                .and("signed_max_clusters >= :new_max_clusters AND max_clusters = :read_max")
                .value(":read_max", read_key.max_clusters);
        }
        if key.name != read_key.name {
            change = change
                .and("#name = :read_name")
                .value(":read_name", &read_key.name);
        }
        if key.labels != read_key.labels {
            change = with_labels(change, &read_key.labels);
        }
        let mut writes = vec![change];
        writes.extend(giver.and_then(Caller::user).map(may_still));
        writes.push(self.entered(entry));
        let outcome = self.table.transact(&writes).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Stores the history of an expired key, without its hashes, until `ttl`.
    pub(crate) async fn archive_key(
        &self,
        key: KeyRecord,
        ttl: Timestamp,
    ) -> Result<Archived, StoreError> {
        let without_hash = |previous| PreviousSecret {
            hash: None,
            ..previous
        };
        let key = KeyRecord {
            hash: None,
            previous: key.previous.map(without_hash),
            unused_reported_at: None,
            ..key
        };
        let put = Write::put(&KeyItem::new(&key, ttl)).when_absent();
        Ok(match self.table.put(&put).await? {
            Outcome::Done => Archived::Now,
            Outcome::Refused(_) => Archived::Before,
        })
    }
}
