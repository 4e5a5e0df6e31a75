//! Users: the entries of a tenant's directory.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    id::{TenantId, UserId},
    name::Name,
    principal::Principal,
    revocation::Revocation,
    role::{Permission, Role},
    search::words,
    text::is_plain,
    time::Timestamp,
};

/// A person, as the identity provider describes them.
#[derive(Debug, Clone)]
pub struct Person {
    pub user_id: UserId,
    pub email: Option<String>,
    /// Whether the identity provider has verified the e-mail address.
    pub is_email_verified: bool,
    pub name: Option<Name>,
    /// Whether the parameter `BootstrapAdmins` names this person.
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
    /// Whether the user was made an administrator because `BootstrapAdmins` names them. This happens only once per
    /// user, so that a user does not regain the role after another administrator has taken it away.
    pub bootstrapped: bool,
    /// A key is valid only in the epoch in which it was created, so a single write can revoke all of a user's keys.
    pub epoch: Epoch,
    /// The most recent revocations of all the user's keys, oldest first. Each of them revoked every key that the user
    /// had at that time.
    pub revocations: Vec<EpochEnd>,
}

/// A set of a user's keys that a single write can revoke. Revoking all of a user's keys begins a new epoch. The number
/// of an epoch is the millisecond in which the epoch began, or the previous number plus one if that is greater. These
/// numbers are compared only with each other, never with a clock.
///
/// If a user is created again, for example after the user's item was lost, a new epoch begins. Keys that were created
/// earlier therefore stay invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct Epoch(u64);

impl Epoch {
    /// A number that is larger than any epoch in use.
    const LIMIT: u64 = 1_000_000_000_000_000;

    /// Returns the first epoch of a user who is created at `now`.
    #[must_use]
    pub fn first(now: Timestamp) -> Self {
        Self(u64::try_from(now.as_millis()).unwrap_or_default())
    }

    /// Returns the next epoch, given that this one ends at `now`.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Self {
        Self(self.0 + 1).max(Self::first(now))
    }
}

impl TryFrom<u64> for Epoch {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        if number < Self::LIMIT {
            Ok(Self(number))
        } else {
            Err("an epoch must have at most 15 digits")
        }
    }
}

impl FromStr for Epoch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: u64 = text.parse().map_err(|_| "an epoch must be a number")?;
        number.try_into()
    }
}

/// Pads the number to 15 digits with zeros, so that epochs sort in the same order as text and as numbers.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:015}", self.0)
    }
}

/// A revocation of all keys that a user had at the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch that ended.
    pub ended: Epoch,
    /// The epoch that began.
    pub began: Epoch,
    pub revocation: Revocation,
}

/// Whether a user can sign in and use keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    Active,
    /// The user's calls and keys are refused until the user is reactivated.
    Inactive,
    /// All keys are revoked permanently. The record is kept so that the keys stay revoked.
    Deleted,
}

impl UserStatus {
    /// Returns the name on the wire and in the table.
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
    /// The maximum number of `revocations` in a user's item. Older revocations are stored only in items of their own.
    const REVOCATIONS_KEPT: usize = 16;

    /// The minimum time between two recorded sign-ins of a user.
    const SIGN_IN_PRECISION: Duration = Duration::from_secs(3600);

    /// Returns the user to create for a person who is not in the directory yet.
    #[must_use]
    pub fn first_seen(tenant_id: &TenantId, person: &Person, now: Timestamp) -> Self {
        let viewer = Self::new(tenant_id, &person.user_id, Role::Viewer, now);
        Self {
            email: person.email.clone(),
            ..viewer.signed_in(person, now)
        }
    }

    /// Returns the user as updated by a sign-in of the person. The name and, if it is verified, the e-mail address come
    /// from the identity provider.
    #[must_use]
    pub fn signed_in(mut self, person: &Person, now: Timestamp) -> Self {
        if person.is_bootstrap_admin && !self.bootstrapped {
            (self.role, self.bootstrapped) = (Role::Admin, true);
        }
        if let Some(name) = &person.name {
            self.name = Some(name.to_string());
        }
        if person.is_email_verified && person.email.is_some() {
            self.email.clone_from(&person.email);
        }
        self.seen(now)
    }

    /// Updates only `last_sign_in_at`, and returns the user.
    #[must_use]
    pub fn seen(mut self, now: Timestamp) -> Self {
        let is_recorded = |at| at > now - Self::SIGN_IN_PRECISION;
        if !self.last_sign_in_at.is_some_and(is_recorded) {
            self.last_sign_in_at = Some(now);
        }
        self
    }

    /// Returns an active user without keys.
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
            bootstrapped: false,
            epoch: Epoch::first(now),
            revocations: Vec::new(),
        }
    }

    /// Returns the words by which the user can be found: those in the name and in the e-mail address.
    #[must_use]
    pub fn words(&self) -> BTreeSet<String> {
        let texts = [&self.name, &self.email].map(|text| text.as_deref().unwrap_or_default());
        words(&texts.join(" "))
    }

    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == UserStatus::Active
    }

    #[must_use]
    pub fn is_active_admin(&self) -> bool {
        self.is_active() && self.role == Role::Admin
    }

    /// Whether the user's role has a permission, regardless of the user's status.
    #[must_use]
    pub fn has(&self, permission: Permission) -> bool {
        self.role.permissions().contains(permission)
    }

    /// Returns the revocation that ended an epoch; `None` if the epoch has not ended.
    ///
    /// If the revocation is not among `revocations`, assumes that the user was created again and returns a revocation
    /// that names the system as its author.
    #[must_use]
    pub fn revocation_of(&self, epoch: Epoch) -> Option<Revocation> {
        if epoch >= self.epoch {
            return None;
        }
        let mut ends = self.revocations.iter();
        let end = ends.find(|end| end.ended <= epoch && end.began > epoch);
        Some(end.map_or_else(
            || Revocation {
                at: self.created_at,
                by: Principal::system(),
                reason: Some("the user was created again".into()),
            },
            |end| end.revocation.clone(),
        ))
    }

    /// Whether the epoch is still current or `revocations` contains the revocation that ended it.
    #[must_use]
    pub fn knows_end_of(&self, epoch: Epoch) -> bool {
        let end = self.revocations.iter().find(|end| end.began > epoch);
        epoch >= self.epoch || end.is_some_and(|end| end.ended <= epoch)
    }

    /// Returns the user as updated by a revocation of all keys.
    #[must_use]
    pub fn in_next_epoch(mut self, revocation: Revocation, now: Timestamp) -> Self {
        let (ended, began) = (self.epoch, self.epoch.next(now));
        self.epoch = began;
        self.revocations.push(EpochEnd {
            ended,
            began,
            revocation,
        });
        let surplus = self
            .revocations
            .len()
            .saturating_sub(Self::REVOCATIONS_KEPT);
        self.revocations.drain(..surplus);
        self
    }
}

/// Whether a string can be an e-mail address: text on both sides of an `@`, at most 254 bytes (RFC 5321), without
/// spaces, control characters or invisible characters.
#[must_use]
pub fn is_email(text: &str) -> bool {
    text.len() <= 254
        && is_plain(text)
        && !text.chars().any(char::is_whitespace)
        && text
            .rsplit_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
}
