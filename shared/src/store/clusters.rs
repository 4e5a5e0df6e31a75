//! Requests about clusters, their nodes, the slots that keys hold, and join tokens.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};

use super::{
    Outcome, Page, Store, StoreError, failed,
    item::{
        BadItem, CLUSTER_PREFIX, Item, KEY_PREFIX, SLOT_PREFIX, b, cluster_key, join_key, key_key,
        n, node_key, node_prefix, optional_id, read_binding, read_cluster, read_key, read_node,
        read_user, s, slot_key, slots_pk, tenant_clusters_pk, user_key, write_binding,
        write_cluster,
    },
    keys::page,
    made, settled,
};
use crate::{
    clock::Seconds,
    cluster::{Cluster, Node},
    cursor::Position,
    id::{ClusterName, KeyId, Number, TenantId, UserId},
    join::{Binding, JoinToken},
    record::{KeyRecord, User},
};

/// How many keys one transaction frees of their slots: each takes two of its 100 items.
const FREED_AT_ONCE: usize = 40;

/// All that the decision about an onboarding needs, from one consistent read.
#[derive(Debug)]
pub struct Seen {
    /// The key.
    pub key: Option<KeyRecord>,
    /// Its owner.
    pub owner: Option<User>,
    /// The cluster.
    pub cluster: Option<Cluster>,
    /// Whether the key holds a slot for the cluster.
    pub has_slot: bool,
}

/// What an onboarding writes, all or nothing.
#[derive(Debug)]
pub struct Onboarding<'a> {
    /// The key as read.
    pub key: &'a KeyRecord,
    /// Its owner as read.
    pub owner: &'a User,
    /// The most slots that the key may hold, when it takes one; none when it holds the cluster's slot already.
    pub slot: Option<u32>,
    /// Whether the key's use is to be noted.
    pub note_use: bool,
    /// The cluster: as read, or as it is to begin.
    pub cluster: &'a Cluster,
    /// Whether the cluster begins.
    pub is_new: bool,
    /// The node that joins, and when the table may forget it.
    pub node: Option<(Node, Seconds)>,
    /// The join token.
    pub token: &'a JoinToken,
    /// What it is bound to.
    pub binding: &'a Binding,
    /// The time of the onboarding.
    pub now: Seconds,
}

impl Store {
    /// Reads what an onboarding needs, with one request. Each item is as it is at some moment of the request, not all
    /// of them at the same.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn seen(
        &self,
        tenant: &TenantId,
        user: &UserId,
        key: KeyId,
        cluster: &ClusterName,
    ) -> Result<Seen, StoreError> {
        let keys = vec![
            key_key(tenant, user, key),
            user_key(tenant, user),
            slot_key(tenant, key, cluster),
            cluster_key(tenant, cluster),
        ];
        let mut seen = Seen {
            key: None,
            owner: None,
            cluster: None,
            has_slot: false,
        };
        for item in self.batch_get(keys, true).await? {
            match item
                .get("sk")
                .and_then(|sk| sk.as_s().ok())
                .map(String::as_str)
                .unwrap_or_default()
            {
                sk if sk.starts_with(KEY_PREFIX) => seen.key = Some(read_key(&item)?),
                sk if sk.starts_with(SLOT_PREFIX) => seen.has_slot = true,
                sk if sk.starts_with(CLUSTER_PREFIX) => seen.cluster = Some(read_cluster(&item)?),
                _ => seen.owner = Some(read_user(&item)?),
            }
        }
        Ok(seen)
    }

    /// Whether a key holds a slot for a cluster, consistent.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn has_slot(
        &self,
        tenant: &TenantId,
        key: KeyId,
        cluster: &ClusterName,
    ) -> Result<bool, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .consistent_read(true);
        let request = request.set_key(Some(slot_key(tenant, key, cluster)));
        Ok(request
            .send()
            .await
            .map_err(failed("GetItem"))?
            .item
            .is_some())
    }

    /// The clusters for which a key holds slots, at most `limit`.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn slots(
        &self,
        tenant: &TenantId,
        key: KeyId,
        limit: i32,
    ) -> Result<Vec<ClusterName>, StoreError> {
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true);
        let answer = request
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", s(slots_pk(tenant, key)))
            .expression_attribute_values(":prefix", s(SLOT_PREFIX))
            .limit(limit)
            .send()
            .await
            .map_err(failed("Query"))?;
        let name = |item: &Item| {
            let sk = item
                .get("sk")
                .and_then(|sk| sk.as_s().ok())
                .and_then(|sk| sk.strip_prefix(SLOT_PREFIX));
            sk.and_then(|name| name.parse().ok()).ok_or(BadItem("sk"))
        };
        Ok(answer
            .items
            .unwrap_or_default()
            .iter()
            .map(name)
            .collect::<Result<_, _>>()?)
    }

    /// Onboards a cluster or a node, if everything is still as it was read. Does not wait for others: false says
    /// that something has changed, or that another write was under way.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn onboard(&self, onboarding: &Onboarding<'_>) -> Result<bool, StoreError> {
        let Onboarding {
            key, cluster, now, ..
        } = onboarding;
        let mut items = Vec::with_capacity(6);
        if let Some(limit) = onboarding.slot {
            items.push(self.take_slot(key, limit, *now)?);
            items.push(self.owner_is_unchanged(onboarding.owner)?);
            let mut slot = slot_key(&key.tenant_id, key.key_id, &cluster.name);
            slot.extend([
                ("user_id".into(), s(&key.user_id)),
                ("created_at".into(), n(now)),
            ]);
            items.push(put(self.put_if_absent(slot)?));
        } else if onboarding.note_use {
            let request = Update::builder()
                .table_name(&self.table)
                .set_key(Some(key_key(&key.tenant_id, &key.user_id, key.key_id)))
                .update_expression("SET last_used_at = :now")
                .condition_expression("attribute_exists(#hash)")
                .expression_attribute_names("#hash", "hash")
                .expression_attribute_values(":now", n(now));
            items.push(update(request.build()?));
        }
        if onboarding.is_new {
            items.push(put(self.put_if_absent(write_cluster(cluster))?));
        } else if onboarding.slot.is_some() || cluster.last_seen_at < *now {
            let request = Update::builder()
                .table_name(&self.table)
                .set_key(Some(cluster_key(&key.tenant_id, &cluster.name)))
                .condition_expression("id = :id")
                .expression_attribute_values(":id", n(cluster.number))
                .expression_attribute_values(":now", n(now));
            let request = if onboarding.slot.is_some() {
                request
                    .update_expression("SET last_seen_at = :now ADD holders :key")
                    .expression_attribute_values(":key", holders([key.key_id]))
            } else {
                request.update_expression("SET last_seen_at = :now")
            };
            items.push(update(request.build()?));
        }
        if let Some((node, ttl)) = &onboarding.node {
            let request = Update::builder()
                .table_name(&self.table)
                .set_key(Some(node_key(&key.tenant_id, node.cluster, &node.name)))
                .update_expression(
                    "SET id = if_not_exists(id, :id), created_at = if_not_exists(created_at, :now), \
                     last_seen_at = :now, #ttl = :ttl",
                )
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":id", n(node.number))
                .expression_attribute_values(":now", n(now))
                .expression_attribute_values(":ttl", n(ttl));
            items.push(update(request.build()?));
        }
        let token = write_binding(onboarding.binding, &onboarding.token.hash());
        items.push(put(Put::builder()
            .table_name(&self.table)
            .set_item(Some(token))
            .build()?));
        Ok(matches!(
            self.try_transact(&items).await?,
            Some(Outcome::Done)
        ))
    }

    /// Counts a slot of a key that is live, under both its limits.
    fn take_slot(
        &self,
        key: &KeyRecord,
        limit: u32,
        now: Seconds,
    ) -> Result<TransactWriteItem, StoreError> {
        let request = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key_key(&key.tenant_id, &key.user_id, key.key_id)))
            .update_expression("SET clusters_used = clusters_used + :one, last_used_at = :now")
            .condition_expression(
                "#hash = :hash AND attribute_not_exists(revoked_at) AND expires_at > :now \
                 AND clusters_used < :limit AND clusters_used < max_clusters",
            )
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_values(":hash", key.hash.as_ref().map(b).ok_or(BadItem("hash"))?)
            .expression_attribute_values(":limit", n(limit))
            .expression_attribute_values(":now", n(now))
            .expression_attribute_values(":one", n(1));
        Ok(update(request.build()?))
    }

    fn put_if_absent(&self, item: Item) -> Result<Put, StoreError> {
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        Ok(put
            .condition_expression("attribute_not_exists(pk)")
            .build()?)
    }

    /// A cluster, consistent.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or the item cannot be read.
    pub async fn cluster(
        &self,
        tenant: &TenantId,
        name: &ClusterName,
    ) -> Result<Option<Cluster>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .consistent_read(true);
        let request = request.set_key(Some(cluster_key(tenant, name)));
        let answer = request.send().await.map_err(failed("GetItem"))?;
        Ok(answer.item.as_ref().map(read_cluster).transpose()?)
    }

    /// A page of a tenant's clusters, by name, consistent.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn clusters(
        &self,
        tenant: &TenantId,
        after: Option<&Position>,
        limit: i32,
    ) -> Result<Page<Cluster>, StoreError> {
        let (items, last) = self
            .query_clusters(tenant, CLUSTER_PREFIX, after, Some(limit))
            .await?;
        page(&items, last.as_ref(), read_cluster, sort_key)
    }

    /// A page of a cluster's nodes, by name, consistent.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn nodes(
        &self,
        tenant: &TenantId,
        cluster: Number,
        after: Option<&Position>,
    ) -> Result<Page<Node>, StoreError> {
        let (items, last) = self
            .query_clusters(tenant, &node_prefix(cluster), after, None)
            .await?;
        page(&items, last.as_ref(), read_node, sort_key)
    }

    async fn query_clusters(
        &self,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&Position>,
        limit: Option<i32>,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let pk = tenant_clusters_pk(tenant);
        let start = after.map(|Position(sk)| {
            HashMap::from([("pk".to_owned(), s(&pk)), ("sk".to_owned(), s(sk))])
        });
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true);
        let answer = request
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", s(&pk))
            .expression_attribute_values(":prefix", s(prefix))
            .set_exclusive_start_key(start)
            .set_limit(limit)
            .send()
            .await
            .map_err(failed("Query"))?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }

    /// Takes one step towards the deletion of a cluster: frees the slots of some of its holders, or of all of them
    /// together with the cluster. The counter of a key that is still live goes down with its slot. True when the
    /// cluster is gone; false when there is more to do, or something has changed.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or an item cannot be read.
    pub async fn free_and_delete(&self, cluster: &Cluster) -> Result<bool, StoreError> {
        let tenant = &cluster.tenant_id;
        let freed: Vec<KeyId> = cluster
            .holders
            .iter()
            .copied()
            .take(FREED_AT_ONCE)
            .collect();
        let is_last = freed.len() == cluster.holders.len();
        let owners = self.slot_owners(tenant, &freed, &cluster.name).await?;
        let live = self.live_keys(tenant, &owners).await?;

        let mut items = vec![if is_last {
            let request = Delete::builder()
                .table_name(&self.table)
                .set_key(Some(cluster_key(tenant, &cluster.name)))
                .expression_attribute_values(":id", n(cluster.number));
            let request = if freed.is_empty() {
                request.condition_expression("id = :id AND attribute_not_exists(holders)")
            } else {
                request
                    .condition_expression("id = :id AND holders = :holders")
                    .expression_attribute_values(":holders", holders(freed))
            };
            TransactWriteItem::builder()
                .delete(request.build()?)
                .build()
        } else {
            let request = Update::builder()
                .table_name(&self.table)
                .set_key(Some(cluster_key(tenant, &cluster.name)))
                .update_expression("DELETE holders :freed")
                .condition_expression("id = :id AND holders = :holders")
                .expression_attribute_values(":id", n(cluster.number))
                .expression_attribute_values(":freed", holders(freed))
                .expression_attribute_values(":holders", holders(cluster.holders.iter().copied()));
            update(request.build()?)
        }];
        for (key, user) in owners {
            let slot = Delete::builder()
                .table_name(&self.table)
                .set_key(Some(slot_key(tenant, key, &cluster.name)))
                .condition_expression("attribute_exists(pk)");
            items.push(TransactWriteItem::builder().delete(slot.build()?).build());
            if live.contains(&key) {
                let count = Update::builder()
                    .table_name(&self.table)
                    .set_key(Some(key_key(tenant, &user, key)))
                    .update_expression("SET clusters_used = clusters_used - :one")
                    .condition_expression("attribute_exists(#hash)")
                    .expression_attribute_names("#hash", "hash")
                    .expression_attribute_values(":one", n(1));
                items.push(update(count.build()?));
            }
        }
        Ok(matches!(self.try_transact(&items).await?, Some(Outcome::Done)) && is_last)
    }

    /// The owners of these keys, as far as the keys hold slots for the cluster.
    async fn slot_owners(
        &self,
        tenant: &TenantId,
        keys: &[KeyId],
        cluster: &ClusterName,
    ) -> Result<Vec<(KeyId, UserId)>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let slots = keys
            .iter()
            .map(|key| slot_key(tenant, *key, cluster))
            .collect();
        let slots = self.batch_get(slots, true).await?;
        let read = |item: &Item| {
            let pk = item
                .get("pk")
                .and_then(|pk| pk.as_s().ok())
                .and_then(|pk| pk.rsplit_once('#'));
            let key = pk
                .and_then(|(_, key)| key.parse().ok())
                .ok_or(BadItem("pk"))?;
            Ok((
                key,
                optional_id(item, "user_id")?.ok_or(BadItem("user_id"))?,
            ))
        };
        slots.iter().map(read).collect()
    }

    async fn live_keys(
        &self,
        tenant: &TenantId,
        keys: &[(KeyId, UserId)],
    ) -> Result<BTreeSet<KeyId>, StoreError> {
        if keys.is_empty() {
            return Ok(BTreeSet::new());
        }
        let keys = keys
            .iter()
            .map(|(key, user)| key_key(tenant, user, *key))
            .collect();
        let mut live = BTreeSet::new();
        for item in self.batch_get(keys, true).await? {
            let record = read_key(&item)?;
            if record.hash.is_some() {
                live.insert(record.key_id);
            }
        }
        Ok(live)
    }

    /// Removes the slot of a key that is gone. The cluster stays; it only forgets this holder.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn release_slot(
        &self,
        tenant: &TenantId,
        key: KeyId,
        cluster: &ClusterName,
    ) -> Result<(), StoreError> {
        let slot = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(slot_key(tenant, key, cluster)));
        let slot = TransactWriteItem::builder().delete(slot.build()?).build();
        let forget = Update::builder()
            .table_name(&self.table)
            .set_key(Some(cluster_key(tenant, cluster)))
            .update_expression("DELETE holders :key")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":key", holders([key]));
        let both = vec![slot.clone(), update(forget.build()?)];
        if matches!(self.transact(both).await?, Outcome::Refused(_)) {
            // The cluster was deleted meanwhile.
            self.transact(vec![slot]).await?;
        }
        Ok(())
    }

    /// Changes how many clusters a key may onboard. False if the key is no longer live.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn limit_clusters(
        &self,
        key: &KeyRecord,
        max_clusters: u32,
    ) -> Result<bool, StoreError> {
        let request = self.client.update_item().table_name(&self.table);
        let request = request
            .set_key(Some(key_key(&key.tenant_id, &key.user_id, key.key_id)))
            .update_expression("SET max_clusters = :max")
            .condition_expression("attribute_exists(#hash) AND attribute_not_exists(revoked_at)")
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_values(":max", n(max_clusters));
        made(settled(|| request.clone().send()).await)
    }

    /// What a join token is bound to, and whether it was redeemed.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time, or the item cannot be read.
    pub async fn join_token(
        &self,
        token: &JoinToken,
    ) -> Result<Option<(Binding, bool)>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .consistent_read(true);
        let request = request.set_key(Some(join_key(&token.hash())));
        let answer = request.send().await.map_err(failed("GetItem"))?;
        let Some(item) = answer.item else {
            return Ok(None);
        };
        Ok(Some((
            read_binding(&item)?,
            item.contains_key("redeemed_at"),
        )))
    }

    /// Redeems a join token: true for one `redemption` only, however often that one is written.
    ///
    /// # Errors
    /// When DynamoDB does not answer in time.
    pub async fn redeem(
        &self,
        token: &JoinToken,
        redemption: Number,
        now: Seconds,
    ) -> Result<bool, StoreError> {
        let request = self.client.update_item().table_name(&self.table);
        let request = request
            .set_key(Some(join_key(&token.hash())))
            .update_expression("SET redeemed_at = :now, redemption = :redemption")
            .condition_expression(
                "expires_at > :now AND (attribute_not_exists(redeemed_at) OR redemption = :redemption)",
            )
            .expression_attribute_values(":now", n(now))
            .expression_attribute_values(":redemption", n(redemption));
        made(settled(|| request.clone().send()).await)
    }
}

fn put(put: Put) -> TransactWriteItem {
    TransactWriteItem::builder().put(put).build()
}

fn update(update: Update) -> TransactWriteItem {
    TransactWriteItem::builder().update(update).build()
}

fn holders(keys: impl IntoIterator<Item = KeyId>) -> AttributeValue {
    AttributeValue::Ss(keys.into_iter().map(|key| key.to_string()).collect())
}

fn sort_key(key: &Item) -> Option<String> {
    key.get("sk").and_then(|sk| sk.as_s().ok()).cloned()
}
