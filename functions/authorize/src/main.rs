//! Authorizes requests by access key.

use access_keys::{config, operations::validate::Verifier, telemetry};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let verifier = &config::read(Verifier::read)?;
    verifier.warm_up().await;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| {
        authorize::handle(verifier, event)
    }))
    .await
}
