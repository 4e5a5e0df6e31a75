//! Who calls: read from the claims that the gateway's JWT authorizer verified.

use std::collections::HashMap;

use http::HeaderMap;
use lambda_http::{Request, RequestExt, request::RequestContext};

use crate::{
    config::CallerSettings,
    error::Error,
    id::{TenantId, UserId},
    name::Name,
};

/// A person or program with a token of the identity provider. It says who; the directory says what they may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The `sub`.
    pub user_id: UserId,
    /// E-mail address, as the identity provider has it.
    pub email: Option<String>,
    /// Display name, as the identity provider has it.
    pub name: Option<String>,
    /// Whether the configuration names this caller as a first administrator.
    pub is_bootstrap_admin: bool,
}

impl Caller {
    /// Reads the caller of a request that came through the JWT authorizer.
    ///
    /// # Errors
    /// When a claim is missing or not an id, or when the request names another tenant.
    pub fn of(request: &Request, settings: &CallerSettings) -> Result<Self, Error> {
        let context = request.request_context_ref();
        let Some(RequestContext::ApiGatewayV2(context)) = context else {
            return Err(Error::Unauthenticated(
                "the request did not come through the API",
            ));
        };
        let jwt = context
            .authorizer
            .as_ref()
            .and_then(|authorizer| authorizer.jwt.as_ref());
        let jwt = jwt.ok_or(Error::Unauthenticated(
            "a token of the identity provider is required",
        ))?;
        let caller = Self::from_claims(&jwt.claims, settings)?;
        same_tenant(request.headers(), &caller.tenant_id)?;
        Ok(caller)
    }

    /// Reads the caller from the claims of a verified token, all of them as text.
    ///
    /// # Errors
    /// When a claim is missing or not an id.
    pub fn from_claims(
        claims: &HashMap<String, String>,
        settings: &CallerSettings,
    ) -> Result<Self, Error> {
        let claim = |name: &str| claims.get(name).map(String::as_str);
        let tenant_id: TenantId = claim(&settings.tenant_claim)
            .and_then(|tenant| tenant.parse().ok())
            .ok_or(Error::Unauthenticated(
                "the token has no valid tenant claim: see the parameter TenantClaim",
            ))?;
        let user_id: UserId =
            claim("sub")
                .and_then(|sub| sub.parse().ok())
                .ok_or(Error::Unauthenticated(
                    "the token's sub is not a valid user id",
                ))?;
        let email = claim(&settings.email_claim).filter(|email| is_email(email));
        let verified = claim("email_verified") == Some("true");
        let is_bootstrap_admin = settings.bootstrap_admins.iter().any(|(tenant, who)| {
            *tenant == tenant_id
                && (who == user_id.as_str() || verified && Some(who.as_str()) == email)
        });
        let name = claim(&settings.name_claim).and_then(|name| name.parse::<Name>().ok());
        Ok(Self {
            email: email.map(str::to_owned),
            name: name.map(|name| name.to_string()),
            is_bootstrap_admin,
            tenant_id,
            user_id,
        })
    }
}

/// Whether a text can be an e-mail address: something on both sides of an `@`, at most 254 characters (RFC 5321).
#[must_use]
pub fn is_email(text: &str) -> bool {
    text.len() <= 254
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
        && text
            .rsplit_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
}

/// Refuses a request whose `X-Tenant-Id` names another tenant than its credentials do.
///
/// # Errors
/// When it does.
pub fn same_tenant(headers: &HeaderMap, tenant: &TenantId) -> Result<(), Error> {
    match headers.get("x-tenant-id") {
        Some(named) if !named.is_empty() && named.as_bytes() != tenant.as_str().as_bytes() => {
            Err(Error::TenantMismatch)
        }
        _ => Ok(()),
    }
}
