//! Rotates access keys.

use access_keys::{
    http,
    process::{config, telemetry},
};
use rotate::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(App::read)?;
    app.service.warm_up().await;
    http::serve(|request| rotate::handle(&app, request), http::problem_json).await
}
