//! `POST /v1/users/{user_id}/access-keys`: creates a key. The only IAM roles that may call `kms:Sign` are those of this
//! function and of `rotate`.

use access_keys::{
    http::{self, Error, path, query, requests, views::CreatedKeyView},
    process::{
        clock,
        config::{CallerSettings, Environment, KeyLimits},
    },
    service::{KeyService, create_key},
};
use lambda_http::{
    Body, Request, Response,
    http::{StatusCode, header},
};

pub struct App {
    pub service: KeyService,
    callers: CallerSettings,
    limits: KeyLimits,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            service: KeyService::read(environment),
            callers: CallerSettings::read(environment),
            limits: KeyLimits::read(environment),
        }
    }
}

/// Returns 201 with the record and the key. This is the only response that contains the key.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let now = clock::now();
    let actor = http::actor(&request, &app.callers)?;
    let owner_id = path::user(&request, &actor)?;
    let wanted = requests::create_key(&request, &app.limits, now)?;
    let idempotency_key = query::idempotency_key(&request)?;
    let (service, wanted) = (&app.service, &wanted);
    let (snapshot, key) =
        create_key(&actor, service, &owner_id, wanted, idempotency_key, now).await?;
    let location = path::of_key(&owner_id, snapshot.record.key_id);
    let view = CreatedKeyView::new(snapshot, &key);
    let mut response = http::json(StatusCode::CREATED, &view);
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
