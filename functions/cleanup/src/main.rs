//! Cleans up after TTL.

use access_keys::{config, telemetry};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let app = &config::read(cleanup::App::read)?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| {
        cleanup::handle(app, event)
    }))
    .await
}
