//! `POST /v1/access-keys/validate`: checks whether a key is valid, and returns what it permits.

use access_keys::{
    http::{self, Error, requests, views::ValidationView, within_named_tenant},
    process::{clock, config::Environment},
    service::{KeyService, Validation, ValidationCache, count_validation, validate_key},
};
use lambda_http::{Body, Request, Response, http::StatusCode};

pub struct App {
    pub service: KeyService,
    cache: ValidationCache,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            service: KeyService::read(environment),
            cache: ValidationCache::read(environment),
        }
    }
}

/// Returns 200 with `active` true or false (RFC 7662).
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let question = requests::presented_key(&request)?;
    let App { service, cache } = app;
    let validation = validate_key(service, Some(cache), &question, clock::now()).await;
    let validation = validation.map(|validation| Validation {
        result: within_named_tenant(request.headers(), validation.result),
        ..validation
    });
    count_validation("validate", validation.as_ref().map(|v| &v.result));
    Ok(http::json(
        StatusCode::OK,
        &ValidationView::from(validation?),
    ))
}
