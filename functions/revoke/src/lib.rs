//! `DELETE …/access-keys`: revokes one key, or all keys of a user. `POST /v1/access-keys/revoke`: revokes the presented
//! key. `POST /v1/access-keys/revoke-matching`: revokes the tenant's keys that match the given filters.

use std::time::Duration;

use access_keys::{
    http::{self, Error, path, query, requests, views::RevokeMatchingView},
    process::{
        clock,
        config::{self, CallerSettings, Environment},
    },
    service::{
        self, KeyService, revoke_all_keys, revoke_key, revoke_matching_keys, revoke_presented_key,
    },
};
use lambda_http::{Body, Request, Response, http::StatusCode};

pub struct App {
    pub service: KeyService,
    callers: CallerSettings,
    history: Duration,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            service: KeyService::read(environment),
            callers: CallerSettings::read(environment),
            history: config::history(environment),
        }
    }
}

/// The revocation reason for `revoke-matching` requests that do not specify one.
const MATCHING: &str = "revoke_matching";

/// Returns 204 after a revocation, or 200 if the key was sent as form data (RFC 7009). `revoke-matching` returns 200
/// with a report.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let (service, now) = (&app.service, clock::now());
    let reason = query::reason(&request)?;
    if http::route(&request) == "POST /v1/access-keys/revoke" {
        let (key, is_form) = requests::presented_key(&request)?;
        let origin = http::origin(&request);
        return match revoke_presented_key(service, &key, reason, &origin, now).await {
            // RFC 7009 does not treat an invalid token as an error.
            Ok(()) | Err(service::Error::NotAKey) if is_form => Ok(http::no_body(StatusCode::OK)),
            result => Ok(result.map(|()| http::no_content())?),
        };
    }
    let actor = http::actor(&request, &app.callers)?;
    if http::route(&request) == "POST /v1/access-keys/revoke-matching" {
        let (wanted, name) = requests::revoke_matching(&request, &actor.tenant_id)?;
        let (store, reason) = (&service.store, reason.or_else(|| Some(MATCHING.into())));
        let report = revoke_matching_keys(&actor, store, &wanted, reason, now).await?;
        let view = RevokeMatchingView::new(&report, wanted.dry_run, &name);
        return Ok(http::json(StatusCode::OK, &view));
    }
    let owner_id = path::user(&request, &actor)?;
    match http::route(&request) {
        "DELETE /v1/users/{user_id}/access-keys" => {
            revoke_all_keys(&actor, &service.store, &owner_id, reason, now).await?;
        }
        "DELETE /v1/users/{user_id}/access-keys/{key_id}" => {
            let key_id = path::key(&request)?;
            let (store, history) = (&service.store, app.history);
            revoke_key(&actor, store, &owner_id, key_id, reason, history, now).await?;
        }
        _ => return Err(Error::NOT_FOUND),
    }
    Ok(http::no_content())
}
