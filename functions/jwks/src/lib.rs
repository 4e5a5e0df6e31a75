//! `GET /.well-known/jwks.json` and `GET /api/v1/jwks/`: the public keys, so that others can verify signatures too.

use access_keys::{
    http::{self, Error},
    process::{clock, config::Environment},
    service::PublishedKeys,
};
use lambda_http::{
    Body, Request, Response,
    http::{HeaderValue, StatusCode, header},
};

pub struct App {
    pub keys: PublishedKeys,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            keys: PublishedKeys::read(environment),
        }
    }
}

/// Returns 200 with a JWK Set (RFC 7517), which may be cached for five minutes if it is complete.
pub async fn handle(app: &App, _: Request) -> Result<Response<Body>, Error> {
    let (public_keys, is_complete) = app.keys.public_keys(clock::now()).await?;
    let mut response = http::json(StatusCode::OK, &public_keys.jwks());
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("application/jwk-set+json");
    headers.insert(header::CONTENT_TYPE, content_type);
    if is_complete {
        let five_minutes = HeaderValue::from_static("public, max-age=300");
        headers.insert(header::CACHE_CONTROL, five_minutes);
    }
    Ok(response)
}
