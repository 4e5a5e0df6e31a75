//! `DELETE …/access-keys`: ends one key or all of a user's; `POST /v1/access-keys/revoke` ends the key presented.

use access_keys::{
    aws::AwsSettings,
    caller::Caller,
    clock,
    config::{CallerSettings, Environment, KeySettings},
    edge,
    error::Error,
    input::{self, Presented},
    key::Realm,
    operations::{directory, revoke},
    record::Revocation,
    signer::Signer,
    store::Store,
};
use lambda_http::{Body, Request, Response};

/// What the function works with.
pub struct App {
    /// The KMS keys.
    pub signer: Signer,
    store: Store,
    realm: Realm,
    callers: CallerSettings,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        let keys = KeySettings::read(environment);
        Self {
            signer: Signer::new(aws.kms(), keys.signing_keys),
            store: Store::new(aws.dynamodb(), environment.required("TABLE_NAME")),
            realm: keys.realm,
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
        revoke::presented((&app.store, &app.signer, &app.realm), &key, reason, now).await?;
        return Ok(edge::no_content());
    }
    let caller = Caller::of(&request, &app.callers)?;
    let user_id = input::path_user(&request, &caller.user_id)?;
    let me = directory::resolve(&app.store, &caller, now).await?;
    let revocation = Revocation { at: now, by: me.user_id.to_string(), reason };
    match edge::route(&request) {
        "DELETE /v1/users/{user_id}/access-keys" => {
            let owner = directory::key_owner(&app.store, &me, &user_id).await?;
            revoke::all(&app.store, &owner, &revocation).await?;
        }
        "DELETE /v1/users/{user_id}/access-keys/{key_id}" => {
            let key_id = input::path_key(&request)?;
            let owner = directory::key_owner(&app.store, &me, &user_id).await?;
            revoke::one(&app.store, &owner, key_id, &revocation).await?;
        }
        _ => return Err(Error::NotFound),
    }
    Ok(edge::no_content())
}
