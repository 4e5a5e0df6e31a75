//! Revokes access keys.

use access_keys::{config, edge, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(revoke::App::read)?;
    tokio::join!(app.verifier.signer.warm_up(), app.verifier.store.warm_up());
    edge::run(|request| revoke::handle(&app, request)).await
}
