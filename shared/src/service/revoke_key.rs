//! Revoking: one key, all keys of a user, or the key that is presented.

use super::{error::Error, key_service::KeyService, users};
use crate::{
    model::{Actor, KeyId, Revocation, TenantId, Timestamp, UserId},
    policy,
    process::metrics::{self, Metric},
    store::{Attempts, Revoked, Store},
    token::AccessKey,
};

/// Revokes one key of a user. Revoking it again changes nothing.
///
/// # Errors
/// When there is no such user or key, or the policy denies it.
pub async fn revoke_key(
    actor: &Actor,
    store: &Store,
    owner_id: &UserId,
    key_id: KeyId,
    reason: Option<String>,
    now: Timestamp,
) -> Result<(), Error> {
    let (me, owner) = users::resolve_both(actor, store, owner_id, now).await?;
    let owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
    let (tenant, by) = (&owner.tenant_id, me.user_id.to_string());
    let revocation = Revocation {
        at: now,
        by,
        reason,
    };
    match store
        .revoke_key(tenant, owner_id, key_id, &revocation)
        .await?
    {
        Revoked::Now => {
            log(tenant, owner_id, key_id, "key");
            Ok(())
        }
        Revoked::Before => Ok(()),
        Revoked::NotFound => Err(Error::NotFound),
    }
}

/// Revokes every key that a user has now, with one write. Keys that are created later are valid.
///
/// # Errors
/// When there is no such user, or the policy denies it.
pub async fn revoke_all_keys(
    actor: &Actor,
    store: &Store,
    owner_id: &UserId,
    reason: Option<String>,
    now: Timestamp,
) -> Result<(), Error> {
    let mut epoch = None;
    let mut attempts = Attempts::default();
    while attempts.next().await {
        let (me, owner) = users::resolve_both(actor, store, owner_id, now).await?;
        let is_in_table = owner.is_some();
        let owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
        // Another request has revoked all keys since this one began.
        let is_revoked = owner.epoch > *epoch.get_or_insert(owner.epoch);
        // Somebody who was never seen has no keys.
        if is_revoked || !is_in_table {
            return Ok(());
        }
        let by = me.user_id.to_string();
        let reason = reason.clone();
        let revocation = Revocation {
            at: now,
            by,
            reason,
        };
        if store.revoke_all_keys(&owner, revocation).await? {
            tracing::info!(
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

/// Revokes the key that is presented, so that whoever finds a leaked key can end it.
///
/// # Errors
/// When it is not a live key.
pub async fn revoke_presented_key(
    service: &KeyService,
    key: &AccessKey,
    reason: Option<String>,
    now: Timestamp,
) -> Result<(), Error> {
    let claims = service.verify(key, now).await?;
    let claims = claims.map_err(|_| Error::NoLiveKey)?;
    let (tenant, user, key_id) = (&claims.tenant_id, &claims.user_id, claims.key_id);
    let record = service.store.key(tenant, user, key_id).await?;
    if !record.is_some_and(|record| record.has_hash(key.hash())) {
        return Err(Error::NoLiveKey);
    }
    let by = format!("key:{key_id}");
    let revocation = Revocation {
        at: now,
        by,
        reason,
    };
    let store = &service.store;
    match store.revoke_key(tenant, user, key_id, &revocation).await? {
        Revoked::Now => {
            log(tenant, user, key_id, "holder");
            Ok(())
        }
        Revoked::Before => Ok(()),
        Revoked::NotFound => Err(Error::NoLiveKey),
    }
}

/// The runbook reads this line after a restore, which brings revoked keys back to life.
fn log(tenant_id: &TenantId, user_id: &UserId, key_id: KeyId, kind: &'static str) {
    tracing::info!(tenant.id = %tenant_id, user.id = %user_id, key.id = %key_id, "revoked");
    metrics::count(Metric::Revoked(kind));
}
