//! Authorizes requests by access key.

use access_keys::{
    process::{config, telemetry},
    service::KeyService,
};
use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use mimalloc::MiMalloc;

/// This allocator is faster than the C library's (shared/decisions/0032).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let service = &config::read(KeyService::read)?;
    service.warm_up().await;
    let events = service_fn(move |event: LambdaEvent<_>| authorize::handle(service, event));
    Runtime::new(events).run().await
}
