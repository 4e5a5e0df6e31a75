//! Creates a key: reads the state, checks the policy, signs with KMS, and writes the key in one transaction.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::digest;

use super::{
    error::{Error, FieldError},
    key_service::KeyService,
    users,
};
use crate::{
    model::{
        Action, Actor, AuditEntry, Caller, Identity, KeyId, KeyRecord, KeySnapshot, Labels, Name,
        Origin, Role, Target, Timestamp, User, UserId,
    },
    policy,
    process::{
        events,
        metrics::{self, Metric},
    },
    store::{Attempts, EarlierRequest, IDEMPOTENCY_LIFETIME, Idempotency, Issued, Quota},
    token::{AccessKey, Claims},
};

#[derive(Debug, Clone)]
pub struct KeyRequest {
    pub name: Name,
    pub labels: Labels,
    pub role: Role,
    pub max_clusters: u32,
    /// Whether the holder of the key may rotate it.
    pub self_rotate: bool,
    pub expiry: Expiry,
    /// The maximum number of live keys that the owner may have.
    pub quota: usize,
    /// The maximum number of first sign-ins per hour in the tenant.
    pub first_sign_ins: u32,
    /// The error to return if the expiry is too early for a new key. Ignored if this request repeats an earlier one,
    /// because the expiry was valid when the request was first sent.
    pub too_early: Option<FieldError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The lifetime of the key.
    In(Duration),
    At(Timestamp),
}

impl Expiry {
    /// Returns the expiry of a key that is issued at `now`.
    pub(super) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::In(duration) => now + duration,
            Self::At(time) => time,
        }
    }

    /// Returns the text that represents this expiry in a fingerprint.
    pub(super) fn fingerprint(self) -> String {
        match self {
            Self::In(duration) => format!("In({})", duration.as_secs()),
            Self::At(time) => format!("At({})", time.as_seconds()),
        }
    }
}

/// Creates a key for a user. Repeating a request with the same `Idempotency-Key` within 24 hours issues a new secret
/// for the same key, because the response with the earlier secret may have been lost. The earlier secret becomes
/// invalid. A key that has been used is never reissued, because its secret must have been delivered.
///
/// The signed claims come from the request and never from the table, which can only make the expiry earlier. Therefore,
/// no write to the table can make a repeated request sign a key with more rights.
///
/// # Errors
/// Fails if the expiry is too early, the owner is deactivated, or the `Idempotency-Key` cannot be used for this
/// request. If KMS or the table fails, either no key was created, or repeating the request with the same
/// `Idempotency-Key` finds the key.
pub async fn create_key(
    actor: &Actor,
    service: &KeyService,
    owner_id: &UserId,
    request: &KeyRequest,
    idempotency_key: Option<&str>,
    now: Timestamp,
) -> Result<(KeySnapshot, AccessKey), Error> {
    // If a refresh of the public keys is due, it runs while the table is read. Signing can then reuse the connection to
    // KMS.
    service.refresh_if_due(now);
    let store = &service.store;
    let idempotency = idempotency_key.map(|key| request.idempotency(actor, key));
    let idempotency = idempotency.as_ref();
    let mut was_absent = false;
    let mut attempts = Attempts::new();
    while attempts.next().await {
        let state = store.creation_state(actor, owner_id, idempotency).await?;
        let remembered = state
            .earlier
            .filter(|earlier| earlier.created_at > now - IDEMPOTENCY_LIFETIME);
        if was_absent && remembered.is_some() {
            // A concurrent request has just created the key, whose secret must therefore not be replaced.
            return Err(IN_PROGRESS);
        }
        was_absent = remembered.is_none();
        let Some(me) =
            users::sign_in(actor, store, state.actor, request.first_sign_ins, now).await?
        else {
            continue;
        };
        let owner = policy::may_manage_keys_of(&me, owner_id, state.owner)?;
        policy::may_create_key(&me, &owner, request.role)?;
        let parties = Parties {
            me: &me,
            owner: &owner,
            origin: &actor.origin,
        };
        let is_new = idempotency.is_none() || remembered.is_none();
        if is_new && let Some(error) = &request.too_early {
            return Err(Error::Invalid(vec![error.clone()]));
        }
        if is_new && state.quota.live.len() >= request.quota {
            let live = store.recount_quota(&owner, &state.quota, now).await?;
            policy::may_have_another_key(live, request.quota)?;
            continue;
        }
        let created = match (idempotency, remembered) {
            (Some(idempotency), Some(earlier)) => {
                reissue(service, request, &parties, idempotency, earlier, now).await?
            }
            _ => issue(service, request, &parties, idempotency, &state.quota, now).await?,
        };
        if let Some((record, key)) = created {
            return Ok((record.snapshot(Some(&owner), now), key));
        }
    }
    Err(Error::CHANGED_MEANWHILE)
}

/// The caller and the owner of a new key, as read from the table.
struct Parties<'a> {
    me: &'a Caller,
    owner: &'a User,
    origin: &'a Origin,
}

impl Parties<'_> {
    /// Returns the audit entry, which contains the name, the labels and the signed claims.
    fn entry(&self, action: Action, signed: &KeyRecord, now: Timestamp) -> AuditEntry {
        let (tenant, owner) = (&self.owner.tenant_id, &self.owner.user_id);
        let about = (action, Target::key(signed.key_id, owner));
        AuditEntry::new(tenant, self.me.principal(), self.origin, about, now)
            .with_new("name", signed.name.as_str())
            .with_labels(&Labels::default(), &signed.labels)
            .with_new("role", signed.role)
            .with_new("max_clusters", signed.max_clusters)
            .with_new("expires_at", signed.expires_at)
            .with(
                "self_rotate",
                None::<&str>,
                signed.self_rotate.then_some("true"),
            )
    }
}

/// Signs and writes a new key. Returns `None` if a concurrent request has changed the caller or the owner, in which
/// case the policy must decide again.
async fn issue(
    service: &KeyService,
    request: &KeyRequest,
    parties: &Parties<'_>,
    idempotency: Option<&Idempotency>,
    quota: &Quota,
    now: Timestamp,
) -> Result<Option<(KeyRecord, AccessKey)>, Error> {
    let record = request.record(parties.me, parties.owner, now)?;
    let (record, key) = sign(service, record).await?;
    let entry = parties.entry(Action::AccessKeyCreated, &record, now);
    let Parties { me, owner, .. } = parties;
    let store = &service.store;
    match store
        .create_key(
            &record,
            (me, owner),
            idempotency,
            (quota, request.quota),
            &entry,
        )
        .await?
    {
        Issued::Done => {
            metrics::count(Metric::KeyCreated);
            tracing::info!(
                event.name = events::ACCESS_KEY_CREATED,
                actor = %entry.actor,
                tenant.id = %record.tenant_id,
                user.id = %record.user_id,
                key.id = %record.key_id,
                "created an access key"
            );
            Ok(Some((record, key)))
        }
        Issued::Changed => Ok(None),
        Issued::Taken => Err(IN_PROGRESS),
    }
}

/// Issues a new secret for the key that an earlier request with the same `Idempotency-Key` created. Signs the claims of
/// this request, but never with a later expiry than the key already has. Returns `None` if a concurrent request has
/// changed the caller or the owner.
async fn reissue(
    service: &KeyService,
    request: &KeyRequest,
    parties: &Parties<'_>,
    idempotency: &Idempotency,
    earlier: EarlierRequest,
    now: Timestamp,
) -> Result<Option<(KeyRecord, AccessKey)>, Error> {
    if idempotency.fingerprint != earlier.fingerprint {
        return Err(REUSED);
    }
    let Parties { me, owner, .. } = parties;
    let store = &service.store;
    let found = store
        .key(&owner.tenant_id, &owner.user_id, earlier.key_id)
        .await?;
    let is_as_created = |key: &KeyRecord| key.generation == 0 && !key.is_current_used();
    let found = found.filter(|key| key.is_live(owner, now) && is_as_created(key));
    let Some((found, hash)) = found.and_then(|key| key.hash.map(|hash| (key, hash))) else {
        return Err(Error::IdempotencyKeyCompleted(earlier.key_id));
    };
    let wanted = request.record(me, owner, now)?;
    let signed = KeyRecord {
        key_id: found.key_id,
        // These fields are not signed and may have changed since the key was created.
        name: found.name.clone(),
        labels: found.labels.clone(),
        expires_at: wanted.expires_at.min(found.expires_at),
        // A rotation by the holder reuses the signed lifetime, which must therefore equal the requested one. If the
        // expiry above is earlier than requested, the creation time is moved back by the same amount.
        created_at: wanted.created_at - shortened(wanted.expires_at, found.expires_at),
        ..wanted
    };
    let (signed, key) = sign(service, signed).await?;
    let entry = parties.entry(Action::AccessKeyReissued, &signed, now);
    let record = KeyRecord {
        hash: signed.hash,
        ..found
    };
    match store
        .reissue_key(&record, hash, me, owner, now, &entry)
        .await?
    {
        Issued::Done => {
            tracing::info!(
                event.name = events::ACCESS_KEY_REISSUED,
                actor = %entry.actor,
                tenant.id = %record.tenant_id,
                user.id = %record.user_id,
                key.id = %record.key_id,
                "replaced the unused secret of an access key"
            );
            Ok(Some((record, key)))
        }
        Issued::Changed => Ok(None),
        Issued::Taken => Err(Error::IdempotencyKeyCompleted(earlier.key_id)),
    }
}

pub(super) const REUSED: Error = Error::Conflict(
    "idempotency_key_reused",
    "this Idempotency-Key was used for a different request: use a new one",
);

/// Returns by how much `limit` is earlier than `expires_at`, or zero if it is not earlier.
pub(super) fn shortened(expires_at: Timestamp, limit: Timestamp) -> Duration {
    expires_at.since(limit).unwrap_or_default()
}

pub(super) const IN_PROGRESS: Error = Error::Conflict(
    "idempotency_in_progress",
    "another request with this Idempotency-Key is in progress: retry later, and the key gets a new secret",
);

/// Signs a key and puts the hash of the signed key into the record.
pub(super) async fn sign(
    service: &KeyService,
    record: KeyRecord,
) -> Result<(KeyRecord, AccessKey), Error> {
    let KeyService { kms, issuer, .. } = service;
    let key = kms.sign(Claims::of(&record), issuer).await?;
    let hash = Some(key.hash());
    Ok((KeyRecord { hash, ..record }, key))
}

impl KeyRequest {
    fn record(&self, me: &Caller, owner: &User, now: Timestamp) -> Result<KeyRecord, Error> {
        // Times are whole seconds. Ids contain a time in milliseconds, so that they sort more precisely.
        let created_at = now.to_second();
        Ok(KeyRecord {
            tenant_id: owner.tenant_id.clone(),
            user_id: owner.user_id.clone(),
            key_id: KeyId::generate(now)?,
            name: self.name.to_string(),
            labels: self.labels.clone(),
            role: self.role,
            max_clusters: self.max_clusters,
            signed_max_clusters: self.max_clusters,
            clusters_used: 0,
            created_at,
            created_by: me.principal(),
            expires_at: self.expiry.from(created_at),
            epoch: owner.epoch,
            revocation: None,
            last_used_at: None,
            due_at: Some(created_at),
            unused_reported_at: None,
            hash: None,
            generation: 0,
            rotated_at: None,
            self_rotate: self.self_rotate,
            used_generation: 0,
            previous: None,
        })
    }

    fn idempotency(&self, actor: &Actor, idempotency_key: &str) -> Idempotency {
        let limits = format!("{} {}", self.expiry.fingerprint(), self.max_clusters);
        let mut parts = vec![self.name.as_str(), self.role.as_str(), &limits];
        parts.extend(self.self_rotate.then_some("self_rotate"));
        if !self.labels.is_empty() {
            // Separates the labels from the flag, because a label can have the same name as the flag.
            parts.push("labels");
            parts.extend(self.labels.iter());
        }
        Idempotency {
            id: idempotency_id(actor, idempotency_key),
            fingerprint: hash(&parts),
        }
    }
}

/// Returns an id for an `Idempotency-Key` and the person or operator who sent it.
pub(super) fn idempotency_id(actor: &Actor, idempotency_key: &str) -> String {
    match &actor.identity {
        Identity::Person(person) => hash(&[person.user_id.as_str(), idempotency_key]),
        Identity::Operator(client) => hash(&["operator", client, idempotency_key]),
    }
}

/// Hashes each part together with its length, so that no two lists of parts produce the same input to the hash.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    BASE64URL.encode(context.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Person,
        fixtures::{self, NOW, at},
    };

    fn request(expiry: Expiry) -> KeyRequest {
        KeyRequest {
            name: "ci".parse().unwrap(),
            labels: Labels::default(),
            role: Role::Viewer,
            max_clusters: 1,
            self_rotate: false,
            expiry,
            quota: 1,
            first_sign_ins: 1,
            too_early: None,
        }
    }

    #[test]
    fn a_request_is_still_recognized_after_a_deployment() {
        let actor = Actor {
            tenant_id: "acme".parse().unwrap(),
            identity: Identity::Person(Person {
                user_id: "admin".parse().unwrap(),
                email: None,
                name: None,
                is_email_verified: false,
                is_bootstrap_admin: false,
            }),
            origin: Origin::default(),
        };
        let thirty_days = Expiry::In(Duration::from_secs(30 * 86_400));
        let Idempotency { id, fingerprint } = request(thirty_days).idempotency(&actor, "once");
        assert_eq!(id, hash(&["admin", "once"]));
        assert_eq!(fingerprint, hash(&["ci", "viewer", "In(2592000) 1"]));
        let at = Expiry::At(Timestamp::from_seconds(1_800_000_000));
        let Idempotency { fingerprint, .. } = request(at).idempotency(&actor, "once");
        assert_eq!(fingerprint, hash(&["ci", "viewer", "At(1800000000) 1"]));
    }

    #[test]
    fn requests_with_different_labels_are_different() {
        let actor = Actor {
            tenant_id: "acme".parse().unwrap(),
            identity: Identity::Operator("backend".into()),
            origin: Origin::default(),
        };
        let fingerprint = |labels: &[&str], self_rotate| {
            let request = KeyRequest {
                labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
                self_rotate,
                ..request(Expiry::In(Duration::from_secs(60)))
            };
            request.idempotency(&actor, "once").fingerprint
        };
        let mut all = vec![
            fingerprint(&[], false),
            fingerprint(&[], true),
            fingerprint(&["a", "b"], false),
            fingerprint(&["a"], true),
            fingerprint(&["self_rotate"], false),
            fingerprint(&["labels"], false),
        ];
        assert_eq!(all[2], fingerprint(&["b", "a", "b"], false));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn times_are_whole_seconds_and_ids_sort_by_millisecond() {
        let user = fixtures::user("admin", Role::Admin);
        let wanted = request(Expiry::In(Duration::from_secs(60)));
        let me = Caller::User(user.clone());
        let record = wanted.record(&me, &user, NOW).unwrap();
        assert_eq!((record.created_at, record.expires_at), (at(0), at(60)));
        let later = NOW + Duration::from_millis(1);
        let second = wanted.record(&me, &user, later).unwrap();
        assert!(record.key_id < second.key_id);
    }
}
