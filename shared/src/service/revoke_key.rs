//! Revokes one key, all keys of a user, or the presented key.

use std::time::Duration;

use super::{error::Error, key_service::KeyService, users, validate_key::report_superseded};
use crate::{
    model::{
        Action, Actor, AuditEntry, KeyId, Origin, Revocation, Target, TenantId, Timestamp, UserId,
    },
    policy,
    process::{
        events,
        metrics::{self, Metric},
    },
    store::{Attempts, Revoked, Store},
    token::AccessKey,
};

/// Revokes one key of a user. If the key is already revoked or has expired, nothing changes.
pub async fn revoke_key(
    actor: &Actor,
    store: &Store,
    owner_id: &UserId,
    key_id: KeyId,
    reason: Option<String>,
    history: Duration,
    now: Timestamp,
) -> Result<(), Error> {
    let (me, owner) = users::resolve_both(actor, store, owner_id, now).await?;
    let owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
    let revocation = Revocation::new(now, me.principal(), reason);
    let key = (&owner.tenant_id, owner_id, key_id);
    match revoke(store, key, &revocation, &actor.origin, "key", now).await? {
        Revoked::Before(key) if key.is_forgotten(history, now) => Err(Error::NotFound),
        Revoked::NotFound => Err(Error::NotFound),
        Revoked::Now | Revoked::Before(_) => Ok(()),
    }
}

/// Revokes every key that a user currently has, with one write. Keys that are created later are not affected.
pub async fn revoke_all_keys(
    actor: &Actor,
    store: &Store,
    owner_id: &UserId,
    reason: Option<String>,
    now: Timestamp,
) -> Result<(), Error> {
    let mut epoch_at_start = None;
    let mut attempts = Attempts::new();
    while attempts.next().await {
        let (me, owner) = users::resolve_both(actor, store, owner_id, now).await?;
        let is_in_table = owner.is_some();
        let owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
        // Another request may have revoked all keys since this one began.
        let is_revoked = owner.epoch > *epoch_at_start.get_or_insert(owner.epoch);
        // A user who is not in the table has no keys.
        if is_revoked || !is_in_table {
            return Ok(());
        }
        let revocation = Revocation::new(now, me.principal(), reason.clone());
        let about = (Action::UserKeysRevoked, Target::user(owner_id));
        let by = revocation.by.clone();
        let entry = AuditEntry::new(&owner.tenant_id, by.clone(), &actor.origin, about, now)
            .because(reason.clone());
        if store
            .revoke_all_keys(&owner, revocation, now, &entry)
            .await?
        {
            tracing::info!(
                event.name = events::USER_KEYS_REVOKED,
                actor = %by,
                tenant.id = %owner.tenant_id,
                user.id = %owner.user_id,
                "revoked all keys of the user"
            );
            metrics::count(Metric::Revoked("user"));
            return Ok(());
        }
    }
    Err(Error::CHANGED_MEANWHILE)
}

/// Revokes the presented key, so that anyone who finds a leaked key can revoke it. Revoking a key again changes
/// nothing.
///
/// # Errors
/// [`Error::NotAKey`] when the key is invalid or has expired.
pub async fn revoke_presented_key(
    service: &KeyService,
    key: &AccessKey,
    reason: Option<String>,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), Error> {
    let key = service.verify(key, now).await?;
    let key = key.map_err(|_| Error::NotAKey)?;
    let (tenant, user, key_id) = key.claims().ids();
    let store = &service.store;
    let record = store.key(tenant, user, key_id).await?;
    policy::may_revoke_as_holder(&key, record.as_ref(), now)
        .inspect_err(|code| report_superseded(&key, *code))
        .map_err(|_| Error::NotAKey)?;
    let revocation = Revocation::new(now, key_id, reason);
    let key = (tenant, user, key_id);
    match revoke(store, key, &revocation, origin, "holder", now).await? {
        Revoked::Now | Revoked::Before(_) => Ok(()),
        Revoked::NotFound => Err(Error::NotAKey),
    }
}

/// Revokes a key, then logs and counts the revocation. `kind` is a dimension of the metric.
pub(super) async fn revoke(
    store: &Store,
    (tenant_id, user_id, key_id): (&TenantId, &UserId, KeyId),
    revocation: &Revocation,
    origin: &Origin,
    kind: &'static str,
    now: Timestamp,
) -> Result<Revoked, Error> {
    let about = (Action::AccessKeyRevoked, Target::key(key_id, user_id));
    let entry = AuditEntry::new(tenant_id, revocation.by.clone(), origin, about, now)
        .because(revocation.reason.clone());
    let key = (tenant_id, user_id, key_id);
    let revoked = store.revoke_key(key, revocation, now, &entry).await?;
    if let Revoked::Now = revoked {
        tracing::info!(
            event.name = events::ACCESS_KEY_REVOKED,
            actor = %revocation.by,
            tenant.id = %tenant_id,
            user.id = %user_id,
            key.id = %key_id,
            "revoked the access key"
        );
        metrics::count(Metric::Revoked(kind));
    }
    Ok(revoked)
}
