//! A tenant's directory of users. The directory determines what callers and key owners may do.
//!
//! Calls by deactivated and deleted users are forbidden. A change that would leave the tenant without an active
//! administrator is a conflict.

use std::collections::BTreeSet;

use super::{
    error::Error,
    page::{Gather, Listing, PageRequest},
};
use crate::{
    model::{
        Action, Actor, AuditEntry, Caller, Identity, Name, Person, Revocation, Role, Target,
        TenantId, Timestamp, User, UserId, UserStatus, begin_words,
    },
    policy,
    process::events,
    store::{Attempts, Position, Store, UserWritten},
};

/// Turns an actor into a caller, provided that the actor may make calls. Does not record a sign-in.
pub(super) async fn resolve(actor: &Actor, store: &Store, now: Timestamp) -> Result<Caller, Error> {
    let user = match &actor.identity {
        Identity::Person(person) => store.user(&actor.tenant_id, &person.user_id).await?,
        Identity::Operator(_) => None,
    };
    known(actor, user, now)
}

/// Turns an actor into a caller, provided that the actor may make calls. Also returns the user that the request is
/// about.
pub(super) async fn resolve_both(
    actor: &Actor,
    store: &Store,
    other: &UserId,
    now: Timestamp,
) -> Result<(Caller, Option<User>), Error> {
    let (user, other) = read_both(actor, store, other).await?;
    Ok((known(actor, user, now)?, other))
}

/// Reads the user records of the actor and of the user that the call is about, both in one request to the table. If the
/// actor is an operator, reads only the record of `other`.
async fn read_both(
    actor: &Actor,
    store: &Store,
    other: &UserId,
) -> Result<(Option<User>, Option<User>), Error> {
    let tenant = &actor.tenant_id;
    Ok(match &actor.identity {
        Identity::Person(person) => store.user_pair(tenant, &person.user_id, other).await?,
        Identity::Operator(_) => (None, store.user(tenant, other).await?),
    })
}

/// Turns an actor into a caller, provided that the actor may make calls. `user` is the actor's user record, as read
/// from the table. A person who is not in the directory is a viewer, because only a recorded sign-in turns a person
/// into an administrator. Every administrator is therefore in the directory, where others can deactivate them.
pub(super) fn known(actor: &Actor, user: Option<User>, now: Timestamp) -> Result<Caller, Error> {
    let person = match &actor.identity {
        Identity::Person(person) => person,
        Identity::Operator(client) => return Ok(operator(actor, client)),
    };
    let viewer = || User::new(&actor.tenant_id, &person.user_id, Role::Viewer, now);
    let user = user.unwrap_or_else(viewer);
    policy::may_call(&user)?;
    Ok(Caller::User(user))
}

fn operator(actor: &Actor, client: &str) -> Caller {
    Caller::Operator {
        tenant_id: actor.tenant_id.clone(),
        client: client.to_owned(),
    }
}

/// Records the time at which an actor signs in. `user` is the actor's user record, as read from the table. The first
/// sign-in creates the user. Returns `None` if a concurrent request has created the user, who must then be read again.
/// Operators do not sign in.
///
/// # Errors
/// [`Error::TooManyFirstSignIns`] if the tenant has already had `first_sign_ins` first sign-ins this hour. People named
/// in `BootstrapAdmins` do not count towards this limit.
pub(super) async fn sign_in(
    actor: &Actor,
    store: &Store,
    user: Option<User>,
    first_sign_ins: u32,
    now: Timestamp,
) -> Result<Option<Caller>, Error> {
    let person = match &actor.identity {
        Identity::Person(person) => person,
        Identity::Operator(client) => return Ok(Some(operator(actor, client))),
    };
    let Some(old) = user else {
        return first_sign_in(actor, person, store, first_sign_ins, now).await;
    };
    policy::may_call(&old)?;
    let new = old.clone().seen(now);
    if new.last_sign_in_at != old.last_sign_in_at {
        store.record_sign_in(&old, now).await?;
    }
    Ok(Some(Caller::User(new)))
}

async fn first_sign_in(
    actor: &Actor,
    person: &Person,
    store: &Store,
    first_sign_ins: u32,
    now: Timestamp,
) -> Result<Option<Caller>, Error> {
    let tenant = &actor.tenant_id;
    let counts = !person.is_bootstrap_admin;
    if counts
        && !store
            .count_first_sign_in(tenant, first_sign_ins, now)
            .await?
    {
        return Err(Error::TooManyFirstSignIns);
    }
    let new = User::first_seen(tenant, person, now);
    let entry = entry(actor, None, &new, now);
    if store.write_user(None, &new, None, entry.as_ref()).await? == UserWritten::Done {
        return Ok(Some(Caller::User(new)));
    }
    // Another call by the same person created the user first, and each person must be counted only once.
    if counts {
        store.uncount_first_sign_in(tenant, now).await?;
    }
    Ok(None)
}

/// Like [`sign_in`], but also updates the name and the e-mail address, and promotes a person named in
/// `BootstrapAdmins`. Also returns `None` if a concurrent request has changed the user.
async fn sign_in_with_profile(
    actor: &Actor,
    store: &Store,
    user: Option<User>,
    first_sign_ins: u32,
    now: Timestamp,
) -> Result<Option<Caller>, Error> {
    let (person, old) = match (actor.person(), user) {
        (Some(person), Some(user)) if user.is_active() => (person, user),
        (_, user) => return sign_in(actor, store, user, first_sign_ins, now).await,
    };
    let new = old.clone().signed_in(person, now);
    let profile = |user: &User| (user.bootstrapped, user.name.clone(), user.email.clone());
    if profile(&old) == profile(&new) {
        return sign_in(actor, store, Some(old), first_sign_ins, now).await;
    }
    let entry = entry(actor, Some(&old), &new, now);
    let written = store
        .write_user(Some(&old), &new, None, entry.as_ref())
        .await?;
    Ok((written == UserWritten::Done).then_some(Caller::User(new)))
}

/// Records a sign-in. Returns the caller and the user that the request is about, from one read.
async fn sign_in_and_read(
    actor: &Actor,
    store: &Store,
    other_id: &UserId,
    first_sign_ins: u32,
    now: Timestamp,
) -> Result<(Caller, Option<User>), Error> {
    let mut attempts = Attempts::new();
    while attempts.next().await {
        let (user, other) = read_both(actor, store, other_id).await?;
        if let Some(me) = sign_in_with_profile(actor, store, user, first_sign_ins, now).await? {
            let own = me.user().filter(|me| me.user_id == *other_id).cloned();
            return Ok((me, own.or(other)));
        }
    }
    Err(Error::CHANGED_MEANWHILE)
}

/// Selects users. A user must match all fields that are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserFilter {
    pub status: Option<UserStatus>,
    pub role: Option<Role>,
    /// Each of these words must be the beginning of a word in the user's name or e-mail address.
    pub words: Option<BTreeSet<String>>,
}

impl UserFilter {
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.status.is_some() || self.role.is_some() || self.words.is_some()
    }

    /// Returns the word to look up in the search index: the longest one.
    #[must_use]
    pub fn longest_word(&self) -> Option<&str> {
        let words = self.words.iter().flatten();
        words.max_by_key(|word| word.len()).map(String::as_str)
    }

    fn matches(&self, user: &User) -> bool {
        let words = self.words.as_ref();
        self.status.is_none_or(|status| status == user.status)
            && self.role.is_none_or(|role| role == user.role)
            && words.is_none_or(|words| begin_words(words, &user.words()))
    }
}

/// Returns a page of the tenant's users, sorted by id. Search results are sorted by the word that matched.
pub async fn list_users(
    actor: &Actor,
    store: &Store,
    filter: &UserFilter,
    page: &PageRequest,
    first_sign_ins: u32,
    now: Timestamp,
) -> Result<Listing<User>, Error> {
    let me = match actor.person() {
        Some(person) => {
            let me = &person.user_id;
            let (me, _) = sign_in_and_read(actor, store, me, first_sign_ins, now).await?;
            me
        }
        None => resolve(actor, store, now).await?,
    };
    policy::may_list_users(&me)?;
    let mut gather = Gather::new(page);
    if let Some(word) = filter.longest_word() {
        return find_users(&actor.tenant_id, store, filter, word, gather).await;
    }
    if filter.words.is_some() {
        // A search without a word finds nobody.
        return Ok(Listing::empty());
    }
    let size = gather.page_size(filter.is_set()).min(100);
    loop {
        let users = store
            .tenant_users(&actor.tenant_id, gather.position(), size)
            .await?;
        let position = |user: &User| Position::after_user(&user.user_id);
        let show = |user| Some(user).filter(|user| filter.matches(user));
        if gather.take(users, position, show) {
            return Ok(gather.finish());
        }
    }
}

async fn find_users(
    tenant: &TenantId,
    store: &Store,
    filter: &UserFilter,
    word: &str,
    mut gather: Gather<'_, User>,
) -> Result<Listing<User>, Error> {
    let size = gather.page_size(true).min(100);
    loop {
        let found = store
            .users_with_word(tenant, word, gather.position(), size)
            .await?;
        let position = |(word, user): &(String, User)| Position::after_found(word, &user.user_id);
        let show = |(found, user): (String, User)| {
            // A user with several matching words is listed once, at the first of these words.
            let words = user.words();
            let first = words.iter().find(|own| own.starts_with(word));
            let is_first = first == Some(&found);
            Some(user).filter(|user| is_first && filter.matches(user))
        };
        if gather.take(found, position, show) {
            return Ok(gather.finish());
        }
    }
}

pub async fn get_user(
    actor: &Actor,
    store: &Store,
    user_id: &UserId,
    first_sign_ins: u32,
    now: Timestamp,
) -> Result<User, Error> {
    let (me, user) = sign_in_and_read(actor, store, user_id, first_sign_ins, now).await?;
    Ok(policy::may_see_user(&me, user_id, user)?)
}

/// A change to a user. Absent fields keep their values.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    pub role: Option<Role>,
    pub status: Option<UserStatus>,
    pub email: Option<String>,
    pub name: Option<Name>,
}

impl UserChange {
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

/// Provisions a user, before or after the first sign-in. Returns the user, and true if the user is new or had been
/// deleted.
pub async fn provision_user(
    actor: &Actor,
    store: &Store,
    user_id: &UserId,
    change: &UserChange,
    first_sign_ins: u32,
    now: Timestamp,
) -> Result<(User, bool), Error> {
    let provision = |old: Option<&User>| {
        let new_user = || User::new(&actor.tenant_id, user_id, Role::Viewer, now);
        let mut new = old.cloned().unwrap_or_else(new_user);
        if new.status == UserStatus::Deleted {
            // The epoch stays the same, so that the keys of the deleted user stay revoked.
            (new.status, new.created_at) = (UserStatus::Active, now);
        }
        change.apply(&mut new);
        Ok(new)
    };
    let (old, new) = write_user(actor, store, user_id, first_sign_ins, now, provision).await?;
    let is_new = old.is_none_or(|old| old.status == UserStatus::Deleted);
    Ok((new, is_new))
}

pub async fn change_user(
    actor: &Actor,
    store: &Store,
    user_id: &UserId,
    change: &UserChange,
    first_sign_ins: u32,
    now: Timestamp,
) -> Result<User, Error> {
    let apply = |old: Option<&User>| {
        let mut new = existing(old)?;
        change.apply(&mut new);
        Ok(new)
    };
    let (_, new) = write_user(actor, store, user_id, first_sign_ins, now, apply).await?;
    Ok(new)
}

/// Deletes a user. A record without a name or e-mail address remains, so that the user's keys stay revoked.
pub async fn delete_user(
    actor: &Actor,
    store: &Store,
    user_id: &UserId,
    first_sign_ins: u32,
    now: Timestamp,
) -> Result<(), Error> {
    let delete = |old: Option<&User>| {
        let reason = Some("the user was deleted".into());
        let revocation = Revocation::new(now, actor.principal(), reason);
        let mut new = existing(old)?.in_next_epoch(revocation, now);
        new.status = UserStatus::Deleted;
        (new.email, new.name) = (None, None);
        Ok(new)
    };
    write_user(actor, store, user_id, first_sign_ins, now, delete)
        .await
        .map(drop)
}

fn existing(user: Option<&User>) -> Result<User, Error> {
    let user = user.filter(|user| user.status != UserStatus::Deleted);
    user.cloned().ok_or(Error::NotFound)
}

/// Applies `change` to a user and returns the user before and after the change. If another request changes the user in
/// the meantime, reads the user again and starts over.
async fn write_user(
    actor: &Actor,
    store: &Store,
    user_id: &UserId,
    first_sign_ins: u32,
    now: Timestamp,
    change: impl Fn(Option<&User>) -> Result<User, Error>,
) -> Result<(Option<User>, User), Error> {
    let mut attempts = Attempts::new();
    let mut are_admins_complete = false;
    while attempts.next().await {
        let (me, old) = sign_in_and_read(actor, store, user_id, first_sign_ins, now).await?;
        policy::may_change_user(&me, user_id)?;
        let new = change(old.as_ref())?;
        let giver = Some(&me).filter(|_| policy::gives(old.as_ref(), &new));
        let entry = entry(actor, old.as_ref(), &new, now);
        match store
            .write_user(old.as_ref(), &new, giver, entry.as_ref())
            .await?
        {
            UserWritten::Done => {
                log(actor, &new);
                return Ok((old, new));
            }
            UserWritten::LastAdmin if are_admins_complete => {
                return Err(Error::Conflict(
                    "last_admin",
                    "this is the tenant's last active administrator: make another one first",
                ));
            }
            UserWritten::LastAdmin => {
                are_admins_complete = complete_admins(store, &actor.tenant_id, user_id).await?;
            }
            UserWritten::Stale => {
                // Users who are deleting themselves are not deactivated first, because they could then no longer
                // continue the deletion.
                let is_another = new.status == UserStatus::Deleted && !me.is(user_id);
                let other = old.filter(|old| is_another && old.is_active());
                if let Some(other) = other {
                    deactivate(actor, store, &other, now).await?;
                }
            }
        }
    }
    Err(Error::CHANGED_MEANWHILE)
}

/// Deactivates a user after a deletion has failed, usually because the user's epoch changed. Unlike the deletion, this
/// write does not depend on the epoch, so a user who keeps revoking their own keys cannot delay it. Once deactivated,
/// the user can no longer revoke keys.
async fn deactivate(
    actor: &Actor,
    store: &Store,
    user: &User,
    now: Timestamp,
) -> Result<(), Error> {
    let inactive = User {
        status: UserStatus::Inactive,
        ..user.clone()
    };
    let entry = entry(actor, Some(user), &inactive, now);
    let entry = entry.as_ref();
    let mut written = store.write_user(Some(user), &inactive, None, entry).await?;
    if written == UserWritten::LastAdmin
        && complete_admins(store, &user.tenant_id, &user.user_id).await?
    {
        written = store.write_user(Some(user), &inactive, None, entry).await?;
    }
    if written == UserWritten::Done {
        log(actor, &inactive);
    }
    Ok(())
}

/// Adds up to ten active administrators other than `user` to the set of administrators, in case they are missing from
/// it because it was damaged. Returns false if one of them has changed in the meantime.
async fn complete_admins(store: &Store, tenant: &TenantId, user: &UserId) -> Result<bool, Error> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.tenant_users(tenant, after.as_ref(), 100).await?;
        let is_another = |found: &User| found.is_active_admin() && found.user_id != *user;
        found.extend(
            page.items
                .into_iter()
                .filter(is_another)
                .take(10 - found.len()),
        );
        after = page.next;
        if after.is_none() || found.len() == 10 {
            break;
        }
    }
    Ok(found.is_empty() || store.restore_admins(tenant, &found).await?)
}

/// Returns the audit entry for a change to a user, or `None` if the change affects no field that the audit trail shows.
fn entry(actor: &Actor, old: Option<&User>, new: &User, now: Timestamp) -> Option<AuditEntry> {
    let old = old.filter(|old| old.status != UserStatus::Deleted);
    let was_active = old.map(User::is_active);
    let action = match (was_active, new.status) {
        (None, _) => Action::UserCreated,
        (Some(_), UserStatus::Deleted) => Action::UserDeleted,
        (Some(true), UserStatus::Inactive) => Action::UserDeactivated,
        (Some(false), UserStatus::Active) => Action::UserReactivated,
        _ => Action::UserChanged,
    };
    let is_bootstrapped = new.bootstrapped && old.is_none_or(|old| !old.bootstrapped);
    let reason = is_bootstrapped.then(|| "BootstrapAdmins names this person".to_owned());
    let about = (action, Target::user(&new.user_id));
    let by = actor.principal();
    let entry = AuditEntry::new(&new.tenant_id, by, &actor.origin, about, now)
        .with("role", old.map(|old| old.role), Some(new.role))
        .with("status", old.map(|old| old.status), Some(new.status))
        .with(
            "email",
            old.and_then(|old| old.email.as_deref()),
            new.email.as_deref(),
        )
        .with(
            "name",
            old.and_then(|old| old.name.as_deref()),
            new.name.as_deref(),
        )
        .because(reason);
    (!entry.changes.is_empty()).then_some(entry)
}

fn log(actor: &Actor, user: &User) {
    let (role, status) = (user.role.as_str(), user.status.as_str());
    tracing::info!(
        event.name = events::USER_CHANGED,
        actor = %actor.principal(),
        tenant.id = %user.tenant_id,
        user.id = %user.user_id,
        user.role = role,
        user.status = status,
        "wrote the user"
    );
}
