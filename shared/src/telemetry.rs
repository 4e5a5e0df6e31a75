//! Logs: one JSON object per line with dotted field names, and never a key, a hash, a header or a body.

use std::error::Error;

use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

/// Sends events to the standard output. `LOG_LEVEL` may name another level than `info`.
pub fn init() {
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        // Our own events alone: the SDK's would print requests at lower levels.
        .with_env_filter(EnvFilter::new(format!(
            "warn,access_keys={level},cleanup={level},authorize={level}"
        )))
        .init();
}

/// An error and its sources in one line, for the log only: `KMS Sign: dispatch failure: ...`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
