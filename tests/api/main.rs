//! End-to-end tests through HTTP alone, with the real binaries: against the local stack, or against the template in an
//! emulator of AWS (`tests/deployed/run`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod authorization;
mod authorize;
mod clusters;
mod create_key;
mod idempotency;
mod join_tokens;
mod list_keys;
mod malformed_requests;
mod onboard_cluster;
mod public_keys;
mod revoke_key;
mod secrecy;
mod users;
mod validate_key;
