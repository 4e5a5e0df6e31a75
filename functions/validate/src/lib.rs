//! `POST /v1/access-keys/validate`: returns whether a key is valid, and what it permits (RFC 7662).
//! `/v1/access-keys/check`: validates a key for a gateway, which looks only at the status of the response.
//! `GET /v1/access-keys/self`: returns the record of the presented key.

use access_keys::{
    http::{
        self, Error, requests,
        views::{KeyView, ValidationView},
        within_named_tenant,
    },
    process::{clock, config::Environment},
    service::{
        KeyService, ValidateRequest, Validation, ValidationCache, count_validation,
        get_calling_key, validate_key,
    },
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

pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    match http::route(&request) {
        "ANY /v1/access-keys/check" => check(app, &request, requests::check_key(&request)?).await,
        "ANY /v1/access-keys/check/{proxy+}" => {
            let key = http::required_bearer_key(request.headers())?;
            check(app, &request, ValidateRequest::new(key)).await
        }
        "GET /v1/access-keys/self" => own_record(app, &request).await,
        _ => {
            let question = requests::validate_key(&request)?;
            let validation = validate(app, &request, &question).await?;
            Ok(http::json(
                StatusCode::OK,
                &ValidationView::new(validation, &app.service.issuer),
            ))
        }
    }
}

/// Returns 204 if the key is accepted, and an error if it is refused, because gateways look only at the status.
async fn check(
    app: &App,
    request: &Request,
    question: ValidateRequest,
) -> Result<Response<Body>, Error> {
    let validation = validate(app, request, &question).await?;
    Ok(http::allowed(&validation.result?))
}

async fn own_record(app: &App, request: &Request) -> Result<Response<Body>, Error> {
    let key = http::required_bearer_key(request.headers())?;
    let found = get_calling_key(&app.service, &key, clock::now()).await;
    let found = found.map(|key| {
        let (key, superseded_until) = key?;
        within_named_tenant(request.headers(), &key.record.tenant_id)?;
        Ok((key, superseded_until))
    });
    count_validation("validate", found.as_ref());
    let (key, superseded_until) = found??;
    let view = KeyView::for_holder(key, superseded_until);
    Ok(http::json(StatusCode::OK, &view))
}

/// Validates a key and counts the result. Refuses the key as forbidden if `X-Tenant-Id` names a tenant other than the
/// key's.
async fn validate(
    app: &App,
    request: &Request,
    question: &ValidateRequest,
) -> Result<Validation, Error> {
    let App { service, cache } = app;
    let validation = validate_key(service, Some(cache), question, clock::now()).await;
    let validation = validation.map(|Validation { result, checked_at }| {
        let result = result.and_then(|grant| {
            within_named_tenant(request.headers(), &grant.tenant_id)?;
            Ok(grant)
        });
        Validation { result, checked_at }
    });
    count_validation("validate", validation.as_ref().map(|v| &v.result));
    Ok(validation?)
}
