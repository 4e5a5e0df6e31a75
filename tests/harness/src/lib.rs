//! Code that the test suites and the benchmark share.
//!
//! A [`Target`] is a running deployment: the local stack, or the template deployed to an AWS emulator. A [`Tenant`]
//! sends requests to a target and reads the target's table. An [`Answer`] is a response. A [`Rule`] injects faults into
//! the local stack.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot continue has failed"
)]

mod answer;
mod deployed;
pub mod events;
mod protected;
mod relay;
mod secrets_manager;
mod target;
mod tenant;
mod time;
mod trail;
mod upstream;

pub use answer::{Answer, GATEWAY, all_at_once, secrets, send, strings};
pub use local_stack::{
    Fault, InvokeError, Options, Permission, Request, Rule, RuleGuard, RuntimeApi, Service, Stack,
    dynoxide,
};
pub use protected::{GATEWAY_SECRET, ProtectedApi};
pub use relay::Relay;
pub use secrets_manager::{Secret, SecretsManager};
pub use target::{Target, block_on, options, run, stack};
pub use tenant::{
    ACCUKNOX_CLUSTERS, KEYS, PROCESS, Tenant, UNKNOWN_KEY, VALIDATE, code, expect_checked_since,
    forged,
};
pub use time::{eventually, now, rfc3339, until};
pub use trail::contradictions;
pub use upstream::Upstream;
