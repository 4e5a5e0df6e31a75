//! Validates access keys.

use access_keys::{
    http,
    process::{config, telemetry},
};
use mimalloc::MiMalloc;
use validate::App;

/// mimalloc is faster than the C library's allocator (shared/decisions/0032).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let app = config::read(App::read)?;
    app.service.warm_up().await;
    http::serve(
        |request| validate::handle(&app, request),
        http::problem_json,
    )
    .await
}
