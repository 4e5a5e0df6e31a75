//! `DELETE …/access-keys`: ends one key or all of a user's; `POST /v1/access-keys/revoke` ends the key presented.

use access_keys::{
    caller::Caller,
    clock,
    config::{CallerSettings, Environment},
    edge,
    error::Error,
    input::{self, Presented},
    operations::{directory, revoke, validate::Verifier},
    record::Revocation,
};
use lambda_http::{Body, Request, Response};

/// What the function works with.
pub struct App {
    /// The KMS keys and the table.
    pub verifier: Verifier,
    callers: CallerSettings,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            verifier: Verifier::read(environment),
            callers: CallerSettings::read(environment),
        }
    }
}

/// Answers 204 when nothing of what was named is good any more.
///
/// # Errors
/// When there is no such user or key, or the caller may not know.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let now = clock::now();
    let reason = input::reason(&request)?;
    if edge::route(&request) == "POST /v1/access-keys/revoke" {
        let key = Presented::of(&request)?.key;
        revoke::presented(&app.verifier, &key, reason, now).await?;
        return Ok(edge::no_content());
    }
    let caller = Caller::of(&request, &app.callers)?;
    let user_id = input::path_user(&request, &caller.user_id)?;
    let me = directory::resolve(&app.verifier.store, &caller, now).await?;
    let revocation = Revocation {
        at: now,
        by: me.user_id.to_string(),
        reason,
    };
    match edge::route(&request) {
        "DELETE /v1/users/{user_id}/access-keys" => {
            let owner = directory::key_owner(&app.verifier.store, &me, &user_id).await?;
            revoke::all(&app.verifier.store, &owner, &revocation).await?;
        }
        "DELETE /v1/users/{user_id}/access-keys/{key_id}" => {
            let key_id = input::path_key(&request)?;
            let owner = directory::key_owner(&app.verifier.store, &me, &user_id).await?;
            revoke::one(&app.verifier.store, &owner, key_id, &revocation).await?;
        }
        _ => return Err(Error::NotFound),
    }
    Ok(edge::no_content())
}
