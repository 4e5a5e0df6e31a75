//! Requests about keys.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{
        AttributeValue, ConditionCheck, KeysAndAttributes, Put,
        ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};

use super::{
    Outcome, Page, Store, StoreError, condition_failed, failed,
    item::{
        BadItem, Item, KEY_PREFIX, b, key_key, n, read_key, read_user, s, user_key, user_pk,
        write_key,
    },
    jitter, made, settled,
};
use crate::{
    clock::Seconds,
    cursor::Position,
    id::{KeyId, TenantId, UserId},
    record::{KeyRecord, Revocation, User},
};

/// What an `Idempotency-Key` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Hash of the caller and the header.
    pub id: String,
    /// Hash of the request's parameters.
    pub fingerprint: String,
}

/// A key to be written, and the owner as read before: the write holds only if the owner is still the same.
#[derive(Debug)]
pub struct NewKey<'a> {
    /// The record, with its hash.
    pub record: &'a KeyRecord,
    /// Its owner.
    pub owner: &'a User,
    /// The request's `Idempotency-Key`.
    pub idempotency: Option<&'a Idempotency>,
}

/// What became of a key to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    /// Written.
    Done,
    /// The owner's role, status or epoch is no longer what was read.
    OwnerChanged,
    /// The `Idempotency-Key` has made another key meanwhile.
    IdempotencyUsed,
    /// The key to re-issue was revoked or has expired.
    Gone,
}

/// What a revocation met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// A live key, which is now revoked.
    Now,
    /// A key that was revoked or expired before.
    Before,
    /// No such key.
    NotFound,
}

/// What an archiving met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    /// The record is in the history now.
    Now,
    /// It was there before.
    Before,
}

impl Store {
    /// A key and its owner in one consistent read: all that a validation needs.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn key_and_owner(
        &self,
        tenant: &TenantId,
        user: &UserId,
        key: KeyId,
    ) -> Result<(Option<KeyRecord>, Option<User>), StoreError> {
        let keys = vec![key_key(tenant, user, key), user_key(tenant, user)];
        let (mut record, mut owner) = (None, None);
        for item in self.batch_get(keys, true).await? {
            if item
                .get("sk")
                .and_then(|sk| sk.as_s().ok())
                .is_some_and(|sk| sk.starts_with(KEY_PREFIX))
            {
                record = Some(read_key(&item)?);
            } else {
                owner = Some(read_user(&item)?);
            }
        }
        Ok((record, owner))
    }

    pub(super) async fn batch_get(
        &self,
        keys: Vec<Item>,
        consistent: bool,
    ) -> Result<Vec<Item>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        let mut wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(consistent)
            .build()?;
        for _ in 0..5 {
            let request = self
                .client
                .batch_get_item()
                .request_items(&self.table, wanted);
            let answer = request.send().await.map_err(failed("BatchGetItem"))?;
            found.extend(
                answer
                    .responses
                    .into_iter()
                    .flatten()
                    .flat_map(|(_, items)| items),
            );
            match answer
                .unprocessed_keys
                .and_then(|mut tables| tables.remove(&self.table))
            {
                Some(rest) if !rest.keys().is_empty() => wanted = rest,
                _ => return Ok(found),
            }
            jitter(std::time::Duration::from_millis(100)).await;
        }
        Err(StoreError::Unprocessed)
    }

    /// A key's record.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or the item cannot be read.
    pub async fn key(
        &self,
        tenant: &TenantId,
        user: &UserId,
        key: KeyId,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .consistent_read(true);
        let request = request.set_key(Some(key_key(tenant, user, key)));
        let answer = request.send().await.map_err(failed("GetItem"))?;
        Ok(answer.item.as_ref().map(read_key).transpose()?)
    }

    /// Writes a new key, if its owner is still as read and its `Idempotency-Key` is unused: all or nothing.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn create_key(&self, new: &NewKey<'_>) -> Result<Issued, StoreError> {
        let NewKey {
            record,
            owner,
            idempotency,
        } = new;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(write_key(record, record.expires_at)))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        let mut items = vec![
            self.owner_is_unchanged(owner)?,
            TransactWriteItem::builder().put(put).build(),
        ];
        if let Some(idempotency) = idempotency {
            let mut item = idempotency_key(&record.tenant_id, &record.user_id, idempotency);
            item.extend([
                ("key_id".into(), s(record.key_id)),
                ("fingerprint".into(), s(&idempotency.fingerprint)),
                ("ttl".into(), n(record.expires_at)),
            ]);
            let put = Put::builder()
                .table_name(&self.table)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(pk)")
                .build()?;
            items.push(TransactWriteItem::builder().put(put).build());
        }
        let Outcome::Refused(reasons) = self.transact(items).await? else {
            return Ok(Issued::Done);
        };
        // The answer to an earlier attempt was lost: what stands there is what we wrote.
        let standing = reasons
            .get(1)
            .and_then(|reason| reason.item.as_ref())
            .and_then(|item| read_key(item).ok());
        if standing.is_some_and(|standing| standing.hash == record.hash) {
            Ok(Issued::Done)
        } else if condition_failed(&reasons, 2) {
            Ok(Issued::IdempotencyUsed)
        } else {
            Ok(Issued::OwnerChanged)
        }
    }

    /// Gives a live key another secret.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn reissue_key(
        &self,
        record: &KeyRecord,
        owner: &User,
    ) -> Result<Issued, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key_key(
                &record.tenant_id,
                &record.user_id,
                record.key_id,
            )))
            .update_expression("SET #hash = :hash")
            .condition_expression(
                "attribute_exists(#hash) AND attribute_not_exists(revoked_at) AND epoch = :epoch",
            )
            .expression_attribute_names("#hash", "hash")
            .set_expression_attribute_values(Some(HashMap::from([
                (
                    ":hash".into(),
                    record.hash.as_ref().map(b).ok_or(BadItem("hash"))?,
                ),
                (":epoch".into(), n(owner.epoch)),
            ])))
            .build()?;
        let items = vec![
            self.owner_is_unchanged(owner)?,
            TransactWriteItem::builder().update(update).build(),
        ];
        Ok(match self.transact(items).await? {
            Outcome::Done => Issued::Done,
            Outcome::Refused(reasons) if condition_failed(&reasons, 1) => Issued::Gone,
            Outcome::Refused(_) => Issued::OwnerChanged,
        })
    }

    pub(super) fn owner_is_unchanged(&self, owner: &User) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(user_key(&owner.tenant_id, &owner.user_id)))
            .condition_expression("#role = :role AND #status = :status AND epoch = :epoch")
            .expression_attribute_names("#role", "role")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":role", s(owner.role))
            .expression_attribute_values(":status", s(owner.status.as_str()))
            .expression_attribute_values(":epoch", n(owner.epoch))
            .build()?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// The key that an `Idempotency-Key` made, and the fingerprint of the request that made it.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or the item cannot be read.
    pub async fn idempotent_key(
        &self,
        tenant: &TenantId,
        user: &UserId,
        idempotency: &Idempotency,
    ) -> Result<Option<(KeyId, String)>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .consistent_read(true);
        let request = request.set_key(Some(idempotency_key(tenant, user, idempotency)));
        let Some(item) = request.send().await.map_err(failed("GetItem"))?.item else {
            return Ok(None);
        };
        let text = |name: &'static str| {
            item.get(name)
                .and_then(|v| v.as_s().ok())
                .ok_or(BadItem(name))
        };
        let key_id = text("key_id")?.parse().map_err(|_| BadItem("key_id"))?;
        Ok(Some((key_id, text("fingerprint")?.clone())))
    }

    /// A page of a user's keys, newest first, consistent.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn user_keys(
        &self,
        tenant: &TenantId,
        user: &UserId,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<KeyRecord>, StoreError> {
        let start = after.map(|Position(sk)| {
            HashMap::from([
                ("pk".to_owned(), s(user_pk(tenant, user))),
                ("sk".to_owned(), s(sk)),
            ])
        });
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .scan_index_forward(false);
        let answer = request
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", s(user_pk(tenant, user)))
            .expression_attribute_values(":prefix", s(KEY_PREFIX))
            .set_exclusive_start_key(start)
            .limit(limit)
            .send()
            .await
            .map_err(failed("Query"))?;
        page(
            &answer.items.unwrap_or_default(),
            answer.last_evaluated_key.as_ref(),
            read_key,
            |key| key.get("sk").and_then(|sk| sk.as_s().ok()).cloned(),
        )
    }

    /// A page of the keys of a whole tenant, newest first. The index may be a moment behind the table.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn tenant_keys(
        &self,
        tenant: &TenantId,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<KeyRecord>, StoreError> {
        let partition = format!("KEYS#{tenant}");
        // Position in the index: `<user>#<key id>`, from which all four key attributes follow.
        let start = after
            .and_then(|Position(position)| position.rsplit_once('#'))
            .map(|(user, key)| {
                HashMap::from([
                    ("tenant_pk".to_owned(), s(&partition)),
                    ("tenant_sk".to_owned(), s(key)),
                    ("pk".to_owned(), s(format!("U#{tenant}#{user}"))),
                    ("sk".to_owned(), s(format!("{KEY_PREFIX}{key}"))),
                ])
            });
        let answer = self.query_tenant(&partition, start, limit, false).await?;
        page(&answer.0, answer.1.as_ref(), read_key, |key| {
            let (_, user) = super::item::owner(key).ok()?;
            let id = key.get("tenant_sk").and_then(|sk| sk.as_s().ok())?;
            Some(format!("{user}#{id}"))
        })
    }

    pub(super) async fn query_tenant(
        &self,
        partition: &str,
        start: Option<Item>,
        limit: i32,
        forward: bool,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("tenant")
            .scan_index_forward(forward);
        let answer = request
            .key_condition_expression("tenant_pk = :partition")
            .expression_attribute_values(":partition", s(partition))
            .set_exclusive_start_key(start)
            .limit(limit)
            .send()
            .await
            .map_err(failed("Query"))?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }

    /// Revokes a key. The first revocation's particulars stay.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn revoke_key(
        &self,
        tenant: &TenantId,
        user: &UserId,
        key: KeyId,
        revocation: &Revocation,
    ) -> Result<Revoked, StoreError> {
        let mut values = HashMap::from([
            (":at".to_owned(), n(revocation.at)),
            (":by".to_owned(), s(&revocation.by)),
        ]);
        let mut expression = "SET revoked_at = :at, revoked_by = :by".to_owned();
        if let Some(reason) = &revocation.reason {
            values.insert(":reason".to_owned(), s(reason));
            expression.push_str(", revoked_reason = :reason");
        }
        let request = self.client.update_item().table_name(&self.table);
        let request = request
            .set_key(Some(key_key(tenant, user, key)))
            .update_expression(expression)
            .condition_expression("attribute_exists(#hash) AND attribute_not_exists(revoked_at)")
            .expression_attribute_names("#hash", "hash")
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match settled(|| request.clone().send()).await {
            Ok(_) => Ok(Revoked::Now),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failure)) => {
                    Ok(if failure.item.is_some() {
                        Revoked::Before
                    } else {
                        Revoked::NotFound
                    })
                }
                _ => Err(failed("UpdateItem")(error)),
            },
        }
    }

    /// Notes that a key was used, unless that was noted since `since`.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn touch_key(
        &self,
        key: &KeyRecord,
        since: Seconds,
        now: Seconds,
    ) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.table);
        let answer = request
            .set_key(Some(key_key(&key.tenant_id, &key.user_id, key.key_id)))
            .update_expression("SET last_used_at = :now")
            .condition_expression(
                "attribute_exists(#hash) AND (attribute_not_exists(last_used_at) OR last_used_at <= :since)",
            )
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_values(":now", n(now))
            .expression_attribute_values(":since", n(since))
            .send()
            .await;
        made(answer).map(drop)
    }

    /// Keeps an expired key for the history, without its hash, until `ttl`.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn archive_key(&self, key: KeyRecord, ttl: Seconds) -> Result<Archived, StoreError> {
        let item = write_key(&KeyRecord { hash: None, ..key }, ttl);
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item));
        let request = request.condition_expression("attribute_not_exists(pk)");
        match settled(|| request.clone().send()).await {
            Ok(_) => Ok(Archived::Now),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(PutItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(Archived::Before)
            }
            Err(error) => Err(failed("PutItem")(error)),
        }
    }
}

fn idempotency_key(
    tenant: &TenantId,
    user: &UserId,
    idempotency: &Idempotency,
) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("pk".into(), s(user_pk(tenant, user))),
        ("sk".into(), s(format!("IDEM#{}", idempotency.id))),
    ])
}

pub(super) fn page<T>(
    items: &[Item],
    last: Option<&Item>,
    read: impl Fn(&Item) -> Result<T, BadItem>,
    position: impl Fn(&Item) -> Option<String>,
) -> Result<Page<T>, StoreError> {
    let next = match last {
        Some(last) => Some(Position(position(last).ok_or(BadItem("LastEvaluatedKey"))?)),
        None => None,
    };
    Ok(Page {
        items: items.iter().map(read).collect::<Result<_, _>>()?,
        next,
    })
}

/// Reads a key from the image in a stream record, in DynamoDB's JSON.
///
/// # Errors
/// When the image is not that of a key.
pub fn key_from_image(
    image: &serde_json::Map<String, serde_json::Value>,
) -> Result<KeyRecord, BadItem> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut item = Item::new();
    for (name, value) in image {
        let value = value.as_object().and_then(|value| value.iter().next());
        let value = match value {
            Some((kind, serde_json::Value::String(text))) => match kind.as_str() {
                "S" => AttributeValue::S(text.clone()),
                "N" => AttributeValue::N(text.clone()),
                "B" => AttributeValue::B(STANDARD.decode(text).map_err(|_| BadItem("B"))?.into()),
                _ => continue,
            },
            _ => continue,
        };
        item.insert(name.clone(), value);
    }
    read_key(&item)
}
