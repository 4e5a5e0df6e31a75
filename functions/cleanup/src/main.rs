//! Archives expired keys.

use access_keys::process::{config, telemetry};
use cleanup::App;
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let app = &config::read(App::read)?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| {
        cleanup::handle(app, event)
    }))
    .await
}
