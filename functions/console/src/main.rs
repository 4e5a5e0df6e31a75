//! Serves the console.

use access_keys::{
    http,
    process::{config, telemetry},
};
use console::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(App::read)?;
    http::serve(|request| console::handle(&app, request), http::problem_json).await
}
