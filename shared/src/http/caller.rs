//! The caller of a request, identified by a token from the identity provider or by an access key.

use std::collections::HashMap;

use http::{HeaderMap, header};
use lambda_http::Request;

use super::{
    error::Error,
    oidc::IdentityProvider,
    serve::{context, request_id},
};
use crate::{
    model::{Actor, Identity, Origin, Person, Principal, TenantId, Timestamp, UserId, is_email},
    policy::RefusalCode,
    process::config::CallerSettings,
    service::{Error as ServiceError, KeyService, ValidateRequest, Viewer, validate_key},
    token::{AccessKey, PREFIX},
};

const NO_TOKEN: Error = Error::Unauthenticated("a token from the identity provider is required");

const TENANT: &str = "x-tenant-id";

/// Returns the person or operator who makes the request, identified by claims that the gateway's JWT authorizer has
/// verified.
///
/// # Errors
/// Fails if a required claim is missing or invalid, a person's request names another tenant, or an operator's request
/// names no tenant.
pub fn actor(request: &Request, settings: &CallerSettings) -> Result<Actor, Error> {
    actor_of(request, jwt_claims(request)?, settings)
}

/// Returns the operator or person that a token's verified claims identify.
fn actor_of(
    request: &Request,
    claims: &HashMap<String, String>,
    settings: &CallerSettings,
) -> Result<Actor, Error> {
    let (headers, origin) = (request.headers(), origin(request));
    if let Some(client) = operator(claims, settings) {
        return Ok(Actor {
            tenant_id: named_tenant(headers)?,
            identity: Identity::Operator(client.to_owned()),
            origin,
        });
    }
    let (tenant_id, person) = person(claims, settings)?;
    require_tenant(headers, &tenant_id)?;
    Ok(Actor {
        tenant_id,
        identity: Identity::Person(person),
        origin,
    })
}

/// Returns the client of an operator's token; `None` for any other token. An operator's token has the scope that the
/// parameter `OperatorScope` names, and its client is listed in `OperatorClients`.
fn operator<'claims>(
    claims: &'claims HashMap<String, String>,
    settings: &CallerSettings,
) -> Option<&'claims str> {
    let client = client_of(claims)?;
    let is_named = settings
        .operator_clients
        .iter()
        .any(|named| named == client);
    // Identity providers put the scopes into the claim `scope` (RFC 8693) or `scp`. The gateway renders a list of
    // scopes as "[a b]".
    let scopes = ["scope", "scp"]
        .iter()
        .filter_map(|name| claim(claims, name));
    let mut scopes = scopes.flat_map(|text| text.trim_matches(['[', ']']).split_ascii_whitespace());
    let has_scope = scopes.any(|scope| scope == settings.operator_scope);
    (is_named && has_scope).then_some(client)
}

/// Returns the tenant that an operator names in `X-Tenant-Id`.
fn named_tenant(headers: &HeaderMap) -> Result<TenantId, Error> {
    let rule = "must name the tenant in which the operator acts";
    let mut named = headers.get_all(TENANT).iter();
    let tenant = match (named.next(), named.next()) {
        (Some(tenant), None) => tenant
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok()),
        _ => None,
    };
    tenant.ok_or_else(|| Error::field("X-Tenant-Id", rule))
}

/// Returns the tenant and person that a token's verified claims identify.
fn person(
    claims: &HashMap<String, String>,
    settings: &CallerSettings,
) -> Result<(TenantId, Person), Error> {
    let claim = |name: &str| claim(claims, name);
    let tenant_id: TenantId = claim(&settings.tenant_claim)
        .and_then(|tenant| tenant.parse().ok())
        .ok_or(Error::Unauthenticated(
            "the token has no valid tenant claim: see the parameter TenantClaim",
        ))?;
    // The gateway's authorizer turns lists and objects into strings that begin with `[` or `map[`.
    let is_composite = |text: &&str| text.starts_with('[') || text.starts_with("map[");
    let user_id: UserId = claim(&settings.user_claim)
        .filter(|user| !is_composite(user))
        .and_then(|user| user.parse().ok())
        .ok_or(Error::Unauthenticated(
            "the token has no valid user claim: see the parameter UserClaim",
        ))?;
    let email = claim(&settings.email_claim).filter(|email| is_email(email));
    let is_email_verified = claim("email_verified") == Some("true");
    let verified_email = email.filter(|_| is_email_verified);
    let mut admins = settings.bootstrap_admins.iter();
    let is_bootstrap_admin =
        admins.any(|admin| admin.tenant_id == tenant_id && admin.is(&user_id, verified_email));
    let person = Person {
        email: email.map(str::to_owned),
        is_email_verified,
        name: claim(&settings.name_claim).and_then(|name| name.parse().ok()),
        is_bootstrap_admin,
        user_id,
    };
    Ok((tenant_id, person))
}

/// Returns where a request came from, according to the gateway.
#[must_use]
pub fn origin(request: &Request) -> Origin {
    let context = context(request);
    let http = context.map(|context| &context.http);
    let user_agent = http.and_then(|http| http.user_agent.as_deref());
    Origin::new(
        http.and_then(|http| http.source_ip.clone()),
        // The audit trail must not contain a key, not even one that a client sends in the wrong header.
        user_agent.filter(|text| !text.contains(PREFIX)),
        Some(request_id(request)),
    )
}

/// Returns the tenant of a caller that the JWT authorizer admitted; `None` for a platform service, whose client is one
/// of `platform_clients`. Such a service belongs to no tenant and acts for all tenants.
///
/// # Errors
/// Fails if there are no verified claims, the tenant claim is not a valid tenant id, or the tenant claim is absent and
/// the client is not one of `platform_clients`.
pub fn tenant(
    request: &Request,
    tenant_claim: &str,
    platform_clients: &[String],
) -> Result<Option<TenantId>, Error> {
    let claims = jwt_claims(request)?;
    if let Some(tenant) = claim(claims, tenant_claim) {
        let tenant = tenant.parse().map_err(|_| {
            Error::Unauthenticated("the token's tenant claim is not a valid tenant id")
        })?;
        return Ok(Some(tenant));
    }
    let client = client_of(claims);
    if client.is_some_and(|client| platform_clients.iter().any(|known| known == client)) {
        return Ok(None);
    }
    let detail = "the token has no tenant claim, and its client may not act for all tenants: see the parameter \
                  PlatformClients";
    Err(ServiceError::Forbidden(detail).into())
}

/// Returns the id of the calling client. Identity providers put the id into different claims, so this function tries
/// several claims in order.
fn client_of(claims: &HashMap<String, String>) -> Option<&str> {
    let mut names = ["client_id", "azp", "sub"].iter();
    names.find_map(|name| claim(claims, name))
}

/// Returns the back end that makes the request, and where the request came from.
///
/// # Errors
/// Fails if there are no verified claims.
pub fn back_end(request: &Request) -> Result<(Principal, Origin), Error> {
    let client = client_of(jwt_claims(request)?).unwrap_or("unknown");
    Ok((Principal::operator(client), origin(request)))
}

fn jwt_claims(request: &Request) -> Result<&HashMap<String, String>, Error> {
    let authorizer = context(request).and_then(|context| context.authorizer.as_ref());
    let jwt = authorizer.and_then(|authorizer| authorizer.jwt.as_ref());
    Ok(&jwt.ok_or(NO_TOKEN)?.claims)
}

/// Returns a claim of the token. The gateway's authorizer turns every value into a string, so the strings `null` and
/// `<nil>` count as absent.
fn claim<'claims>(claims: &'claims HashMap<String, String>, name: &str) -> Option<&'claims str> {
    let text = claims.get(name).map(String::as_str);
    text.filter(|text| !["null", "<nil>"].contains(text))
}

/// Returns the bearer token of a request (RFC 6750).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Returns the bearer token as an access key that is not yet verified.
#[must_use]
pub fn bearer_key(headers: &HeaderMap) -> Option<AccessKey> {
    bearer(headers).map(|token| AccessKey::new(token.to_owned()))
}

/// Returns the bearer token as an access key.
///
/// # Errors
/// Fails if there is no bearer token.
pub fn required_bearer_key(headers: &HeaderMap) -> Result<AccessKey, Error> {
    bearer_key(headers).ok_or(Error::MissingKey(
        "an access key is required: send it as Authorization: Bearer",
    ))
}

/// Validates the caller's access key.
///
/// # Errors
/// Fails if there is no key, the key is refused, or the request names another tenant.
pub async fn calling_key(
    request: &Request,
    service: &KeyService,
    now: Timestamp,
) -> Result<Viewer, Error> {
    let key = required_bearer_key(request.headers())?;
    let request_of_key = ValidateRequest::new(key);
    let grant = validate_key(service, None, &request_of_key, now)
        .await?
        .result?;
    require_tenant(request.headers(), &grant.tenant_id)?;
    Ok(Viewer::key(grant, origin(request)))
}

/// Returns the caller, on routes that accept both access keys and tokens from the identity provider. A route can have
/// only one authorizer, which verifies either keys or tokens. These routes therefore have no authorizer, and their
/// function verifies the credentials (shared/decisions/0016).
///
/// # Errors
/// Fails if the request has no credentials, the credentials are refused, or the request names another tenant.
pub async fn key_or_person(
    request: &Request,
    service: &KeyService,
    identity_provider: &IdentityProvider,
    settings: &CallerSettings,
    now: Timestamp,
) -> Result<Viewer, Error> {
    let bearer = bearer(request.headers());
    if bearer.is_some_and(|token| token.starts_with(PREFIX)) {
        return calling_key(request, service, now).await;
    }
    // Like the gateway's JWT authorizer, accepts a token without "Bearer".
    let header = request.headers().get(header::AUTHORIZATION);
    let token = bearer.or_else(|| header?.to_str().ok());
    let token = token.ok_or(Error::Unauthenticated(
        "an access key or a token from the identity provider is required",
    ))?;
    let claims = identity_provider.verify(token, now).await?;
    let actor = actor_of(request, &claims, settings)?;
    Ok(Viewer::signed_in(&actor, &service.store, now).await?)
}

/// Refuses a request whose `X-Tenant-Id` names a tenant other than `tenant`. The gateway joins the values of a repeated
/// header with commas. No tenant id contains a comma, so the values can be told apart.
pub fn require_tenant(headers: &HeaderMap, tenant: &TenantId) -> Result<(), Error> {
    let named = headers.get_all(TENANT).iter();
    let mut named = named.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_right = |named: &[u8]| {
        let named = named.trim_ascii();
        named.is_empty() || named == tenant.as_str().as_bytes()
    };
    if named.all(is_right) {
        Ok(())
    } else {
        Err(Error::TenantMismatch)
    }
}

/// Refuses a valid key of `tenant` if `X-Tenant-Id` names another tenant. The refusal is [`RefusalCode::Forbidden`].
pub fn within_named_tenant(headers: &HeaderMap, tenant: &TenantId) -> Result<(), RefusalCode> {
    require_tenant(headers, tenant).map_err(|_| RefusalCode::Forbidden)
}
