//! Validating a key: is it good, and for what? What is forged is refused without I/O; what is genuine costs one read,
//! or none for a caller who accepts what was read a moment ago.

mod memory;

use std::{sync::Arc, time::Duration};

use serde::Serialize;

pub use self::memory::Memory;
use crate::{
    aws::AwsSettings,
    clock::{self, Seconds},
    config::{Environment, KeySettings},
    error::Error,
    id::{KeyId, TenantId, UserId},
    key::{AccessKey, Claims, KeyHash, Realm, Refusal},
    metrics::{self, Metric},
    record::{KeyRecord, User},
    role::{Permission, Permissions, Role},
    signer::Signer,
    store::Store,
};

/// `last_used_at` is written at most this often.
const USE_PRECISION: Seconds = 3600;
/// How long an answer waits for that write, which it does not need.
const USE_PATIENCE: Duration = Duration::from_millis(300);

/// What it takes to tell whether a key is good.
pub struct Verifier {
    /// The KMS keys.
    pub signer: Signer,
    /// The table.
    pub store: Store,
    /// `iss` and `aud`.
    pub realm: Realm,
}

impl Verifier {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        let keys = KeySettings::read(environment);
        Self {
            signer: Signer::new(aws.kms(), keys.signing_keys),
            store: Store::read(environment, &aws),
            realm: keys.realm,
        }
    }

    /// Fetches the public keys and connects to DynamoDB, at the same time, in the init phase.
    pub async fn warm_up(&self) {
        tokio::join!(self.signer.warm_up(), self.store.warm_up_by_batch());
    }
}

/// What a good key may do, for its owner as the owner is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// The owner.
    pub sub: UserId,
    /// The tenant.
    #[serde(rename = "tenant-id")]
    pub tenant_id: TenantId,
    /// What is left of the key's role.
    pub role: Role,
    /// The permissions of that role.
    pub scope: Permissions,
    /// When it was issued.
    pub iat: Seconds,
    /// The first second in which it is no longer good.
    pub exp: Seconds,
    /// The key's id.
    pub jti: KeyId,
    /// The clusters it may onboard.
    pub max_clusters: u32,
    /// The clusters it has onboarded.
    pub clusters_used: u32,
}

/// Why a key is not good. The codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Malformed, forged or unknown: nobody can tell which.
    Invalid,
    /// Its time is over.
    Expired,
    /// Ended by someone.
    Revoked,
    /// The owner is deactivated or deleted.
    OwnerInactive,
    /// Good, but not for what was asked.
    Forbidden,
}

/// For the calls that a key itself makes. Unlike an answer of `validate`, these errors are read by the key's holder.
impl From<Code> for Error {
    fn from(code: Code) -> Self {
        match code {
            Code::Invalid => Self::KeyRefused(
                "invalid_key",
                "the access key is not valid: create a new one",
            ),
            Code::Expired => Self::KeyRefused(
                "key_expired",
                "the access key has expired: create a new one",
            ),
            Code::Revoked => Self::KeyRefused(
                "key_revoked",
                "the access key was revoked: create a new one",
            ),
            Code::OwnerInactive => Self::KeyRefused(
                "owner_inactive",
                "the owner of the access key is deactivated or deleted: ask an administrator",
            ),
            Code::Forbidden => Self::Forbidden(
                "the role of the access key, or of its owner, does not permit this: use a key whose role does",
            ),
        }
    }
}

impl Code {
    /// The code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::OwnerInactive => "owner_inactive",
            Self::Forbidden => "forbidden",
        }
    }
}

/// Verifies signature, realm and expiry. No I/O, save the first call's fetch of the public keys.
///
/// # Errors
/// When the public keys cannot be had.
pub async fn verify(
    verifier: &Verifier,
    key: &AccessKey,
    now: Seconds,
) -> Result<Result<Claims, Code>, Error> {
    let keyring = verifier.signer.keyring().await?;
    Ok(key
        .verify(keyring, &verifier.realm, now)
        .map_err(|refusal| match refusal {
            Refusal::Expired => Code::Expired,
            _ => Code::Invalid,
        }))
}

/// Says whether `key` is good, and for what; with a `permission`, whether it is good for that.
///
/// # Errors
/// When the public keys or the table cannot be had: it fails closed.
pub async fn validate(
    verifier: &Verifier,
    key: &AccessKey,
    permission: Option<Permission>,
    now: Seconds,
) -> Result<Result<Grant, Code>, Error> {
    let reading = match read(verifier, key, now).await? {
        Ok(reading) => reading,
        Err(code) => return Ok(Err(code)),
    };
    let verdict = reading.judge(key.hash(), permission, now);
    reading.note_use(&verifier.store, &verdict, now).await;
    Ok(verdict)
}

/// A verdict, and how old what it rests on is.
#[derive(Debug)]
pub struct Checked {
    /// What the key is good for, or why it is not good.
    pub verdict: Result<Grant, Code>,
    /// The second in which the reading began that the verdict rests on; that of the request if nothing was read.
    pub at: Seconds,
}

/// [`validate`], which may rest on what `memory` holds if its reading began less than `max_staleness` ago.
///
/// Only the reading is remembered: time, permission and owner are judged by it anew. `now` is in milliseconds since
/// the Unix epoch, and from before the call.
///
/// # Errors
/// When the public keys or the table are needed and cannot be had: it fails closed.
pub async fn validate_recalling(
    verifier: &Verifier,
    memory: &Memory,
    key: &AccessKey,
    permission: Option<Permission>,
    max_staleness: Seconds,
    now: u64,
) -> Result<Checked, Error> {
    let (began, now) = (now, clock::seconds(now));
    if max_staleness > 0 {
        let hash = key.hash();
        if let Some((at, reading)) = memory.recall(&hash, max_staleness, began) {
            return Ok(Checked {
                verdict: reading.judge(hash, permission, now),
                at,
            });
        }
    }
    let reading = match read(verifier, key, now).await? {
        Ok(reading) => Arc::new(reading),
        Err(code) => {
            return Ok(Checked {
                verdict: Err(code),
                at: now,
            });
        }
    };
    let hash = key.hash();
    memory.keep(hash, &reading, began);
    let verdict = reading.judge(hash, permission, now);
    reading.note_use(&verifier.store, &verdict, now).await;
    Ok(Checked { verdict, at: now })
}

/// What was signed into a key, and what the table said of it.
#[derive(Debug)]
struct Reading {
    claims: Claims,
    record: Option<KeyRecord>,
    owner: Option<User>,
}

async fn read(
    verifier: &Verifier,
    key: &AccessKey,
    now: Seconds,
) -> Result<Result<Reading, Code>, Error> {
    let claims = match verify(verifier, key, now).await? {
        Ok(claims) => claims,
        Err(code) => return Ok(Err(code)),
    };
    let (record, mut owner) = verifier
        .store
        .key_and_owner(&claims.tenant_id, &claims.user_id, claims.key_id)
        .await?;
    if let Some(owner) = &mut owner {
        // Judging takes the epoch only; the particulars are most of what would be remembered.
        owner.revocations = Vec::new();
    }
    Ok(Ok(Reading {
        claims,
        record,
        owner,
    }))
}

impl Reading {
    fn judge(
        &self,
        hash: KeyHash,
        permission: Option<Permission>,
        now: Seconds,
    ) -> Result<Grant, Code> {
        judge(
            hash,
            &self.claims,
            self.record.as_ref(),
            self.owner.as_ref(),
            permission,
            now,
        )
    }

    /// A validation must not fail, or wait long, because this could not be written.
    async fn note_use(&self, store: &Store, verdict: &Result<Grant, Code>, now: Seconds) {
        let (Ok(_), Some(record)) = (verdict, &self.record) else {
            return;
        };
        if !use_is_stale(record, now) {
            return;
        }
        let since = now - USE_PRECISION;
        match tokio::time::timeout(USE_PATIENCE, store.touch_key(record, since, now)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    error.cause = crate::telemetry::chain(&error),
                    "last use not noted"
                )
            }
            Err(_) => tracing::warn!("last use not noted in time"),
        }
    }
}

/// Counts what `function` found: `active`, a [`Code`], or `unavailable` when it could not tell. A request whose time
/// is up before that is not counted: it is a 503 in the metrics of the API.
pub fn count(function: &'static str, answer: Result<&Result<Grant, Code>, &Error>) {
    let code = match answer {
        Ok(Ok(_)) => "active",
        Ok(Err(code)) => code.as_str(),
        Err(_) => "unavailable",
    };
    metrics::count(Metric::Validated(function, code));
}

/// Judges a verified key, of which this is the hash, by its record and its owner as they were read.
///
/// # Errors
/// When it is not good, or not good for `permission`.
pub fn judge(
    hash: KeyHash,
    claims: &Claims,
    record: Option<&KeyRecord>,
    owner: Option<&User>,
    permission: Option<Permission>,
    now: Seconds,
) -> Result<Grant, Code> {
    let record = record
        .filter(|record| record.hash == Some(hash))
        .ok_or(Code::Invalid)?;
    // Only the holder of the genuine key reaches this point, so what follows tells nothing to others.
    let owner = owner
        .filter(|owner| owner.is_active())
        .ok_or(Code::OwnerInactive)?;
    if record.revoked(Some(owner)).is_some() {
        return Err(Code::Revoked);
    }
    let grant = grant(claims, record, owner.role, now)?;
    if permission.is_some_and(|permission| !grant.scope.contains(permission)) {
        return Err(Code::Forbidden);
    }
    Ok(grant)
}

/// The least of what was signed, what the record says and what the owner is: no write to the table can raise it.
fn grant(claims: &Claims, record: &KeyRecord, owner: Role, now: Seconds) -> Result<Grant, Code> {
    let exp = claims.expires_at.min(record.expires_at);
    if now >= exp {
        return Err(Code::Expired);
    }
    let role = claims
        .role
        .limited_to(record.role)
        .and_then(|role| role.limited_to(owner))
        .ok_or(Code::Forbidden)?;
    Ok(Grant {
        sub: claims.user_id.clone(),
        tenant_id: claims.tenant_id.clone(),
        role,
        scope: role.permissions(),
        iat: claims.issued_at,
        exp,
        jti: claims.key_id,
        max_clusters: claims.max_clusters.min(record.max_clusters),
        clusters_used: record.clusters_used,
    })
}

/// Whether `last_used_at` is to be written.
#[must_use]
pub fn use_is_stale(record: &KeyRecord, now: Seconds) -> bool {
    record
        .last_used_at
        .is_none_or(|at| at <= now - USE_PRECISION)
}
