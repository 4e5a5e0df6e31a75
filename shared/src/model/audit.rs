//! Entries in the audit trail: who changed what, when, and from where.

use std::{collections::BTreeMap, fmt, str::FromStr};

use ring::digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    access_key::KeyRecord,
    id::{ClusterName, KeyId, TenantId, UserId},
    labels::Labels,
    origin::Origin,
    principal::Principal,
    role::Role,
    time::Timestamp,
    user::UserStatus,
};

/// An entry in the audit trail. An entry is written in the same transaction as the change that it records, and contains
/// no secret and no hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub id: EntryId,
    /// When the request began, to the millisecond.
    pub at: Timestamp,
    pub tenant_id: TenantId,
    pub actor: Principal,
    pub action: Action,
    pub target: Target,
    /// The changed fields of the target, or all fields of a new target, by name.
    pub changes: BTreeMap<String, Change>,
    /// For a notice: facts about the target at the time of the notice, by name.
    pub details: BTreeMap<String, FieldValue>,
    /// Free text from the caller.
    pub reason: Option<String>,
    pub origin: Origin,
    /// When the entry was written, if that was later than the change.
    pub recorded_at: Option<Timestamp>,
}

impl AuditEntry {
    /// Creates an entry whose list of changed fields is empty.
    #[must_use]
    pub fn new(
        tenant_id: &TenantId,
        actor: Principal,
        origin: &Origin,
        (action, target): (Action, Target),
        at: Timestamp,
    ) -> Self {
        let request = origin.request_id.as_deref().unwrap_or_default();
        let millis = at.as_millis().to_string();
        let target_text = target.to_string();
        let parts = [
            tenant_id.as_str(),
            request,
            &millis,
            action.as_str(),
            &target_text,
        ];
        Self {
            id: EntryId::of(&parts),
            at,
            tenant_id: tenant_id.clone(),
            actor,
            action,
            target,
            changes: BTreeMap::new(),
            details: BTreeMap::new(),
            reason: None,
            origin: origin.clone(),
            recorded_at: None,
        }
    }

    /// Adds a field if its value has changed.
    #[must_use]
    pub fn with(
        mut self,
        field: &str,
        before: Option<impl Into<FieldValue>>,
        after: Option<impl Into<FieldValue>>,
    ) -> Self {
        let (before, after) = (before.map(Into::into), after.map(Into::into));
        if before != after {
            let id = self.id.to_string();
            self.id = EntryId::of(&[&id, field, &format!("{before:?} {after:?}")]);
            self.changes
                .insert(field.to_owned(), Change { before, after });
        }
        self
    }

    /// Adds the labels of a key if they have changed. An empty list counts as no value.
    #[must_use]
    pub fn with_labels(self, before: &Labels, after: &Labels) -> Self {
        let [before, after] = [before, after].map(|labels| Some(labels).filter(|l| !l.is_empty()));
        self.with("labels", before, after)
    }

    /// Adds a field of a new target.
    #[must_use]
    pub fn with_new(self, field: &str, value: impl Into<FieldValue>) -> Self {
        self.with(field, None::<FieldValue>, Some(value))
    }

    /// Adds a fact about the target, if it has a value. The entry's id does not depend on this fact.
    #[must_use]
    pub fn with_detail(mut self, name: &str, value: Option<impl Into<FieldValue>>) -> Self {
        let value = value.map(|value| (name.to_owned(), value.into()));
        self.details.extend(value);
        self
    }

    #[must_use]
    pub fn because(mut self, reason: Option<String>) -> Self {
        self.reason = reason;
        self
    }
}

/// The first use of a secret after a rotation has replaced it. The use becomes an event but not an entry of the audit
/// trail, because nobody has changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupersededUse {
    /// Derived from the key, the generation and `superseded_until`, so that every copy of the event has the same id.
    /// `superseded_until` is included because, after the table is restored, the same generation can be replaced again.
    pub id: EntryId,
    pub at: Timestamp,
    pub tenant_id: TenantId,
    pub target: Target,
    /// The generation of the secret that was used.
    pub generation: u32,
    /// The time until which the secret is valid.
    pub superseded_until: Timestamp,
}

impl SupersededUse {
    /// The name of the event.
    pub const NAME: &str = "access-key.superseded-used";

    /// Returns the first use of the key's previous secret; `None` if no use was recorded.
    #[must_use]
    pub fn of(key: &KeyRecord) -> Option<Self> {
        let previous = key.previous.as_ref()?;
        let (key_id, generation) = (key.key_id.to_string(), previous.generation.to_string());
        let end = previous.ends_at.to_string();
        let parts = [
            Self::NAME,
            key.tenant_id.as_str(),
            &key_id,
            &generation,
            &end,
        ];
        Some(Self {
            id: EntryId::of(&parts),
            at: previous.used_at?,
            tenant_id: key.tenant_id.clone(),
            target: Target::key(key.key_id, &key.user_id),
            generation: previous.generation,
            superseded_until: previous.ends_at,
        })
    }
}

/// A fact that becomes an event.
#[derive(Debug)]
pub enum Happening {
    /// An entry that was added to the audit trail.
    Entry(AuditEntry),
    SupersededUse(SupersededUse),
}

impl Happening {
    /// The name of the event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Entry(entry) => entry.action.as_str(),
            Self::SupersededUse(_) => SupersededUse::NAME,
        }
    }

    #[must_use]
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Entry(entry) => entry.at,
            Self::SupersededUse(used) => used.at,
        }
    }
}

/// The id of an entry: a UUIDv8 (RFC 9562) that is derived from the request. Therefore, if a response from DynamoDB is
/// lost and the entry is written again, the second write replaces the entry instead of adding another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryId(Uuid);

impl EntryId {
    /// Hashes each part with its length, so that different lists of parts never produce the same id.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        for (byte, hashed) in bytes.iter_mut().zip(context.finish().as_ref()) {
            *byte = *hashed;
        }
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl FromStr for EntryId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be a version 8 UUID in lower case with hyphens";
        let uuid = Uuid::try_parse(text).map_err(|_| RULE)?;
        let is_canonical = uuid.get_version_num() == 8 && uuid.to_string() == text;
        is_canonical.then_some(Self(uuid)).ok_or(RULE)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for EntryId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        id.to_string()
    }
}

/// What happened. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Action {
    AccessKeyCreated,
    /// The unused secret of a key was replaced, because a request was repeated with the same `Idempotency-Key`.
    AccessKeyReissued,
    /// The key got a new secret, generation and expiry.
    AccessKeyRotated,
    AccessKeyChanged,
    AccessKeyRevoked,
    /// A notice: the key will expire.
    AccessKeyExpiring,
    /// A notice: the key has expired.
    AccessKeyExpired,
    /// A notice: the key has not been used for a while.
    AccessKeyUnused,
    /// A user signed in for the first time, or was provisioned.
    UserCreated,
    UserChanged,
    UserDeactivated,
    UserReactivated,
    UserDeleted,
    /// All keys that the user had at the time were revoked.
    UserKeysRevoked,
    /// A key took a slot for a cluster.
    ClusterOnboarded,
    ClusterDeleted,
    /// A join token that had already been redeemed was presented again.
    JoinTokenReplayed,
}

impl Action {
    pub const ALL: [Self; 17] = [
        Self::AccessKeyCreated,
        Self::AccessKeyReissued,
        Self::AccessKeyRotated,
        Self::AccessKeyChanged,
        Self::AccessKeyRevoked,
        Self::AccessKeyExpiring,
        Self::AccessKeyExpired,
        Self::AccessKeyUnused,
        Self::UserCreated,
        Self::UserChanged,
        Self::UserDeactivated,
        Self::UserReactivated,
        Self::UserDeleted,
        Self::UserKeysRevoked,
        Self::ClusterOnboarded,
        Self::ClusterDeleted,
        Self::JoinTokenReplayed,
    ];

    /// Returns the name that the table, the API and events use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessKeyCreated => "access-key.created",
            Self::AccessKeyReissued => "access-key.reissued",
            Self::AccessKeyRotated => "access-key.rotated",
            Self::AccessKeyChanged => "access-key.changed",
            Self::AccessKeyRevoked => "access-key.revoked",
            Self::AccessKeyExpiring => "access-key.expiring",
            Self::AccessKeyExpired => "access-key.expired",
            Self::AccessKeyUnused => "access-key.unused",
            Self::UserCreated => "user.created",
            Self::UserChanged => "user.changed",
            Self::UserDeactivated => "user.deactivated",
            Self::UserReactivated => "user.reactivated",
            Self::UserDeleted => "user.deleted",
            Self::UserKeysRevoked => "user.keys-revoked",
            Self::ClusterOnboarded => "cluster.onboarded",
            Self::ClusterDeleted => "cluster.deleted",
            Self::JoinTokenReplayed => "join-token.replayed",
        }
    }
}

impl From<Action> for &'static str {
    fn from(action: Action) -> Self {
        action.as_str()
    }
}

impl FromStr for Action {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        let action = all.find(|action| action.as_str() == text);
        action.ok_or("must be an action of the audit trail, such as access-key.revoked")
    }
}

impl TryFrom<String> for Action {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The key, user or cluster that was changed. Displayed as `<kind>:<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub kind: TargetKind,
    pub id: String,
    /// The owner, if the target is an access key. The kind and the id identify the target even without the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    AccessKey,
    User,
    Cluster,
}

impl TargetKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessKey => "access_key",
            Self::User => "user",
            Self::Cluster => "cluster",
        }
    }
}

impl Target {
    /// The number of shards for the entries of one month.
    pub const SHARDS: u8 = 8;

    #[must_use]
    pub fn key(id: KeyId, owner: &UserId) -> Self {
        Self {
            kind: TargetKind::AccessKey,
            id: id.to_string(),
            user_id: Some(owner.clone()),
        }
    }

    #[must_use]
    pub fn user(id: &UserId) -> Self {
        let (kind, id) = (TargetKind::User, id.to_string());
        let user_id = None;
        Self { kind, id, user_id }
    }

    #[must_use]
    pub fn cluster(name: &ClusterName) -> Self {
        let (kind, id) = (TargetKind::Cluster, name.to_string());
        let user_id = None;
        Self { kind, id, user_id }
    }

    /// Returns the shard for this target's entries. The shard is derived from a hash of the target, so that a busy
    /// target slows down only the targets in its own shard.
    #[must_use]
    pub fn shard(&self) -> u8 {
        let hash = digest::digest(&digest::SHA256, self.to_string().as_bytes());
        hash.as_ref().first().map_or(0, |byte| byte % Self::SHARDS)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.id)
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, id) = text.split_once(':').unwrap_or_default();
        let target = match kind {
            "access_key" => id.parse().ok().map(|id: KeyId| Self {
                kind: TargetKind::AccessKey,
                id: id.to_string(),
                user_id: None,
            }),
            "user" => id.parse().ok().map(|id| Self::user(&id)),
            "cluster" => id.parse().ok().map(|name| Self::cluster(&name)),
            _ => None,
        };
        target.ok_or("must be access_key:<id>, user:<id> or cluster:<name>")
    }
}

/// The value of a field before a change, and its value after the change. A value is absent if the field had no value
/// at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<FieldValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<FieldValue>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldValue {
    Number(u32),
    Text(String),
    Texts(Vec<String>),
}

impl From<u32> for FieldValue {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for FieldValue {
    fn from(flag: bool) -> Self {
        Self::Text(flag.to_string())
    }
}

impl From<&Labels> for FieldValue {
    fn from(labels: &Labels) -> Self {
        Self::Texts(labels.iter().map(str::to_owned).collect())
    }
}

impl From<Role> for FieldValue {
    fn from(role: Role) -> Self {
        role.as_str().into()
    }
}

impl From<UserStatus> for FieldValue {
    fn from(status: UserStatus) -> Self {
        status.as_str().into()
    }
}

impl From<Timestamp> for FieldValue {
    fn from(time: Timestamp) -> Self {
        Self::Text(time.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{NOW, at};

    fn entry(request: &str, now: Timestamp) -> AuditEntry {
        let user: UserId = "admin".parse().unwrap();
        let origin = Origin::new(None, None, Some(request.into()));
        let about = (Action::UserChanged, Target::user(&user));
        AuditEntry::new(
            &"acme".parse().unwrap(),
            (&user).into(),
            &origin,
            about,
            now,
        )
    }

    #[test]
    fn the_same_request_writes_the_same_entry() {
        assert_eq!(entry("r1", NOW).id, entry("r1", NOW).id);
        assert_ne!(entry("r1", NOW).id, entry("r2", NOW).id);
        assert_ne!(entry("r1", NOW).id, entry("r1", at(1)).id);
        let id = entry("r1", NOW).id;
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn two_changes_by_one_request_have_two_entries() {
        let renamed = entry("r", NOW).with("name", Some("Ann"), Some("Anna"));
        let promoted = entry("r", NOW).with("role", Some(Role::Viewer), Some(Role::Admin));
        assert_ne!(renamed.id, promoted.id);
        let again = entry("r", NOW).with("name", Some("Ann"), Some("Anna"));
        assert_eq!(renamed.id, again.id);
    }

    #[test]
    fn an_entry_contains_only_changed_fields() {
        let entry = entry("r", NOW)
            .with("role", Some(Role::Viewer), Some(Role::Admin))
            .with("name", Some("Ann"), Some("Ann"))
            .with("email", None::<&str>, None::<&str>);
        let fields: Vec<_> = entry.changes.keys().collect();
        assert_eq!(fields, ["role"]);
    }

    #[test]
    fn a_target_has_one_textual_form() {
        for text in [
            "access_key:01890a5d-ac96-774b-bcce-b302099a8057",
            "user:auth0|a:b",
            "cluster:prod",
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
            assert!(target.shard() < Target::SHARDS);
        }
        for text in ["", "prod", "node:n1", "access_key:x", "cluster:", "user:"] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_action_has_one_name() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert!("access-key.used".parse::<Action>().is_err());
    }
}
