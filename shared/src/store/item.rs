//! Items: how records are written as attributes and read back.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};

use crate::{
    clock::Seconds,
    cluster::{Cluster, Node},
    id::{ClusterName, KeyId, NodeName, Number, TenantId, UserId},
    join::Binding,
    key::KeyHash,
    record::{KeyRecord, Revocation, User},
};

pub(super) type Item = HashMap<String, AttributeValue>;

/// An attribute is missing or has another type than we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("attribute {0} is missing or has another type")]
pub struct BadItem(pub &'static str);

pub(super) fn s(text: impl ToString) -> AttributeValue {
    AttributeValue::S(text.to_string())
}

pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn b(hash: &KeyHash) -> AttributeValue {
    AttributeValue::B(Blob::new(hash.as_bytes()))
}

pub(super) fn user_pk(tenant: &TenantId, user: &UserId) -> String {
    format!("U#{tenant}#{user}")
}

pub(super) const USER_SK: &str = "USER";
pub(super) const KEY_PREFIX: &str = "KEY#";

pub(super) fn key_sk(key: KeyId) -> String {
    format!("{KEY_PREFIX}{key}")
}

pub(super) fn user_key(tenant: &TenantId, user: &UserId) -> Item {
    HashMap::from([
        ("pk".into(), s(user_pk(tenant, user))),
        ("sk".into(), s(USER_SK)),
    ])
}

pub(super) fn key_key(tenant: &TenantId, user: &UserId, key: KeyId) -> Item {
    HashMap::from([
        ("pk".into(), s(user_pk(tenant, user))),
        ("sk".into(), s(key_sk(key))),
    ])
}

pub(super) fn admins_key(tenant: &TenantId) -> Item {
    HashMap::from([
        ("pk".into(), s(format!("T#{tenant}"))),
        ("sk".into(), s("ADMINS")),
    ])
}

pub(super) const SLOT_PREFIX: &str = "SLOT#";
pub(super) const CLUSTER_PREFIX: &str = "CLUSTER#";

pub(super) fn slots_pk(tenant: &TenantId, key: KeyId) -> String {
    format!("K#{tenant}#{key}")
}

pub(super) fn slot_key(tenant: &TenantId, key: KeyId, cluster: &ClusterName) -> Item {
    HashMap::from([
        ("pk".into(), s(slots_pk(tenant, key))),
        ("sk".into(), s(format!("{SLOT_PREFIX}{cluster}"))),
    ])
}

pub(super) fn tenant_clusters_pk(tenant: &TenantId) -> String {
    format!("C#{tenant}")
}

pub(super) fn cluster_key(tenant: &TenantId, cluster: &ClusterName) -> Item {
    HashMap::from([
        ("pk".into(), s(tenant_clusters_pk(tenant))),
        ("sk".into(), s(format!("{CLUSTER_PREFIX}{cluster}"))),
    ])
}

pub(super) fn node_prefix(cluster: Number) -> String {
    format!("NODE#{cluster}#")
}

pub(super) fn node_key(tenant: &TenantId, cluster: Number, node: &NodeName) -> Item {
    HashMap::from([
        ("pk".into(), s(tenant_clusters_pk(tenant))),
        ("sk".into(), s(format!("{}{node}", node_prefix(cluster)))),
    ])
}

pub(super) fn join_key(hash: &str) -> Item {
    HashMap::from([
        ("pk".into(), s(format!("J#{hash}"))),
        ("sk".into(), s("JOIN")),
    ])
}

fn text<'a>(item: &'a Item, name: &'static str) -> Result<&'a str, BadItem> {
    item.get(name)
        .and_then(|v| v.as_s().ok())
        .map(String::as_str)
        .ok_or(BadItem(name))
}

fn parsed<T: std::str::FromStr>(item: &Item, name: &'static str) -> Result<T, BadItem> {
    text(item, name)?.parse().map_err(|_| BadItem(name))
}

pub(super) fn optional_id<T: std::str::FromStr>(
    item: &Item,
    name: &'static str,
) -> Result<Option<T>, BadItem> {
    optional(item, name)
        .map(|text| text.parse().map_err(|_| BadItem(name)))
        .transpose()
}

fn required<T: std::str::FromStr>(item: &Item, name: &'static str) -> Result<T, BadItem> {
    number(item, name)?.ok_or(BadItem(name))
}

fn number<T: std::str::FromStr>(item: &Item, name: &'static str) -> Result<Option<T>, BadItem> {
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::N(number)) => number.parse().map(Some).map_err(|_| BadItem(name)),
        Some(_) => Err(BadItem(name)),
    }
}

fn optional(item: &Item, name: &'static str) -> Option<String> {
    text(item, name).ok().map(str::to_owned)
}

fn hash(item: &Item, name: &'static str) -> Option<KeyHash> {
    item.get(name)?
        .as_b()
        .ok()
        .and_then(|bytes| KeyHash::from_bytes(bytes.as_ref()))
}

/// Reads tenant and user from `U#<tenant>#<user>`: ids cannot contain `#`.
pub(super) fn owner(item: &Item) -> Result<(TenantId, UserId), BadItem> {
    let pk = text(item, "pk")?;
    let ids = pk.strip_prefix("U#").and_then(|rest| rest.split_once('#'));
    let (tenant, user) = ids.ok_or(BadItem("pk"))?;
    Ok((
        tenant.parse().map_err(|_| BadItem("pk"))?,
        user.parse().map_err(|_| BadItem("pk"))?,
    ))
}

fn revocation(item: &Item) -> Result<Option<Revocation>, BadItem> {
    let Some(at) = number(item, "revoked_at")? else {
        return Ok(None);
    };
    let by = optional(item, "revoked_by").unwrap_or_default();
    Ok(Some(Revocation {
        at,
        by,
        reason: optional(item, "revoked_reason"),
    }))
}

pub(super) fn read_key(item: &Item) -> Result<KeyRecord, BadItem> {
    let (tenant_id, user_id) = owner(item)?;
    let key_id = text(item, "sk")?
        .strip_prefix(KEY_PREFIX)
        .ok_or(BadItem("sk"))?;
    let max_clusters = required(item, "max_clusters")?;
    Ok(KeyRecord {
        tenant_id,
        user_id,
        key_id: key_id.parse().map_err(|_| BadItem("sk"))?,
        name: text(item, "name")?.to_owned(),
        role: parsed(item, "role")?,
        max_clusters,
        signed_max_clusters: number(item, "signed_max_clusters")?.unwrap_or(max_clusters),
        clusters_used: number(item, "clusters_used")?.unwrap_or(0),
        created_at: required(item, "created_at")?,
        created_by: parsed(item, "created_by")?,
        expires_at: required(item, "expires_at")?,
        epoch: required(item, "epoch")?,
        revocation: revocation(item)?,
        last_used_at: number(item, "last_used_at")?,
        hash: hash(item, "hash"),
    })
}

/// The item of a key. It is removed at `ttl`: a live key's expiry, an archived key's end of history.
pub(super) fn write_key(key: &KeyRecord, ttl: Seconds) -> Item {
    let mut item = key_key(&key.tenant_id, &key.user_id, key.key_id);
    item.extend([
        ("tenant_pk".into(), s(format!("KEYS#{}", key.tenant_id))),
        ("tenant_sk".into(), s(key.key_id)),
        ("name".into(), s(&key.name)),
        ("role".into(), s(key.role)),
        ("max_clusters".into(), n(key.max_clusters)),
        ("signed_max_clusters".into(), n(key.signed_max_clusters)),
        ("clusters_used".into(), n(key.clusters_used)),
        ("created_at".into(), n(key.created_at)),
        ("created_by".into(), s(&key.created_by)),
        ("expires_at".into(), n(key.expires_at)),
        ("epoch".into(), n(key.epoch)),
        ("ttl".into(), n(ttl)),
    ]);
    if let Some(hash) = &key.hash {
        item.insert("hash".into(), b(hash));
    }
    if let Some(at) = key.last_used_at {
        item.insert("last_used_at".into(), n(at));
    }
    if let Some(revocation) = &key.revocation {
        item.extend(write_revocation(revocation));
    }
    item
}

fn write_revocation(revocation: &Revocation) -> Item {
    let mut item = HashMap::from([
        ("revoked_at".into(), n(revocation.at)),
        ("revoked_by".into(), s(&revocation.by)),
    ]);
    if let Some(reason) = &revocation.reason {
        item.insert("revoked_reason".into(), s(reason));
    }
    item
}

pub(super) fn read_user(item: &Item) -> Result<User, BadItem> {
    let (tenant_id, user_id) = owner(item)?;
    let mut revocations = Vec::new();
    for entry in item
        .get("revocations")
        .and_then(|v| v.as_l().ok())
        .into_iter()
        .flatten()
    {
        let entry = entry.as_m().map_err(|_| BadItem("revocations"))?;
        let epoch = number(entry, "epoch")?.ok_or(BadItem("revocations"))?;
        revocations.push((epoch, revocation(entry)?.ok_or(BadItem("revocations"))?));
    }
    Ok(User {
        tenant_id,
        user_id,
        role: parsed(item, "role")?,
        status: parsed(item, "status")?,
        email: optional(item, "email"),
        name: optional(item, "name"),
        created_at: required(item, "created_at")?,
        last_sign_in_at: number(item, "last_sign_in_at")?,
        epoch: required(item, "epoch")?,
        revocations,
    })
}

pub(super) fn write_user(user: &User) -> Item {
    let mut item = user_key(&user.tenant_id, &user.user_id);
    item.extend([
        ("role".into(), s(user.role)),
        ("status".into(), s(user.status.as_str())),
        ("created_at".into(), n(user.created_at)),
        ("epoch".into(), n(user.epoch)),
    ]);
    // A deleted user leaves the tenant's list.
    if user.status != crate::record::UserStatus::Deleted {
        item.insert("tenant_pk".into(), s(format!("USERS#{}", user.tenant_id)));
        item.insert("tenant_sk".into(), s(&user.user_id));
    }
    for (name, value) in [("email", &user.email), ("name", &user.name)] {
        if let Some(value) = value {
            item.insert(name.into(), s(value));
        }
    }
    if let Some(at) = user.last_sign_in_at {
        item.insert("last_sign_in_at".into(), n(at));
    }
    if !user.revocations.is_empty() {
        let entries = user.revocations.iter().map(|(epoch, revocation)| {
            let mut entry = write_revocation(revocation);
            entry.insert("epoch".into(), n(epoch));
            AttributeValue::M(entry)
        });
        item.insert("revocations".into(), AttributeValue::L(entries.collect()));
    }
    item
}

pub(super) fn write_cluster(cluster: &Cluster) -> Item {
    let mut item = cluster_key(&cluster.tenant_id, &cluster.name);
    item.extend([
        ("id".into(), n(cluster.number)),
        ("type".into(), s(cluster.kind.as_str())),
        ("key_id".into(), s(cluster.key_id)),
        (
            "holders".into(),
            AttributeValue::Ss(cluster.holders.iter().map(KeyId::to_string).collect()),
        ),
        ("created_at".into(), n(cluster.created_at)),
        ("last_seen_at".into(), n(cluster.last_seen_at)),
    ]);
    item
}

pub(super) fn read_cluster(item: &Item) -> Result<Cluster, BadItem> {
    let tenant = text(item, "pk")?.strip_prefix("C#").ok_or(BadItem("pk"))?;
    let name = text(item, "sk")?
        .strip_prefix(CLUSTER_PREFIX)
        .ok_or(BadItem("sk"))?;
    // DynamoDB keeps no empty set: the attribute is absent when nobody holds the cluster.
    let holders = item
        .get("holders")
        .and_then(|v| v.as_ss().ok())
        .map(Vec::as_slice)
        .unwrap_or_default();
    Ok(Cluster {
        tenant_id: tenant.parse().map_err(|_| BadItem("pk"))?,
        name: name.parse().map_err(|_| BadItem("sk"))?,
        number: required(item, "id")?,
        kind: parsed(item, "type")?,
        key_id: parsed(item, "key_id")?,
        holders: holders
            .iter()
            .map(|key| key.parse())
            .collect::<Result<_, _>>()
            .map_err(|_| BadItem("holders"))?,
        created_at: required(item, "created_at")?,
        last_seen_at: required(item, "last_seen_at")?,
    })
}

pub(super) fn read_node(item: &Item) -> Result<Node, BadItem> {
    let sk = text(item, "sk")?
        .strip_prefix("NODE#")
        .and_then(|rest| rest.split_once('#'));
    let (cluster, name) = sk.ok_or(BadItem("sk"))?;
    Ok(Node {
        cluster: cluster.parse().map_err(|_| BadItem("sk"))?,
        name: name.parse().map_err(|_| BadItem("sk"))?,
        number: required(item, "id")?,
        created_at: required(item, "created_at")?,
        last_seen_at: required(item, "last_seen_at")?,
    })
}

pub(super) fn write_binding(binding: &Binding, hash: &str) -> Item {
    let mut item = join_key(hash);
    item.extend([
        ("tenant_id".into(), s(&binding.tenant_id)),
        ("user_id".into(), s(&binding.user_id)),
        ("key_id".into(), s(binding.key_id)),
        ("key_hash".into(), b(&binding.key_hash)),
        ("cluster".into(), s(&binding.cluster)),
        ("id".into(), n(binding.number)),
        ("expires_at".into(), n(binding.expires_at)),
        ("ttl".into(), n(binding.expires_at)),
    ]);
    if let Some(node) = &binding.node {
        item.insert("node".into(), s(node));
    }
    item
}

pub(super) fn read_binding(item: &Item) -> Result<Binding, BadItem> {
    Ok(Binding {
        tenant_id: parsed(item, "tenant_id")?,
        user_id: parsed(item, "user_id")?,
        key_id: parsed(item, "key_id")?,
        key_hash: hash(item, "key_hash").ok_or(BadItem("key_hash"))?,
        cluster: parsed(item, "cluster")?,
        number: required(item, "id")?,
        node: optional_id(item, "node")?,
        expires_at: required(item, "expires_at")?,
    })
}
