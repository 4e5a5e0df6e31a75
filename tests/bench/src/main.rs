//! Measures the release binaries of the functions, each as Lambda would run it; README, "Performance".
//!
//! CPU time is the figure to compare: it hardly depends on what else the machine does. Waiting time does.

mod function;
mod report;
mod tls;
mod warm;
mod world;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    /// Where the figures are written as JSON.
    #[arg(long, default_value = "target/bench", global = true)]
    out: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// What a warm call costs.
    Warm {
        /// How many calls a round has.
        #[arg(long, default_value_t = 300)]
        calls: usize,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.what {
        What::Warm { calls } => warm::run(calls, &arguments.out).await,
    }
}
