//! `GET /.well-known/jwks.json` and `GET /api/v1/jwks/`: the public keys, so that others can verify signatures too.

use access_keys::{
    http::{self, Error},
    process::config::Environment,
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

/// Returns 200 with a JWK Set (RFC 7517), which may be cached for five minutes.
pub async fn handle(app: &App, _: Request) -> Result<Response<Body>, Error> {
    let mut response = http::json(StatusCode::OK, &app.keys.jwks().await?);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
