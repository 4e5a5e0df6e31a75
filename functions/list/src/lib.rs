//! `GET …/access-keys`: a user's keys, one key, the tenant's keys, and the record of the key that calls.

use access_keys::{
    aws::AwsSettings,
    caller::Caller,
    clock,
    config::{CallerSettings, Environment},
    edge,
    error::Error,
    input::{self, KeysRequest},
    operations::{directory, list},
    store::Store,
};
use lambda_http::{Body, Request, RequestExt, Response, http::StatusCode, request::RequestContext};
use serde_json::Value;

/// What the function works with.
pub struct App {
    /// The table.
    pub store: Store,
    callers: CallerSettings,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        Self {
            store: Store::read(environment, &aws),
            callers: CallerSettings::read(environment),
        }
    }
}

/// Answers 200 with a record or a page of records.
///
/// # Errors
/// When there is no such user or key, or the caller may not know.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let now = clock::now();
    if edge::route(&request) == "GET /v1/access-keys/self" {
        return Ok(edge::json(
            StatusCode::OK,
            &calling_key(app, &request, now).await?,
        ));
    }
    let caller = Caller::of(&request, &app.callers)?;
    let me = directory::resolve(&app.store, &caller, now).await?;
    let body = match edge::route(&request) {
        "GET /v1/access-keys" => {
            let wanted = KeysRequest::of(&request, &format!("keys of {}", me.tenant_id))?;
            list::tenant_keys(&app.store, &me, &wanted, now).await?
        }
        "GET /v1/users/{user_id}/access-keys" => {
            let user_id = input::path_user(&request, &me.user_id)?;
            let wanted = KeysRequest::of(&request, &format!("keys of {}/{user_id}", me.tenant_id))?;
            let owner = directory::key_owner(&app.store, &me, &user_id).await?;
            list::user_keys(&app.store, &owner, &wanted, now).await?
        }
        "GET /v1/users/{user_id}/access-keys/{key_id}" => {
            let user_id = input::path_user(&request, &me.user_id)?;
            let key_id = input::path_key(&request)?;
            let owner = directory::key_owner(&app.store, &me, &user_id).await?;
            list::key(&app.store, &owner, key_id, now).await?
        }
        _ => return Err(Error::NotFound),
    };
    Ok(edge::json(StatusCode::OK, &body))
}

/// The record of the key that the Lambda authorizer let pass.
async fn calling_key(app: &App, request: &Request, now: clock::Seconds) -> Result<Value, Error> {
    const REFUSED: Error = Error::Unauthenticated("an access key is required");
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return Err(REFUSED);
    };
    let authorizer = context.authorizer.as_ref().ok_or(REFUSED)?;
    let field = |name: &str| authorizer.fields.get(name)?.as_str();
    let (tenant, user, key) = (field("tenant_id"), field("user_id"), field("key_id"));
    let tenant = tenant.and_then(|text| text.parse().ok()).ok_or(REFUSED)?;
    let user = user.and_then(|text| text.parse().ok()).ok_or(REFUSED)?;
    let key = key.and_then(|text| text.parse().ok()).ok_or(REFUSED)?;
    let owner = app
        .store
        .user(&tenant, &user)
        .await?
        .ok_or(Error::NotFound)?;
    list::key(&app.store, &owner, key, now).await
}
