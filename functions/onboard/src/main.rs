//! Onboards clusters and nodes.

use access_keys::{
    accuknox, http,
    process::{config, telemetry},
};
use onboard::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(App::read)?;
    app.service.warm_up().await;
    http::serve(
        |request| onboard::handle(&app, request),
        accuknox::render_error,
    )
    .await
}
