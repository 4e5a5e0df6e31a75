//! Records for unit tests.

use super::{
    access_key::{KeyHash, KeyRecord},
    id::KeyId,
    labels::Labels,
    role::Role,
    time::Timestamp,
    user::User,
};

/// A time for tests, which is deliberately not a whole second.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_700);

/// Rounds [`NOW`] down to a whole second and adds `seconds`.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW.as_seconds() + seconds)
}

/// Returns an active user of the tenant `acme`.
pub(crate) fn user(id: &str, role: Role) -> User {
    let (tenant, id) = ("acme".parse().unwrap(), id.parse().unwrap());
    User::new(&tenant, &id, role, at(-60))
}

/// Returns a live key with its owner's role. The key expires in 1,000 seconds and may onboard three clusters.
pub(crate) fn key(owner: &User, hash: KeyHash) -> KeyRecord {
    KeyRecord {
        tenant_id: owner.tenant_id.clone(),
        user_id: owner.user_id.clone(),
        key_id: KeyId::generate(NOW).unwrap(),
        name: "ci".into(),
        labels: Labels::default(),
        role: owner.role,
        max_clusters: 3,
        signed_max_clusters: 3,
        clusters_used: 0,
        created_at: at(-60),
        created_by: (&owner.user_id).into(),
        expires_at: at(1000),
        epoch: owner.epoch,
        revocation: None,
        last_used_at: None,
        due_at: Some(at(-60)),
        unused_reported_at: None,
        hash: Some(hash),
        generation: 0,
        rotated_at: None,
        self_rotate: false,
        used_generation: 0,
        previous: None,
    }
}
