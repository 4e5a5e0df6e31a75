//! Validates keys. A forged key is refused without I/O. A genuine key costs one read, or none if the caller accepts
//! cached data.

use std::{sync::Arc, time::Duration};

use super::{
    error::Error,
    key_service::KeyService,
    validation_cache::{Lookup, ValidationCache},
};
use crate::{
    model::{KeyRecord, KeySnapshot, Required, Secret, Timestamp},
    policy::{Grant, RefusalCode},
    process::{
        events,
        metrics::{self, Metric},
        telemetry,
    },
    store::Store,
    token::{AccessKey, VerifiedKey},
};

/// How old the last recorded use of a secret must be before a validation records another use.
const USE_PRECISION: Duration = Duration::from_secs(3600);
/// How long a validation waits for the write of `last_used_at`.
const USE_PATIENCE: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub struct ValidateRequest {
    pub key: AccessKey,
    /// The permissions that the key must have.
    pub required: Required,
    /// The maximum age of cached data. If it is zero, the validation reads the table.
    pub max_staleness: Duration,
}

impl ValidateRequest {
    /// Creates a request that requires no permission and accepts no cached data.
    #[must_use]
    pub fn new(key: AccessKey) -> Self {
        Self {
            key,
            required: Required::default(),
            max_staleness: Duration::ZERO,
        }
    }
}

/// A validation result and the time at which its data was read.
#[derive(Debug)]
pub struct Validation {
    pub result: Result<Grant, RefusalCode>,
    /// When the data was read: the time of the request, unless the data came from the cache.
    pub checked_at: Timestamp,
}

/// Validates a key. If there is a cache, it serves requests that accept cached data, and every read of the table
/// updates it. The cache holds data, not results: expiry, permission and owner are evaluated on each call.
///
/// # Errors
/// Fails if the public keys or the table are needed but not available. A refused key is a result, not an error.
pub async fn validate_key(
    service: &KeyService,
    cache: Option<&ValidationCache>,
    request: &ValidateRequest,
    now: Timestamp,
) -> Result<Validation, Error> {
    service.refresh_if_due(now);
    let cached = cache.and_then(|cache| cache.get(&request.key, request.max_staleness, now));
    if let Some((checked_at, lookup)) = cached {
        let result = lookup.evaluate(request.required, now);
        let result = result.inspect_err(|code| report_superseded(&lookup.key, *code));
        return Ok(Validation { result, checked_at });
    }
    let result = match service.verify(&request.key, now).await? {
        Err(code) => Err(code),
        Ok(key) => {
            let lookup = Arc::new(read(&service.store, key).await?);
            if let Some(cache) = cache {
                cache.insert(&lookup, now);
            }
            evaluate(&service.store, &lookup, request.required, now).await
        }
    };
    let checked_at = now;
    Ok(Validation { result, checked_at })
}

/// Validates a key and, if it is valid, returns its record. If a rotation has replaced the presented secret, also
/// returns the time at which that secret ends.
///
/// # Errors
/// As for [`validate_key`].
pub async fn get_calling_key(
    service: &KeyService,
    key: &AccessKey,
    now: Timestamp,
) -> Result<Result<(KeySnapshot, Option<Timestamp>), RefusalCode>, Error> {
    service.refresh_if_due(now);
    let key = match service.verify(key, now).await? {
        Err(code) => return Ok(Err(code)),
        Ok(key) => key,
    };
    let lookup = read(&service.store, key).await?;
    let grant = evaluate(&service.store, &lookup, Required::default(), now).await;
    let Lookup { record, owner, .. } = lookup;
    Ok(grant.and_then(|grant| {
        let record = record.ok_or(RefusalCode::Invalid)?;
        let key = record.snapshot(owner.as_ref(), now).for_holder();
        Ok((key, grant.superseded_until))
    }))
}

/// Evaluates what a key permits. Records the use of a valid key.
async fn evaluate(
    store: &Store,
    lookup: &Lookup,
    required: Required,
    now: Timestamp,
) -> Result<Grant, RefusalCode> {
    let result = lookup.evaluate(required, now);
    match &result {
        Ok(_) => record_use(store, lookup, now).await,
        Err(code) => report_superseded(&lookup.key, *code),
    }
    result
}

/// Logs and counts the refusal of a secret that a rotation has replaced. Either a client did not get the new secret, or
/// the old one was stolen. Writes nothing to the table.
pub(super) fn report_superseded(key: &VerifiedKey, code: RefusalCode) {
    if code == RefusalCode::Superseded {
        let (tenant_id, user_id, key_id) = key.claims().ids();
        tracing::warn!(
            event.name = events::ACCESS_KEY_SUPERSEDED,
            tenant.id = %tenant_id,
            user.id = %user_id,
            key.id = %key_id,
            key.generation = key.claims().generation,
            "refused a superseded secret of the access key"
        );
        metrics::count(Metric::SupersededUse);
    }
}

async fn read(store: &Store, key: VerifiedKey) -> Result<Lookup, Error> {
    let (record, mut owner) = store.key_and_owner(key.claims()).await?;
    if let Some(owner) = &mut owner {
        // To detect a revocation of all keys, evaluation needs only the owner's epoch. The list of revocations would
        // take up most of the cache.
        owner.revocations = Vec::new();
    }
    Ok(Lookup { key, record, owner })
}

/// Records a use of the key. If the write fails or is slow, the validation continues without it.
async fn record_use(store: &Store, lookup: &Lookup, now: Timestamp) {
    let Some(record) = &lookup.record else { return };
    let (hash, generation) = (lookup.key.hash(), lookup.key.claims().generation);
    let secret = record.secret(hash, generation);
    let Some(secret) = secret.filter(|secret| is_use_due(record, *secret, now)) else {
        return;
    };
    let write = store.record_use(record, secret, now - USE_PRECISION, now);
    let cause = match tokio::time::timeout(USE_PATIENCE, write).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => telemetry::chain(&error),
        Err(_) => "timeout".into(),
    };
    tracing::warn!(
        key.id = %record.key_id,
        tenant.id = %record.tenant_id,
        error.cause = cause,
        "could not record the use of the access key"
    );
}

/// Whether the last recorded use of this secret is old enough to be overwritten. The first use of a new secret is
/// always recorded, even if the key was used before.
pub(super) fn is_use_due(key: &KeyRecord, secret: Secret, now: Timestamp) -> bool {
    let is_old = |at: Option<Timestamp>| at.is_none_or(|at| at <= now - USE_PRECISION);
    match (secret, &key.previous) {
        (Secret::Previous(_), Some(previous)) => is_old(previous.used_at),
        _ => is_old(key.last_used_at) || !key.is_current_used(),
    }
}

/// Counts the result of a validation that `function` performed: `active`, a [`RefusalCode`], or `unavailable`. Requests
/// that time out are not counted here, but appear as 503 responses in the API's metrics.
pub fn count_validation<T>(
    function: &'static str,
    result: Result<&Result<T, RefusalCode>, &Error>,
) {
    let code = match result {
        Ok(Ok(_)) => "active",
        Ok(Err(code)) => code.as_str(),
        Err(_) => "unavailable",
    };
    metrics::count(Metric::Validated(function, code));
}
