//! `cargo run`: the local stack with a few demo users.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use local_stack::{Options, Stack, demo};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the whole service on this machine: gateway, functions, DynamoDB, KMS, EventBridge and an identity provider.
///
/// The stack is read from infra/template.yaml, every function is a separate process, and nothing leaves the machine.
/// When everything is ready, the program prints the users' tokens and a few calls to try. After that, it prints
/// one line for each event. Ctrl-C stops the stack.
#[derive(Parser)]
#[command(name = "local-stack", version)]
struct Arguments {
    /// Keep the table and the keys in this directory. Without this option, they are kept in memory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Port of the API on 127.0.0.1. 0 selects a free one
    #[arg(long, default_value_t = 3000)]
    port: u16,

    /// Value of a template parameter, for example MinExpirySeconds=60. May be repeated
    #[arg(long = "parameter", value_name = "KEY=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,

    /// Print one line of JSON instead of text: url, issuer, platform_token, and users with their tokens
    #[arg(long)]
    json: bool,

    /// Print the logs of the functions on stderr
    #[arg(long)]
    verbose: bool,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("it does not have the form KEY=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let options = Options {
        data: arguments.data,
        port: arguments.port,
        parameters: demo::with_demo(arguments.parameters),
        ttl_sweep: Some(Duration::from_secs(1)),
        schedules: true,
        verbose: arguments.verbose,
        people: demo::people(),
        ..Options::default()
    };
    let ready = async {
        let stack = Stack::start(options).await?;
        let events = stack.subscribe();
        let users = demo::users(&stack).await?;
        Ok::<_, anyhow::Error>((stack, users, events))
    };
    let (stack, users, mut events) = tokio::select! {
        ready = ready => ready?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    if arguments.json {
        println!("{}", demo::json(&stack, &users));
    } else {
        println!("{}", demo::text(&stack, &users));
    }
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            Ok(event) = events.recv(), if !arguments.json => println!("{}", demo::event_line(&event)),
        }
    }
    stack.stop().await;
    Ok(())
}
