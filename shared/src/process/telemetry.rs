//! Logs: one JSON object per line, with dotted field names. A log line never contains a key, a hash, a header or a
//! body. A failure is logged once, where it is handled.

use std::error::Error;

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{self, format::FmtSpan},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Sets up logging to standard output at the level in `LOG_LEVEL` (default: `info`).
pub fn init() {
    let level = std::env::var("LOG_LEVEL")
        .ok()
        .and_then(|level| level.parse().ok());
    let level = level.unwrap_or(LevelFilter::INFO);
    // The level applies only to our own events. All other events stay at `warn`, because the SDK logs its requests at
    // lower levels.
    let ours = ["access_keys", "authorize", "rotate_secret"].map(|target| (target, level));
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(ours)
        // Otherwise, this target would log a handler's errors and panics a second time.
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_span_events(FmtSpan::NONE)
        .with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
}

/// Formats an error and its sources as one line, such as `KMS Sign: dispatch failure: ...`, for use in the log only.
/// Skips a source that repeats the error above it, as some SDK errors do.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failure(&'static str, #[source] Option<Box<Failure>>);

    #[test]
    fn a_chain_names_each_cause_once() {
        let cause = Failure("timeout", Some(Box::new(Failure("timeout", None))));
        let failure = Failure("KMS Sign", Some(Box::new(cause)));
        assert_eq!(chain(&failure), "KMS Sign: timeout");
    }
}
