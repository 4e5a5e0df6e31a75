//! Rotates a key: the key keeps its id, its slots and its history, and gets a new secret, generation and expiry. The
//! replaced secret stays valid until the overlap ends.
//!
//! The claims come from the user's request or from the signed claims of the presented key, and never from the table.
//! The key's record can only reduce what they permit. The generation is the one exception: it counts rotations and
//! grants nothing.

use std::time::Duration;

use super::{
    create_key::{Expiry, IN_PROGRESS, REUSED, hash, idempotency_id, shortened, sign},
    error::{Error, FieldError},
    key_service::KeyService,
    users,
    validate_key::report_superseded,
};
use crate::{
    model::{
        Action, Actor, AuditEntry, Caller, KeyId, KeyRecord, KeySnapshot, Origin, PreviousSecret,
        Principal, Required, Role, Secret, Target, Timestamp, User, UserId,
    },
    policy::{self, RefusalCode, RotatedLimits},
    process::{
        events,
        metrics::{self, Metric},
    },
    store::{Attempts, EarlierRequest, IDEMPOTENCY_LIFETIME, Idempotency, Issued},
    token::{AccessKey, VerifiedKey},
};

/// The rotation that a user requests.
#[derive(Debug, Clone)]
pub struct RotateRequest {
    pub role: Role,
    pub max_clusters: u32,
    pub self_rotate: bool,
    pub expiry: Expiry,
    /// How long the replaced secret stays valid.
    pub overlap: Duration,
    /// The error to return if the expiry is too early. Ignored if this request repeats an earlier one.
    pub too_early: Option<FieldError>,
}

/// Rotates a key on behalf of a user. If the new secret is still unused, repeating the request with the same
/// `Idempotency-Key` within 24 hours replaces it with another one. The key then keeps its generation and its previous
/// secret.
///
/// # Errors
/// Fails if the key is revoked or has expired, if the owner is deactivated, if the expiry is too early, or if the
/// `Idempotency-Key` cannot be used for this request.
pub async fn rotate_key(
    actor: &Actor,
    service: &KeyService,
    (owner_id, key_id): (&UserId, KeyId),
    request: &RotateRequest,
    idempotency_key: Option<&str>,
    history: Duration,
    now: Timestamp,
) -> Result<(KeySnapshot, AccessKey), Error> {
    // If a refresh of the public keys is due, it runs while the table is read. Signing can then reuse the connection to
    // KMS.
    service.refresh_if_due(now);
    let store = &service.store;
    let idempotency = idempotency_key.map(|key| request.idempotency(actor, key_id, key));
    let idempotency = idempotency.as_ref();
    let person = actor.person().map(|person| &person.user_id);
    let mut was_absent = false;
    let mut attempts = Attempts::new();
    while attempts.next().await {
        let key = (&actor.tenant_id, owner_id, key_id);
        let state = store.rotation_state(key, person, idempotency).await?;
        let earlier = remembered(state.earlier, &mut was_absent, now)?;
        let me = users::known(actor, state.actor, now)?;
        let owner = policy::may_manage_keys_of(&me, owner_id, state.owner)?;
        let key = state.key.filter(|key| !key.is_forgotten(history, now));
        let key = key.ok_or(Error::NotFound)?;
        policy::may_create_key(&me, &owner, request.role)?;
        policy::may_be_rotated(&key, &owner, now)?;
        let step = decide(&key, None, earlier.as_ref(), idempotency)?;
        if step == Step::Rotate
            && let Some(error) = &request.too_early
        {
            return Err(Error::Invalid(vec![error.clone()]));
        }
        let wanted = Wanted {
            limits: policy::rotated_limits(request.role, request.max_clusters, &key)?,
            self_rotate: request.self_rotate,
            expires_at: request.expiry.from(now.to_second()),
            overlap: request.overlap,
        };
        let rotation = Rotation {
            service,
            by: me.principal(),
            caller: Some(&me),
            owner: &owner,
            origin: &actor.origin,
            idempotency,
            now,
        };
        if let Some(rotated) = rotation.write(key, step, &wanted).await? {
            return Ok(rotated);
        }
    }
    Err(Error::CHANGED_MEANWHILE)
}

/// Rotates the presented key if it was issued with `self_rotate`. The new secret has the role, the cluster limit and
/// the lifetime of the presented one, as far as the record and the owner still allow them. Its lifetime is at most
/// `longest`.
///
/// If the presented secret is a previous one, its holder can only repeat the request that replaced it, with the same
/// `Idempotency-Key`, and only while the new secret is unused. This works even after the overlap, which may have been
/// zero.
///
/// # Errors
/// Fails if the key is refused or may not rotate itself, or if the `Idempotency-Key` cannot be used for this request.
pub async fn rotate_presented_key(
    service: &KeyService,
    key: &AccessKey,
    (overlap, longest): (Duration, Duration),
    idempotency_key: Option<&str>,
    origin: &Origin,
    now: Timestamp,
) -> Result<(KeySnapshot, AccessKey), Error> {
    let store = &service.store;
    let key = service.verify(key, now).await??;
    let (tenant, user, key_id) = key.claims().ids();
    let idempotency = idempotency_key.map(|text| Idempotency {
        id: hash(&["key", &key_id.to_string(), text]),
        fingerprint: hash(&["rotate", &overlap.as_secs().to_string()]),
    });
    let idempotency = idempotency.as_ref();
    let mut was_absent = false;
    let mut attempts = Attempts::new();
    while attempts.next().await {
        let ids = (tenant, user, key_id);
        let state = store.rotation_state(ids, None, idempotency).await?;
        let earlier = remembered(state.earlier, &mut was_absent, now)?;
        let may_repeat = earlier.is_some();
        let (record, owner) = allowed(&key, state.key, state.owner, may_repeat, now)?;
        let secret = record.secret(key.hash(), key.claims().generation);
        let step = decide(&record, secret, earlier.as_ref(), idempotency);
        let step = step.inspect_err(|_| {
            if let Some(Secret::Previous(_)) = secret {
                report_superseded(&key, RefusalCode::Superseded);
            }
        })?;
        let wanted = wanted_by_holder(&key, &record, &owner, (overlap, longest), now)?;
        let rotation = Rotation {
            service,
            by: key_id.into(),
            caller: None,
            owner: &owner,
            origin,
            idempotency,
            now,
        };
        if let Some((rotated, key)) = rotation.write(record, step, &wanted).await? {
            return Ok((rotated.for_holder(), key));
        }
    }
    Err(Error::CHANGED_MEANWHILE)
}

/// Returns the earlier request with the same `Idempotency-Key` if it is less than 24 hours old. `was_absent` is true if
/// the previous attempt at this request found no earlier request.
fn remembered(
    earlier: Option<EarlierRequest>,
    was_absent: &mut bool,
    now: Timestamp,
) -> Result<Option<EarlierRequest>, Error> {
    let earlier = earlier.filter(|earlier| earlier.created_at > now - IDEMPOTENCY_LIFETIME);
    if *was_absent && earlier.is_some() {
        // A concurrent request has just used the same `Idempotency-Key`, and the secret that it issued must not be
        // replaced.
        return Err(IN_PROGRESS);
    }
    *was_absent = earlier.is_none();
    Ok(earlier)
}

/// Checks that the holder of a key may rotate it. If `may_repeat` is true, a previous secret is accepted even after its
/// overlap.
fn allowed(
    key: &VerifiedKey,
    record: Option<KeyRecord>,
    owner: Option<User>,
    may_repeat: bool,
    now: Timestamp,
) -> Result<(KeyRecord, User), Error> {
    let mut evaluated = record.clone();
    if let Some(record) = evaluated.as_mut().filter(|_| may_repeat)
        && let Some(previous) = &mut record.previous
    {
        previous.ends_at = record.expires_at;
    }
    policy::evaluate(
        key,
        evaluated.as_ref(),
        owner.as_ref(),
        Required::default(),
        now,
    )
    .inspect_err(|code| report_superseded(key, *code))?;
    let (record, owner) = record.zip(owner).ok_or(Error::NotFound)?;
    policy::may_rotate_as_holder(key, &record)?;
    policy::may_be_rotated(&record, &owner, now)?;
    Ok((record, owner))
}

/// Returns what a key permits after its holder has rotated it: the signed claims of the presented key, as far as the
/// record and the owner allow them.
fn wanted_by_holder(
    key: &VerifiedKey,
    record: &KeyRecord,
    owner: &User,
    (overlap, longest): (Duration, Duration),
    now: Timestamp,
) -> Result<Wanted, Error> {
    let claims = key.claims();
    let role = claims.role.limited_to(owner.role);
    let role = role.ok_or(Error::KeyRefused(RefusalCode::Forbidden))?;
    let end = claims.expires_at.min(record.expires_at);
    let lifetime = end.since(claims.issued_at).unwrap_or_default();
    Ok(Wanted {
        limits: policy::rotated_limits(role, claims.max_clusters, record)?,
        self_rotate: true,
        expires_at: now.to_second() + lifetime.min(longest),
        overlap,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Rotate,
    /// Replace the unused secret of an earlier rotation.
    Repeat,
}

/// Decides how to handle a rotation. `secret` is the secret that the holder of the key presents.
fn decide(
    key: &KeyRecord,
    secret: Option<Secret>,
    earlier: Option<&EarlierRequest>,
    idempotency: Option<&Idempotency>,
) -> Result<Step, Error> {
    let is_previous = matches!(secret, Some(Secret::Previous(_)));
    let Some(earlier) = earlier else {
        return match is_previous {
            false => Ok(Step::Rotate),
            true => Err(Error::Conflict(
                "key_superseded",
                "the key was rotated: use its new secret, or repeat the lost request with its Idempotency-Key",
            )),
        };
    };
    if idempotency.is_none_or(|this| this.fingerprint != earlier.fingerprint) {
        return Err(REUSED);
    }
    // A holder who presents the new secret has received it.
    let is_lost = secret.is_none() || is_previous;
    let is_latest = earlier.generation == Some(key.generation);
    if is_latest && is_lost && !key.is_current_used() {
        Ok(Step::Repeat)
    } else {
        Err(Error::IdempotencyKeyCompleted(earlier.key_id))
    }
}

/// What a rotated key permits. The table never supplies these values and can only lower them.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    limits: RotatedLimits,
    self_rotate: bool,
    expires_at: Timestamp,
    overlap: Duration,
}

impl Wanted {
    /// Returns the key's record with its new claims, but without a hash.
    fn applied_to(&self, key: &KeyRecord, owner: &User, step: Step, now: Timestamp) -> KeyRecord {
        let issued_at = now.to_second();
        let signed = KeyRecord {
            role: self.limits.role,
            max_clusters: self.limits.max_clusters,
            signed_max_clusters: self.limits.signed_max_clusters,
            self_rotate: self.self_rotate,
            rotated_at: Some(issued_at),
            hash: None,
            ..key.clone()
        };
        match step {
            Step::Repeat => KeyRecord {
                expires_at: self.expires_at.min(key.expires_at),
                // The next rotation by the holder reuses the signed lifetime. This time is therefore moved earlier, so
                // that the signed lifetime equals the requested one.
                rotated_at: Some(issued_at - shortened(self.expires_at, key.expires_at)),
                ..signed
            },
            Step::Rotate => KeyRecord {
                expires_at: self.expires_at,
                // This never saturates, because the policy refuses the highest generation.
                generation: key.generation.saturating_add(1),
                // The key already has this epoch, unless something other than this service has changed the epoch.
                epoch: owner.epoch,
                used_generation: 0,
                due_at: Some(now),
                previous: Some(PreviousSecret {
                    hash: key.hash,
                    generation: key.generation,
                    ends_at: (issued_at + self.overlap)
                        .min(key.expires_at)
                        .min(self.expires_at),
                    used_at: None,
                }),
                ..signed
            },
        }
    }
}

struct Rotation<'a> {
    service: &'a KeyService,
    by: Principal,
    /// The caller, or `None` if the key rotates itself.
    caller: Option<&'a Caller>,
    owner: &'a User,
    origin: &'a Origin,
    idempotency: Option<&'a Idempotency>,
    now: Timestamp,
}

impl Rotation<'_> {
    /// Signs and writes the new secret of a key. Returns `None` if the key, its owner or the caller has changed since
    /// it was read, in which case the policy must decide again.
    async fn write(
        self,
        read: KeyRecord,
        step: Step,
        wanted: &Wanted,
    ) -> Result<Option<(KeySnapshot, AccessKey)>, Error> {
        let signed = wanted.applied_to(&read, self.owner, step, self.now);
        let (signed, key) = sign(self.service, signed).await?;
        let entry = self.entry(&read, &signed, step);
        let (record, idempotency) = match step {
            Step::Rotate => (signed, self.idempotency),
            Step::Repeat => {
                let hash = signed.hash;
                (
                    KeyRecord {
                        hash,
                        ..read.clone()
                    },
                    None,
                )
            }
        };
        let (keys, parties) = ((&read, &record), (self.caller, self.owner));
        let store = &self.service.store;
        let written = store.rotate_key(keys, parties, idempotency, self.now, &entry);
        match written.await? {
            Issued::Done => {
                self.report(&record, step);
                Ok(Some((record.snapshot(Some(self.owner), self.now), key)))
            }
            Issued::Changed => Ok(None),
            Issued::Taken => Err(IN_PROGRESS),
        }
    }

    /// Returns the audit entry, which contains the signed claims.
    fn entry(&self, read: &KeyRecord, signed: &KeyRecord, step: Step) -> AuditEntry {
        let action = match step {
            Step::Rotate => Action::AccessKeyRotated,
            Step::Repeat => Action::AccessKeyReissued,
        };
        let about = (action, Target::key(read.key_id, &read.user_id));
        let entry = AuditEntry::new(
            &read.tenant_id,
            self.by.clone(),
            self.origin,
            about,
            self.now,
        );
        match step {
            Step::Rotate => entry
                .with("generation", Some(read.generation), Some(signed.generation))
                .with("role", Some(read.role), Some(signed.role))
                .with(
                    "max_clusters",
                    Some(read.max_clusters),
                    Some(signed.max_clusters),
                )
                .with("expires_at", Some(read.expires_at), Some(signed.expires_at))
                .with(
                    "self_rotate",
                    Some(read.self_rotate),
                    Some(signed.self_rotate),
                )
                .with(
                    "superseded_until",
                    None::<Timestamp>,
                    signed.previous.as_ref().map(|previous| previous.ends_at),
                ),
            Step::Repeat => entry
                .with_new("generation", signed.generation)
                .with_new("role", signed.role)
                .with_new("max_clusters", signed.max_clusters)
                .with_new("expires_at", signed.expires_at),
        }
    }

    fn report(&self, key: &KeyRecord, step: Step) {
        if step == Step::Repeat {
            tracing::info!(
                event.name = events::ACCESS_KEY_REISSUED,
                actor = %self.by,
                tenant.id = %key.tenant_id,
                user.id = %key.user_id,
                key.id = %key.key_id,
                "replaced the unused secret of a rotated access key"
            );
            return;
        }
        tracing::info!(
            event.name = events::ACCESS_KEY_ROTATED,
            actor = %self.by,
            tenant.id = %key.tenant_id,
            user.id = %key.user_id,
            key.id = %key.key_id,
            key.generation = key.generation,
            "rotated an access key"
        );
        let kind = self.caller.map_or("holder", |_| "key");
        metrics::count(Metric::Rotated(kind));
    }
}

impl RotateRequest {
    fn idempotency(&self, actor: &Actor, key_id: KeyId, idempotency_key: &str) -> Idempotency {
        let limits = format!(
            "{} {} {} {}",
            self.expiry.fingerprint(),
            self.max_clusters,
            self.self_rotate,
            self.overlap.as_secs()
        );
        Idempotency {
            id: idempotency_id(actor, idempotency_key),
            fingerprint: hash(&["rotate", &key_id.to_string(), self.role.as_str(), &limits]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::fixtures::{self, NOW, at},
        token::Claims,
    };

    fn hash(byte: u8) -> crate::model::KeyHash {
        [byte; 32].into()
    }

    /// Returns a key of generation 1 whose previous secret ends at `at(100)`, and the key's owner.
    fn rotated() -> (KeyRecord, User) {
        let owner = fixtures::user("editor", Role::Editor);
        let key = fixtures::key(&owner, hash(1));
        let key = KeyRecord {
            generation: 1,
            self_rotate: true,
            previous: Some(PreviousSecret {
                hash: Some(hash(0)),
                generation: 0,
                ends_at: at(100),
                used_at: None,
            }),
            ..key
        };
        (key, owner)
    }

    fn presented(key: &KeyRecord, byte: u8, generation: u32) -> VerifiedKey {
        let claims = Claims {
            generation,
            ..Claims::of(key)
        };
        VerifiedKey::new(hash(byte), claims)
    }

    #[test]
    fn both_secrets_are_valid_until_the_overlap_ends() {
        let (key, owner) = rotated();
        let evaluate = |byte, generation, now| {
            let presented = presented(&key, byte, generation);
            let grant = policy::evaluate(
                &presented,
                Some(&key),
                Some(&owner),
                Required::default(),
                now,
            );
            grant.map(|grant| grant.superseded_until)
        };
        assert_eq!(evaluate(1, 1, NOW), Ok(None));
        assert_eq!(evaluate(0, 0, at(99)), Ok(Some(at(100))));
        assert_eq!(evaluate(0, 0, at(100)), Err(RefusalCode::Superseded));
        assert_eq!(evaluate(1, 1, at(100)), Ok(None));
        assert_eq!(evaluate(0, 0, at(1000)), Err(RefusalCode::Expired));
        assert_eq!(evaluate(2, 0, NOW), Err(RefusalCode::Invalid));
    }

    #[test]
    fn the_previous_hash_is_accepted_only_with_an_earlier_generation() {
        let (key, owner) = rotated();
        for generation in [1, 2] {
            let presented = presented(&key, 0, generation);
            let required = Required::default();
            let grant = policy::evaluate(&presented, Some(&key), Some(&owner), required, NOW);
            assert_eq!(grant.err(), Some(RefusalCode::Invalid), "{generation}");
        }
    }

    #[test]
    fn a_superseded_secret_cannot_revoke_its_key() {
        let (key, _) = rotated();
        let may = |byte, generation, now| {
            policy::may_revoke_as_holder(&presented(&key, byte, generation), Some(&key), now)
        };
        assert_eq!(may(0, 0, at(99)), Ok(()));
        assert_eq!(may(1, 1, at(100)), Ok(()));
        assert_eq!(may(0, 0, at(100)), Err(RefusalCode::Superseded));
        assert_eq!(may(2, 0, NOW), Err(RefusalCode::Invalid));
    }

    #[test]
    fn a_repeated_rotation_requires_the_latest_generation_an_unused_secret_and_the_same_request() {
        let request = |text: &str| Idempotency {
            id: "id".into(),
            fingerprint: text.into(),
        };
        let earlier = |generation| EarlierRequest {
            key_id: rotated().0.key_id,
            fingerprint: "a".into(),
            generation,
            created_at: at(0),
        };
        let (key, _) = rotated();
        let used = KeyRecord {
            used_generation: 1,
            ..key.clone()
        };
        let previous = Some(Secret::Previous(at(100)));
        let decided = |key, secret, earlier: Option<EarlierRequest>, text| {
            let request = request(text);
            let step = decide(key, secret, earlier.as_ref(), Some(&request));
            step.map_err(|error| match error {
                Error::Conflict(code, _) => code,
                _ => "completed",
            })
        };
        let latest = || Some(earlier(Some(1)));
        for (key, secret, earlier, text, expected) in [
            (&key, None, None, "a", Ok(Step::Rotate)),
            (&key, Some(Secret::Current), None, "a", Ok(Step::Rotate)),
            (&key, previous, None, "a", Err("key_superseded")),
            (&key, None, latest(), "a", Ok(Step::Repeat)),
            (&key, previous, latest(), "a", Ok(Step::Repeat)),
            (&key, None, latest(), "b", Err("idempotency_key_reused")),
            (&key, Some(Secret::Current), latest(), "a", Err("completed")),
            (&used, None, latest(), "a", Err("completed")),
            (&used, previous, latest(), "a", Err("completed")),
            (&key, None, Some(earlier(Some(0))), "a", Err("completed")),
            (&key, None, Some(earlier(None)), "a", Err("completed")),
        ] {
            assert_eq!(decided(key, secret, earlier, text), expected, "{secret:?}");
        }
    }

    #[test]
    fn a_repeated_rotation_keeps_the_generation_the_previous_secret_and_the_earlier_expiry() {
        let (key, owner) = rotated();
        let wanted = Wanted {
            limits: policy::rotated_limits(Role::Viewer, 9, &key).unwrap(),
            self_rotate: false,
            expires_at: at(2000),
            overlap: Duration::from_secs(5000),
        };
        let rotated = wanted.applied_to(&key, &owner, Step::Rotate, NOW);
        assert_eq!((rotated.generation, rotated.expires_at), (2, at(2000)));
        assert_eq!((rotated.role, rotated.max_clusters), (Role::Viewer, 3));
        // The old secret ends at its own expiry.
        let previous = rotated.previous.unwrap();
        assert_eq!((previous.hash, previous.ends_at), (key.hash, at(1000)));
        let repeated = wanted.applied_to(&key, &owner, Step::Repeat, NOW);
        assert_eq!((repeated.generation, repeated.expires_at), (1, at(1000)));
        assert_eq!(repeated.previous, key.previous);
    }
}
