//! Users, and each tenant's set of administrators.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_dynamo::string_set::StringSet;

use super::{
    handle::Store,
    page::{Page, Position},
    schema::{
        Batch, EpochItem, EpochSk, IndexedUser, IndexedUsersPk, PrimaryKey, SearchItem, SearchPk,
        SearchSk, UserItem, read, readable, user_pk,
    },
    table::{Outcome, Query, StoreError, Write},
};
use crate::model::{
    AuditEntry, Caller, Epoch, EpochEnd, Revocation, TenantId, Timestamp, User, UserId, UserStatus,
};

/// How long the table keeps each hourly count of first sign-ins.
const SIGN_INS_KEPT: Duration = Duration::from_secs(86_400);

/// Returns the number of whole hours from the start of 1970 to `now`.
fn hour(now: Timestamp) -> i64 {
    now.as_seconds().div_euclid(3600)
}

/// The result of writing a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserWritten {
    Done,
    /// The user has changed since it was read.
    Stale,
    /// The write would leave the tenant without an active administrator.
    LastAdmin,
}

/// Returns a condition check that makes the transaction fail unless the user still has the role, status and epoch that
/// were read. A key that the transaction creates for the user is therefore valid, and its role does not exceed the
/// user's.
pub(super) fn is_unchanged(user: &User) -> Write {
    let check = Write::check(PrimaryKey::user(&user.tenant_id, &user.user_id));
    as_read(check, user)
}

fn as_read(write: Write, user: &User) -> Write {
    write
        .and("#role = :role AND #status = :status AND epoch = :epoch")
        .value(":role", user.role)
        .value(":status", user.status)
        .value(":epoch", user.epoch)
}

/// Returns a condition check that makes the transaction fail unless the caller still has the role and status on which
/// the policy based its decision. Writes that grant something need this check. Writes that take something away must not
/// include it, because concurrent writes to the caller's item could otherwise delay them.
pub(super) fn may_still(caller: &User) -> Write {
    let check = Write::check(PrimaryKey::user(&caller.tenant_id, &caller.user_id));
    with_rights(check, caller)
}

fn with_rights(write: Write, user: &User) -> Write {
    write
        .and("#role = :role AND #status = :status")
        .value(":role", user.role)
        .value(":status", user.status)
}

/// Makes the write fail unless the name and the e-mail address are still those that were read.
fn with_profile(write: Write, user: &User) -> Write {
    let profile = [("name", &user.name), ("email", &user.email)];
    profile
        .into_iter()
        .fold(write, |write, (name, value)| match value {
            Some(value) => write
                .and(&format!("#{name} = :read_{name}"))
                .value(&format!(":read_{name}"), value),
            None => write.and(&format!("attribute_not_exists(#{name})")),
        })
}

pub(super) fn update_admins(tenant: &TenantId, expression: &str, users: &[&UserId]) -> Write {
    Write::update(PrimaryKey::admins(tenant), expression).value(":users", StringSet(users))
}

/// Returns the update to the set of administrators, if changing the user requires one. An update that removes the user
/// fails unless the set contains at least one other user.
fn change_admins(old: Option<&User>, new: &User) -> Option<Write> {
    let (tenant, id) = (&new.tenant_id, &new.user_id);
    match (
        old.is_some_and(User::is_active_admin),
        new.is_active_admin(),
    ) {
        (false, true) => Some(update_admins(tenant, "ADD admins :users", &[id])),
        (true, false) => Some(
            update_admins(tenant, "DELETE admins :users", &[id])
                .when("size(admins) > :one OR (size(admins) = :one AND NOT contains(admins, :id))")
                .value(":one", 1)
                .value(":id", id),
        ),
        _ => None,
    }
}

/// Returns the writes to the user's search items, if any search word changes. In that case, all words of `new` are
/// written, because a concurrent change may have removed some of them.
fn change_words(old: Option<&User>, new: &User) -> Vec<Write> {
    let (before, after) = (old.map(User::words).unwrap_or_default(), new.words());
    if before == after {
        return Vec::new();
    }
    let (tenant, user) = (&new.tenant_id, &new.user_id);
    let put = |word: &String| Write::put(&SearchItem::new(tenant, word, user));
    let delete = |word: &String| Write::delete(PrimaryKey::search(tenant, word, user));
    let removed = before.difference(&after).map(delete);
    after.iter().map(put).chain(removed).collect()
}

/// Returns the writes that change a user, starting with the write to the user's item. Also returns the position of the
/// write that changes the set of administrators.
fn user_writes(old: Option<&User>, new: &User, giver: Option<&Caller>) -> (Vec<Write>, usize) {
    let item = UserItem::from(new);
    let is_new_epoch = old.is_some_and(|old| old.epoch < new.epoch);
    let words = change_words(old, new);
    let change = |old: &User| {
        let mut change = Write::change(&UserItem::from(old), &item);
        // Requires an unchanged profile, because the words are derived from the profile that was read, and because a
        // deletion must not leave a newer profile behind.
        let is_deletion = new.status == UserStatus::Deleted;
        if is_deletion || !words.is_empty() {
            change = with_profile(change, old);
        }
        if new.bootstrapped && !old.bootstrapped {
            change = change.and("attribute_not_exists(bootstrapped)");
        }
        change
    };
    let mut writes = vec![match old {
        None => Write::put(&item).when_absent(),
        Some(old) if is_new_epoch => as_read(change(old), old),
        // The condition does not include the epoch, because a user who keeps revoking their own keys must not be able
        // to delay this change.
        Some(old) => with_rights(change(old), old),
    }];
    let end = new.revocations.last();
    writes.extend(
        end.filter(|_| is_new_epoch)
            .map(|end| Write::put(&EpochItem::new(new, end))),
    );
    writes.extend(words);
    let is_another = |giver: &&User| giver.user_id != new.user_id;
    let giver = giver.and_then(Caller::user).filter(is_another);
    writes.extend(giver.map(may_still));
    let admins = change_admins(old, new);
    let admins_at = writes.len();
    writes.extend(admins);
    (writes, admins_at)
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

    /// Reads two users in one strongly consistent request. If the ids are equal, the same user is returned twice.
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
        let keys = [one, other].map(|user| PrimaryKey::user(tenant, user));
        let mut batch = self.table.batch_get(keys.into()).await?;
        let (mut first, mut second) = (None, None);
        while let Some(user) = batch.take::<UserItem, User>()? {
            let is_first = user.user_id == *one;
            *(if is_first { &mut first } else { &mut second }) = Some(user);
        }
        Ok((first, second))
    }

    /// Returns a page of a tenant's users, sorted by id. The index determines which users are listed and may lag
    /// slightly behind the table. The users' items are read from the table.
    pub(crate) async fn tenant_users(
        &self,
        tenant: &TenantId,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<User>, StoreError> {
        let query = Query {
            index: Some("tenant"),
            after: after.and_then(|position| position.in_tenant_users(tenant)),
            partition: IndexedUsersPk {
                tenant: tenant.clone(),
            }
            .to_string(),
            limit: Some(limit),
            ..Query::default()
        };
        let (ids, has_more) = self.table.entries::<IndexedUser, UserId>(query).await?;
        let next = ids.last().filter(|_| has_more).map(Position::after_user);
        let keys = ids.iter().map(|user| PrimaryKey::user(tenant, user));
        let Batch(found) = self.table.batch_get(keys.collect()).await?;
        let read = found.len();
        let mut users: Vec<User> = readable::<UserItem, _>(found).collect();
        let skipped = read - users.len();
        users.retain(|user| user.status != UserStatus::Deleted);
        users.sort_by(|one, other| one.user_id.cmp(&other.user_id));
        Ok(Page {
            items: users,
            skipped,
            next,
        })
    }

    /// Returns a page of the tenant's users who have a search word that begins with `prefix`, each paired with that
    /// word. A user with several matching words appears once per word. A search item may be wrong, so the caller must
    /// check the word against the user.
    pub(crate) async fn users_with_word(
        &self,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<(String, User)>, StoreError> {
        let pk = SearchPk {
            tenant: tenant.clone(),
        };
        let query = Query {
            partition: pk.to_string(),
            prefix: Some(prefix.to_owned()),
            after: after.map(|position| position.in_partition(&pk)),
            limit: Some(limit),
            ..Query::default()
        };
        let page: Page<SearchSk> = self.table.page::<SearchItem, _>(query).await?;
        let ids: BTreeSet<_> = page.items.iter().map(|found| &found.user).collect();
        let keys = ids.into_iter().map(|user| PrimaryKey::user(tenant, user));
        let found = self.table.batch_get_all(keys.collect()).await?;
        let read = found.len();
        let users = readable::<UserItem, User>(found);
        let users: BTreeMap<UserId, User> =
            users.map(|user| (user.user_id.clone(), user)).collect();
        let found = page.items.into_iter();
        let found =
            found.filter_map(|SearchSk { word, user }| Some((word, users.get(&user)?.clone())));
        Ok(Page {
            items: found.collect(),
            skipped: page.skipped + read - users.len(),
            next: page.next,
        })
    }

    /// Adds active administrators to the set of administrators. They may be missing from the set if it was damaged.
    /// Returns false if one of `admins` is no longer an active administrator.
    pub(crate) async fn restore_admins(
        &self,
        tenant: &TenantId,
        admins: &[User],
    ) -> Result<bool, StoreError> {
        let ids: Vec<_> = admins.iter().map(|admin| &admin.user_id).collect();
        let mut writes = vec![update_admins(tenant, "ADD admins :users", &ids)];
        writes.extend(admins.iter().map(may_still));
        let outcome = self.table.transact(&writes).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Writes a user. If `old` is `None`, the user must not exist yet. Otherwise, the stored role and status must still
    /// be those of `old`. If the epoch changes, the stored epoch must also still be that of `old`. The set of
    /// administrators and the user's search words are updated in the same transaction. If the change grants the user
    /// something, `giver` must still have the role and status that were read.
    ///
    /// `entry` is `None` if the change affects no field that an audit entry would name.
    pub(crate) async fn write_user(
        &self,
        old: Option<&User>,
        new: &User,
        giver: Option<&Caller>,
        entry: Option<&AuditEntry>,
    ) -> Result<UserWritten, StoreError> {
        let (mut writes, admins_at) = user_writes(old, new, giver);
        let outcome = match entry {
            Some(entry) if old.is_some() && giver.is_none() => {
                self.change_and_enter(writes, entry).await?
            }
            entry => {
                writes.extend(entry.map(|entry| self.entered(entry)));
                self.table.transact(&writes).await?
            }
        };
        Ok(match outcome {
            Outcome::Done => UserWritten::Done,
            Outcome::Refused(refusals) if refusals.has_only(admins_at) => UserWritten::LastAdmin,
            Outcome::Refused(_) => UserWritten::Stale,
        })
    }
    /// Revokes every key that the user currently has. Returns false if the user's epoch has changed since it was read.
    pub(crate) async fn revoke_all_keys(
        &self,
        user: &User,
        revocation: Revocation,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        let next = user.clone().in_next_epoch(revocation, now);
        let update = Write::change(&UserItem::from(user), &UserItem::from(&next))
            .when("epoch = :epoch")
            .value(":epoch", user.epoch);
        let mut writes = vec![update];
        let end = next.revocations.last();
        writes.extend(end.map(|end| Write::put(&EpochItem::new(&next, end))));
        let outcome = self.change_and_enter(writes, entry).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Returns `user` with the revocations that ended the given epochs, including those that the user's item no longer
    /// contains.
    pub(crate) async fn with_ends_of(
        &self,
        mut user: User,
        epochs: impl Iterator<Item = Epoch>,
    ) -> Result<User, StoreError> {
        let unknown: BTreeSet<Epoch> = epochs.filter(|epoch| !user.knows_end_of(*epoch)).collect();
        let pk = user_pk(&user.tenant_id, &user.user_id);
        let mut ends = Vec::new();
        for epoch in unknown {
            // The end of an epoch is recorded in the item of the next epoch, which is the first epoch item that sorts
            // after `epoch`.
            let query = Query {
                partition: pk.to_string(),
                prefix: Some(format!("{}#", EpochSk::PREFIX)),
                after: Some(Position(EpochSk { epoch }.to_string()).in_partition(&pk)),
                limit: Some(1),
                ..Query::default()
            };
            let page: Page<EpochEnd> = self.table.page::<EpochItem, _>(query).await?;
            ends.extend(page.items);
        }
        user.revocations.extend(ends);
        user.revocations.sort_by_key(|end| end.began);
        user.revocations.dedup_by_key(|end| end.began);
        Ok(user)
    }

    /// Counts a first sign-in. Returns false if the tenant has already reached `limit` in this hour.
    pub(crate) async fn count_first_sign_in(
        &self,
        tenant: &TenantId,
        limit: u32,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let update = Write::update(
            PrimaryKey::sign_ins(tenant, hour(now)),
            "SET sign_ins = if_not_exists(sign_ins, :none) + :one, #ttl = :ttl",
        )
        .when("attribute_not_exists(sign_ins) OR sign_ins < :limit")
        .value(":limit", limit)
        .value(":none", 0)
        .value(":one", 1)
        .value(":ttl", now + SIGN_INS_KEPT);
        let outcome = self.table.update(&update).await?;
        Ok(matches!(outcome, Outcome::Done))
    }

    /// Undoes a call to [`Self::count_first_sign_in`] with the same `now`.
    pub(crate) async fn uncount_first_sign_in(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let item = PrimaryKey::sign_ins(tenant, hour(now));
        let update = Write::update(item, "SET sign_ins = sign_ins - :one")
            .when("sign_ins >= :one")
            .value(":one", 1);
        self.table.update(&update).await.map(drop)
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
