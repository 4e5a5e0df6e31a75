//! `POST /v1/users/{user_id}/access-keys`: issues a key. The only function that may ask KMS to sign.

use access_keys::{
    caller::Caller,
    clock,
    config::{CallerSettings, Environment, ExpirySettings},
    edge,
    error::Error,
    input::{self, Fields},
    operations::{
        create::{self, CreateRequest},
        directory,
        validate::Verifier,
    },
};
use lambda_http::{
    Body, Request, Response,
    http::{StatusCode, header},
};
use serde_json::json;

/// What the function works with.
pub struct App {
    /// The KMS keys and the table.
    pub verifier: Verifier,
    callers: CallerSettings,
    expiry: ExpirySettings,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            verifier: Verifier::read(environment),
            callers: CallerSettings::read(environment),
            expiry: ExpirySettings::read(environment),
        }
    }
}

/// Answers 201 with the record and, this once, the key.
///
/// # Errors
/// When a rule forbids it, or a service that it takes does not answer in time.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let now = clock::now();
    let caller = Caller::of(&request, &app.callers)?;
    let user_id = input::path_user(&request, &caller.user_id)?;
    let wanted = CreateRequest::read(Fields::of(&request)?, &app.expiry, now)?;
    let idempotency = match request.headers().get("idempotency-key") {
        Some(header) => Some(wanted.idempotency(&caller.user_id, header.as_bytes())?),
        None => None,
    };
    let me = directory::sign_in(&app.verifier.store, &caller, now).await?;
    let (record, key) = create::create(
        &app.verifier,
        &me,
        &user_id,
        &wanted,
        idempotency.as_ref(),
        now,
    )
    .await?;
    let mut body = record.to_json(None, now);
    body["access_key"] = json!(key.reveal());
    let mut response = edge::json(StatusCode::CREATED, &body);
    let location = format!("/v1/users/{}/access-keys/{}", record.user_id, record.key_id);
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
