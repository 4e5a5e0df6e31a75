//! Sends the hostile events from the harness to a release binary of `validate`. Release and test binaries are compiled
//! with different options, so a panic may end the process of one but not of the other.
//!
//! Usage: `release <binary>`. The binary must be built for arm64. On machines with another architecture, it runs in
//! `qemu-user`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot continue has failed"
)]

mod function;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use harness::{InvokeError, Stack, Tenant, events, options};
use serde_json::{Value, json};

use crate::function::Function;

const FUNCTION: &str = "validate";
/// The only error that the function may log for an event.
const NOT_A_REQUEST: &str = "could not read the event";

/// The expected outcome of an event.
#[derive(Clone, Copy)]
enum Expected {
    /// The key is valid.
    Valid,
    /// The request is refused with a status from 400 to 499.
    Refused,
    /// The response is not a server error, or the function fails because the event is not a request.
    Any,
}

/// Returns a validation request whose key is valid.
fn validation(key: &str) -> Value {
    let mut event = events::sample(FUNCTION);
    event["headers"]["content-type"] = json!("application/json");
    event["body"] = json!(json!({ "access_key": key }).to_string());
    event
}

fn cases(key: &str) -> Vec<(Value, Expected)> {
    let valid = validation(key);
    let unusual = events::unusual(&valid).into_iter();
    let unusual = unusual.map(|(_, event)| (event, Expected::Valid));
    let damaged = events::damaged(&valid).into_iter();
    let damaged = damaged.map(|(_, event)| (event, Expected::Refused));
    let with_secret = events::with_secret(events::sample(FUNCTION), key);
    let others = events::foreign(key).into_iter();
    let others = others.chain(events::distorted(&with_secret));
    let others = others.map(|event| (event, Expected::Any));
    // The last event checks that the process still works.
    let last = (valid.clone(), Expected::Valid);
    unusual.chain(damaged).chain(others).chain([last]).collect()
}

/// Checks the outcome of an invocation. Returns true if the function could not read the event.
fn check(expected: Expected, outcome: Result<Value, InvokeError>) -> Result<bool> {
    let answer = match (expected, outcome) {
        (Expected::Any, Err(InvokeError::Function { error_type, .. }))
            if error_type == "NotARequest" =>
        {
            return Ok(true);
        }
        (_, outcome) => outcome?,
    };
    let status = answer["statusCode"].as_u64().unwrap_or_default();
    let is_active = answer["body"]
        .as_str()
        .is_some_and(|body| body.contains(r#""active":true"#));
    let is_expected = match expected {
        Expected::Valid => status == 200 && is_active,
        Expected::Refused => (400..500).contains(&status),
        Expected::Any => (200..500).contains(&status),
    };
    ensure!(is_expected, "answered {answer}");
    Ok(false)
}

async fn run(stack: &Stack, binary: &Path) -> Result<()> {
    let tenant = Tenant::acme(stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    let secret = &key[key.len() - 60..];
    let mut function = Function::start(binary, &stack.environment(FUNCTION)).await?;
    let (mut unreadable, cases) = (0, cases(&key));
    for (event, expected) in &cases {
        let shortened = || event.to_string().chars().take(300).collect::<String>();
        let outcome = function.invoke(event).await.with_context(shortened)?;
        ensure!(
            !format!("{outcome:?}").contains(secret),
            "the answer to an event contains the key"
        );
        unreadable += usize::from(check(*expected, outcome).with_context(shortened)?);
    }
    let lines = function.stop().await?;
    let repeats = lines.iter().any(|line| line.contains(secret));
    ensure!(!repeats, "a log line contains the key");
    let errors: Vec<_> = lines.iter().filter(|line| is_error(line)).collect();
    let other = errors.iter().find(|line| !line.contains(NOT_A_REQUEST));
    ensure!(other.is_none(), "logged: {other:?}");
    ensure!(
        errors.len() == unreadable,
        "{} errors were logged for {unreadable} unreadable events",
        errors.len()
    );
    println!(
        "{FUNCTION}: one process answered {} events, {unreadable} of which it could not read",
        cases.len()
    );
    Ok(())
}

/// Whether a log line reports an error. A line that is not JSON also counts as an error, because it comes from a panic.
fn is_error(line: &str) -> bool {
    serde_json::from_str::<Value>(line).map_or(true, |line| line["level"] == "ERROR")
}

#[tokio::main]
async fn main() -> Result<()> {
    let binary = std::env::args_os()
        .nth(1)
        .context("usage: release <binary>")?;
    let stack = Stack::start(options(&[])).await?;
    let result = run(&stack, Path::new(&binary)).await;
    stack.stop().await;
    result
}
