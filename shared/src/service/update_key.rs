//! Changes the name, labels, expiry and cluster limit of a key.

use std::time::Duration;

use super::{
    error::{Error, FieldError},
    notices, users,
};
use crate::{
    model::{
        Action, Actor, AuditEntry, Caller, KeyId, KeyRecord, KeySnapshot, Labels, Name, Target,
        Timestamp, UserId,
    },
    policy,
    process::events,
    store::{Attempts, Store},
};

/// The new values of the fields that change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChange {
    pub name: Option<Name>,
    pub labels: Option<Labels>,
    pub max_clusters: Option<u32>,
    pub expires_at: Option<Timestamp>,
}

/// Changes a key. The expiry can only become earlier, and a key whose expiry changes can no longer rotate itself. The
/// cluster limit can be lowered, or raised up to the limit that was last signed into the key. A key that already holds
/// more clusters than the new limit keeps them but gets no new slot.
///
/// Repeating a request changes nothing. If the key is revoked at the same time, it stays revoked.
///
/// # Errors
/// Fails if the limit is higher than the signed one, if the expiry is later than the current one or is not in the
/// future, or if the key is no longer live.
pub async fn change_key(
    actor: &Actor,
    store: &Store,
    (owner_id, key_id): (&UserId, KeyId),
    change: &KeyChange,
    history: Duration,
    now: Timestamp,
) -> Result<KeySnapshot, Error> {
    let mut attempts = Attempts::new();
    while attempts.next().await {
        let (me, owner) = users::resolve_both(actor, store, owner_id, now).await?;
        let owner = policy::may_manage_keys_of(&me, owner_id, owner)?;
        if change.max_clusters.is_some() {
            policy::may_limit_key(&me)?;
        }
        let key = store.key(&owner.tenant_id, owner_id, key_id).await?;
        let key = key.filter(|key| !key.is_forgotten(history, now));
        let key = key.ok_or(Error::NotFound)?;
        if !key.is_live(&owner, now) {
            return Err(Error::Conflict(
                "key_gone",
                "the key was revoked or has expired: create a new one",
            ));
        }
        change.check(&key, now)?;
        let changed = change.applied_to(&key, now);
        let entry = entry(actor, &me, &key, &changed, now);
        if entry.changes.is_empty() {
            return Ok(key.snapshot(Some(&owner), now));
        }
        let giver = Some(&me).filter(|_| changed.max_clusters > key.max_clusters);
        if store.change_key((&key, &changed), giver, &entry).await? {
            tracing::info!(
                event.name = events::ACCESS_KEY_CHANGED,
                actor = %actor.principal(),
                tenant.id = %owner.tenant_id,
                user.id = %owner.user_id,
                key.id = %key_id,
                "changed the access key"
            );
            return Ok(changed.snapshot(Some(&owner), now));
        }
    }
    Err(Error::CHANGED_MEANWHILE)
}

fn entry(
    actor: &Actor,
    me: &Caller,
    old: &KeyRecord,
    new: &KeyRecord,
    now: Timestamp,
) -> AuditEntry {
    let target = Target::key(old.key_id, &old.user_id);
    let about = (Action::AccessKeyChanged, target);
    let by = me.principal();
    AuditEntry::new(&old.tenant_id, by, &actor.origin, about, now)
        .with("name", Some(&*old.name), Some(&*new.name))
        .with_labels(&old.labels, &new.labels)
        .with(
            "max_clusters",
            Some(old.max_clusters),
            Some(new.max_clusters),
        )
        .with("expires_at", Some(old.expires_at), Some(new.expires_at))
        .with("self_rotate", Some(old.self_rotate), Some(new.self_rotate))
}

impl KeyChange {
    fn check(&self, key: &KeyRecord, now: Timestamp) -> Result<(), Error> {
        let mut errors = Vec::new();
        let (limit, end) = (key.signed_max_clusters, key.expires_at);
        if self
            .max_clusters
            .is_some_and(|max| !(1..=limit).contains(&max))
        {
            let rule = format!(
                "must be a whole number from 1 to {limit}, the limit that was last signed into the key"
            );
            errors.push(FieldError::new("max_clusters", rule));
        }
        if self.expires_at.is_some_and(|at| at <= now || at > end) {
            let rule = format!("must be in the future, and not after {end}, when the key expires");
            errors.push(FieldError::new("expires_at", rule));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(errors))
        }
    }

    fn applied_to(&self, key: &KeyRecord, now: Timestamp) -> KeyRecord {
        let expires_at = self.expires_at.unwrap_or(key.expires_at);
        let is_earlier = expires_at < key.expires_at;
        let name = self.name.as_ref().map(ToString::to_string);
        KeyRecord {
            name: name.unwrap_or_else(|| key.name.clone()),
            labels: self.labels.clone().unwrap_or_else(|| key.labels.clone()),
            max_clusters: self.max_clusters.unwrap_or(key.max_clusters),
            // `notify` must plan the notices again.
            due_at: if is_earlier {
                Some(notices::due_again(now))
            } else {
                key.due_at
            },
            expires_at,
            // Otherwise, the holder could extend the key again by rotating it.
            self_rotate: key.self_rotate && !is_earlier,
            ..key.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Role,
        fixtures::{self, NOW, at},
    };

    #[test]
    fn an_expiry_can_only_become_earlier_and_stays_in_the_future() {
        let key = fixtures::key(&fixtures::user("editor", Role::Editor), [7; 32].into());
        let key = KeyRecord {
            self_rotate: true,
            ..key
        };
        for (seconds, is_allowed, due_at) in [
            (1001, false, None),
            (1000, true, key.due_at),
            (999, true, Some(notices::due_again(NOW))),
            (1, true, Some(notices::due_again(NOW))),
            (0, false, None),
            (-1, false, None),
        ] {
            let change = KeyChange {
                expires_at: Some(at(seconds)),
                ..KeyChange::default()
            };
            assert_eq!(change.check(&key, NOW).is_ok(), is_allowed, "{seconds}");
            if is_allowed {
                let changed = change.applied_to(&key, NOW);
                assert_eq!((changed.expires_at, changed.due_at), (at(seconds), due_at));
                assert_eq!(changed.self_rotate, seconds == 1000);
            }
        }
    }
}
