//! Checks and repairs the items of a tenant.

use access_keys::process::{config, telemetry};
use lambda_runtime::{LambdaEvent, service_fn};
use repair::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let app = &config::read(App::read)?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| {
        repair::handle(app, event)
    }))
    .await
}
