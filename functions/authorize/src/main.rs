//! Authorizes requests by access key.

use access_keys::{
    process::{config, telemetry},
    service::KeyService,
};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let service = &config::read(KeyService::read)?;
    service.warm_up().await;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| {
        authorize::handle(service, event)
    }))
    .await
}
