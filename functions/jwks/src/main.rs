//! Publishes the public keys.

use access_keys::{config, edge, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(jwks::App::read)?;
    app.signer.warm_up().await;
    edge::run(|request| jwks::handle(&app, request)).await
}
