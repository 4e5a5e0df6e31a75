//! `POST …/access-keys/{key_id}/rotate`: gives a key a new secret. `POST /v1/access-keys/rotate`: gives the presented
//! key a new secret.

use std::time::Duration;

use access_keys::{
    http::{self, Error, path, query, requests, views::CreatedKeyView},
    process::{
        clock,
        config::{self, CallerSettings, Environment, KeyLimits},
    },
    service::{KeyService, rotate_key, rotate_presented_key},
};
use lambda_http::{Body, Request, Response, http::StatusCode};

pub struct App {
    pub service: KeyService,
    callers: CallerSettings,
    limits: KeyLimits,
    history: Duration,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            service: KeyService::read(environment),
            callers: CallerSettings::read(environment),
            limits: KeyLimits::read(environment),
            history: config::history(environment),
        }
    }
}

/// Returns 200 with the record and the new key. No other response contains the new key.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let (service, now) = (&app.service, clock::now());
    let idempotency_key = query::idempotency_key(&request)?;
    let (record, key) = match http::route(&request) {
        "POST /v1/access-keys/rotate" => {
            let (key, overlap) = requests::rotate_presented_key(&request)?;
            let (origin, bounds) = (http::origin(&request), (overlap, app.limits.longest));
            rotate_presented_key(service, &key, bounds, idempotency_key, &origin, now).await?
        }
        _ => {
            let actor = http::actor(&request, &app.callers)?;
            let key = (&path::user(&request, &actor)?, path::key(&request)?);
            let wanted = requests::rotate_key(&request, &app.limits, now)?;
            let history = app.history;
            rotate_key(&actor, service, key, &wanted, idempotency_key, history, now).await?
        }
    };
    let view = CreatedKeyView::new(record, &key);
    Ok(http::json(StatusCode::OK, &view))
}
