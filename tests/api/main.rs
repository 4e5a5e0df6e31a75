//! End-to-end tests over HTTP. They run against the local stack, or against the template in an AWS emulator
//! (`tests/deployed/run`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot continue has failed"
)]

mod accuknox_lists;
mod audit;
mod authorization;
mod authorize;
mod calling_key;
mod change_key;
mod check_key;
mod clusters;
mod create_key;
mod documents;
mod idempotency;
mod join_tokens;
mod key_owners;
mod labels;
mod list_keys;
mod malformed_requests;
mod onboard_cluster;
mod operator;
mod public_keys;
mod revoke_key;
mod revoke_matching;
mod rotate_key;
mod secrecy;
mod users;
mod validate_key;
