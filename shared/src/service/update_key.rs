//! Changes how many clusters a key may onboard.

use std::time::Duration;

use super::{error::Error, users};
use crate::{
    model::{Action, Actor, AuditEntry, KeyId, KeyRecord, KeySnapshot, Target, Timestamp, UserId},
    policy,
    process::events,
    store::{Attempts, Store},
};

/// Changes how many clusters a key may onboard, up to the limit that was signed into the key. A key that already holds
/// more clusters keeps them, but gets no new slot.
///
/// # Errors
/// When the limit is higher than the signed one, or the key is no longer live.
pub async fn limit_key(
    actor: &Actor,
    store: &Store,
    owner_id: &UserId,
    key_id: KeyId,
    max_clusters: u32,
    history: Duration,
    now: Timestamp,
) -> Result<KeySnapshot, Error> {
    let mut attempts = Attempts::new();
    let (owner, key) = loop {
        if !attempts.next().await {
            return Err(Error::CHANGED_MEANWHILE);
        }
        let (me, owner) = users::resolve_both(actor, store, owner_id, now).await?;
        let owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
        policy::may_limit_key(&me)?;
        let key = store.key(&owner.tenant_id, owner_id, key_id).await?;
        let key = key.filter(|key| !key.is_forgotten(history, now));
        let key = key.ok_or(Error::NotFound)?;
        let limit = key.signed_max_clusters;
        if !(1..=limit).contains(&max_clusters) {
            let rule = format!(
                "must be a whole number from 1 to {limit}, the limit that was last signed into the key"
            );
            return Err(Error::field("max_clusters", rule));
        }
        if !key.is_live(&owner, now) {
            return Err(Error::Conflict(
                "key_gone",
                "the key was revoked or has expired: create a new one",
            ));
        }
        let giver = Some(&me).filter(|_| max_clusters > key.max_clusters);
        let about = (Action::AccessKeyChanged, Target::key(key_id, owner_id));
        let by = me.principal();
        let entry = AuditEntry::new(&owner.tenant_id, by, &actor.origin, about, now);
        let entry = entry.with("max_clusters", Some(key.max_clusters), Some(max_clusters));
        let entry = Some(&entry).filter(|entry| !entry.changes.is_empty());
        if store
            .limit_clusters(&key, max_clusters, giver, now, entry)
            .await?
        {
            break (owner, key);
        }
    };
    tracing::info!(
        event.name = events::ACCESS_KEY_LIMIT_CHANGED,
        actor = %actor.principal(),
        tenant.id = %owner.tenant_id,
        user.id = %owner.user_id,
        key.id = %key_id,
        key.max_clusters = max_clusters,
        "changed the cluster limit of the access key"
    );
    let key = KeyRecord {
        max_clusters,
        ..key
    };
    Ok(key.snapshot(Some(&owner), now))
}
