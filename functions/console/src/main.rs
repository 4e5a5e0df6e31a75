//! Serves the console.

use access_keys::{config, edge, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(console::App::read)?;
    edge::run(|request| console::handle(&app, request)).await
}
