//! Revoking: one key, all keys of a user, or the key that is presented.

use super::validate::{self, Verifier};
use crate::{
    clock::Seconds,
    error::Error,
    id::{KeyId, TenantId, UserId},
    key::AccessKey,
    metrics::{self, Metric},
    record::{Revocation, User},
    store::{Revoked, Store},
};

/// Revokes one key of `owner`; again is the same.
///
/// # Errors
/// When there is no such key.
pub async fn one(
    store: &Store,
    owner: &User,
    key_id: KeyId,
    revocation: &Revocation,
) -> Result<(), Error> {
    match store
        .revoke_key(&owner.tenant_id, &owner.user_id, key_id, revocation)
        .await?
    {
        Revoked::Now => {
            note(&owner.tenant_id, &owner.user_id, key_id, "key");
            Ok(())
        }
        Revoked::Before => Ok(()),
        Revoked::NotFound => Err(Error::NotFound),
    }
}

/// Revokes every key that `owner` has now, with one write. Keys created later are good.
///
/// # Errors
/// When the table does not answer in time.
pub async fn all(store: &Store, owner: &User, revocation: &Revocation) -> Result<(), Error> {
    let mut owner = owner.clone();
    for _ in 0..5 {
        if store.revoke_all(&owner, revocation.clone()).await? {
            tracing::info!(tenant.id = %owner.tenant_id, user.id = %owner.user_id, "revoked all keys of the user");
            metrics::count(Metric::Revoked("user"));
            return Ok(());
        }
        match store.user(&owner.tenant_id, &owner.user_id).await? {
            Some(user) if user.epoch > owner.epoch => return Ok(()),
            Some(user) => owner = user,
            // Never seen, so there are no keys.
            None => return Ok(()),
        }
    }
    Err(Error::Conflict(
        "changed_meanwhile",
        "the user is being changed by others at this moment: try again",
    ))
}

/// Revokes the key that is presented: whoever holds a leaked key can kill it.
///
/// # Errors
/// When it is no live key.
pub async fn presented(
    verifier: &Verifier,
    key: &AccessKey,
    reason: Option<String>,
    now: Seconds,
) -> Result<(), Error> {
    const REFUSED: Error = Error::Unauthenticated("the access key is not valid, or has expired");
    let claims = validate::verify(verifier, key, now)
        .await?
        .map_err(|_| REFUSED)?;
    let store = &verifier.store;
    let record = store
        .key(&claims.tenant_id, &claims.user_id, claims.key_id)
        .await?;
    let record = record
        .filter(|record| record.hash == Some(key.hash()))
        .ok_or(REFUSED)?;
    let revocation = Revocation {
        at: now,
        by: format!("key:{}", record.key_id),
        reason,
    };
    match store
        .revoke_key(
            &record.tenant_id,
            &record.user_id,
            record.key_id,
            &revocation,
        )
        .await?
    {
        Revoked::Now => {
            note(&record.tenant_id, &record.user_id, record.key_id, "holder");
            Ok(())
        }
        Revoked::Before => Ok(()),
        Revoked::NotFound => Err(REFUSED),
    }
}

/// What the runbook reads after a restore, which brings back to life what was revoked since.
fn note(tenant_id: &TenantId, user_id: &UserId, key_id: KeyId, kind: &'static str) {
    tracing::info!(tenant.id = %tenant_id, user.id = %user_id, key.id = %key_id, "revoked");
    metrics::count(Metric::Revoked(kind));
}
