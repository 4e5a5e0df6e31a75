//! Lists and deletes clusters, and changes keys.

use access_keys::{
    accuknox, http,
    process::{config, telemetry},
};
use clusters::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(App::read)?;
    app.service.warm_up().await;
    http::serve(
        |request| clusters::handle(&app, request),
        accuknox::render_error,
    )
    .await
}
