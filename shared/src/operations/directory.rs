//! The directory of a tenant's users: the authority for what a caller and the owner of a key may do.

use serde_json::{Value, json};

use crate::{
    caller::{Caller, is_email},
    clock::Seconds,
    error::Error,
    id::{TenantId, UserId},
    input::{Fields, PageRequest},
    name::Name,
    record::{Revocation, User, UserStatus},
    role::{Permission, Role},
    store::{AdminChange, Store},
};

/// A sign-in is noted at most this often.
const SIGN_IN_PRECISION: Seconds = 3600;

/// The directory's view of a caller, without writing: someone who was never seen is a Viewer, or a first
/// administrator.
///
/// # Errors
/// When the caller is deactivated or deleted.
pub async fn resolve(store: &Store, caller: &Caller, now: Seconds) -> Result<User, Error> {
    let user = store.user(&caller.tenant_id, &caller.user_id).await?;
    active(user.unwrap_or_else(|| first_seen(caller, now)))
}

/// The same, and writes: a first sign-in creates the user, a later one is noted.
///
/// # Errors
/// When the caller is deactivated or deleted.
pub async fn sign_in(store: &Store, caller: &Caller, now: Seconds) -> Result<User, Error> {
    for _ in 0..3 {
        let Some(user) = store.user(&caller.tenant_id, &caller.user_id).await? else {
            let user = first_seen(caller, now);
            match store.write_user(None, &user).await? {
                AdminChange::Done => return Ok(user),
                // Another request of the same caller was first.
                AdminChange::Stale | AdminChange::LastAdmin => continue,
            }
        };
        let user = active(user)?;
        if user
            .last_sign_in_at
            .is_none_or(|at| at <= now - SIGN_IN_PRECISION)
        {
            store.note_sign_in(&user, now).await?;
        }
        return Ok(user);
    }
    Err(CONTENDED)
}

const CONTENDED: Error = Error::Conflict(
    "changed_meanwhile",
    "the user is being changed by others at this moment: try again",
);

fn active(user: User) -> Result<User, Error> {
    match user.status {
        UserStatus::Active => Ok(user),
        UserStatus::Inactive => Err(Error::Forbidden(
            "your account is deactivated: ask an administrator",
        )),
        UserStatus::Deleted => Err(Error::Forbidden(
            "your account was deleted: ask an administrator",
        )),
    }
}

fn first_seen(caller: &Caller, now: Seconds) -> User {
    User {
        tenant_id: caller.tenant_id.clone(),
        user_id: caller.user_id.clone(),
        role: if caller.is_bootstrap_admin {
            Role::Admin
        } else {
            Role::Viewer
        },
        status: UserStatus::Active,
        email: caller.email.clone(),
        name: caller.name.clone(),
        created_at: now,
        last_sign_in_at: Some(now),
        epoch: 0,
        revocations: Vec::new(),
    }
}

/// The user whose keys `me` wants to see or change: oneself, or anyone in the tenant for an administrator. To
/// others, a user that exists and one that does not are the same.
///
/// # Errors
/// When there is no such user, or `me` may not know.
pub async fn key_owner(store: &Store, me: &User, user_id: &UserId) -> Result<User, Error> {
    if me.user_id == *user_id {
        return Ok(me.clone());
    }
    if !me.role.permissions().contains(Permission::AccessKeysManage) {
        return Err(Error::NotFound);
    }
    existing(store, &me.tenant_id, user_id).await
}

async fn existing(store: &Store, tenant: &TenantId, user_id: &UserId) -> Result<User, Error> {
    store
        .user(tenant, user_id)
        .await?
        .filter(|user| user.status != UserStatus::Deleted)
        .ok_or(Error::NotFound)
}

fn may_manage(me: &User) -> bool {
    me.role.permissions().contains(Permission::UsersManage)
}

/// The tenant's users, by id.
///
/// # Errors
/// When `me` is no administrator.
pub async fn list(store: &Store, me: &User, request: &PageRequest) -> Result<Value, Error> {
    if !may_manage(me) {
        return Err(Error::Forbidden("only an administrator may list users"));
    }
    let limit = i32::try_from(request.limit).unwrap_or(i32::MAX);
    let page = store
        .users(&me.tenant_id, request.after.as_ref(), limit)
        .await?;
    Ok(json!({
        "items": page.items.iter().map(User::to_json).collect::<Vec<_>>(),
        "next_cursor": page.next.map(|next| next.to_cursor(&request.list)),
    }))
}

/// A user: oneself, or anyone in the tenant for an administrator.
///
/// # Errors
/// When there is no such user, or `me` may not know.
pub async fn get(store: &Store, me: &User, user_id: &UserId) -> Result<User, Error> {
    if me.user_id == *user_id {
        return Ok(me.clone());
    }
    if !may_manage(me) {
        return Err(Error::NotFound);
    }
    existing(store, &me.tenant_id, user_id).await
}

fn insist_on_admin(me: &User, user_id: &UserId) -> Result<(), Error> {
    if may_manage(me) {
        Ok(())
    } else if me.user_id == *user_id {
        Err(Error::Forbidden("only an administrator may change users"))
    } else {
        Err(Error::NotFound)
    }
}

/// What a user is to become.
#[derive(Debug, Clone, Default)]
pub struct Change {
    role: Option<Role>,
    status: Option<UserStatus>,
    email: Option<String>,
    name: Option<Name>,
}

impl Change {
    fn role(fields: &mut Fields) -> Option<Role> {
        let role = fields.parsed("role");
        if role == Some(Role::ClusterOnboarding) {
            fields.refuse(
                "role",
                "must be one of admin, editor, viewer: cluster_onboarding is for keys only",
            );
        }
        role
    }

    /// Reads the body of `PUT`: `role`, and `name` and `email` if known.
    ///
    /// # Errors
    /// With every field that breaks a rule.
    pub fn provision(mut fields: Fields) -> Result<Self, Error> {
        let role = Self::role(&mut fields);
        let role = fields.require("role", role);
        let name = fields.parsed("name");
        let email = fields.text("email");
        if email.as_deref().is_some_and(|email| !is_email(email)) {
            fields.refuse(
                "email",
                "must be an e-mail address of at most 254 characters",
            );
        }
        fields.finish("role, name, email")?;
        Ok(Self {
            role,
            status: None,
            email,
            name,
        })
    }

    /// Reads the body of `PATCH`: `role`, `status` or both.
    ///
    /// # Errors
    /// With every field that breaks a rule.
    pub fn patch(mut fields: Fields) -> Result<Self, Error> {
        let role = Self::role(&mut fields);
        let status = fields.parsed("status");
        if status == Some(UserStatus::Deleted) {
            fields.refuse(
                "status",
                "must be one of active, inactive; use DELETE to delete",
            );
        }
        fields.finish("role, status")?;
        if role.is_none() && status.is_none() {
            return Err(Error::field("body", "must have a role, a status or both"));
        }
        Ok(Self {
            role,
            status,
            ..Self::default()
        })
    }

    fn apply(&self, user: &mut User) {
        user.role = self.role.unwrap_or(user.role);
        user.status = self.status.unwrap_or(user.status);
        user.email = self.email.clone().or(user.email.take());
        user.name = self
            .name
            .as_ref()
            .map(ToString::to_string)
            .or(user.name.take());
    }
}

/// Provisions a user, before or after the first sign-in. True if the user is new.
///
/// # Errors
/// When `me` is no administrator, or the tenant would lose its last one.
pub async fn provision(
    store: &Store,
    me: &User,
    user_id: &UserId,
    change: &Change,
    now: Seconds,
) -> Result<(User, bool), Error> {
    insist_on_admin(me, user_id)?;
    for _ in 0..5 {
        let old = store.user(&me.tenant_id, user_id).await?;
        let is_new = old
            .as_ref()
            .is_none_or(|user| user.status == UserStatus::Deleted);
        let mut new = old.clone().unwrap_or_else(|| User {
            tenant_id: me.tenant_id.clone(),
            user_id: user_id.clone(),
            role: Role::Viewer,
            status: UserStatus::Active,
            email: None,
            name: None,
            created_at: now,
            last_sign_in_at: None,
            epoch: 0,
            revocations: Vec::new(),
        });
        if is_new {
            // The epoch stays: the keys of a deleted user do not come back.
            new.status = UserStatus::Active;
            new.created_at = now;
        }
        change.apply(&mut new);
        if written(store.write_user(old.as_ref(), &new).await?)? {
            note(&new);
            return Ok((new, is_new));
        }
    }
    Err(CONTENDED)
}

/// Changes a user's role or status.
///
/// # Errors
/// When there is no such user, `me` is no administrator, or the tenant would lose its last one.
pub async fn change(
    store: &Store,
    me: &User,
    user_id: &UserId,
    change: &Change,
) -> Result<User, Error> {
    insist_on_admin(me, user_id)?;
    for _ in 0..5 {
        let old = existing(store, &me.tenant_id, user_id).await?;
        let mut new = old.clone();
        change.apply(&mut new);
        if written(store.write_user(Some(&old), &new).await?)? {
            note(&new);
            return Ok(new);
        }
    }
    Err(CONTENDED)
}

/// Deletes a user. A record stays behind, without name and address, so that the keys stay dead.
///
/// # Errors
/// When there is no such user, `me` is no administrator, or the tenant would lose its last one.
pub async fn delete(store: &Store, me: &User, user_id: &UserId, now: Seconds) -> Result<(), Error> {
    insist_on_admin(me, user_id)?;
    for _ in 0..5 {
        let old = existing(store, &me.tenant_id, user_id).await?;
        let revocation = Revocation {
            at: now,
            by: me.user_id.to_string(),
            reason: Some("the user was deleted".into()),
        };
        let mut new = old.clone().in_next_epoch(revocation);
        new.status = UserStatus::Deleted;
        (new.email, new.name) = (None, None);
        if written(store.write_user(Some(&old), &new).await?)? {
            note(&new);
            return Ok(());
        }
    }
    Err(CONTENDED)
}

/// What the runbook reads after a restore, which brings back what users were before.
fn note(user: &User) {
    let (role, status) = (user.role.as_str(), user.status.as_str());
    tracing::info!(
        tenant.id = %user.tenant_id,
        user.id = %user.user_id,
        user.role = role,
        user.status = status,
        "user written"
    );
}

/// Whether the change was written; it is tried again when the user changed meanwhile.
fn written(change: AdminChange) -> Result<bool, Error> {
    match change {
        AdminChange::Done => Ok(true),
        AdminChange::Stale => Ok(false),
        AdminChange::LastAdmin => Err(Error::Conflict(
            "last_admin",
            "this is the tenant's last active administrator: make another one first",
        )),
    }
}
