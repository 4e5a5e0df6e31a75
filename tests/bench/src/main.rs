//! Measures the release binaries of the functions, each as Lambda runs it. See `tests/bench/README.md`.
//!
//! Compare CPU time, not latency, and only within one run.

mod bench;
mod binaries;
mod cold;
mod events;
mod function;
mod growth;
mod instructions;
mod machine;
mod peers;
mod plot;
mod replay;
mod report;
mod tls;
mod warm;
mod writes;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};
use machine::Before;

#[derive(Parser)]
struct Arguments {
    /// Folder for the JSON files and the plots.
    #[arg(long, default_value = "target/bench", global = true)]
    out: PathBuf,
    /// After building, wait up to this many minutes for the load average to become low enough.
    #[arg(long, value_name = "MINUTES", global = true)]
    wait_until_quiet: Option<u64>,
    #[command(subcommand)]
    command: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Measures the first call of a process, for four builds of `validate` and `create`.
    Cold {
        /// Number of starts of each build.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// Milliseconds until DynamoDB and KMS respond.
        #[arg(long, default_value_t = 2)]
        latency: u64,
    },
    /// Measures calls with 10 to 1,000,000 keys in the table.
    Growth,
    /// Counts the instructions of calls to `validate`.
    Instructions(instructions::Options),
    /// Installs other key libraries and compares `validate` and `create` with them.
    Peers(peers::Options),
    /// Measures warm calls of each function.
    Warm(warm::Options),
    /// Computes the write units of each partition of the table. `growth` prints them too.
    Writes,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (machine, out) = (Before::read(arguments.wait_until_quiet)?, &arguments.out);
    match arguments.command {
        Benchmark::Cold { rounds, latency } => {
            cold::run(rounds, Duration::from_millis(latency), &machine, out).await
        }
        Benchmark::Growth => {
            writes::run(out).await?;
            growth::run(&machine, out).await
        }
        Benchmark::Instructions(options) => instructions::run(&options).await,
        Benchmark::Peers(options) => peers::run(&options, &machine, out).await,
        Benchmark::Warm(options) => warm::run(&options, &machine, out).await,
        Benchmark::Writes => writes::run(out).await,
    }
}
