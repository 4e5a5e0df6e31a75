//! Requests about users.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};

use super::{
    Outcome, Page, Store, StoreError, condition_failed, failed,
    item::{USER_SK, admins_key, n, owner, read_user, s, user_key, write_user},
    keys::page,
    made, settled,
};
use crate::{
    clock::Seconds,
    cursor::Position,
    id::{TenantId, UserId},
    record::{Revocation, User},
};

/// What became of a change to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminChange {
    /// Written.
    Done,
    /// The user is no longer what was read.
    Stale,
    /// It would leave the tenant without an active administrator.
    LastAdmin,
}

/// The latest revocations of all keys whose particulars are kept.
const REVOCATIONS_KEPT: usize = 16;

fn is_active_admin(user: &User) -> bool {
    user.is_active() && user.role == crate::role::Role::Admin
}

impl Store {
    /// A user, consistent.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or the item cannot be read.
    pub async fn user(&self, tenant: &TenantId, user: &UserId) -> Result<Option<User>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .consistent_read(true);
        let request = request.set_key(Some(user_key(tenant, user)));
        let answer = request.send().await.map_err(failed("GetItem"))?;
        Ok(answer.item.as_ref().map(read_user).transpose()?)
    }

    /// The users of these ids, those that exist.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn users_of(
        &self,
        tenant: &TenantId,
        users: &[&UserId],
    ) -> Result<Vec<User>, StoreError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let keys = users.iter().map(|user| user_key(tenant, user)).collect();
        let items = self.batch_get(keys, true).await?;
        Ok(items.iter().map(read_user).collect::<Result<_, _>>()?)
    }

    /// A page of a tenant's users, by id. The index may be a moment behind the table.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn users(
        &self,
        tenant: &TenantId,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<User>, StoreError> {
        let partition = format!("USERS#{tenant}");
        let start = after.map(|Position(user)| {
            HashMap::from([
                ("tenant_pk".to_owned(), s(&partition)),
                ("tenant_sk".to_owned(), s(user)),
                ("pk".to_owned(), s(format!("U#{tenant}#{user}"))),
                ("sk".to_owned(), s(USER_SK)),
            ])
        });
        let (items, last) = self.query_tenant(&partition, start, limit, true).await?;
        page(&items, last.as_ref(), read_user, |key| {
            owner(key).ok().map(|(_, user)| user.to_string())
        })
    }

    /// Writes a user in place of `old`, or where there was none, and keeps the set of administrators in step: all
    /// or nothing.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn write_user(
        &self,
        old: Option<&User>,
        new: &User,
    ) -> Result<AdminChange, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(write_user(new)));
        let put = match old {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(old) => put
                .condition_expression("#role = :role AND #status = :status AND epoch = :epoch")
                .expression_attribute_names("#role", "role")
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":role", s(old.role))
                .expression_attribute_values(":status", s(old.status.as_str()))
                .expression_attribute_values(":epoch", n(old.epoch)),
        };
        let mut items = vec![TransactWriteItem::builder().put(put.build()?).build()];
        let admins = Update::builder()
            .table_name(&self.table)
            .set_key(Some(admins_key(&new.tenant_id)));
        let admins = admins.expression_attribute_values(
            ":user",
            AttributeValue::Ss(vec![new.user_id.to_string()]),
        );
        match (old.is_some_and(is_active_admin), is_active_admin(new)) {
            (false, true) => {
                let add = admins.update_expression("ADD admins :user").build()?;
                items.push(TransactWriteItem::builder().update(add).build());
            }
            (true, false) => {
                let remove = admins
                    .update_expression("DELETE admins :user")
                    .condition_expression("size(admins) > :one AND contains(admins, :id)")
                    .expression_attribute_values(":one", n(1))
                    .expression_attribute_values(":id", s(&new.user_id))
                    .build()?;
                items.push(TransactWriteItem::builder().update(remove).build());
            }
            _ => {}
        }
        Ok(match self.transact(items).await? {
            Outcome::Done => AdminChange::Done,
            Outcome::Refused(reasons) if condition_failed(&reasons, 0) => AdminChange::Stale,
            Outcome::Refused(_) => AdminChange::LastAdmin,
        })
    }

    /// Revokes every key that the user has now, with one write. False if the user is no longer in the epoch read.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn revoke_all(
        &self,
        user: &User,
        revocation: Revocation,
    ) -> Result<bool, StoreError> {
        let next = user.clone().in_next_epoch(revocation);
        let mut item = write_user(&next);
        let entries = item
            .remove("revocations")
            .unwrap_or_else(|| AttributeValue::L(Vec::new()));
        let request = self.client.update_item().table_name(&self.table);
        let request = request
            .set_key(Some(user_key(&user.tenant_id, &user.user_id)))
            .update_expression("SET epoch = :next, revocations = :revocations")
            .condition_expression("epoch = :epoch")
            .expression_attribute_values(":epoch", n(user.epoch))
            .expression_attribute_values(":next", n(next.epoch))
            .expression_attribute_values(":revocations", entries);
        made(settled(|| request.clone().send()).await)
    }

    /// Notes a sign-in, and the name and address that came with it.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn note_sign_in(&self, user: &User, now: Seconds) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.table);
        let request = request
            .set_key(Some(user_key(&user.tenant_id, &user.user_id)))
            .update_expression("SET last_sign_in_at = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", n(now));
        made(settled(|| request.clone().send()).await).map(drop)
    }
}

impl User {
    /// The user after a revocation of all keys.
    #[must_use]
    pub fn in_next_epoch(mut self, revocation: Revocation) -> Self {
        self.epoch += 1;
        self.revocations.push((self.epoch, revocation));
        let surplus = self.revocations.len().saturating_sub(REVOCATIONS_KEPT);
        self.revocations.drain(..surplus);
        self
    }
}
