//! Users: the identity that makes a call, and its entry in the tenant's directory.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    id::{TenantId, UserId},
    name::Name,
    revocation::Revocation,
    role::{Permission, Role},
    time::Timestamp,
};

/// The identity that makes a request, as verified by the identity provider. It has no permissions of its own: those
/// come from the actor's [`User`] in the directory.
#[derive(Debug, Clone)]
pub struct Actor {
    pub tenant_id: TenantId,
    /// The `sub` of the token.
    pub user_id: UserId,
    pub email: Option<String>,
    pub name: Option<Name>,
    /// Whether the parameter `BootstrapAdmins` names this actor.
    pub is_bootstrap_admin: bool,
}

/// A user in a tenant's directory.
#[derive(Debug, Clone)]
pub struct User {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub role: Role,
    pub status: UserStatus,
    pub email: Option<String>,
    pub name: Option<String>,
    /// When the user first signed in or was provisioned. Reset when a deleted user is provisioned again.
    pub created_at: Timestamp,
    /// Recorded at most once an hour.
    pub last_sign_in_at: Option<Timestamp>,
    /// How many times all keys of the user were revoked. A key is valid only in the epoch in which it was created, so
    /// one write revokes any number of keys.
    pub epoch: u64,
    /// The most recent revocations of all the user's keys, each with the epoch that it started.
    pub revocations: Vec<(u64, Revocation)>,
}

/// Whether a user can sign in and use keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    Active,
    /// Calls and keys are refused until the user is reactivated.
    Inactive,
    /// All keys are revoked permanently. The record is kept so that they stay revoked.
    Deleted,
}

impl UserStatus {
    /// The name on the wire and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Deleted => "deleted",
        }
    }
}

impl FromStr for UserStatus {
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
    /// How many revocations of all keys are stored with their details.
    const REVOCATIONS_KEPT: usize = 16;

    /// The user to create for an actor who is not in the directory yet.
    #[must_use]
    pub fn first_seen(actor: &Actor, now: Timestamp) -> Self {
        let role = if actor.is_bootstrap_admin {
            Role::Admin
        } else {
            Role::Viewer
        };
        Self {
            email: actor.email.clone(),
            name: actor.name.as_ref().map(ToString::to_string),
            last_sign_in_at: Some(now),
            ..Self::new(&actor.tenant_id, &actor.user_id, role, now)
        }
    }

    /// An active user without keys.
    #[must_use]
    pub fn new(tenant_id: &TenantId, user_id: &UserId, role: Role, now: Timestamp) -> Self {
        Self {
            tenant_id: tenant_id.clone(),
            user_id: user_id.clone(),
            role,
            status: UserStatus::Active,
            email: None,
            name: None,
            created_at: now,
            last_sign_in_at: None,
            epoch: 0,
            revocations: Vec::new(),
        }
    }

    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == UserStatus::Active
    }

    /// Whether the user's role has a permission, regardless of the user's status.
    #[must_use]
    pub fn has(&self, permission: Permission) -> bool {
        self.role.permissions().contains(permission)
    }

    /// The revocation that ended the keys of an epoch; `None` if they were not revoked.
    #[must_use]
    pub fn revocation_of(&self, epoch: u64) -> Option<Revocation> {
        if epoch >= self.epoch {
            return None;
        }
        let later = self.revocations.iter().filter(|(began, _)| *began > epoch);
        let ended = later.min_by_key(|(began, _)| *began);
        // The details of older revocations are dropped, but their keys stay revoked.
        Some(ended.map_or_else(
            || Revocation {
                at: self.created_at,
                by: "unknown".into(),
                reason: None,
            },
            |(_, revocation)| revocation.clone(),
        ))
    }

    /// The user after a revocation of all keys.
    #[must_use]
    pub fn in_next_epoch(mut self, revocation: Revocation) -> Self {
        self.epoch += 1;
        self.revocations.push((self.epoch, revocation));
        let surplus = self
            .revocations
            .len()
            .saturating_sub(Self::REVOCATIONS_KEPT);
        self.revocations.drain(..surplus);
        self
    }
}

/// Whether a string can be an e-mail address: text on both sides of an `@`, at most 254 bytes (RFC 5321), without
/// spaces or control characters.
#[must_use]
pub fn is_email(text: &str) -> bool {
    text.len() <= 254
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
        && text
            .rsplit_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
}
