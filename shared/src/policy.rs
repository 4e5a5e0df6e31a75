//! Who may do what, and what a key is worth now.
//!
//! Pure functions without I/O: a service loads what the decision needs, asks, and then acts.

use serde::Serialize;

use crate::{
    model::{
        Cluster, ClusterName, JoinTokenRecord, KeyId, KeyRecord, Permission, Permissions, Role,
        TenantId, Timestamp, User, UserId, UserStatus,
    },
    token::VerifiedKey,
};

/// Why a person may not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// As if the resource did not exist: whether it does is not the caller's to know.
    NotFound,
    Forbidden(&'static str),
    /// A stable code, and what to do.
    Conflict(&'static str, &'static str),
}

/// Who may call at all: users who are neither deactivated nor deleted.
///
/// # Errors
/// [`Denied::Forbidden`] for the others.
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

/// Who may see, create, change and revoke the keys of a user: that user, and administrators. Gives the owner.
///
/// # Errors
/// [`Denied::NotFound`] for others, and for owners who do not exist.
pub fn may_manage_keys_of(
    me: &User,
    owner_id: &UserId,
    owner: Option<User>,
) -> Result<User, Denied> {
    me_or_managed(me, owner_id, owner, Permission::AccessKeysManage)
}

/// Who may revoke a key without being known: whoever holds it.
#[must_use]
pub fn may_revoke_as_holder(key: &VerifiedKey, record: Option<&KeyRecord>) -> bool {
    record.is_some_and(|record| record.has_hash(key.hash()))
}

/// What a new key may be: no more than the caller and the owner are now.
///
/// # Errors
/// When the role is above either of them, or the owner is deactivated.
pub fn may_create_key(me: &User, owner: &User, role: Role) -> Result<(), Denied> {
    if !role.is_within(me.role) {
        Err(Denied::Forbidden("the key's role is above your own"))
    } else if !role.is_within(owner.role) {
        Err(Denied::Forbidden("the key's role is above its owner's"))
    } else if !owner.is_active() {
        Err(Denied::Conflict(
            "owner_inactive",
            "the owner is deactivated: reactivate the user first",
        ))
    } else {
        Ok(())
    }
}

/// Who may see the keys of the whole tenant: administrators.
///
/// # Errors
/// [`Denied::Forbidden`] for the others.
pub fn may_list_tenant_keys(me: &User) -> Result<(), Denied> {
    let detail = "only an administrator may list the keys of the tenant";
    require(me.role.permissions(), Permission::AccessKeysManage, detail)
}

/// Who may change how many clusters a key may onboard: administrators.
///
/// # Errors
/// [`Denied::Forbidden`] for the others.
pub fn may_limit_key(me: &User) -> Result<(), Denied> {
    let detail = "only an administrator may change the limit of a key";
    require(me.role.permissions(), Permission::AccessKeysManage, detail)
}

/// Who may see the users of the tenant: administrators.
///
/// # Errors
/// [`Denied::Forbidden`] for the others.
pub fn may_list_users(me: &User) -> Result<(), Denied> {
    let detail = "only an administrator may list users";
    require(me.role.permissions(), Permission::UsersManage, detail)
}

/// Who may see a user: that user, and administrators. Gives the user.
///
/// # Errors
/// [`Denied::NotFound`] for others, and for users who do not exist.
pub fn may_see_user(me: &User, user_id: &UserId, user: Option<User>) -> Result<User, Denied> {
    me_or_managed(me, user_id, user, Permission::UsersManage)
}

/// Who may provision, change and delete users: administrators.
///
/// # Errors
/// [`Denied::Forbidden`] for users who want to change themselves, [`Denied::NotFound`] for others.
pub fn may_change_user(me: &User, user_id: &UserId) -> Result<(), Denied> {
    if me.has(Permission::UsersManage) {
        Ok(())
    } else if me.user_id == *user_id {
        Err(Denied::Forbidden("only an administrator may change users"))
    } else {
        Err(Denied::NotFound)
    }
}

/// Who may see clusters: keys and users with the permission.
///
/// # Errors
/// [`Denied::Forbidden`] for the others.
pub fn may_see_clusters(scope: Permissions) -> Result<(), Denied> {
    let detail = "this requires the permission clusters:read";
    require(scope, Permission::ClustersRead, detail)
}

/// Who may delete clusters: keys and users with the permission.
///
/// # Errors
/// [`Denied::Forbidden`] for the others.
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

/// Oneself, or somebody else who exists, for a caller with a permission.
fn me_or_managed(
    me: &User,
    other_id: &UserId,
    other: Option<User>,
    permission: Permission,
) -> Result<User, Denied> {
    if me.user_id == *other_id {
        return Ok(me.clone());
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
    Revoked,
    /// The owner is deactivated or deleted.
    OwnerInactive,
    /// The key is valid, but not for what was asked.
    Forbidden,
}

impl RefusalCode {
    /// The code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::OwnerInactive => "owner_inactive",
            Self::Forbidden => "forbidden",
        }
    }
}

/// What a valid key may do now. Its members are named as in a JWT (RFC 7519) and in an introspection (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    #[serde(rename = "tenant-id")]
    pub tenant_id: TenantId,
    /// The owner.
    #[serde(rename = "sub")]
    pub user_id: UserId,
    #[serde(rename = "jti")]
    pub key_id: KeyId,
    /// The key's role, limited by its owner's.
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
}

/// What a key is worth now: the least of what was signed into it, what its record says and what its owner may do. No
/// write to the table can raise it above its claims.
///
/// # Errors
/// When the key is not valid, or not for `permission`.
pub fn evaluate(
    key: &VerifiedKey,
    record: Option<&KeyRecord>,
    owner: Option<&User>,
    permission: Option<Permission>,
    now: Timestamp,
) -> Result<Grant, RefusalCode> {
    let claims = key.claims();
    let record = record
        .filter(|record| record.has_hash(key.hash()))
        .ok_or(RefusalCode::Invalid)?;
    // From here on the caller holds the genuine key: the other codes tell strangers nothing.
    let owner = owner
        .filter(|owner| owner.is_active())
        .ok_or(RefusalCode::OwnerInactive)?;
    if record.is_revoked(Some(owner)) {
        return Err(RefusalCode::Revoked);
    }
    let expires_at = claims.expires_at.min(record.expires_at);
    if now >= expires_at {
        return Err(RefusalCode::Expired);
    }
    let role = claims
        .role
        .limited_to(record.role)
        .and_then(|role| role.limited_to(owner.role))
        .ok_or(RefusalCode::Forbidden)?;
    let scope = role.permissions();
    if permission.is_some_and(|permission| !scope.contains(permission)) {
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
    })
}

/// Why a join token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinRefusal {
    /// Unknown, of another tenant or cluster, or no longer backed by its key: callers cannot tell which.
    Invalid,
    Expired,
    Redeemed,
}

/// Whether a join token can be redeemed for a cluster of a tenant, as far as its own record says.
///
/// # Errors
/// When it belongs to others, has been redeemed, or has expired.
pub fn may_redeem(
    token: &JoinTokenRecord,
    tenant: &TenantId,
    cluster: &ClusterName,
    now: Timestamp,
) -> Result<(), JoinRefusal> {
    if token.tenant_id != *tenant || token.cluster != *cluster {
        Err(JoinRefusal::Invalid)
    } else if token.redeemed_at.is_some() {
        Err(JoinRefusal::Redeemed)
    } else if now >= token.expires_at {
        Err(JoinRefusal::Expired)
    } else {
        Ok(())
    }
}

/// Whether the key of a join token still backs it: the token lives as long as its key may onboard and its cluster
/// exists. A join token carries no signature, so this rests on the table alone.
///
/// # Errors
/// [`JoinRefusal::Invalid`] when it does not.
pub fn may_join(
    token: &JoinTokenRecord,
    key: Option<&KeyRecord>,
    owner: Option<&User>,
    cluster: Option<&Cluster>,
    now: Timestamp,
) -> Result<(), JoinRefusal> {
    let may_onboard = |key: &KeyRecord, owner: &User| {
        let permissions = key.role.permissions().and(owner.role.permissions());
        owner.is_active()
            && key.has_hash(token.key_hash)
            && key.is_live(owner, now)
            && permissions.contains(Permission::ClustersOnboard)
    };
    let is_backed = key
        .zip(owner)
        .is_some_and(|(key, owner)| may_onboard(key, owner));
    let is_there = cluster.is_some_and(|cluster| cluster.number == token.cluster_number);
    if is_backed && is_there {
        Ok(())
    } else {
        Err(JoinRefusal::Invalid)
    }
}
