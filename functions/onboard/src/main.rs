//! Onboards clusters.

use access_keys::{config, edge, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(onboard::App::read)?;
    app.verifier.warm_up().await;
    edge::run(|request| onboard::handle(&app, request)).await
}
