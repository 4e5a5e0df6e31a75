//! Publishes the audit trail.

use access_keys::process::{config, telemetry};
use lambda_runtime::{LambdaEvent, service_fn};
use publish::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let app = &config::read(App::read)?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| {
        publish::handle(app, event)
    }))
    .await
}
