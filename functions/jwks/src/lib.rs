//! `GET /.well-known/jwks.json`: the public keys, so that others can verify signatures too.

use access_keys::{
    aws::AwsSettings,
    config::{Environment, KeySettings},
    edge,
    error::Error,
    signer::Signer,
};
use lambda_http::{
    Body, Request, Response,
    http::{HeaderValue, StatusCode, header},
};

/// What the function works with.
pub struct App {
    /// The KMS keys.
    pub signer: Signer,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        Self {
            signer: Signer::new(aws.kms(), KeySettings::read(environment).signing_keys),
        }
    }
}

/// Answers 200 with a JWK Set (RFC 7517), which may be cached for five minutes.
///
/// # Errors
/// When KMS does not answer in time.
pub async fn handle(app: &App, _: Request) -> Result<Response<Body>, Error> {
    let mut response = edge::json(StatusCode::OK, &app.signer.keyring().await?.jwks());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/jwk-set+json"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=300"),
    );
    Ok(response)
}
