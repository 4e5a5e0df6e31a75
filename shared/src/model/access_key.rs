//! Access keys as stored in the table: everything except the secret.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq;

use super::{
    id::{KeyId, TenantId, UserId},
    labels::Labels,
    principal::Principal,
    revocation::Revocation,
    role::Role,
    time::Timestamp,
    user::{Epoch, User, UserStatus},
};

/// The maximum number of clusters that a key may onboard.
pub const MOST_CLUSTERS: u32 = 100;

/// The SHA-256 hash of an entire key. Comparison takes constant time, and `Debug` hides the value.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl From<[u8; 32]> for KeyHash {
    fn from(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// Serializes as bytes, the form that table items use. Hashes are serialized only into table items.
impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = KeyHash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<KeyHash, E> {
                let bytes = bytes.try_into();
                bytes
                    .map(KeyHash)
                    .map_err(|_| E::custom("a hash must have 32 bytes"))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The `iss` and `aud` (RFC 7519) of every key of this deployment.
#[derive(Debug, Clone)]
pub struct TokenIssuer {
    /// The public URL of the service.
    pub issuer: String,
    pub audience: String,
}

/// The record of a key or, after the key has expired, its history.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    pub tenant_id: TenantId,
    /// The owner.
    pub user_id: UserId,
    pub key_id: KeyId,
    pub name: String,
    pub labels: Labels,
    pub role: Role,
    /// The current limit on how many clusters the key may onboard.
    pub max_clusters: u32,
    /// The limit that was signed into the key. `max_clusters` cannot be raised above this limit.
    pub signed_max_clusters: u32,
    pub clusters_used: u32,
    pub created_at: Timestamp,
    pub created_by: Principal,
    /// The first second in which the key is no longer valid.
    pub expires_at: Timestamp,
    /// The owner's [`User::epoch`] when the key was created.
    pub epoch: Epoch,
    /// The revocation of this key alone. [`Self::ended_by`] also considers revocations of all the owner's keys.
    pub revocation: Option<Revocation>,
    /// The last recorded use. A use less than an hour after a recorded use is not always recorded.
    pub last_used_at: Option<Timestamp>,
    /// When the function `notify` must next check the key. Absent once there is nothing left to report about the key.
    pub due_at: Option<Timestamp>,
    /// When the key was last reported as unused. The report no longer counts once the key is used again.
    pub unused_reported_at: Option<Timestamp>,
    /// Absent before the key is signed, and in the history of an expired key.
    pub hash: Option<KeyHash>,
    /// How many times the key has been rotated.
    pub generation: u32,
    /// When the key was last rotated.
    pub rotated_at: Option<Timestamp>,
    /// Whether the key may rotate itself. The claims signed into the key must also allow self-rotation.
    pub self_rotate: bool,
    /// The highest generation whose secret was recorded as used while that secret was current. Generation 0 is never
    /// recorded here.
    pub used_generation: u32,
    /// The secret that the last rotation replaced.
    pub previous: Option<PreviousSecret>,
}

/// The secret that a rotation replaced. The record keeps this secret until the next rotation or until the key expires,
/// so that the holder of the secret learns that it was superseded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousSecret {
    /// Absent in the history of an expired key.
    pub hash: Option<KeyHash>,
    /// The generation of the secret. The functions that validate keys are permitted to write this field, so do not
    /// rely on it for anything except recording uses of the secret.
    pub generation: u32,
    /// The first second in which the secret is no longer valid.
    pub ends_at: Timestamp,
    /// The last recorded use since the rotation.
    pub used_at: Option<Timestamp>,
}

/// A secret of a key: its current one, or the one that the last rotation replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    Current,
    /// Valid until this time.
    Previous(Timestamp),
}

/// A time stands for the previous secret that is valid until then; `None` stands for the current secret.
impl From<Option<Timestamp>> for Secret {
    fn from(superseded_until: Option<Timestamp>) -> Self {
        superseded_until.map_or(Self::Current, Self::Previous)
    }
}

impl Secret {
    /// Returns the time until which a previous secret is valid; `None` for the current secret.
    #[must_use]
    pub const fn superseded_until(self) -> Option<Timestamp> {
        match self {
            Self::Current => None,
            Self::Previous(end) => Some(end),
        }
    }
}

/// The state of a key at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    Active,
    Expired,
    Revoked,
}

impl FromStr for KeyStatus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "active" => Ok(Self::Active),
            "expired" => Ok(Self::Expired),
            "revoked" => Ok(Self::Revoked),
            _ => Err("must be one of active, expired, revoked"),
        }
    }
}

/// A key at a given time.
#[derive(Debug, Clone)]
pub struct KeySnapshot {
    pub record: KeyRecord,
    pub status: KeyStatus,
    /// The revocation that ended the key, if any.
    pub revocation: Option<Revocation>,
    /// `None` if the owner does not exist.
    pub owner_status: Option<UserStatus>,
    /// `None` if the owner does not exist or has no name, or if [`Self::for_holder`] removed it.
    pub owner_name: Option<String>,
    /// `None` if the owner does not exist or has no e-mail address, or if [`Self::for_holder`] removed it.
    pub owner_email: Option<String>,
    /// The role of the key, limited by the current role of the owner. `None` if these two roles have no permission in
    /// common, or if the owner does not exist.
    pub effective_role: Option<Role>,
}

impl KeySnapshot {
    /// Removes the name and the e-mail address of the owner, because the holder of a key is not always its owner.
    #[must_use]
    pub fn for_holder(self) -> Self {
        Self {
            owner_name: None,
            owner_email: None,
            ..self
        }
    }
}

impl KeyRecord {
    /// Returns the state of the key at `now`, together with its record.
    #[must_use]
    pub fn snapshot(self, owner: Option<&User>, now: Timestamp) -> KeySnapshot {
        let status = self.status(owner, now);
        let revocation = self.ended_by(owner);
        KeySnapshot {
            status,
            revocation: revocation.filter(|_| status == KeyStatus::Revoked),
            owner_status: owner.map(|owner| owner.status),
            owner_name: owner.and_then(|owner| owner.name.clone()),
            owner_email: owner.and_then(|owner| owner.email.clone()),
            effective_role: owner.and_then(|owner| self.role.limited_to(owner.role)),
            record: self,
        }
    }

    /// Whether the key was revoked, either alone or together with all its owner's keys.
    #[must_use]
    pub fn is_revoked(&self, owner: Option<&User>) -> bool {
        self.revocation.is_some() || owner.is_some_and(|owner| self.epoch < owner.epoch)
    }

    /// Returns the revocation of this key alone or the revocation of all its owner's keys, whichever came first.
    fn ended_by(&self, owner: Option<&User>) -> Option<Revocation> {
        let own = self.revocation.clone();
        let with_all = owner.and_then(|owner| owner.revocation_of(self.epoch));
        own.into_iter().chain(with_all).min_by_key(|end| end.at)
    }

    /// Returns the state of the key at `now`. An expired key stays expired, even if it is revoked later, alone or with
    /// all its owner's keys.
    #[must_use]
    pub fn status(&self, owner: Option<&User>, now: Timestamp) -> KeyStatus {
        let is_over = now >= self.expires_at;
        match self.ended_by(owner) {
            Some(revocation) if !is_over || revocation.at < self.expires_at => KeyStatus::Revoked,
            _ if is_over => KeyStatus::Expired,
            _ => KeyStatus::Active,
        }
    }

    /// Whether the history of the key has ended by `now`. A key whose history has ended is no longer shown, even if TTL
    /// has not removed it yet.
    #[must_use]
    pub fn is_forgotten(&self, history: Duration, now: Timestamp) -> bool {
        now >= self.expires_at + history
    }

    /// Whether the record has a hash, and the key is neither revoked nor expired at `now`. Does not check whether the
    /// owner is active.
    #[must_use]
    pub fn is_live(&self, owner: &User, now: Timestamp) -> bool {
        self.hash.is_some() && self.status(Some(owner), now) == KeyStatus::Active
    }

    /// Returns the secret with this hash, if there is one. `generation` is the generation signed into the secret: a
    /// secret counts as previous only if that generation is earlier than the record's.
    #[must_use]
    pub fn secret(&self, hash: KeyHash, generation: u32) -> Option<Secret> {
        if self.hash == Some(hash) {
            return Some(Secret::Current);
        }
        let previous = self.previous.as_ref()?;
        (previous.hash == Some(hash) && generation < self.generation)
            .then_some(Secret::Previous(previous.ends_at))
    }

    /// Returns when the key was last recorded as used or when its current secret was issued, whichever is later.
    #[must_use]
    pub fn idle_since(&self) -> Timestamp {
        let issued_at = self.rotated_at.unwrap_or(self.created_at);
        self.last_used_at.map_or(issued_at, |at| at.max(issued_at))
    }

    /// Whether a use of the current secret was recorded.
    #[must_use]
    pub fn is_current_used(&self) -> bool {
        match self.generation {
            0 => self.last_used_at.is_some(),
            generation => self.used_generation >= generation,
        }
    }
}
