//! What the table keeps about keys and users, and how it looks on the wire.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    clock::{Seconds, rfc3339},
    id::{KeyId, TenantId, UserId},
    key::KeyHash,
    role::Role,
};

/// A key's record. Its hash is absent from lists and from the history.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The owner.
    pub user_id: UserId,
    /// The id.
    pub key_id: KeyId,
    /// What the owner calls it.
    pub name: String,
    /// The role it was given.
    pub role: Role,
    /// The clusters it may onboard.
    pub max_clusters: u32,
    /// The limit that was signed into it, above which `max_clusters` cannot be raised.
    pub signed_max_clusters: u32,
    /// The clusters it has onboarded.
    pub clusters_used: u32,
    /// When it was created.
    pub created_at: Seconds,
    /// Who created it.
    pub created_by: UserId,
    /// The first second in which it is no longer good.
    pub expires_at: Seconds,
    /// The owner's epoch when it was created: [`User::epoch`].
    pub epoch: u64,
    /// Its own revocation.
    pub revocation: Option<Revocation>,
    /// When it last passed a validation, to the hour.
    pub last_used_at: Option<Seconds>,
    /// SHA-256 of the key.
    pub hash: Option<KeyHash>,
}

/// Who ended a key, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// When.
    pub at: Seconds,
    /// Who: a user, or the key itself.
    pub by: String,
    /// Why, in the words of who did it.
    pub reason: Option<String>,
}

/// What a key is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Good.
    Active,
    /// Its time is over.
    Expired,
    /// Ended by someone.
    Revoked,
}

impl std::str::FromStr for Status {
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

impl KeyRecord {
    /// The revocation that ended the key: its own, or one of all its owner's keys.
    #[must_use]
    pub fn revoked(&self, owner: Option<&User>) -> Option<Revocation> {
        self.revocation
            .clone()
            .or_else(|| owner.and_then(|owner| owner.revoked_before(self.epoch)))
    }

    /// What the key is at `now`. A revoked key stays revoked in the list when its time is over.
    #[must_use]
    pub fn status(&self, owner: Option<&User>, now: Seconds) -> Status {
        if self.revoked(owner).is_some() {
            Status::Revoked
        } else if now >= self.expires_at {
            Status::Expired
        } else {
            Status::Active
        }
    }

    /// The record as clients see it.
    #[must_use]
    pub fn to_json(&self, owner: Option<&User>, now: Seconds) -> Value {
        let revocation = self.revoked(owner);
        json!({
            "id": self.key_id,
            "name": self.name,
            "tenant_id": self.tenant_id,
            "user_id": self.user_id,
            "role": self.role,
            "status": self.status(owner, now),
            "created_at": rfc3339(self.created_at),
            "created_by": self.created_by,
            "expires_at": rfc3339(self.expires_at),
            "revoked_at": revocation.as_ref().map(|r| rfc3339(r.at)),
            "revoked_by": revocation.as_ref().map(|r| &r.by),
            "revoked_reason": revocation.as_ref().map(|r| &r.reason),
            "last_used_at": self.last_used_at.map(rfc3339),
            "max_clusters": self.max_clusters,
            "clusters_used": self.clusters_used,
        })
    }
}

/// A user of a tenant. The directory, not the identity provider, says what the user may do.
#[derive(Debug, Clone)]
pub struct User {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The `sub` of the identity provider.
    pub user_id: UserId,
    /// What the user may do.
    pub role: Role,
    /// Whether the user may do anything at all.
    pub status: UserStatus,
    /// E-mail address.
    pub email: Option<String>,
    /// Display name.
    pub name: Option<String>,
    /// When the user was first seen or provisioned.
    pub created_at: Seconds,
    /// When the user last called, to the hour.
    pub last_sign_in_at: Option<Seconds>,
    /// How often all keys of the user were revoked. A key is good only in the epoch of its creation: that is how
    /// any number of keys is revoked by one write.
    pub epoch: u64,
    /// The latest of those revocations: the epoch that each began, and its particulars.
    pub revocations: Vec<(u64, Revocation)>,
}

/// Whether a user may do anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    /// May call, and own keys that work.
    Active,
    /// Neither calls nor keys work until reactivated.
    Inactive,
    /// Gone: the keys are dead for good. The record stays, so that they stay dead.
    Deleted,
}

impl UserStatus {
    /// The name in the table and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Deleted => "deleted",
        }
    }
}

impl std::str::FromStr for UserStatus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "active" => Ok(Self::Active),
            "inactive" => Ok(Self::Inactive),
            "deleted" => Ok(Self::Deleted),
            _ => Err("must be one of active, inactive"),
        }
    }
}

impl User {
    /// Whether the user may do anything.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == UserStatus::Active
    }

    fn revoked_before(&self, epoch: u64) -> Option<Revocation> {
        if epoch >= self.epoch {
            return None;
        }
        // The first revocation after the key's creation ended it. Beyond the latest few the particulars are
        // forgotten; the fact is not.
        let ended = self
            .revocations
            .iter()
            .filter(|(began, _)| *began > epoch)
            .min_by_key(|(began, _)| *began);
        Some(ended.map_or_else(
            || Revocation {
                at: self.created_at,
                by: "unknown".into(),
                reason: None,
            },
            |(_, revocation)| revocation.clone(),
        ))
    }

    /// The user as clients see it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.user_id,
            "tenant_id": self.tenant_id,
            "role": self.role,
            "scope": self.role.permissions(),
            "status": self.status,
            "email": self.email,
            "name": self.name,
            "created_at": rfc3339(self.created_at),
            "last_sign_in_at": self.last_sign_in_at.map(rfc3339),
        })
    }
}
