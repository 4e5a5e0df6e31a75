//! The request bodies of our own API, and their conversion to requests to [`crate::service`]. The error for an invalid
//! body lists every invalid field.

use std::time::Duration;

use lambda_http::Request;
use serde::Deserialize;

use super::{
    body::{self, Errors, Field, Flag, Integer, Kind, Names, NotNull, Text},
    caller::{bearer_key, require_tenant, required_bearer_key},
    error::Error,
    query,
};
use crate::{
    model::{
        ClusterName, JoinToken, Labels, MOST_CLUSTERS, Name, Permissions, Principal, Required,
        Role, TenantId, Timestamp, UserStatus, is_email,
    },
    process::config::KeyLimits,
    service::{
        Expiry, FieldError, KeyChange, KeyRequest, List, Matching, RedeemRequest,
        RevokeMatchingRequest, RotateRequest, UserChange, ValidateRequest,
    },
    token::AccessKey,
};

const DAY: u64 = 86_400;
/// Seven days, in seconds.
const LONGEST_OVERLAP: i64 = 604_800;

#[derive(Default, Deserialize)]
#[serde(default)]
struct CreateKeyBody {
    name: Text<Name>,
    labels: Field<Labels>,
    role: Text<Role>,
    expires_in_days: Integer,
    expires_at: Text<String>,
    max_clusters: Integer,
    self_rotate: Flag,
}

/// Reads a request to create a key. A request with an `Idempotency-Key` may repeat an earlier request, and its expiry
/// may have been valid when the earlier request was sent. If the only error in such a request is that its expiry is too
/// early, the service therefore decides whether to refuse the request.
pub fn create_key(
    request: &Request,
    limits: &KeyLimits,
    now: Timestamp,
) -> Result<KeyRequest, Error> {
    let (body, mut errors) = body::read::<CreateKeyBody>(request)?;
    let name = errors.required("name", body.name);
    let labels = errors.value("labels", body.labels);
    let role = errors.required("role", body.role);
    let max_clusters = limit(body.max_clusters, &mut errors);
    let expiry = expiry(
        body.expires_in_days,
        body.expires_at,
        limits,
        now,
        &mut errors,
    );
    let self_rotate = errors.value("self_rotate", body.self_rotate);
    let too_early = too_early(request, expiry, limits, now, &mut errors);
    let (Some(name), Some(role)) = (name, role) else {
        return Err(errors.into_error());
    };
    errors.finish()?;
    Ok(KeyRequest {
        name,
        labels: labels.unwrap_or_default(),
        role,
        max_clusters: max_clusters.unwrap_or(1),
        self_rotate: self_rotate.unwrap_or_default(),
        expiry,
        quota: limits.per_user,
        first_sign_ins: limits.first_sign_ins,
        too_early,
    })
}

/// Checks whether the expiry is too early. If so, returns the error if the service must decide whether to refuse the
/// request, and otherwise adds the error to `errors`.
fn too_early(
    request: &Request,
    expiry: Expiry,
    limits: &KeyLimits,
    now: Timestamp,
    errors: &mut Errors,
) -> Option<FieldError> {
    let mut too_early = match expiry {
        Expiry::At(at) if !limits.times(now).contains(&at) => Some(expires_at_error(limits, now)),
        _ => None,
    };
    let may_be_repeated = request.headers().contains_key("idempotency-key");
    errors.extend(too_early.take_if(|_| !may_be_repeated || !errors.is_empty()));
    too_early
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RotateKeyBody {
    role: Text<Role>,
    expires_in_days: Integer,
    expires_at: Text<String>,
    max_clusters: Integer,
    self_rotate: Flag,
    overlap_seconds: Integer,
}

/// Reads a user's request to rotate a key. An expiry that is too early is handled as in [`create_key`].
pub fn rotate_key(
    request: &Request,
    limits: &KeyLimits,
    now: Timestamp,
) -> Result<RotateRequest, Error> {
    let (body, mut errors) = body::read::<RotateKeyBody>(request)?;
    let role = errors.required("role", body.role);
    let max_clusters = required_limit(body.max_clusters, &mut errors);
    let expiry = expiry(
        body.expires_in_days,
        body.expires_at,
        limits,
        now,
        &mut errors,
    );
    let self_rotate = errors.value("self_rotate", body.self_rotate);
    let overlap = overlap(body.overlap_seconds, &mut errors);
    let too_early = too_early(request, expiry, limits, now, &mut errors);
    let (Some(role), Some(max_clusters)) = (role, max_clusters) else {
        return Err(errors.into_error());
    };
    errors.finish()?;
    Ok(RotateRequest {
        role,
        max_clusters,
        self_rotate: self_rotate.unwrap_or_default(),
        expiry,
        overlap,
        too_early,
    })
}

/// Reads how long a replaced secret stays valid.
fn overlap(seconds: Integer, errors: &mut Errors) -> Duration {
    let seconds = errors.integer("overlap_seconds", seconds, 0..=LONGEST_OVERLAP);
    Duration::from_secs(seconds.map_or(DAY, i64::unsigned_abs))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RotatePresentedKeyBody {
    access_key: Text<String>,
    overlap_seconds: Integer,
}

/// Reads the key to rotate from a JSON body. If the body is empty, or is JSON without a key, the bearer token is the
/// key. Returns the key and the overlap.
pub fn rotate_presented_key(request: &Request) -> Result<(AccessKey, Duration), Error> {
    if body::kind(request) == Kind::Empty {
        let key = bearer_key(request.headers()).ok_or(NO_JSON_KEY)?;
        return Ok((key, Duration::from_secs(DAY)));
    }
    let (body, mut errors) = body::read::<RotatePresentedKeyBody>(request)?;
    let overlap = overlap(body.overlap_seconds, &mut errors);
    let Some(key) = key_or_bearer(request, body.access_key, &mut errors) else {
        return Err(errors.into_error());
    };
    errors.finish()?;
    Ok((key, overlap))
}

const NO_JSON_KEY: Error =
    Error::MalformedBody("send the key as JSON {\"access_key\": …} or as a bearer token");

fn expires_at_error(limits: &KeyLimits, now: Timestamp) -> FieldError {
    let (first, last) = limits.times(now).into_inner();
    FieldError::new("expires_at", format!("must be from {first} to {last}"))
}

/// Reads the expiry. Does not check whether `expires_at` is too early.
fn expiry(
    in_days: Integer,
    at: Text<String>,
    limits: &KeyLimits,
    now: Timestamp,
    errors: &mut Errors,
) -> Expiry {
    let days = match limits.days() {
        Some(range) => errors.integer("expires_in_days", in_days, range),
        None if in_days.is_absent() => None,
        None => {
            let rule = "must not be given, because no whole number of days is allowed here: use expires_at";
            errors.add("expires_in_days", rule);
            None
        }
    };
    let at = errors.text("expires_at", at);
    let at = at
        .as_deref()
        .map(|text| text.parse().map(Timestamp::to_second));
    match (days, at) {
        (Some(_), Some(_)) => errors.add(
            "expires_at",
            "must not be given together with expires_in_days",
        ),
        (Some(days), None) => {
            return Expiry::In(Duration::from_secs(days.unsigned_abs() * DAY));
        }
        (None, Some(Ok(at))) if at <= *limits.times(now).end() => return Expiry::At(at),
        (None, Some(Ok(_))) => errors.extend(Some(expires_at_error(limits, now))),
        (None, Some(Err(rule))) => errors.add("expires_at", rule),
        (None, None) => {}
    }
    Expiry::In(limits.default)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChangeKeyBody {
    name: NotNull<Text<Name>>,
    labels: NotNull<Field<Labels>>,
    max_clusters: NotNull<Integer>,
    expires_at: NotNull<Text<Timestamp>>,
}

pub fn change_key(request: &Request) -> Result<KeyChange, Error> {
    let (body, mut errors) = body::read::<ChangeKeyBody>(request)?;
    let change = KeyChange {
        name: errors.text("name", body.name.0),
        labels: errors.value("labels", body.labels.0),
        max_clusters: limit(body.max_clusters.0, &mut errors),
        expires_at: errors
            .text("expires_at", body.expires_at.0)
            .map(Timestamp::to_second),
    };
    errors.finish()?;
    if change == KeyChange::default() {
        let rule = "must have a name, labels, max_clusters or expires_at";
        return Err(Error::field("body", rule));
    }
    Ok(change)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RevokeMatchingBody {
    created_by: NotNull<Text<Principal>>,
    role: NotNull<Text<Role>>,
    label: NotNull<Text<Name>>,
    created_before: NotNull<Text<Timestamp>>,
    dry_run: Flag,
    cursor: NotNull<Text<String>>,
}

/// Reads a request to revoke matching keys of the tenant. Also returns the name of the list of these keys: a cursor is
/// valid only for a list with the same name. The name includes `dry_run`, so that a revocation cannot start from a dry
/// run's cursor and skip keys.
pub fn revoke_matching(
    request: &Request,
    tenant: &TenantId,
) -> Result<(RevokeMatchingRequest, String), Error> {
    let (body, mut errors) = body::read::<RevokeMatchingBody>(request)?;
    let matching = Matching {
        created_by: errors.text("created_by", body.created_by.0),
        role: errors.text("role", body.role.0),
        label: errors.text("label", body.label.0),
        created_before: errors.text("created_before", body.created_before.0),
    };
    if body.dry_run.is_absent() {
        errors.add("dry_run", "is required");
    }
    let dry_run = errors.value("dry_run", body.dry_run);
    let cursor = errors.text("cursor", body.cursor.0);
    let Some(dry_run) = dry_run else {
        return Err(errors.into_error());
    };
    errors.finish()?;
    if matching == Matching::default() {
        let rule = "must have created_by, role, label or created_before";
        return Err(Error::field("body", rule));
    }
    let name = format!("revocation of keys of {tenant}?{matching:?}&{dry_run}");
    let request = RevokeMatchingRequest {
        matching,
        dry_run,
        after: query::position(cursor.as_deref(), List::TenantKeys, &name)?,
    };
    Ok((request, name))
}

fn required_limit(max_clusters: Integer, errors: &mut Errors) -> Option<u32> {
    if max_clusters.is_absent() {
        errors.add("max_clusters", "is required");
    }
    limit(max_clusters, errors)
}

fn limit(max_clusters: Integer, errors: &mut Errors) -> Option<u32> {
    let max_clusters = errors.integer("max_clusters", max_clusters, 1..=MOST_CLUSTERS.into());
    max_clusters.and_then(|max| u32::try_from(max).ok())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProvisionUserBody {
    role: Text<Role>,
    name: Text<Name>,
    email: Text<String>,
}

pub fn provision_user(request: &Request) -> Result<UserChange, Error> {
    let (body, mut errors) = body::read::<ProvisionUserBody>(request)?;
    let role = errors.required("role", body.role);
    check_user_role(role, &mut errors);
    let name = errors.text("name", body.name);
    let email = errors.text("email", body.email);
    if email.as_deref().is_some_and(|email| !is_email(email)) {
        errors.add("email", "must be an e-mail address of at most 254 bytes");
    }
    errors.finish()?;
    Ok(UserChange {
        role,
        status: None,
        email,
        name,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChangeUserBody {
    role: Text<Role>,
    status: Text<UserStatus>,
}

pub fn change_user(request: &Request) -> Result<UserChange, Error> {
    let (body, mut errors) = body::read::<ChangeUserBody>(request)?;
    let role = errors.text("role", body.role);
    check_user_role(role, &mut errors);
    let status = errors.text("status", body.status);
    if status == Some(UserStatus::Deleted) {
        errors.add(
            "status",
            "must be one of active, inactive: use DELETE to delete the user",
        );
    }
    errors.finish()?;
    if role.is_none() && status.is_none() {
        return Err(Error::field("body", "must have a role, a status or both"));
    }
    Ok(UserChange {
        role,
        status,
        ..UserChange::default()
    })
}

fn check_user_role(role: Option<Role>, errors: &mut Errors) {
    if role == Some(Role::ClusterOnboarding) {
        errors.add("role", query::USER_ROLES);
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RedeemBody {
    join_token: Text<String>,
    cluster_name: Text<ClusterName>,
    tenant_id: Text<TenantId>,
}

/// Reads a request to redeem a join token. A caller that belongs to a tenant can redeem tokens only for that tenant.
/// Any other caller must name the tenant.
///
/// # Errors
/// Fails if the request names two different tenants, or a tenant other than the caller's, or if a field is invalid.
pub fn redeem_join_token(
    request: &Request,
    callers_tenant: Option<TenantId>,
) -> Result<RedeemRequest, Error> {
    let (body, mut errors) = body::read::<RedeemBody>(request)?;
    let token = errors.required("join_token", body.join_token);
    let cluster = errors.required("cluster_name", body.cluster_name);
    let tenant = match callers_tenant {
        None => errors.required("tenant_id", body.tenant_id),
        Some(tenant) => {
            let named = errors.text("tenant_id", body.tenant_id);
            if named.is_some_and(|named| named != tenant) {
                return Err(Error::TenantMismatch);
            }
            Some(tenant)
        }
    };
    let (Some(token), Some(tenant), Some(cluster)) = (token, tenant, cluster) else {
        return Err(errors.into_error());
    };
    errors.finish()?;
    require_tenant(request.headers(), &tenant)?;
    Ok(RedeemRequest {
        token: JoinToken::presented(token),
        tenant,
        cluster,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyBody {
    access_key: Text<String>,
}

/// Reads the key to revoke from a JSON body or a form. If the body is empty, or is JSON without a key, the bearer token
/// is the key. Returns the key and whether the body is a form, because the response to a form follows RFC 7009.
pub fn presented_key(request: &Request) -> Result<(AccessKey, bool), Error> {
    let kind = body::kind(request);
    let key = match kind {
        Kind::Empty => bearer_key(request.headers()).ok_or(NO_KEY)?,
        Kind::Form => token_of_form(request)?,
        Kind::Json => {
            let (body, mut errors) = body::read::<KeyBody>(request)?;
            let Some(key) = key_or_bearer(request, body.access_key, &mut errors) else {
                return Err(errors.into_error());
            };
            errors.finish()?;
            key
        }
    };
    Ok((key, kind == Kind::Form))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ValidateBody {
    access_key: Text<String>,
    permission: Names,
    any_of: Names,
    max_staleness: Integer,
}

/// Reads the key to validate from a JSON body, a form (RFC 7662) or the bearer token, by the same rules as
/// [`presented_key`]. Requirements can be in the body, in the query, or in both.
///
/// # Errors
/// Fails if a value is invalid, or `any_of` or `max_staleness` is given twice.
pub fn validate_key(request: &Request) -> Result<ValidateRequest, Error> {
    let mut errors = Errors::default();
    let mut wanted = Requirements::of_query(request, &mut errors);
    let key = match body::kind(request) {
        Kind::Empty => bearer_key(request.headers()).ok_or(NO_KEY)?,
        Kind::Form => {
            for (name, value) in form_urlencoded::parse(request.body()) {
                wanted.read(&name, &value, &mut errors);
            }
            token_of_form(request)?
        }
        Kind::Json => {
            let (body, in_body) = body::read::<ValidateBody>(request)?;
            errors.append(in_body);
            let range = 0..=i32::MAX.into();
            let seconds = errors.integer("max_staleness", body.max_staleness, range);
            wanted.add_staleness(seconds.map(i64::unsigned_abs), &mut errors);
            let all = errors.value("permission", body.permission);
            wanted.add_permissions(all.unwrap_or_default());
            let any_of = errors.value("any_of", body.any_of);
            wanted.add_any_of(any_of, &mut errors);
            let Some(key) = key_or_bearer(request, body.access_key, &mut errors) else {
                return Err(errors.into_error());
            };
            key
        }
    };
    errors.finish()?;
    Ok(wanted.of_key(key))
}

/// Reads the key that a gateway received as a bearer token, and the requirements in the query. Ignores the body.
///
/// # Errors
/// Fails if there is no bearer token, if a value is invalid, or if `any_of` or `max_staleness` is given twice.
pub fn check_key(request: &Request) -> Result<ValidateRequest, Error> {
    let key = required_bearer_key(request.headers())?;
    let mut errors = Errors::default();
    let wanted = Requirements::of_query(request, &mut errors);
    errors.finish()?;
    Ok(wanted.of_key(key))
}

const NO_KEY: Error = Error::MalformedBody(
    "send the key as JSON {\"access_key\": …}, as a form token=…, or as a bearer token",
);

fn token_of_form(request: &Request) -> Result<AccessKey, Error> {
    let mut tokens = form_urlencoded::parse(request.body()).filter(|(name, _)| name == "token");
    let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
        return Err(Error::field("token", "must be given exactly once"));
    };
    Ok(AccessKey::new(token.into_owned()))
}

fn key_or_bearer(request: &Request, key: Text<String>, errors: &mut Errors) -> Option<AccessKey> {
    match bearer_key(request.headers()).filter(|_| key.is_absent()) {
        Some(bearer) => Some(bearer),
        None => errors.required("access_key", key).map(AccessKey::new),
    }
}

/// What a caller requires of a key, collected from all parts of a request.
#[derive(Debug, Default)]
struct Requirements {
    required: Required,
    max_staleness: Option<Duration>,
}

const TWICE: &str = "must not be given more than once";

impl Requirements {
    fn of_query(request: &Request, errors: &mut Errors) -> Self {
        let mut wanted = Self::default();
        for (name, value) in query::all(request) {
            wanted.read(name, value, errors);
        }
        wanted
    }

    fn of_key(self, key: AccessKey) -> ValidateRequest {
        ValidateRequest {
            key,
            required: self.required,
            max_staleness: self.max_staleness.unwrap_or_default(),
        }
    }

    /// Reads a query or form parameter that states a requirement. Ignores all other parameters.
    fn read(&mut self, name: &str, value: &str, errors: &mut Errors) {
        match name {
            "permission" => match value.parse() {
                Ok(all) => self.add_permissions(all),
                Err(rule) => errors.add("permission", rule),
            },
            "any_of" => match value.parse() {
                Ok(any_of) => self.add_any_of(Some(any_of), errors),
                Err(rule) => errors.add("any_of", rule),
            },
            "max_staleness" => match value.parse().ok().filter(|n| i32::try_from(*n).is_ok()) {
                Some(seconds) => self.add_staleness(Some(seconds), errors),
                None => errors.add(
                    "max_staleness",
                    format!("must be a whole number from 0 to {}", i32::MAX),
                ),
            },
            _ => {}
        }
    }

    fn add_permissions(&mut self, all: Permissions) {
        self.required.all = self.required.all.or(all);
    }

    fn add_any_of(&mut self, any_of: Option<Permissions>, errors: &mut Errors) {
        let Some(any_of) = any_of else { return };
        if any_of.is_empty() {
            errors.add("any_of", "must name at least one permission");
        } else if !self.required.any_of.is_empty() {
            errors.add("any_of", TWICE);
        }
        self.required.any_of = any_of;
    }

    fn add_staleness(&mut self, seconds: Option<u64>, errors: &mut Errors) {
        let Some(seconds) = seconds else { return };
        if self
            .max_staleness
            .replace(Duration::from_secs(seconds))
            .is_some()
        {
            errors.add("max_staleness", TWICE);
        }
    }
}
