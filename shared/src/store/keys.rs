//! Reads, issues, revokes and archives keys, and records their use.

use super::{
    handle::Store,
    page::{Page, Position},
    schema::{
        EarlierRequest, IdempotencyItem, IdempotencySk, IndexedKeysPk, KeyItem, KeySk, PrimaryKey,
        UserItem, read, user_pk,
    },
    table::{Outcome, Query, StoreError, Write},
    users::is_unchanged,
};
use crate::{
    model::{Actor, KeyId, KeyRecord, Revocation, TenantId, Timestamp, User, UserId},
    token::Claims,
};

/// The request that an `Idempotency-Key` identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Hash of the caller and the header.
    pub id: String,
    /// Hash of the request's parameters.
    pub fingerprint: String,
}

/// The data needed to create a key, from one strongly consistent request.
#[derive(Debug, Default)]
pub struct CreationState {
    pub actor: Option<User>,
    pub owner: Option<User>,
    /// The earlier request with the same `Idempotency-Key`.
    pub earlier: Option<EarlierRequest>,
}

/// The result of writing a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    Done,
    /// The owner has changed since the read, or another request with the same `Idempotency-Key` was faster.
    Changed,
    /// The key to re-issue was revoked or has expired.
    Gone,
}

/// The result of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    Now,
    /// The key was already revoked, or only its history is left.
    Before,
    NotFound,
}

/// The result of archiving a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    Now,
    Before,
}

impl Store {
    /// Everything that a validation reads: a key and its owner.
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
        let mut keys = vec![PrimaryKey::user(tenant, &actor.user_id)];
        if *owner != actor.user_id {
            keys.push(PrimaryKey::user(tenant, owner));
        }
        keys.extend(idempotency.map(|i| PrimaryKey::idempotency(tenant, owner, &i.id)));
        let mut batch = self.table.batch_get(keys).await?;
        let mut state = CreationState {
            earlier: batch.take::<IdempotencyItem, _>()?,
            ..CreationState::default()
        };
        while let Some(user) = batch.take::<UserItem, User>()? {
            if user.user_id == *owner {
                state.owner = Some(user.clone());
            }
            if user.user_id == actor.user_id {
                state.actor = Some(user);
            }
        }
        Ok(state)
    }

    /// Writes a new key, provided that its owner has not changed since the read and that the `Idempotency-Key` is
    /// unused.
    pub(crate) async fn create_key(
        &self,
        key: &KeyRecord,
        owner: &User,
        idempotency: Option<&Idempotency>,
    ) -> Result<Issued, StoreError> {
        let item = KeyItem::new(key, key.expires_at);
        let mut writes = vec![
            is_unchanged(owner),
            Write::put(&item).when_absent().return_item(),
        ];
        if let Some(Idempotency { id, fingerprint }) = idempotency {
            let item = IdempotencyItem {
                pk: user_pk(&key.tenant_id, &key.user_id),
                sk: IdempotencySk { hash: id.clone() },
                key_id: key.key_id,
                fingerprint: fingerprint.clone(),
                ttl: key.expires_at,
            };
            writes.push(Write::put(&item).when_absent());
        }
        let Outcome::Refused(mut refusals) = self.table.transact(&writes).await? else {
            return Ok(Issued::Done);
        };
        let found = refusals.take_item(1).map(read::<KeyItem, KeyRecord>);
        Ok(match found {
            // An earlier attempt wrote the key, but its response was lost.
            Some(Ok(found)) if found.hash == key.hash => Issued::Done,
            _ => Issued::Changed,
        })
    }

    /// Replaces the hash of a live key that was issued again with a new secret.
    pub(crate) async fn reissue_key(
        &self,
        key: &KeyRecord,
        owner: &User,
    ) -> Result<Issued, StoreError> {
        let key_item = PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id);
        let update = Write::update(key_item, "SET #hash = :hash")
            .when("attribute_exists(#hash) AND attribute_not_exists(revoked_at) AND epoch = :epoch")
            .value(":hash", key.hash)
            .value(":epoch", owner.epoch);
        let writes = [is_unchanged(owner), update];
        Ok(match self.table.transact(&writes).await? {
            Outcome::Refused(refusals) if refusals.has(1) => Issued::Gone,
            Outcome::Refused(_) => Issued::Changed,
            Outcome::Done => Issued::Done,
        })
    }

    /// A page of a user's keys, newest first.
    pub(crate) async fn user_keys(
        &self,
        tenant: &TenantId,
        user: &UserId,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<KeyRecord>, StoreError> {
        let pk = user_pk(tenant, user);
        let query = Query {
            partition: pk.to_string(),
            prefix: Some(format!("{}#", KeySk::PREFIX)),
            descending: true,
            after: after.map(|position| position.in_partition(&pk)),
            limit: Some(limit),
            ..Query::default()
        };
        self.table.page::<KeyItem, _>(query).await
    }

    /// A page of a tenant's keys, newest first, from the index.
    pub(crate) async fn tenant_keys(
        &self,
        tenant: &TenantId,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<KeyRecord>, StoreError> {
        let tenant = tenant.clone();
        let query = Query {
            index: Some("tenant"),
            after: after.and_then(|position| position.in_tenant_keys(&tenant)),
            partition: IndexedKeysPk { tenant }.to_string(),
            descending: true,
            limit: Some(limit),
            ..Query::default()
        };
        self.table.page::<KeyItem, _>(query).await
    }

    /// Revokes a key. If the key is already revoked, the first revocation is kept.
    pub(crate) async fn revoke_key(
        &self,
        tenant: &TenantId,
        user: &UserId,
        key: KeyId,
        revocation: &Revocation,
    ) -> Result<Revoked, StoreError> {
        let mut expression = "SET revoked_at = :at, revoked_by = :by".to_owned();
        if revocation.reason.is_some() {
            expression.push_str(", revoked_reason = :reason");
        }
        let mut update = Write::update(PrimaryKey::key(tenant, user, key), expression)
            .when("attribute_exists(#hash) AND attribute_not_exists(revoked_at)")
            .value(":at", revocation.at)
            .value(":by", &revocation.by)
            .return_item();
        if let Some(reason) = &revocation.reason {
            update = update.value(":reason", reason);
        }
        Ok(match self.table.update(&update).await? {
            Outcome::Done => Revoked::Now,
            Outcome::Refused(mut refusals) => match refusals.take_item(0) {
                Some(_) => Revoked::Before,
                None => Revoked::NotFound,
            },
        })
    }

    /// Records a use of a key, unless one was recorded after `since`. Does not retry while a transaction holds the key.
    pub(crate) async fn record_use(
        &self,
        key: &KeyRecord,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id);
        let update = Write::update(key, "SET last_used_at = :now")
            .when(
                "attribute_exists(#hash) AND \
                 (attribute_not_exists(last_used_at) OR last_used_at <= :since)",
            )
            .value(":now", now)
            .value(":since", since);
        self.table.try_update(&update).await.map(drop)
    }

    /// Changes how many clusters a key may onboard. Returns false if the key is no longer live.
    pub(crate) async fn limit_clusters(
        &self,
        key: &KeyRecord,
        max_clusters: u32,
    ) -> Result<bool, StoreError> {
        let key = PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id);
        let update = Write::update(key, "SET max_clusters = :max")
            .when("attribute_exists(#hash) AND attribute_not_exists(revoked_at)")
            .value(":max", max_clusters);
        let outcome = self.table.update(&update).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Stores the history of an expired key, without its hash, until `ttl`.
    pub(crate) async fn archive_key(
        &self,
        key: KeyRecord,
        ttl: Timestamp,
    ) -> Result<Archived, StoreError> {
        let key = KeyRecord { hash: None, ..key };
        let put = Write::put(&KeyItem::new(&key, ttl)).when_absent();
        Ok(match self.table.put(&put).await? {
            Outcome::Done => Archived::Now,
            Outcome::Refused(_) => Archived::Before,
        })
    }
}
