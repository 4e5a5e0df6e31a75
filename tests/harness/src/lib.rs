//! What all test suites and the benchmark share.
//!
//! A [`Target`] is a running deployment: the local stack, or the template in an emulator of AWS. A [`Tenant`] sends
//! requests to it and looks into its table; an [`Answer`] says what it expected. Faults are rules of the local stack
//! ([`Rule`]).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod answer;
mod deployed;
mod target;
mod tenant;
mod time;

pub use answer::{Answer, all_at_once, secrets, send};
pub use local_stack::{
    Fault, Options, Permission, Rule, RuleGuard, RuntimeApi, Service, Stack, dynoxide,
};
pub use target::{Target, block_on, options, run, stack};
pub use tenant::{PROCESS, Tenant, VALIDATE, code, forged};
pub use time::{eventually, now, rfc3339, until};
