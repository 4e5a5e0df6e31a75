//! Users, and the set of a tenant's administrators.

use serde_dynamo::string_set::StringSet;

use super::{
    handle::Store,
    page::{Page, Position},
    schema::{Batch, IndexedUsersPk, PrimaryKey, UserItem, read},
    table::{Outcome, Query, StoreError, Write},
};
use crate::model::{Revocation, Role, TenantId, Timestamp, User, UserId};

/// The result of writing a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserWritten {
    Done,
    /// The user has changed since the read.
    Stale,
    /// The tenant would be left without an active administrator.
    LastAdmin,
}

/// Makes a transaction fail unless a user's role, status and epoch are still those of `user`.
pub(super) fn is_unchanged(user: &User) -> Write {
    as_read(
        Write::check(PrimaryKey::user(&user.tenant_id, &user.user_id)),
        user,
    )
}

fn as_read(write: Write, user: &User) -> Write {
    write
        .when("#role = :role AND #status = :status AND epoch = :epoch")
        .value(":role", user.role)
        .value(":status", user.status)
        .value(":epoch", user.epoch)
}

/// The update to the set of administrators, if the change to the user requires one.
fn change_admins(old: Option<&User>, new: &User) -> Option<Write> {
    let is_admin = |user: &User| user.is_active() && user.role == Role::Admin;
    let admins = |expression| {
        Write::update(PrimaryKey::admins(&new.tenant_id), expression)
            .value(":user", StringSet([&new.user_id]))
    };
    match (old.is_some_and(is_admin), is_admin(new)) {
        (false, true) => Some(admins("ADD admins :user")),
        (true, false) => Some(
            admins("DELETE admins :user")
                .when("size(admins) > :one AND contains(admins, :id)")
                .value(":one", 1)
                .value(":id", &new.user_id),
        ),
        _ => None,
    }
}

impl Store {
    pub(crate) async fn user(
        &self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<Option<User>, StoreError> {
        let item = self.table.get(PrimaryKey::user(tenant, user)).await?;
        Ok(item.map(read::<UserItem, _>).transpose()?)
    }

    /// The given users who exist. Accepts up to 100 different ids.
    pub(crate) async fn users(
        &self,
        tenant: &TenantId,
        users: &[&UserId],
    ) -> Result<Vec<User>, StoreError> {
        let keys = users
            .iter()
            .map(|user| PrimaryKey::user(tenant, user))
            .collect();
        let Batch(items) = self.table.batch_get(keys).await?;
        let users = items.into_iter().map(read::<UserItem, _>);
        Ok(users.collect::<Result<_, _>>()?)
    }

    /// Two users, from one strongly consistent request. If the ids are equal, returns the same user twice.
    pub(crate) async fn user_pair(
        &self,
        tenant: &TenantId,
        one: &UserId,
        other: &UserId,
    ) -> Result<(Option<User>, Option<User>), StoreError> {
        if one == other {
            let user = self.user(tenant, one).await?;
            return Ok((user.clone(), user));
        }
        let users = self.users(tenant, &[one, other]).await?;
        let find = |id: &UserId| users.iter().find(|user| user.user_id == *id).cloned();
        Ok((find(one), find(other)))
    }

    /// A page of a tenant's users, sorted by id, from the index.
    pub(crate) async fn tenant_users(
        &self,
        tenant: &TenantId,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<User>, StoreError> {
        let tenant = tenant.clone();
        let query = Query {
            index: Some("tenant"),
            after: after.and_then(|position| position.in_tenant_users(&tenant)),
            partition: IndexedUsersPk { tenant }.to_string(),
            limit: Some(limit),
            ..Query::default()
        };
        self.table.page::<UserItem, _>(query).await
    }

    /// Writes a user, provided that the stored role, status and epoch are still those of `old` or, if `old` is `None`,
    /// that the user does not exist. Updates the set of administrators to match.
    pub(crate) async fn write_user(
        &self,
        old: Option<&User>,
        new: &User,
    ) -> Result<UserWritten, StoreError> {
        let put = Write::put(&UserItem::from(new));
        let put = match old {
            None => put.when_absent(),
            Some(old) => as_read(put, old),
        };
        let mut writes = vec![put];
        writes.extend(change_admins(old, new));
        Ok(match self.table.transact(&writes).await? {
            Outcome::Done => UserWritten::Done,
            Outcome::Refused(refusals) if refusals.has(0) => UserWritten::Stale,
            Outcome::Refused(_) => UserWritten::LastAdmin,
        })
    }

    /// Revokes every key that the user has now, with one write. Returns false if the user's epoch has changed since the
    /// read.
    pub(crate) async fn revoke_all_keys(
        &self,
        user: &User,
        revocation: Revocation,
    ) -> Result<bool, StoreError> {
        let next = UserItem::from(&user.clone().in_next_epoch(revocation));
        let key = PrimaryKey::user(&user.tenant_id, &user.user_id);
        let update = Write::update(key, "SET epoch = :next, revocations = :revocations")
            .when("epoch = :epoch")
            .value(":epoch", user.epoch)
            .value(":next", next.epoch)
            .value(":revocations", next.revocations);
        let outcome = self.table.update(&update).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    pub(crate) async fn record_sign_in(
        &self,
        user: &User,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = PrimaryKey::user(&user.tenant_id, &user.user_id);
        let update = Write::update(key, "SET last_sign_in_at = :now")
            .when("attribute_exists(pk)")
            .value(":now", now);
        self.table.update(&update).await.map(drop)
    }
}
