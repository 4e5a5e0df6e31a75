//! Lists access keys.

use access_keys::{config, edge, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(list::App::read)?;
    app.store.warm_up().await;
    edge::run(|request| list::handle(&app, request)).await
}
