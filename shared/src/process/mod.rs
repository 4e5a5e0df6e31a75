//! The process environment: settings, AWS clients, logs, metrics and the clock.

pub(crate) mod aws;
pub mod client;
pub mod clock;
pub mod config;
pub mod events;
pub mod metrics;
pub mod telemetry;
