//! Measures the release binaries of the functions, each as Lambda would run it; see README.md beside this folder.
//!
//! CPU time is the figure to compare, within one run: it depends less than waiting time on what else the machine does,
//! but it depends on it.

mod bench;
mod binaries;
mod cold;
mod events;
mod function;
mod growth;
mod peers;
mod plot;
mod report;
mod tls;
mod warm;

use std::{path::PathBuf, time::Duration};

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
    /// What the first call of a process costs, by four builds of `validate` and `create`.
    Cold {
        /// How often each build is started.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// After how many milliseconds DynamoDB and KMS answer.
        #[arg(long, default_value_t = 2)]
        latency: u64,
    },
    /// Whether calls cost more as keys become more.
    Growth,
    /// Ours beside other key checkers, which it installs into `target/peers`.
    Peers {
        /// How often each is measured.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// For how long at a time.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        /// Over how many connections a peer is asked.
        #[arg(long, default_value_t = 8)]
        connections: usize,
        /// Another folder for the peers.
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// What a warm call costs.
    Warm(warm::Options),
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.what {
        What::Cold { rounds, latency } => {
            cold::run(rounds, Duration::from_millis(latency), &arguments.out).await
        }
        What::Growth => growth::run(&arguments.out).await,
        What::Peers {
            rounds,
            seconds,
            connections,
            directory,
        } => {
            let directory = directory.unwrap_or_else(peers::directory);
            peers::run(rounds, seconds, connections, &directory, &arguments.out).await
        }
        What::Warm(options) => warm::run(&options, &arguments.out).await,
    }
}
