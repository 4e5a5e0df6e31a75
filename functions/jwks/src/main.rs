//! Publishes the public keys.

use access_keys::{
    http,
    process::{config, telemetry},
};
use jwks::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(App::read)?;
    app.keys.warm_up().await;
    http::serve(|request| jwks::handle(&app, request), http::problem_json).await
}
