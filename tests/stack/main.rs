//! Tests that need features of the local stack: recorded requests, logs, injected faults, the stream of the table, and
//! control of the processes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot continue has failed"
)]

mod audit;
mod change_key;
mod cleanup;
mod cluster_slots;
mod clusters;
mod command;
mod cors;
mod crashes;
mod damage;
mod events;
mod expiry;
mod gateway;
mod handlers;
mod idempotency;
mod identity_provider;
mod in_flight;
mod join_tokens;
mod metrics;
mod notices;
mod outages;
mod overlaps;
mod people;
mod permissions;
mod public_keys;
mod publish;
mod publish_failures;
mod publish_lost;
mod quotas;
mod readme;
mod repair;
mod revoke_matching;
mod rotate_key_example;
mod rotation;
mod secret_rotation;
mod signing_keys;
mod store_requests;
mod tampering;
mod validation_cache;

use std::time::Duration;

use harness::{Options, Stack, options};

/// The timeout of the API functions in the template. During an outage, a function must respond within this time.
const BUDGET: Duration = Duration::from_secs(5);

/// Starts a stack for one test, with one process per function.
async fn own_stack(parameters: &[(&str, &str)]) -> Stack {
    start(options(parameters)).await
}

/// Starts a stack for one test, in which each function can handle five requests at the same time.
async fn concurrent_stack(parameters: &[(&str, &str)]) -> Stack {
    let options = Options {
        processes_per_function: 5,
        ..options(parameters)
    };
    Stack::start(options).await.expect("the local stack starts")
}

async fn start(options: Options) -> Stack {
    let options = Options {
        processes_per_function: 1,
        ..options
    };
    Stack::start(options).await.expect("the local stack starts")
}
