//! A type for each kind of item in the table: its keys, its attributes, and its conversion to and from a record.
//!
//! | pk | sk | item |
//! | --- | --- | --- |
//! | `U#<tenant>#<user>` | `USER` | [`UserItem`]: a user |
//! | `U#<tenant>#<user>` | `EPOCH#<n>` | [`EpochItem`]: the start of epoch n, which revoked all earlier keys |
//! | `U#<tenant>#<user>` | `KEY#<key id>` | [`KeyItem`]: a key or, once it has expired, its history without hashes |
//! | `U#<tenant>#<user>` | `IDEM#<sha256>` | [`IdempotencyItem`]: the key that a request created or rotated |
//! | `U#<tenant>#<user>` | `QUOTA` | [`QuotaItem`]: the keys that count against the user's quota |
//! | `T#<tenant>` | `ADMINS` | [`AdminsItem`]: the active administrators |
//! | `T#<tenant>` | `SIGNINS#<hour>` | [`PrimaryKey::sign_ins`]: the number of first sign-ins in the hour |
//! | `S#<tenant>` | `<word>#<user>` | [`SearchItem`]: a word of the user's name or e-mail address |
//! | `K#<tenant>#<key id>` | `SLOT#<cluster>` | [`SlotItem`]: a cluster that counts against the key's limit |
//! | `C#<tenant>` | `CLUSTER#<name>` | [`ClusterItem`]: a cluster, and the keys that hold slots for it |
//! | `N#<tenant>#<cluster number>` | `NODE#<name>` | [`NodeItem`]: a node |
//! | `N#<tenant>#<cluster number>` | `QUOTA` | [`NodeQuotaItem`]: the nodes that count against the cluster's quota |
//! | `J#<sha256>` | `JOIN` | [`JoinTokenItem`]: a join token |
//! | `A#<tenant>#<month>#<shard>` | `<time>#<id>` | [`AuditItem`]: an entry in the audit trail |
//! | `P#<tenant>#<shard>` | `<time>#<id>` | [`PendingItem`]: an entry that is not in the audit trail yet |
//!
//! The index `target` lists the entries in the audit trail by key, user or cluster. The index `due` lists keys by the
//! time at which `notify` must next check them.
//!
//! Reads are strict: a damaged attribute or a missing required attribute is an error and is never replaced by a
//! default. The only exception is damaged labels, which are dropped. The indexes contain only key attributes
//! (`KEYS_ONLY`), so that recording the use of an access key never writes to an index.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    fmt,
    ops::Not,
    str::FromStr,
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_dynamo::string_set;

use crate::{
    model::{
        Action, AuditEntry, Change, Cluster, ClusterName, ClusterNumber, ClusterType, EntryId,
        Epoch, EpochEnd, FieldValue, JoinTokenRecord, KeyHash, KeyId, KeyRecord, LONGEST_WORD,
        Node, NodeName, NodeNumber, Origin, PreviousSecret, Principal, Redemption, Revocation,
        Role, Target, TenantId, Timestamp, User, UserId, UserStatus,
    },
    process::{
        events,
        metrics::{self, Metric},
    },
};

pub(super) type Item = HashMap<String, AttributeValue>;

/// An item that does not have the expected form.
#[derive(Debug, thiserror::Error)]
#[error("item {pk} {sk} cannot be read: {reason}")]
pub struct BadItem {
    pk: String,
    sk: String,
    /// For example, the name of a missing attribute or the type that was expected.
    reason: String,
}

impl BadItem {
    pub(super) fn new(pk: impl ToString, sk: impl ToString, reason: impl ToString) -> Self {
        // Two kinds of key attributes contain hashes, which no log line may contain.
        let without_hash = |attribute: String| match attribute.split_once('#') {
            Some((prefix @ (JoinTokenPk::PREFIX | IdempotencySk::PREFIX), _)) => {
                format!("{prefix}#…")
            }
            _ => attribute,
        };
        let (pk, sk) = (without_hash(pk.to_string()), without_hash(sk.to_string()));
        let reason = reason.to_string();
        Self { pk, sk, reason }
    }
}

impl From<Infallible> for BadItem {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Makes serde read and write a type as text.
macro_rules! written_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Declares a type for each key attribute. The attribute's text consists of a prefix and the fields of the type,
/// separated by `#`. Only the last field may contain `#`.
macro_rules! key_attributes {
    ($($name:ident = $prefix:literal $($field:ident: $type:ty),*;)*) => {$(
        #[derive(Debug, Clone)]
        pub(super) struct $name { $(pub $field: $type),* }

        impl $name {
            pub const PREFIX: &str = $prefix;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Self::PREFIX)?;
                $(write!(f, "#{}", self.$field)?;)*
                Ok(())
            }
        }

        impl FromStr for $name {
            type Err = &'static str;

            #[allow(unused_variables, reason = "some key attributes have no fields")]
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                const ERROR: &str = concat!("not a key attribute of the form ", $prefix $(, "#<", stringify!($field), ">")*);
                const FIELDS: &[&str] = &[$(stringify!($field)),*];
                let mut parts = text.splitn(FIELDS.len() + 1, '#');
                let prefix = parts.next().filter(|part| *part == $prefix).ok_or(ERROR)?;
                $(let $field = parts.next().and_then(|part| part.parse().ok()).ok_or(ERROR)?;)*
                Ok(Self { $($field),* })
            }
        }

        written_as_text!($name);
    )*};
}
key_attributes! {
    UserPk = "U" tenant: TenantId, user: UserId;
    UserSk = "USER";
    EpochSk = "EPOCH" epoch: Epoch;
    KeySk = "KEY" key: KeyId;
    IdempotencySk = "IDEM" hash: String;
    QuotaSk = "QUOTA";
    TenantPk = "T" tenant: TenantId;
    AdminsSk = "ADMINS";
    SignInsSk = "SIGNINS" hour: i64;
    SearchPk = "S" tenant: TenantId;
    SlotPk = "K" tenant: TenantId, key: KeyId;
    SlotSk = "SLOT" cluster: ClusterName;
    ClusterPk = "C" tenant: TenantId;
    ClusterSk = "CLUSTER" cluster: ClusterName;
    NodePk = "N" tenant: TenantId, cluster: ClusterNumber;
    NodeSk = "NODE" node: NodeName;
    JoinTokenPk = "J" hash: String;
    JoinTokenSk = "JOIN";
    AuditPk = "A" tenant: TenantId, month: String, shard: u8;
    PendingPk = "P" tenant: TenantId, shard: u8;
    // Key attributes of the index `target`.
    TargetPk = "TARGET" tenant: TenantId, target: Target;
    // Partition key of the index `due`. The sort key is a [`DueSk`].
    DuePk = "D" day: String, shard: u8;
    // Key attributes of the index `tenant`.
    IndexedKeysPk = "KEYS" tenant: TenantId;
    IndexedUsersPk = "USERS" tenant: TenantId;
}

/// The sort key of a [`SearchItem`]. It has no prefix, because all items of the partition are of this kind.
#[derive(Debug, Clone)]
pub(super) struct SearchSk {
    pub word: String,
    pub user: UserId,
}

impl fmt::Display for SearchSk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.word, self.user)
    }
}

written_as_text!(SearchSk);

impl FromStr for SearchSk {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "not a key attribute of the form <word>#<user>";
        let (word, user) = text.split_once('#').ok_or(ERROR)?;
        let is_word = (1..=LONGEST_WORD).contains(&word.chars().count())
            && word.chars().all(char::is_alphanumeric);
        let user = user.parse().ok().filter(|_| is_word).ok_or(ERROR)?;
        let word = word.to_owned();
        Ok(Self { word, user })
    }
}

/// The sort key of an [`AuditItem`]. It has no prefix, because all items of the partition are of this kind.
#[derive(Debug, Clone)]
pub(super) struct AuditSk {
    pub at: Timestamp,
    pub id: EntryId,
}

impl fmt::Display for AuditSk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.at.to_millis_text(), self.id)
    }
}

written_as_text!(AuditSk);

impl FromStr for AuditSk {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "not a key attribute of the form <time>#<id>";
        let (at, id) = text.split_once('#').ok_or(ERROR)?;
        Ok(Self {
            at: Timestamp::from_millis_text(at).ok_or(ERROR)?,
            id: id.parse().map_err(|_| ERROR)?,
        })
    }
}

/// A sort key in the index `due`. It has no prefix, because the index contains only access keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DueSk(pub Timestamp);

impl fmt::Display for DueSk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_millis_text())
    }
}

impl FromStr for DueSk {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = Timestamp::from_millis_text(text);
        at.map(Self).ok_or("not a time with milliseconds")
    }
}

written_as_text!(DueSk);

#[derive(Debug, Clone)]
pub(super) struct PrimaryKey(pub Item);

impl PrimaryKey {
    pub fn new(pk: &impl ToString, sk: &impl ToString) -> Self {
        let attribute = |text: &dyn ToString| AttributeValue::S(text.to_string());
        Self(Item::from([
            ("pk".into(), attribute(pk)),
            ("sk".into(), attribute(sk)),
        ]))
    }

    pub fn user(tenant: &TenantId, user: &UserId) -> Self {
        Self::new(&user_pk(tenant, user), &UserSk {})
    }

    pub fn key(tenant: &TenantId, user: &UserId, key: KeyId) -> Self {
        Self::new(&user_pk(tenant, user), &KeySk { key })
    }

    pub fn search(tenant: &TenantId, word: &str, user: &UserId) -> Self {
        let (tenant, word) = (tenant.clone(), word.to_owned());
        let user = user.clone();
        Self::new(&SearchPk { tenant }, &SearchSk { word, user })
    }

    /// `hash` identifies the caller and the `Idempotency-Key`.
    pub fn idempotency(tenant: &TenantId, user: &UserId, hash: &str) -> Self {
        let hash = hash.to_owned();
        Self::new(&user_pk(tenant, user), &IdempotencySk { hash })
    }

    pub fn quota(tenant: &TenantId, user: &UserId) -> Self {
        Self::new(&user_pk(tenant, user), &QuotaSk {})
    }

    pub fn admins(tenant: &TenantId) -> Self {
        let tenant = tenant.clone();
        Self::new(&TenantPk { tenant }, &AdminsSk {})
    }

    /// `hour` is the number of hours since 1970. The item is only updated and never read: a condition on the update
    /// limits the attribute `sign_ins`.
    pub fn sign_ins(tenant: &TenantId, hour: i64) -> Self {
        let tenant = tenant.clone();
        Self::new(&TenantPk { tenant }, &SignInsSk { hour })
    }

    pub fn slot(tenant: &TenantId, key: KeyId, cluster: &ClusterName) -> Self {
        let (tenant, cluster) = (tenant.clone(), cluster.clone());
        Self::new(&SlotPk { tenant, key }, &SlotSk { cluster })
    }

    pub fn cluster(tenant: &TenantId, cluster: &ClusterName) -> Self {
        let (tenant, cluster) = (tenant.clone(), cluster.clone());
        Self::new(&ClusterPk { tenant }, &ClusterSk { cluster })
    }

    pub fn node(tenant: &TenantId, cluster: ClusterNumber, node: &NodeName) -> Self {
        let (tenant, node) = (tenant.clone(), node.clone());
        Self::new(&NodePk { tenant, cluster }, &NodeSk { node })
    }

    pub fn node_quota(tenant: &TenantId, cluster: ClusterNumber) -> Self {
        let tenant = tenant.clone();
        Self::new(&NodePk { tenant, cluster }, &QuotaSk {})
    }

    /// `hash` is the hash of the token.
    pub fn join_token(hash: String) -> Self {
        Self::new(&JoinTokenPk { hash }, &JoinTokenSk {})
    }

    /// Returns this primary key together with the key attributes of an index.
    pub fn in_index(
        mut self,
        index: &str,
        partition: &impl ToString,
        sort: &impl ToString,
    ) -> Item {
        for (name, text) in [("pk", partition.to_string()), ("sk", sort.to_string())] {
            let name = format!("{index}_{name}");
            self.0.insert(name, AttributeValue::S(text));
        }
        self.0
    }

    /// Returns a primary key that no item has. Reading it opens a connection.
    pub fn warm_up() -> Self {
        Self::new(&"WARM", &"UP")
    }
}

pub(super) fn user_pk(tenant: &TenantId, user: &UserId) -> UserPk {
    let (tenant, user) = (tenant.clone(), user.clone());
    UserPk { tenant, user }
}

pub(super) fn audit_pk(tenant: &TenantId, target: &Target, at: Timestamp) -> AuditPk {
    AuditPk {
        tenant: tenant.clone(),
        month: at.month(),
        shard: target.shard(),
    }
}

/// Returns the sort key of an item of any kind.
pub(super) fn sort_key(item: &Item) -> &str {
    let sk = item.get("sk").and_then(|sk| sk.as_s().ok());
    sk.map_or("", String::as_str)
}

/// Returns the partition key of an item of any kind.
pub(super) fn partition_key(item: &Item) -> &str {
    let pk = item.get("pk").and_then(|pk| pk.as_s().ok());
    pk.map_or("", String::as_str)
}

/// Whether an item is of the kind whose sort keys begin with `prefix`.
pub(super) fn is_kind(item: &Item, prefix: &str) -> bool {
    let rest = sort_key(item).strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// A kind of item. The sort keys of all items of this kind begin with `SK`.
pub(super) trait Kind: DeserializeOwned {
    const SK: &str;
}

impl Kind for UserItem {
    const SK: &str = UserSk::PREFIX;
}

impl Kind for EpochItem {
    const SK: &str = EpochSk::PREFIX;
}

impl Kind for KeyItem {
    const SK: &str = KeySk::PREFIX;
}

impl Kind for IdempotencyItem {
    const SK: &str = IdempotencySk::PREFIX;
}

impl Kind for QuotaItem {
    const SK: &str = QuotaSk::PREFIX;
}

impl Kind for SlotItem {
    const SK: &str = SlotSk::PREFIX;
}

impl Kind for ClusterItem {
    const SK: &str = ClusterSk::PREFIX;
}

/// Items of several kinds, from one read.
pub(super) struct Batch(pub Vec<Item>);

impl Batch {
    /// Whether there is an item of the kind `I`, even a damaged one.
    pub fn has<I: Kind>(&self) -> bool {
        self.0.iter().any(|item| is_kind(item, I::SK))
    }

    /// Removes and returns an item of the kind `I`, if there is one.
    pub fn take<I, R>(&mut self) -> Result<Option<R>, BadItem>
    where
        I: Kind,
        R: TryFrom<I>,
        BadItem: From<R::Error>,
    {
        let position = self.0.iter().position(|item| is_kind(item, I::SK));
        position
            .map(|position| read::<I, R>(self.0.swap_remove(position)))
            .transpose()
    }
}

/// Converts an entity to an item. Leaves out attributes that have no value.
pub(super) fn to_item(entity: &impl Serialize) -> Item {
    // Cannot fail: every kind of item is a struct of strings, numbers, bytes, lists and sets.
    let mut item: Item = serde_dynamo::to_item(entity).unwrap_or_default();
    item.retain(|_, value| !value.is_null());
    item
}

/// Reads an item of the kind `I` as a record.
///
/// # Errors
/// Fails if an attribute is damaged or a required one is missing.
pub(super) fn read<I, R>(item: Item) -> Result<R, BadItem>
where
    I: DeserializeOwned,
    R: TryFrom<I>,
    BadItem: From<R::Error>,
{
    let key = |name| item.get(name).and_then(|key| key.as_s().ok()).cloned();
    let (pk, sk) = (key("pk").unwrap_or_default(), key("sk").unwrap_or_default());
    let item = without_damaged_labels(item);
    // We never write NULL, and serde would read it as an absent attribute.
    if let Some((name, _)) = item.iter().find(|(_, value)| has_null(value)) {
        return Err(BadItem::new(pk, sk, format_args!("{name} is NULL")));
    }
    let item: I = serde_dynamo::from_item(item).map_err(|error| BadItem::new(pk, sk, error))?;
    Ok(item.try_into()?)
}

/// Removes damaged labels from a key. Labels grant no permissions, so a key with damaged labels can still be used,
/// listed and revoked.
fn without_damaged_labels(mut item: Item) -> Item {
    if item.get("labels").is_some_and(|labels| !labels.is_ss()) {
        item.remove("labels");
    }
    item
}

/// Returns the items that can be read. Logs the others, so that one damaged item does not make a whole list fail.
pub(super) fn readable<I, R>(items: impl IntoIterator<Item = Item>) -> impl Iterator<Item = R>
where
    I: DeserializeOwned,
    R: TryFrom<I>,
    BadItem: From<R::Error>,
{
    logged(items.into_iter().map(read::<I, R>))
}

/// Returns the records that could be read. Logs why the others could not be read.
pub(super) fn logged<R>(
    results: impl Iterator<Item = Result<R, BadItem>>,
) -> impl Iterator<Item = R> {
    results.filter_map(|result| match result {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(
                event.name = events::ITEM_UNREADABLE,
                error.cause = %error,
                "left a damaged item out of a list"
            );
            metrics::count(Metric::UnreadableItem);
            None
        }
    })
}

fn has_null(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::Null(_) => true,
        AttributeValue::L(values) => values.iter().any(has_null),
        AttributeValue::M(values) => values.values().any(has_null),
        _ => false,
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct UserItem {
    pk: UserPk,
    sk: UserSk,
    /// Absent once the user is deleted, so that the index does not list deleted users.
    tenant_pk: Option<IndexedUsersPk>,
    tenant_sk: Option<UserId>,
    role: Role,
    status: UserStatus,
    email: Option<String>,
    name: Option<String>,
    created_at: Timestamp,
    last_sign_in_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Not::not")]
    bootstrapped: bool,
    epoch: Epoch,
    /// Only the newest revocations. Every revocation also has an item of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revocations: Vec<EpochEndEntry>,
}

/// The keys that were live when `create` last wrote or counted them. Nothing else writes this item, so keys that are no
/// longer live remain in it.
#[derive(Serialize, Deserialize)]
pub(super) struct QuotaItem {
    pk: UserPk,
    sk: QuotaSk,
    /// Absent if the set is empty.
    #[serde(default, with = "string_set")]
    live: BTreeSet<KeyId>,
}

impl From<QuotaItem> for BTreeSet<KeyId> {
    fn from(item: QuotaItem) -> Self {
        item.live
    }
}

/// An entry of the search index: a word of a user's name or e-mail address. Written in the same transaction as the
/// user.
#[derive(Serialize, Deserialize)]
pub(super) struct SearchItem {
    pk: SearchPk,
    sk: SearchSk,
}

impl SearchItem {
    pub fn new(tenant: &TenantId, word: &str, user: &UserId) -> Self {
        let (tenant, word, user) = (tenant.clone(), word.to_owned(), user.clone());
        Self {
            pk: SearchPk { tenant },
            sk: SearchSk { word, user },
        }
    }
}

impl From<SearchItem> for SearchSk {
    fn from(item: SearchItem) -> Self {
        item.sk
    }
}

/// An item whose key attributes for an index contradict its primary key.
#[derive(Debug)]
pub(super) struct WrongEntry;

impl From<WrongEntry> for BadItem {
    fn from(WrongEntry: WrongEntry) -> Self {
        let reason = "its attributes for the index contradict the primary key";
        Self::new("of", "an index", reason)
    }
}

/// The entry of a user in the index `tenant`.
#[derive(Deserialize)]
pub(super) struct IndexedUser {
    pk: UserPk,
    #[expect(dead_code, reason = "other kinds of items are no users")]
    sk: UserSk,
    tenant_pk: IndexedUsersPk,
    tenant_sk: UserId,
}

impl TryFrom<IndexedUser> for UserId {
    type Error = WrongEntry;

    fn try_from(entry: IndexedUser) -> Result<Self, WrongEntry> {
        let UserPk { tenant, user } = entry.pk;
        let is_right = tenant == entry.tenant_pk.tenant && user == entry.tenant_sk;
        is_right.then_some(user).ok_or(WrongEntry)
    }
}

/// The entry of a key in the index `tenant`.
#[derive(Deserialize)]
pub(super) struct IndexedKey {
    pk: UserPk,
    sk: KeySk,
    tenant_pk: IndexedKeysPk,
    tenant_sk: KeyId,
}

impl TryFrom<IndexedKey> for (UserId, KeyId) {
    type Error = WrongEntry;

    fn try_from(entry: IndexedKey) -> Result<Self, WrongEntry> {
        let (UserPk { tenant, user }, KeySk { key }) = (entry.pk, entry.sk);
        let is_right = tenant == entry.tenant_pk.tenant && key == entry.tenant_sk;
        is_right.then_some((user, key)).ok_or(WrongEntry)
    }
}

fn due_pk(owner: &UserId, key: KeyId, at: Timestamp) -> DuePk {
    DuePk {
        day: at.day(),
        shard: Target::key(key, owner).shard(),
    }
}

/// The entry of a key in the index `due`.
#[derive(Deserialize)]
pub(super) struct IndexedDueKey {
    pk: UserPk,
    sk: KeySk,
    due_sk: DueSk,
}

/// A key that `notify` must check.
#[derive(Debug)]
pub struct DueKey {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub key_id: KeyId,
    pub at: Timestamp,
}

impl From<IndexedDueKey> for DueKey {
    fn from(entry: IndexedDueKey) -> Self {
        let IndexedDueKey { pk, sk, due_sk } = entry;
        Self {
            tenant_id: pk.tenant,
            user_id: pk.user,
            key_id: sk.key,
            at: due_sk.0,
        }
    }
}

/// A revocation of all of a user's keys, as stored in the user's item and in an [`EpochItem`].
#[derive(Serialize, Deserialize)]
struct EpochEndEntry {
    ended: Epoch,
    began: Epoch,
    revoked_at: Timestamp,
    revoked_by: Principal,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_reason: Option<String>,
}

impl From<&EpochEnd> for EpochEndEntry {
    fn from(end: &EpochEnd) -> Self {
        Self {
            ended: end.ended,
            began: end.began,
            revoked_at: end.revocation.at,
            revoked_by: end.revocation.by.clone(),
            revoked_reason: end.revocation.reason.clone(),
        }
    }
}

impl From<EpochEndEntry> for EpochEnd {
    fn from(entry: EpochEndEntry) -> Self {
        Self {
            ended: entry.ended,
            began: entry.began,
            revocation: Revocation {
                at: entry.revoked_at,
                by: entry.revoked_by,
                reason: entry.revoked_reason,
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct EpochItem {
    pk: UserPk,
    sk: EpochSk,
    end: EpochEndEntry,
}

impl EpochItem {
    pub fn new(user: &User, end: &EpochEnd) -> Self {
        Self {
            pk: user_pk(&user.tenant_id, &user.user_id),
            sk: EpochSk { epoch: end.began },
            end: end.into(),
        }
    }
}

impl From<EpochItem> for EpochEnd {
    fn from(item: EpochItem) -> Self {
        item.end.into()
    }
}

impl From<&User> for UserItem {
    fn from(user: &User) -> Self {
        let is_listed = user.status != UserStatus::Deleted;
        Self {
            pk: user_pk(&user.tenant_id, &user.user_id),
            sk: UserSk {},
            tenant_pk: is_listed.then(|| IndexedUsersPk {
                tenant: user.tenant_id.clone(),
            }),
            tenant_sk: is_listed.then(|| user.user_id.clone()),
            role: user.role,
            status: user.status,
            email: user.email.clone(),
            name: user.name.clone(),
            created_at: user.created_at,
            last_sign_in_at: user.last_sign_in_at,
            bootstrapped: user.bootstrapped,
            epoch: user.epoch,
            revocations: user.revocations.iter().map(Into::into).collect(),
        }
    }
}

impl From<UserItem> for User {
    fn from(item: UserItem) -> Self {
        Self {
            tenant_id: item.pk.tenant,
            user_id: item.pk.user,
            role: item.role,
            status: item.status,
            email: item.email,
            name: item.name,
            created_at: item.created_at,
            last_sign_in_at: item.last_sign_in_at,
            bootstrapped: item.bootstrapped,
            epoch: item.epoch,
            revocations: item.revocations.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeyItem {
    pk: UserPk,
    sk: KeySk,
    tenant_pk: IndexedKeysPk,
    tenant_sk: KeyId,
    name: String,
    #[serde(
        default,
        with = "string_set",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    labels: BTreeSet<String>,
    role: Role,
    max_clusters: u32,
    signed_max_clusters: u32,
    clusters_used: u32,
    created_at: Timestamp,
    created_by: Principal,
    expires_at: Timestamp,
    epoch: Epoch,
    revoked_at: Option<Timestamp>,
    revoked_by: Option<Principal>,
    revoked_reason: Option<String>,
    last_used_at: Option<Timestamp>,
    due_pk: Option<DuePk>,
    due_sk: Option<DueSk>,
    unused_reported_at: Option<Timestamp>,
    hash: Option<KeyHash>,
    #[serde(default, skip_serializing_if = "is_zero")]
    generation: u32,
    rotated_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Not::not")]
    self_rotate: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    used_generation: u32,
    previous_hash: Option<KeyHash>,
    previous_generation: Option<u32>,
    previous_ends_at: Option<Timestamp>,
    previous_used_at: Option<Timestamp>,
    /// The time at which TTL removes the item: the key's expiry or, for an archived key, the end of its history.
    /// Only DynamoDB reads it.
    #[serde(skip_deserializing)]
    ttl: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl KeyItem {
    pub fn new(key: &KeyRecord, ttl: Timestamp) -> Self {
        let revocation = key.revocation.as_ref();
        let previous = key.previous.as_ref();
        Self {
            pk: user_pk(&key.tenant_id, &key.user_id),
            sk: KeySk { key: key.key_id },
            tenant_pk: IndexedKeysPk {
                tenant: key.tenant_id.clone(),
            },
            tenant_sk: key.key_id,
            name: key.name.clone(),
            labels: key.labels.clone().into(),
            role: key.role,
            max_clusters: key.max_clusters,
            signed_max_clusters: key.signed_max_clusters,
            clusters_used: key.clusters_used,
            created_at: key.created_at,
            created_by: key.created_by.clone(),
            expires_at: key.expires_at,
            epoch: key.epoch,
            revoked_at: revocation.map(|revocation| revocation.at),
            revoked_by: revocation.map(|revocation| revocation.by.clone()),
            revoked_reason: revocation.and_then(|revocation| revocation.reason.clone()),
            last_used_at: key.last_used_at,
            due_pk: key.due_at.map(|at| due_pk(&key.user_id, key.key_id, at)),
            due_sk: key.due_at.map(DueSk),
            unused_reported_at: key.unused_reported_at,
            hash: key.hash,
            generation: key.generation,
            rotated_at: key.rotated_at,
            self_rotate: key.self_rotate,
            used_generation: key.used_generation,
            previous_hash: previous.and_then(|previous| previous.hash),
            previous_generation: previous.map(|previous| previous.generation),
            previous_ends_at: previous.map(|previous| previous.ends_at),
            previous_used_at: previous.and_then(|previous| previous.used_at),
            ttl: Some(ttl),
        }
    }
}

impl TryFrom<KeyItem> for KeyRecord {
    type Error = BadItem;

    fn try_from(item: KeyItem) -> Result<Self, BadItem> {
        let revocation = match (item.revoked_at, item.revoked_by, item.revoked_reason) {
            (None, None, None) => None,
            (Some(at), Some(by), reason) => Some(Revocation { at, by, reason }),
            _ => {
                let reason = "revoked_at, revoked_by or both are missing";
                return Err(BadItem::new(item.pk, item.sk, reason));
            }
        };
        let previous = match (item.previous_generation, item.previous_ends_at) {
            (Some(generation), Some(ends_at)) => Some(PreviousSecret {
                hash: item.previous_hash,
                generation,
                // The expiry of the key may have become earlier since the rotation.
                ends_at: ends_at.min(item.expires_at),
                used_at: item.previous_used_at,
            }),
            (None, None) if item.previous_hash.is_none() && item.previous_used_at.is_none() => None,
            _ => {
                let reason = "previous_generation, previous_ends_at or both are missing";
                return Err(BadItem::new(item.pk, item.sk, reason));
            }
        };
        Ok(Self {
            tenant_id: item.pk.tenant,
            user_id: item.pk.user,
            key_id: item.sk.key,
            name: item.name,
            labels: item.labels.into(),
            role: item.role,
            max_clusters: item.max_clusters,
            signed_max_clusters: item.signed_max_clusters,
            clusters_used: item.clusters_used,
            created_at: item.created_at,
            created_by: item.created_by,
            expires_at: item.expires_at,
            epoch: item.epoch,
            revocation,
            last_used_at: item.last_used_at,
            due_at: item.due_sk.map(|DueSk(at)| at),
            unused_reported_at: item.unused_reported_at,
            hash: item.hash,
            generation: item.generation,
            rotated_at: item.rotated_at,
            self_rotate: item.self_rotate,
            used_generation: item.used_generation,
            previous,
        })
    }
}

/// The key that was created or rotated by a request that had an `Idempotency-Key`.
#[derive(Serialize, Deserialize)]
pub(super) struct IdempotencyItem {
    pub pk: UserPk,
    pub sk: IdempotencySk,
    pub key_id: KeyId,
    /// The hash of the request's parameters.
    pub fingerprint: String,
    /// The generation that began with the request, if the request rotated the key.
    pub generation: Option<u32>,
    pub created_at: Timestamp,
    pub ttl: Timestamp,
}

/// The earlier request with the same `Idempotency-Key`.
#[derive(Debug)]
pub struct EarlierRequest {
    pub key_id: KeyId,
    pub fingerprint: String,
    /// The generation that began with the request, if the request rotated the key.
    pub generation: Option<u32>,
    pub created_at: Timestamp,
}

impl From<IdempotencyItem> for EarlierRequest {
    fn from(item: IdempotencyItem) -> Self {
        Self {
            key_id: item.key_id,
            fingerprint: item.fingerprint,
            generation: item.generation,
            created_at: item.created_at,
        }
    }
}

/// The active administrators of a tenant.
#[derive(Deserialize)]
pub(super) struct AdminsItem {
    #[serde(default, with = "string_set")]
    admins: BTreeSet<UserId>,
}

impl From<AdminsItem> for BTreeSet<UserId> {
    fn from(item: AdminsItem) -> Self {
        item.admins
    }
}

/// A cluster that counts against a key's limit.
#[derive(Serialize, Deserialize)]
pub(super) struct SlotItem {
    pub pk: SlotPk,
    pub sk: SlotSk,
    /// The key's owner, whose partition contains the counter of the key.
    pub user_id: UserId,
    pub created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ClusterItem {
    pk: ClusterPk,
    sk: ClusterSk,
    id: ClusterNumber,
    r#type: ClusterType,
    key_id: KeyId,
    /// Absent while no key holds a slot for the cluster, because DynamoDB has no empty sets.
    #[serde(
        default,
        with = "string_set",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    holders: BTreeSet<KeyId>,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    deleting: Option<Timestamp>,
    deleting_by: Option<Principal>,
}

impl From<&Cluster> for ClusterItem {
    fn from(cluster: &Cluster) -> Self {
        Self {
            pk: ClusterPk {
                tenant: cluster.tenant_id.clone(),
            },
            sk: ClusterSk {
                cluster: cluster.name.clone(),
            },
            id: cluster.number,
            r#type: cluster.kind,
            key_id: cluster.key_id,
            holders: cluster.holders.clone(),
            created_at: cluster.created_at,
            last_seen_at: cluster.last_seen_at,
            deleting: cluster.deleting,
            deleting_by: cluster.deleting_by.clone(),
        }
    }
}

impl From<ClusterItem> for Cluster {
    fn from(item: ClusterItem) -> Self {
        Self {
            tenant_id: item.pk.tenant,
            name: item.sk.cluster,
            number: item.id,
            kind: item.r#type,
            key_id: item.key_id,
            holders: item.holders,
            created_at: item.created_at,
            last_seen_at: item.last_seen_at,
            deleting: item.deleting,
            deleting_by: item.deleting_by,
        }
    }
}

/// Written by an update, which keeps the `id` and `created_at` of a known node.
#[derive(Serialize, Deserialize)]
pub(super) struct NodeItem {
    pk: NodePk,
    sk: NodeSk,
    id: NodeNumber,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    ttl: Timestamp,
}

/// The number of nodes at the last count, plus those added since. Written by updates. If the item is damaged, the nodes
/// are counted again.
#[derive(Deserialize)]
pub(super) struct NodeQuotaItem {
    pub active: Option<u32>,
    pub listed: Option<u32>,
    pub changed_at: Timestamp,
    /// Set while a call counts the nodes, to the number of the new node that made the call.
    pub counting: Option<NodeNumber>,
}

impl From<NodeItem> for Node {
    fn from(item: NodeItem) -> Self {
        Self {
            cluster: item.pk.cluster,
            name: item.sk.node,
            number: item.id,
            created_at: item.created_at,
            last_seen_at: item.last_seen_at,
            forgotten_at: item.ttl,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct JoinTokenItem {
    pk: JoinTokenPk,
    sk: JoinTokenSk,
    tenant_id: TenantId,
    user_id: UserId,
    key_id: KeyId,
    cluster: ClusterName,
    id: ClusterNumber,
    node: Option<NodeName>,
    expires_at: Timestamp,
    redeemed_at: Option<Timestamp>,
    redemption: Option<Redemption>,
    replayed_at: Option<Timestamp>,
    ttl: Timestamp,
}

impl JoinTokenItem {
    /// `hash` is the hash of the token.
    pub fn new(token: &JoinTokenRecord, hash: String) -> Self {
        Self {
            pk: JoinTokenPk { hash },
            sk: JoinTokenSk {},
            tenant_id: token.tenant_id.clone(),
            user_id: token.user_id.clone(),
            key_id: token.key_id,
            cluster: token.cluster.clone(),
            id: token.cluster_number,
            node: token.node.clone(),
            expires_at: token.expires_at,
            redeemed_at: token.redeemed_at,
            redemption: None,
            replayed_at: token.replayed_at,
            ttl: token.expires_at,
        }
    }
}

impl From<JoinTokenItem> for JoinTokenRecord {
    fn from(item: JoinTokenItem) -> Self {
        Self {
            tenant_id: item.tenant_id,
            user_id: item.user_id,
            key_id: item.key_id,
            cluster: item.cluster,
            cluster_number: item.id,
            node: item.node,
            expires_at: item.expires_at,
            redeemed_at: item.redeemed_at,
            replayed_at: item.replayed_at,
        }
    }
}

/// An entry in the audit trail. The index `target` lists the entries of each target. An entry can be part of another
/// item, so serde must leave out attributes that have no value: [`to_item`] does so only at the top level.
#[derive(Serialize, Deserialize)]
pub(super) struct AuditItem {
    pk: AuditPk,
    pub sk: AuditSk,
    target_pk: TargetPk,
    target_sk: AuditSk,
    actor: Principal,
    action: Action,
    target: Target,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    changes: BTreeMap<String, Change>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<String, FieldValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<Timestamp>,
    ttl: Timestamp,
}

impl AuditItem {
    pub fn new(entry: &AuditEntry, retention: Duration) -> Self {
        let (at, id) = (entry.at, entry.id);
        let tenant = entry.tenant_id.clone();
        let target = entry.target.clone();
        Self {
            pk: audit_pk(&tenant, &target, at),
            sk: AuditSk { at, id },
            target_pk: TargetPk {
                tenant,
                target: target.clone(),
            },
            target_sk: AuditSk { at, id },
            actor: entry.actor.clone(),
            action: entry.action,
            target,
            changes: entry.changes.clone(),
            details: entry.details.clone(),
            reason: entry.reason.clone(),
            source_ip: entry.origin.source_ip.clone(),
            user_agent: entry.origin.user_agent.clone(),
            request_id: entry.origin.request_id.clone(),
            recorded_at: entry.recorded_at,
            ttl: at + retention,
        }
    }
}

/// An audit entry that concerns a user and could not be written together with the change that it records. (An entry
/// about a revoked key waits in the key's own item.) These items have partitions of their own, because an IAM role
/// cannot permit the deletion of only some items of a partition.
#[derive(Serialize)]
pub(super) struct PendingItem {
    pk: PendingPk,
    sk: AuditSk,
    pending_audit: AuditItem,
    ttl: Timestamp,
}

impl PendingItem {
    pub fn new(entry: AuditItem) -> Self {
        let AuditPk { tenant, shard, .. } = &entry.pk;
        Self {
            pk: PendingPk {
                tenant: tenant.clone(),
                shard: *shard,
            },
            sk: entry.sk.clone(),
            ttl: entry.ttl,
            pending_audit: entry,
        }
    }
}

impl From<AuditItem> for AuditEntry {
    fn from(item: AuditItem) -> Self {
        Self {
            id: item.sk.id,
            at: item.sk.at,
            tenant_id: item.pk.tenant,
            actor: item.actor,
            action: item.action,
            target: item.target,
            changes: item.changes,
            details: item.details,
            reason: item.reason,
            origin: Origin {
                source_ip: item.source_ip,
                user_agent: item.user_agent,
                request_id: item.request_id,
            },
            recorded_at: item.recorded_at,
        }
    }
}

/// The entry of an [`AuditItem`] in the index `target`.
#[derive(Deserialize)]
pub(super) struct IndexedEntry {
    pk: AuditPk,
    sk: AuditSk,
    target_pk: TargetPk,
}

impl TryFrom<IndexedEntry> for (AuditPk, AuditSk) {
    type Error = WrongEntry;

    fn try_from(entry: IndexedEntry) -> Result<Self, WrongEntry> {
        let IndexedEntry { pk, sk, target_pk } = entry;
        let TargetPk { tenant, target } = target_pk;
        let right = audit_pk(&tenant, &target, sk.at).to_string();
        (pk.to_string() == right)
            .then_some((pk, sk))
            .ok_or(WrongEntry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        JoinToken, Name,
        fixtures::{self, NOW, at},
    };

    fn revocation() -> Revocation {
        Revocation {
            at: at(-1),
            by: (&fixtures::user("admin", Role::Admin).user_id).into(),
            reason: Some("leaked".into()),
        }
    }

    fn user() -> User {
        let user = fixtures::user("editor", Role::Editor);
        let user = User {
            email: Some("editor@acme.example".into()),
            name: Some("Ed".into()),
            last_sign_in_at: Some(at(0)),
            ..user
        };
        user.in_next_epoch(revocation(), NOW)
    }

    fn key() -> KeyRecord {
        KeyRecord {
            labels: [&"ci", &"team a"]
                .map(|label| label.parse::<Name>().unwrap())
                .into_iter()
                .collect(),
            revocation: Some(revocation()),
            last_used_at: Some(at(-2)),
            unused_reported_at: Some(at(-1)),
            generation: 2,
            rotated_at: Some(at(-3)),
            used_generation: 2,
            previous: Some(PreviousSecret {
                hash: Some(KeyHash::from([6; 32])),
                generation: 1,
                ends_at: at(500),
                used_at: Some(at(-1)),
            }),
            ..fixtures::key(&user(), KeyHash::from([7; 32]))
        }
    }

    fn cluster() -> Cluster {
        Cluster {
            tenant_id: "acme".parse().unwrap(),
            name: "prod".parse().unwrap(),
            number: ClusterNumber::generate().unwrap(),
            kind: ClusterType::K8s,
            key_id: key().key_id,
            holders: BTreeSet::from([key().key_id]),
            created_at: at(0),
            last_seen_at: at(0),
            deleting: Some(at(9)),
            deleting_by: Some(Principal::system()),
        }
    }

    fn join_token() -> JoinTokenRecord {
        JoinTokenRecord {
            tenant_id: "acme".parse().unwrap(),
            user_id: "editor".parse().unwrap(),
            key_id: KeyId::generate(NOW).unwrap(),
            cluster: "prod".parse().unwrap(),
            cluster_number: ClusterNumber::generate().unwrap(),
            node: Some("n1".parse().unwrap()),
            expires_at: at(600),
            redeemed_at: Some(at(1)),
            replayed_at: Some(at(2)),
        }
    }

    fn node() -> NodeItem {
        let number = "4503599627370495";
        NodeItem {
            pk: NodePk {
                tenant: "acme".parse().unwrap(),
                cluster: number.parse().unwrap(),
            },
            sk: NodeSk {
                node: "n1".parse().unwrap(),
            },
            id: number.parse().unwrap(),
            created_at: at(0),
            last_seen_at: at(0),
            ttl: at(600),
        }
    }

    /// An item with all attributes that its record can have.
    struct Sample {
        item: Item,
        /// Returns the record as text.
        read: fn(Item) -> Result<String, BadItem>,
        record: String,
        optional: &'static [&'static str],
    }

    impl Sample {
        fn new<I, R>(item: &I, record: &R, optional: &'static [&'static str]) -> Self
        where
            I: Serialize + DeserializeOwned,
            R: TryFrom<I> + fmt::Debug,
            BadItem: From<R::Error>,
        {
            Self {
                item: to_item(item),
                read: |item| read::<I, R>(item).map(|record| format!("{record:?}")),
                record: format!("{record:?}"),
                optional,
            }
        }

        /// Returns the names of the item's attributes, except `ttl`, which is not read back for some kinds of item.
        fn attributes(&self) -> impl Iterator<Item = &String> {
            self.item.keys().filter(|name| *name != "ttl")
        }
    }

    fn samples() -> [Sample; 6] {
        let (user, key, cluster, token) = (user(), key(), cluster(), join_token());
        let hash = JoinToken::generate().unwrap().hash();
        [
            Sample::new(
                &UserItem::from(&user),
                &user,
                &[
                    "tenant_pk",
                    "tenant_sk",
                    "email",
                    "name",
                    "last_sign_in_at",
                    "revocations",
                ],
            ),
            Sample::new(
                &KeyItem::new(&key, at(600)),
                &key,
                &[
                    "labels",
                    "revoked_reason",
                    "last_used_at",
                    "due_pk",
                    "due_sk",
                    "unused_reported_at",
                    "hash",
                    "generation",
                    "rotated_at",
                    "used_generation",
                    "previous_hash",
                    "previous_used_at",
                ],
            ),
            Sample::new(
                &EpochItem::new(&user, &user.revocations[0]),
                &user.revocations[0],
                &[],
            ),
            Sample::new(
                &ClusterItem::from(&cluster),
                &cluster,
                &["holders", "deleting", "deleting_by"],
            ),
            Sample::new(&node(), &Node::from(node()), &[]),
            Sample::new(
                &JoinTokenItem::new(&token, hash),
                &token,
                &["node", "redeemed_at", "replayed_at"],
            ),
        ]
    }

    #[test]
    fn each_kind_of_item_reads_back_as_it_was_written() {
        for sample in samples() {
            assert_eq!((sample.read)(sample.item).unwrap(), sample.record);
        }
    }

    #[test]
    fn a_damaged_attribute_is_an_error_and_never_a_default() {
        for sample in samples() {
            for name in sample.attributes().filter(|name| *name != "labels") {
                for damaged in [
                    AttributeValue::Null(true),
                    AttributeValue::Bool(true),
                    AttributeValue::M(Item::new()),
                ] {
                    let mut item = sample.item.clone();
                    item.insert(name.clone(), damaged.clone());
                    assert!((sample.read)(item).is_err(), "{name}: {damaged:?}");
                }
            }
        }
    }

    #[test]
    fn damaged_labels_count_as_absent() {
        let [_, key, ..] = samples();
        let text = |text: &str| AttributeValue::S(text.into());
        for damaged in [
            AttributeValue::Null(true),
            text("ci"),
            AttributeValue::L(vec![text("ci")]),
            AttributeValue::L(vec![AttributeValue::Null(true)]),
            AttributeValue::Ns(vec!["1".into()]),
        ] {
            let mut item = key.item.clone();
            item.insert("labels".into(), damaged.clone());
            let record = read::<KeyItem, KeyRecord>(item);
            assert!(record.unwrap().labels.is_empty(), "{damaged:?}");
        }
    }

    #[test]
    fn an_attribute_that_is_always_written_is_required() {
        for sample in samples() {
            for name in sample.attributes() {
                let mut item = sample.item.clone();
                item.remove(name);
                let is_optional = sample.optional.contains(&name.as_str());
                let read = (sample.read)(item);
                assert_eq!(read.is_ok(), is_optional, "{name}: {read:?}");
            }
        }
    }

    #[test]
    fn an_error_names_the_damaged_item_without_its_hash() {
        let idempotency = BadItem::new("U#acme#editor", "IDEM#hash", "damaged").to_string();
        assert_eq!(
            idempotency,
            "item U#acme#editor IDEM#… cannot be read: damaged"
        );
        let [_, key, .., token] = samples();
        for (sample, location) in [(key, "item U#acme#editor KEY#"), (token, "item J#… JOIN ")] {
            let mut item = sample.item;
            item.remove("expires_at");
            let error = (sample.read)(item).unwrap_err().to_string();
            assert!(error.starts_with(location), "{error}");
            assert!(error.ends_with("missing field `expires_at`"), "{error}");
        }
    }

    #[test]
    fn a_key_attribute_has_exactly_one_textual_form() {
        let pk = user_pk(&"acme".parse().unwrap(), &"editor".parse().unwrap());
        assert_eq!(pk.to_string(), "U#acme#editor");
        assert!("U#acme#editor".parse::<UserPk>().is_ok());
        for other in ["", "U", "U#acme", "U#acme#", "T#acme#editor", "U##editor"] {
            assert!(other.parse::<UserPk>().is_err(), "{other:?}");
        }
        // The last field may contain the separator.
        let pk: UserPk = "U#acme#editor#x".parse().unwrap();
        assert_eq!((pk.tenant.as_str(), pk.user.as_str()), ("acme", "editor#x"));
        assert!("K#acme#x#y".parse::<SlotPk>().is_err());
        assert_eq!(AdminsSk {}.to_string(), "ADMINS");
        assert!("ADMINS#".parse::<AdminsSk>().is_err());
    }
}
