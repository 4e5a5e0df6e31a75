//! Validates access keys.

use access_keys::{config, edge, telemetry};
use validate::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(App::read)?;
    app.verifier.warm_up().await;
    edge::run(|request| validate::handle(&app, request)).await
}
