//! Creating a key: the rules, the signature, then one transaction.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::digest;

use super::{directory, validate::Verifier};
use crate::{
    clock::{Seconds, parse_rfc3339, rfc3339},
    config::ExpirySettings,
    error::Error,
    id::{KeyId, UserId},
    input::Fields,
    key::{AccessKey, Claims, Unsigned},
    metrics::{self, Metric},
    name::Name,
    record::{KeyRecord, User},
    role::Role,
    signer::SignerError,
    store::{Idempotency, Issued, NewKey, Store},
};

const DAY: Seconds = 86_400;

/// When a key is to expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    In(Seconds),
    At(Seconds),
}

/// What a key is to be.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    name: Name,
    expiry: Expiry,
    role: Role,
    max_clusters: u32,
}

impl CreateRequest {
    /// Reads `name`, `role`, `expires_in_days` or `expires_at`, and `max_clusters`.
    ///
    /// # Errors
    /// With every field that breaks a rule.
    pub fn read(mut fields: Fields, limits: &ExpirySettings, now: Seconds) -> Result<Self, Error> {
        let name = fields.parsed("name");
        let name = fields.require("name", name);
        let role = fields.parsed("role");
        let role = fields.require("role", role);
        let max_clusters = fields.integer("max_clusters", 1..=100).unwrap_or(1);
        let expiry = Self::expiry(&mut fields, limits, now);
        fields.finish("name, role, expires_in_days, expires_at, max_clusters")?;
        match (name, role) {
            (Some(name), Some(role)) => {
                let max_clusters = u32::try_from(max_clusters).unwrap_or(1);
                Ok(Self {
                    name,
                    expiry,
                    role,
                    max_clusters,
                })
            }
            _ => Err(Error::field("body", "must have a name and a role")),
        }
    }

    fn expiry(fields: &mut Fields, limits: &ExpirySettings, now: Seconds) -> Expiry {
        let (shortest, longest) = (limits.shortest, limits.longest);
        let (first_day, last_day) = (
            shortest.div_euclid(DAY) + i64::from(shortest % DAY != 0),
            longest / DAY,
        );
        let days = fields.integer("expires_in_days", first_day.max(1)..=last_day.max(1));
        let at = fields.text("expires_at");
        if days.is_some() && at.is_some() {
            fields.refuse(
                "expires_at",
                "must not be given together with expires_in_days",
            );
        }
        if let Some(days) = days {
            return Expiry::In(days * DAY);
        }
        let Some(at) = at else {
            return Expiry::In(limits.default);
        };
        match parse_rfc3339(&at) {
            Some(at) if (now + shortest..=now + longest).contains(&at) => return Expiry::At(at),
            Some(_) => fields.refuse(
                "expires_at",
                format!(
                    "must be from {} to {}",
                    rfc3339(now + shortest),
                    rfc3339(now + longest)
                ),
            ),
            None => fields.refuse(
                "expires_at",
                "must be an RFC 3339 time such as 2030-01-31T00:00:00Z",
            ),
        }
        Expiry::In(limits.default)
    }

    fn expires_at(&self, now: Seconds) -> Seconds {
        match self.expiry {
            Expiry::In(seconds) => now + seconds,
            Expiry::At(at) => at,
        }
    }

    /// What an `Idempotency-Key` stands for when `caller` sends it with this request.
    ///
    /// # Errors
    /// When the header is not 1 to 255 visible characters.
    pub fn idempotency(&self, caller: &UserId, header: &[u8]) -> Result<Idempotency, Error> {
        if !(1..=255).contains(&header.len()) || !header.iter().all(u8::is_ascii_graphic) {
            return Err(Error::field(
                "Idempotency-Key",
                "must be 1 to 255 visible ASCII characters",
            ));
        }
        Ok(Idempotency {
            id: hash(&[caller.as_str().as_bytes(), header]),
            fingerprint: hash(&[
                self.name.as_str().as_bytes(),
                self.role.as_str().as_bytes(),
                format!("{:?} {}", self.expiry, self.max_clusters).as_bytes(),
            ]),
        })
    }
}

/// Hashes parts with their lengths, so that no two lists of parts are one text.
fn hash(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    BASE64URL.encode(context.finish())
}

/// Creates a key for `user_id`. With an `Idempotency-Key` that was used before, gives *the same* key a fresh
/// secret: the lost answer's secret dies, and there is never a second key.
///
/// # Errors
/// When a rule forbids it, or when the signer or the table does not answer in time: then no key was made, or one
/// that the same `Idempotency-Key` finds again.
pub async fn create(
    verifier: &Verifier,
    me: &User,
    user_id: &UserId,
    request: &CreateRequest,
    idempotency: Option<&Idempotency>,
    now: Seconds,
) -> Result<(KeyRecord, AccessKey), Error> {
    let store = &verifier.store;
    for _ in 0..8 {
        let me = store
            .user(&me.tenant_id, &me.user_id)
            .await?
            .filter(User::is_active)
            .ok_or(Error::NotFound)?;
        let owner = directory::key_owner(store, &me, user_id).await?;
        if !request.role.is_within(me.role) {
            return Err(Error::Forbidden("the key's role is above your own"));
        }
        if !request.role.is_within(owner.role) {
            return Err(Error::Forbidden("the key's role is above its owner's"));
        }
        if !owner.is_active() {
            return Err(Error::Conflict(
                "owner_inactive",
                "the owner is deactivated: reactivate the user first",
            ));
        }
        let earlier = match idempotency {
            Some(idempotency) => {
                store
                    .idempotent_key(&owner.tenant_id, &owner.user_id, idempotency)
                    .await?
            }
            None => None,
        };
        let (mut record, is_new) = match earlier {
            Some((_, fingerprint)) if idempotency.is_some_and(|i| i.fingerprint != fingerprint) => {
                return Err(Error::Conflict(
                    "idempotency_key_reused",
                    "this Idempotency-Key was used for another request: choose a new one",
                ));
            }
            Some((key_id, _)) => (live(store, &owner, key_id, now).await?, false),
            None => (new_record(request, &me, &owner, now)?, true),
        };
        let key = sign(verifier, &record).await?;
        record.hash = Some(key.hash());
        let issued = if is_new {
            store
                .create_key(&NewKey {
                    record: &record,
                    owner: &owner,
                    idempotency,
                })
                .await?
        } else {
            store.reissue_key(&record, &owner).await?
        };
        match issued {
            Issued::Done => {
                if is_new {
                    metrics::count(Metric::KeyCreated);
                }
                return Ok((record, key));
            }
            Issued::Gone => return Err(GONE),
            // The rules are checked again against what the owner is now.
            Issued::OwnerChanged | Issued::IdempotencyUsed => {}
        }
    }
    Err(Error::Conflict(
        "changed_meanwhile",
        "the owner is being changed by others at this moment: try again",
    ))
}

const GONE: Error = Error::Conflict(
    "key_gone",
    "the key of this Idempotency-Key was revoked or has expired: choose a new one",
);

async fn live(
    store: &Store,
    owner: &User,
    key_id: KeyId,
    now: Seconds,
) -> Result<KeyRecord, Error> {
    let record = store.key(&owner.tenant_id, &owner.user_id, key_id).await?;
    record
        .filter(|record| {
            record.hash.is_some()
                && record.revoked(Some(owner)).is_none()
                && now < record.expires_at
        })
        .ok_or(GONE)
}

fn new_record(
    request: &CreateRequest,
    me: &User,
    owner: &User,
    now: Seconds,
) -> Result<KeyRecord, Error> {
    Ok(KeyRecord {
        tenant_id: owner.tenant_id.clone(),
        user_id: owner.user_id.clone(),
        key_id: KeyId::new()?,
        name: request.name.to_string(),
        role: request.role,
        max_clusters: request.max_clusters,
        signed_max_clusters: request.max_clusters,
        clusters_used: 0,
        created_at: now,
        created_by: me.user_id.clone(),
        expires_at: request.expires_at(now),
        epoch: owner.epoch,
        revocation: None,
        last_used_at: None,
        hash: None,
    })
}

async fn sign(verifier: &Verifier, record: &KeyRecord) -> Result<AccessKey, Error> {
    let claims = Claims {
        tenant_id: record.tenant_id.clone(),
        user_id: record.user_id.clone(),
        key_id: record.key_id,
        role: record.role,
        max_clusters: record.signed_max_clusters,
        issued_at: record.created_at,
        expires_at: record.expires_at,
    };
    let Verifier { signer, realm, .. } = verifier;
    let public_key = signer
        .keyring()
        .await?
        .signing()
        .ok_or(SignerError::NoKey)?;
    Ok(signer
        .sign(Unsigned::new(claims, realm, public_key)?)
        .await?)
}
