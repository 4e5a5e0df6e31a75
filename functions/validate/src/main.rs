//! Validates access keys.

use access_keys::{config, edge, operations::validate::Verifier, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let verifier = config::read(Verifier::read)?;
    verifier.warm_up().await;
    edge::run(|request| validate::handle(&verifier, request)).await
}
