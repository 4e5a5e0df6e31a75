//! Authorization: what users and keys may do.
//!
//! All functions are pure: a service loads the data, calls a function in this module, and then acts on the result.
//! Anything that is not explicitly allowed is denied, with [`Denied::Forbidden`] unless the type or the documentation
//! of the function says otherwise.

use std::{ops::Not, time::Duration};

use serde::Serialize;

use crate::{
    model::{
        Caller, Cluster, ClusterName, JoinTokenRecord, KeyId, KeyRecord, KeyStatus, Permission,
        Permissions, Required, Role, TenantId, Timestamp, User, UserId, UserStatus,
    },
    token::VerifiedKey,
};

/// Why the policy denies a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Reported as if the resource did not exist, because the caller must not learn whether it does.
    NotFound,
    Forbidden(&'static str),
    /// A stable code, and a message that says what the caller can do.
    Conflict(&'static str, &'static str),
}

/// Allows calls by users who are neither deactivated nor deleted.
pub fn may_call(me: &User) -> Result<(), Denied> {
    match me.status {
        UserStatus::Active => Ok(()),
        UserStatus::Inactive => Err(Denied::Forbidden(
            "your account is deactivated: ask an administrator",
        )),
        UserStatus::Deleted => Err(Denied::Forbidden(
            "your account was deleted: ask an administrator",
        )),
    }
}

/// Allows users to see, create, change and revoke their own keys, and administrators to do the same with the keys of
/// any user. Returns the owner.
///
/// # Errors
/// [`Denied::NotFound`] for everyone else, and when the owner does not exist or is deleted.
pub fn may_manage_keys_of(
    me: &Caller,
    owner_id: &UserId,
    owner: Option<User>,
) -> Result<User, Denied> {
    me_or_managed(me, owner_id, owner, Permission::AccessKeysManage)
}

/// Allows anyone who holds a key to revoke it. Once the overlap has ended, a replaced secret can no longer be used for
/// anything, including revocation.
pub fn may_revoke_as_holder(
    key: &VerifiedKey,
    record: Option<&KeyRecord>,
    now: Timestamp,
) -> Result<(), RefusalCode> {
    let secret = record.and_then(|record| record.secret(key.hash(), key.claims().generation));
    match secret.ok_or(RefusalCode::Invalid)?.superseded_until() {
        Some(end) if now >= end => Err(RefusalCode::Superseded),
        _ => Ok(()),
    }
}

/// Allows a new key to have only permissions that both the caller and the owner currently have.
///
/// # Errors
/// [`Denied::Forbidden`] if the role has a permission that the caller or the owner lacks. [`Denied::Conflict`] if the
/// owner is deactivated.
pub fn may_create_key(me: &Caller, owner: &User, role: Role) -> Result<(), Denied> {
    if !role.is_within(me.role()) {
        Err(Denied::Forbidden(
            "the key's role has permissions that your role lacks",
        ))
    } else if !role.is_within(owner.role) {
        Err(Denied::Forbidden(
            "the key's role has permissions that its owner's role lacks",
        ))
    } else if !owner.is_active() {
        Err(Denied::Conflict(
            "owner_inactive",
            "the owner is deactivated: reactivate the user first",
        ))
    } else {
        Ok(())
    }
}

/// The period before a key's expiry in which the key can no longer be rotated. It is longer than any request can take.
/// A request that begins before a key expires may still write afterwards. If a rotation did so, a key that somebody had
/// tried to revoke after its expiry could become valid again, because revoking an expired key changes nothing.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// Allows a live key to be rotated. `owner` must be active.
///
/// # Errors
/// [`Denied::Conflict`] if the key is revoked, has expired, or is about to expire.
pub fn may_be_rotated(key: &KeyRecord, owner: &User, now: Timestamp) -> Result<(), Denied> {
    match key.status(Some(owner), now + LAST_MOMENTS) {
        KeyStatus::Revoked => Err(Denied::Conflict(
            "key_revoked",
            "a revoked key cannot be rotated: create a new one",
        )),
        // Only a corrupt record has a generation that cannot be increased.
        KeyStatus::Active if key.hash.is_some() && key.generation < u32::MAX => Ok(()),
        KeyStatus::Active | KeyStatus::Expired => Err(Denied::Conflict(
            "key_expired",
            "a key that has expired, or expires within seconds, cannot be rotated: create a new one",
        )),
    }
}

/// Allows the holder of a key to rotate it if the key was issued with `self_rotate`. The record can withdraw this
/// permission but cannot grant it.
pub fn may_rotate_as_holder(key: &VerifiedKey, record: &KeyRecord) -> Result<(), Denied> {
    if key.claims().self_rotate && record.self_rotate {
        Ok(())
    } else {
        Err(Denied::Conflict(
            "self_rotate_required",
            "this key was issued without self_rotate: a user must rotate it",
        ))
    }
}

/// Returns the role and the cluster limits of a rotated key: the requested ones, reduced where they exceed those in the
/// record. No value in the record can raise them above the requested ones.
///
/// # Errors
/// [`Denied::Forbidden`] if the requested role has no permission in common with the role in the record.
pub fn rotated_limits(
    role: Role,
    max_clusters: u32,
    record: &KeyRecord,
) -> Result<RotatedLimits, Denied> {
    let role = role.limited_to(record.role).ok_or(Denied::Forbidden(
        "the role has no permission in common with the role of the key",
    ))?;
    Ok(RotatedLimits {
        role,
        max_clusters: max_clusters.min(record.max_clusters),
        signed_max_clusters: max_clusters.min(record.signed_max_clusters),
    })
}

/// The role and the cluster limits that a rotated key gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotatedLimits {
    pub role: Role,
    pub max_clusters: u32,
    pub signed_max_clusters: u32,
}

/// Allows a user to have another key. `live` is the number of live keys that the user already has.
///
/// # Errors
/// [`Denied::Conflict`] if the quota is reached.
pub const fn may_have_another_key(live: usize, quota: usize) -> Result<(), Denied> {
    if live < quota {
        Ok(())
    } else {
        Err(Denied::Conflict(
            "key_quota_reached",
            "the owner has as many keys as the deployment allows: revoke one that is no longer needed",
        ))
    }
}

/// Allows administrators to list all keys of the tenant.
pub fn may_list_tenant_keys(me: &Caller) -> Result<(), Denied> {
    let detail = "only an administrator may list the keys of the tenant";
    require(me.permissions(), Permission::AccessKeysManage, detail)
}

/// Allows administrators to revoke all keys of the tenant that match given criteria.
pub fn may_revoke_matching_keys(me: &Caller) -> Result<(), Denied> {
    let detail = "only an administrator may revoke the matching keys of the tenant";
    require(me.permissions(), Permission::AccessKeysManage, detail)
}

/// Allows administrators to change how many clusters a key may onboard.
pub fn may_limit_key(me: &Caller) -> Result<(), Denied> {
    let detail = "only an administrator may change the cluster limit of a key";
    require(me.permissions(), Permission::AccessKeysManage, detail)
}

/// Allows administrators to list the users of the tenant.
pub fn may_list_users(me: &Caller) -> Result<(), Denied> {
    let detail = "only an administrator may list users";
    require(me.permissions(), Permission::UsersManage, detail)
}

/// Allows administrators to read the audit trail of the tenant.
pub fn may_read_audit_trail(me: &Caller) -> Result<(), Denied> {
    let detail = "only an administrator may read the audit trail";
    require(me.permissions(), Permission::AuditRead, detail)
}

/// Allows users to see themselves, and administrators to see any user. Returns the user.
///
/// # Errors
/// [`Denied::NotFound`] for everyone else, and when the user does not exist or is deleted.
pub fn may_see_user(me: &Caller, user_id: &UserId, user: Option<User>) -> Result<User, Denied> {
    me_or_managed(me, user_id, user, Permission::UsersManage)
}

/// Allows administrators to provision, change and delete users.
///
/// # Errors
/// If the caller is not an administrator: [`Denied::Forbidden`] if `user_id` is the caller, and [`Denied::NotFound`]
/// for any other user.
pub fn may_change_user(me: &Caller, user_id: &UserId) -> Result<(), Denied> {
    if me.has(Permission::UsersManage) {
        Ok(())
    } else if me.is(user_id) {
        Err(Denied::Forbidden("only an administrator may change users"))
    } else {
        Err(Denied::NotFound)
    }
}

/// Allows keys and users with the permission `clusters:read` to see clusters.
pub fn may_see_clusters(scope: Permissions) -> Result<(), Denied> {
    let detail = "this requires the permission clusters:read";
    require(scope, Permission::ClustersRead, detail)
}

/// Allows keys and users with the permission `clusters:manage` to delete clusters.
pub fn may_delete_clusters(scope: Permissions) -> Result<(), Denied> {
    let detail = "this requires the permission clusters:manage";
    require(scope, Permission::ClustersManage, detail)
}

fn require(scope: Permissions, permission: Permission, detail: &'static str) -> Result<(), Denied> {
    if scope.contains(permission) {
        Ok(())
    } else {
        Err(Denied::Forbidden(detail))
    }
}

/// If `other_id` is the caller's own id, returns the caller's user record. Otherwise, returns `other`, provided that
/// the caller has `permission`. A deleted user counts as missing.
fn me_or_managed(
    me: &Caller,
    other_id: &UserId,
    other: Option<User>,
    permission: Permission,
) -> Result<User, Denied> {
    if let Some(user) = me.user().filter(|user| user.user_id == *other_id) {
        return Ok(user.clone());
    }
    other
        .filter(|other| other.status != UserStatus::Deleted && me.has(permission))
        .ok_or(Denied::NotFound)
}

/// Why a key is refused. The codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// Malformed, forged or unknown: callers cannot tell which.
    Invalid,
    Expired,
    /// The key was rotated, and the overlap during which this secret was still valid has ended.
    Superseded,
    Revoked,
    /// The owner is deactivated, deleted or missing.
    OwnerInactive,
    /// The key is genuine and live, but has no permissions left, lacks a required permission, or belongs to another
    /// tenant.
    Forbidden,
}

impl RefusalCode {
    /// Returns the code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
            Self::OwnerInactive => "owner_inactive",
            Self::Forbidden => "forbidden",
        }
    }
}

/// The permissions of a valid key at the time of the request. Each JSON member is named after the matching JWT claim
/// (RFC 7519) or introspection member (RFC 7662), if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    #[serde(rename = "tenant-id")]
    pub tenant_id: TenantId,
    /// The owner.
    #[serde(rename = "sub")]
    pub user_id: UserId,
    #[serde(rename = "jti")]
    pub key_id: KeyId,
    /// The role signed into the key, limited by the roles of its record and its owner.
    pub role: Role,
    /// The permissions of `role`.
    pub scope: Permissions,
    #[serde(rename = "iat")]
    pub issued_at: Timestamp,
    /// The first second in which the key is no longer valid.
    #[serde(rename = "exp")]
    pub expires_at: Timestamp,
    pub max_clusters: u32,
    pub clusters_used: u32,
    /// Whether a rotation has replaced this secret. If so, the secret is valid until `superseded_until`.
    #[serde(skip_serializing_if = "Not::not")]
    pub superseded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_until: Option<Timestamp>,
}

/// Evaluates what a key permits now, and whether that includes the `required` permissions. A key permits only what its
/// claims, its record and its owner all allow, so no write to the table can extend a key beyond its claims.
pub fn evaluate(
    key: &VerifiedKey,
    record: Option<&KeyRecord>,
    owner: Option<&User>,
    required: Required,
    now: Timestamp,
) -> Result<Grant, RefusalCode> {
    let claims = key.claims();
    let record = record.ok_or(RefusalCode::Invalid)?;
    let secret = record.secret(key.hash(), claims.generation);
    let superseded_until = secret.ok_or(RefusalCode::Invalid)?.superseded_until();
    // From here on, the caller is known to hold the genuine key, so the other codes reveal nothing to strangers. Expiry
    // and supersession are checked first, so that the code for an expired key or a superseded secret does not depend on
    // what happens to the key later.
    let expires_at = claims.expires_at.min(record.expires_at);
    if now >= expires_at {
        return Err(RefusalCode::Expired);
    }
    if superseded_until.is_some_and(|end| now >= end) {
        return Err(RefusalCode::Superseded);
    }
    let superseded_until = superseded_until.map(|end| end.min(expires_at));
    let expires_at = superseded_until.unwrap_or(expires_at);
    let owner = owner
        .filter(|owner| owner.is_active())
        .ok_or(RefusalCode::OwnerInactive)?;
    if record.is_revoked(Some(owner)) {
        return Err(RefusalCode::Revoked);
    }
    let role = claims
        .role
        .limited_to(record.role)
        .and_then(|role| role.limited_to(owner.role))
        .ok_or(RefusalCode::Forbidden)?;
    let scope = role.permissions();
    if !required.is_met_by(scope) {
        return Err(RefusalCode::Forbidden);
    }
    Ok(Grant {
        tenant_id: claims.tenant_id.clone(),
        user_id: claims.user_id.clone(),
        key_id: claims.key_id,
        role,
        scope,
        issued_at: claims.issued_at,
        expires_at,
        max_clusters: claims.max_clusters.min(record.max_clusters),
        clusters_used: record.clusters_used,
        superseded: superseded_until.is_some(),
        superseded_until,
    })
}

/// Why a join token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinRefusal {
    /// The token is unknown, has expired, belongs to another tenant or cluster, or fails [`may_join`]. Callers cannot
    /// tell which. Expired tokens have no code of their own, because TTL may already have removed them.
    Invalid,
    Redeemed,
}

/// Allows a join token to be redeemed once, before it expires, for its own tenant and cluster.
pub fn may_redeem(
    token: &JoinTokenRecord,
    tenant: &TenantId,
    cluster: &ClusterName,
    now: Timestamp,
) -> Result<(), JoinRefusal> {
    if token.tenant_id != *tenant || token.cluster != *cluster || now >= token.expires_at {
        Err(JoinRefusal::Invalid)
    } else if token.redeemed_at.is_some() {
        Err(JoinRefusal::Redeemed)
    } else {
        Ok(())
    }
}

/// Allows a join token to be redeemed while its key may still onboard clusters and its cluster still exists. Otherwise,
/// refuses the token with [`JoinRefusal::Invalid`]. Returns the key and its owner. A join token has no signature, so
/// this decision relies on the table alone.
pub fn may_join(
    token: &JoinTokenRecord,
    key: Option<KeyRecord>,
    owner: Option<User>,
    cluster: Option<&Cluster>,
    now: Timestamp,
) -> Result<(KeyRecord, User), JoinRefusal> {
    let may_onboard = |key: &KeyRecord, owner: &User| {
        let permissions = key.role.permissions().and(owner.role.permissions());
        owner.is_active()
            && key.is_live(owner, now)
            && permissions.contains(Permission::ClustersOnboard)
    };
    let is_joined =
        |cluster: &Cluster| cluster.number == token.cluster_number && cluster.deleting.is_none();
    let is_there = cluster.is_some_and(is_joined);
    key.zip(owner)
        .filter(|(key, owner)| is_there && may_onboard(key, owner))
        .ok_or(JoinRefusal::Invalid)
}

/// Whether a change creates a user, or gives a user access or an additional permission. When such a change is written,
/// the caller must still have the right to make it. Other changes do not require this.
#[must_use]
pub fn gives(old: Option<&User>, new: &User) -> bool {
    old.is_none_or(|old| !new.role.is_within(old.role) || new.is_active() && !old.is_active())
}
