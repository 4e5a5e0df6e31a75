//! Revokes a tenant's keys by what they have in common: their creator, role, label or age.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{error::Error, revoke_key::revoke, users};
use crate::{
    model::{
        Actor, KeyRecord, KeyStatus, Name, Origin, Principal, Revocation, Role, Timestamp, User,
    },
    policy,
    store::{Position, Revoked, Store},
};

/// The number of keys to read at a time.
const PAGE: i32 = 100;
/// The maximum number of keys to revoke at the same time.
const CONCURRENT: usize = 20;
/// The maximum number of pages to read for one response.
const PAGES: usize = 10;
/// The time after which a call stops revoking keys. It must be shorter than the timeout of the function.
const TIME: Duration = Duration::from_secs(1);

/// Selects keys. A key must match all fields that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matching {
    pub created_by: Option<Principal>,
    pub role: Option<Role>,
    pub label: Option<Name>,
    pub created_before: Option<Timestamp>,
}

impl Matching {
    fn includes(&self, key: &KeyRecord, owner: Option<&User>, now: Timestamp) -> bool {
        let is_live = key.hash.is_some() && key.status(owner, now) == KeyStatus::Active;
        let (by, label) = (&self.created_by, &self.label);
        is_live
            && by.as_ref().is_none_or(|by| *by == key.created_by)
            && self.role.is_none_or(|role| role == key.role)
            && label
                .as_ref()
                .is_none_or(|label| key.labels.contains(label))
            && self.created_before.is_none_or(|at| key.created_at < at)
    }
}

/// Which keys to revoke, and where to begin.
#[derive(Debug, Clone)]
pub struct RevokeMatchingRequest {
    pub matching: Matching,
    /// Whether to count the keys instead of revoking them.
    pub dry_run: bool,
    /// The `next` of the previous report.
    pub after: Option<Position>,
}

#[derive(Debug, Default)]
pub struct RevokeMatchingReport {
    /// How many live keys matched.
    pub matched: usize,
    /// How many of the matching keys this call revoked.
    pub revoked: usize,
    /// How many of the matching keys could not be revoked.
    pub failed: usize,
    pub examined: usize,
    /// How many keys could not be read.
    pub skipped: usize,
    /// Where the next call continues; `None` once all keys have been examined.
    pub next: Option<Position>,
}

/// Examines keys of the tenant, newest first, and revokes those that match. Does not examine keys that are created
/// while the call runs. The index that lists the keys may lag slightly behind the table.
///
/// # Errors
/// Fails if the keys cannot be read. Keys that were revoked before the failure stay revoked, and repeating the call
/// revokes the others.
pub async fn revoke_matching_keys(
    actor: &Actor,
    store: &Store,
    request: &RevokeMatchingRequest,
    reason: Option<String>,
    now: Timestamp,
) -> Result<RevokeMatchingReport, Error> {
    let deadline = Instant::now() + TIME;
    let me = users::resolve(actor, store, now).await?;
    policy::may_revoke_matching_keys(&me)?;
    let revocation = Revocation::new(now, me.principal(), reason);
    let mut report = RevokeMatchingReport {
        next: request.after.clone(),
        ..RevokeMatchingReport::default()
    };
    for _ in 0..PAGES {
        let after = report.next.as_ref();
        let (page, owners) = store.tenant_keys(me.tenant_id(), None, after, PAGE).await?;
        report.skipped += page.skipped;
        for keys in page.items.chunks(CONCURRENT) {
            let is_wanted = |key: &&KeyRecord| {
                let owner = owners.iter().find(|owner| owner.user_id == key.user_id);
                request.matching.includes(key, owner, now)
            };
            let wanted: Vec<_> = keys.iter().filter(is_wanted).collect();
            report.matched += wanted.len();
            if !request.dry_run {
                let done = revoke_all(store, &wanted, &revocation, &actor.origin, now);
                let (revoked, failed) = done.await;
                report.revoked += revoked;
                report.failed += failed;
            }
            report.examined += keys.len();
            let last = keys.last();
            report.next = last.map(|key| Position::after_tenant_key(&key.user_id, key.key_id));
            if Instant::now() >= deadline {
                return Ok(report);
            }
        }
        report.next = page.next;
        if report.next.is_none() {
            break;
        }
    }
    Ok(report)
}

/// Revokes keys concurrently and independently of each other. Returns how many keys it revoked and how many revocations
/// failed. A failure is logged and does not stop the other revocations.
async fn revoke_all(
    store: &Store,
    keys: &[&KeyRecord],
    revocation: &Revocation,
    origin: &Origin,
    now: Timestamp,
) -> (usize, usize) {
    let mut revocations = JoinSet::new();
    for key in keys {
        let (tenant, user, id) = (key.tenant_id.clone(), key.user_id.clone(), key.key_id);
        let (store, revocation, origin) = (store.clone(), revocation.clone(), origin.clone());
        revocations.spawn(async move {
            let key = (&tenant, &user, id);
            let revoked = revoke(&store, key, &revocation, &origin, "matching", now).await;
            revoked.inspect_err(|error| {
                tracing::error!(
                    tenant.id = %tenant,
                    user.id = %user,
                    key.id = %id,
                    error.cause = error.causes(),
                    "could not revoke the access key"
                );
            })
        });
    }
    let (mut revoked, mut failed) = (0, 0);
    while let Some(finished) = revocations.join_next().await {
        match finished {
            Ok(Ok(Revoked::Now)) => revoked += 1,
            Ok(Ok(Revoked::Before(_) | Revoked::NotFound)) => {}
            // The outer error means that a dependency panicked.
            Ok(Err(_)) | Err(_) => failed += 1,
        }
    }
    (revoked, failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{self, NOW, at};

    #[test]
    fn a_key_must_be_live_and_match_every_field() {
        let owner = fixtures::user("ann", Role::Editor);
        let key = fixtures::key(&owner, [1; 32].into());
        let label: Name = "ci".parse().unwrap();
        let key = KeyRecord {
            labels: [label.clone()].into_iter().collect(),
            ..key
        };
        let all = Matching {
            created_by: Some((&owner.user_id).into()),
            role: Some(Role::Editor),
            label: Some(label),
            created_before: Some(at(-59)),
        };
        let with = |change: fn(&mut Matching)| {
            let mut matching = all.clone();
            change(&mut matching);
            matching.includes(&key, Some(&owner), NOW)
        };
        assert!(with(|_| {}) && with(|m| m.label = None));
        assert!(!with(|m| m.created_by = Some(Principal::system())));
        assert!(!with(|m| m.role = Some(Role::Viewer)));
        assert!(!with(|m| m.label = "c".parse().ok()));
        assert!(!with(|m| m.created_before = Some(at(-60))));

        assert!(all.includes(&key, None, NOW));
        assert!(!all.includes(&key, Some(&owner), at(1000)));
        let revocation = Revocation::new(NOW, &owner.user_id, None);
        let revoked = KeyRecord {
            revocation: Some(revocation.clone()),
            ..key.clone()
        };
        assert!(!all.includes(&revoked, Some(&owner), NOW));
        let owner = owner.in_next_epoch(revocation, NOW);
        assert!(!all.includes(&key, Some(&owner), NOW));
    }
}
