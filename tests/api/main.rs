//! End-to-end tests: through HTTP, against the local stack with the real binaries, which starts once.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod bad_input;
mod clusters;
mod costs;
mod events;
mod expiry;
mod failures;
mod idempotency;
mod lifecycle;
mod lists;
mod memory;
mod metrics;
mod onboarding;
mod owners;
mod revocation;
mod rights;
mod secrecy;
mod slots;
mod stack;
mod tampering;
mod world;
