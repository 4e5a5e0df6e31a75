//! `/.well-known/jwks.json` and `/api/v1/jwks`: the public keys with which anyone can verify signatures.

use access_keys::{
    http::{self, Error},
    process::{clock, config::Environment},
    service::PublishedKeys,
};
use lambda_http::{
    Body, Request, RequestExt, Response,
    http::{HeaderValue, Method, header},
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

/// Returns 200 with a JWK Set (RFC 7517), or 304 if the client already has the current set. A complete set may be
/// cached for five minutes. Returns 204 for `OPTIONS`.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    if !is_key_set(&request) {
        return Err(Error::NOT_FOUND);
    }
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => return Ok(http::public_options()),
        _ => return Err(Error::NOT_FOUND),
    }
    let (public_keys, is_complete) = app.keys.public_keys(clock::now()).await?;
    let keys = public_keys.jwks();
    let mut response = http::public_json(&request, "application/jwk-set+json", &keys);
    if is_complete {
        let five_minutes = HeaderValue::from_static("public, max-age=300");
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, five_minutes);
    }
    Ok(response)
}

/// Whether the request is for the key set. The route with `{proxy+}` is there only for `/api/v1/jwks/`, but it also
/// matches other paths. A gateway may remove the trailing slash of this path.
fn is_key_set(request: &Request) -> bool {
    let parameters = request.path_parameters_ref();
    let rest = parameters.and_then(|parameters| parameters.first("proxy"));
    http::route(request) != "ANY /api/v1/{proxy+}" || matches!(rest, Some("jwks" | "jwks/"))
}
