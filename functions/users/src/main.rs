//! Manages the user directory.

use access_keys::{
    http,
    process::{config, telemetry},
};
use users::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(App::read)?;
    app.store.warm_up().await;
    http::serve(|request| users::handle(&app, request), http::problem_json).await
}
