//! Runs `validate` under callgrind to count the instructions of whole calls, and measures its memory. Unlike measured
//! times, the counts hardly depend on other load on the machine.
//!
//! The process runs the release binary. It reads its events from the Runtime API and calls DynamoDB over TLS.
//! DynamoDB's responses are recorded and replayed, so all calls of one kind are alike. The instructions of a kind of
//! call are counted by comparing two processes, one of which handles [`CALLS`] more calls of this kind than the other.
//! Under high load, a timeout may expire and make a process open an extra connection. The count is then repeated with a
//! new process.
//!
//! Valgrind supports neither ADX nor the SHA extensions, so a signature check takes more instructions under Valgrind
//! than on a server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    bench::Bench,
    binaries::build,
    events::validation,
    function::Function,
    report::{megabytes, table},
    warm::{active, invalid},
};

/// The expected number of instructions from the start of a process to its first response, if the process does not load
/// the system's certificate authorities.
const EXPECTED_START: u64 = 9_250_000;
/// The kinds of calls, and the expected number of instructions per call.
const EXPECTED: [(&str, u64); 5] = [
    ("valid", 1_445_000),
    ("remembered", 203_600),
    ("forged", 922_000),
    ("garbage", 156_600),
    ("oversize", 1_168_000),
];
/// The percentage by which a count may exceed the expected count. The counts differ by less than one percent between
/// runs.
const TOLERANCE: u64 = 5;
/// The number of calls of each kind whose instructions are counted.
const CALLS: usize = 40;
/// The number of warm-up calls of each kind. They trigger all one-time initialisation and are not counted.
const WARM_UP: usize = 3;
/// The limit on the resident memory after [`CALLS_BEFORE_MEMORY`] calls, in bytes.
const LARGEST_MEMORY: u64 = 12_000_000;
const CALLS_BEFORE_MEMORY: usize = 1000;
/// The number of connections that a process opens: one to DynamoDB and one to KMS.
const CONNECTIONS: usize = 2;
const ATTEMPTS: usize = 5;

#[derive(clap::Args)]
pub struct Options {
    /// Folder of the binary to measure instead of the release build of this checkout.
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// Folder for callgrind's profiles. A profile names functions only if the binary has symbols.
    #[arg(long)]
    profiles: Option<PathBuf>,
}

type Call = (Bytes, fn(&Value) -> bool);

/// Counts the instructions of the start and of each kind of call, and measures the memory. Fails if a value is above
/// its limit.
pub async fn run(options: &Options) -> Result<()> {
    let binaries = match &options.binaries {
        Some(binaries) => binaries.clone(),
        None => build(&["validate"])?,
    };
    let bench = Bench::recorded().await?;
    let (_, key) = bench.key("counted").await;
    // Uses the key once before counting, because the first use of a key in an hour also writes to the table. The later
    // calls are alike.
    let valid = bench.tenant().validate(&key).await;
    ensure!(valid["active"] == true, "{valid}");
    let calls: [Call; 5] = [
        (validation(&key, None)?, active),
        (validation(&key, Some(60))?, active),
        (validation(&harness::forged(&key), None)?, invalid),
        (validation("not-a-key", None)?, invalid),
        (validation(&"A".repeat(50_000), None)?, invalid),
    ];
    let temporary = tempfile::tempdir()?;
    let counter = Counter {
        bench: &bench,
        binary: binaries.join("validate"),
        folder: options.profiles.as_deref().unwrap_or(temporary.path()),
    };
    std::fs::create_dir_all(counter.folder)?;

    let first = counter.count("start", &calls[..1]).await?;
    let mut counts = vec![("start and first answer", first, EXPECTED_START)];
    let warm_up = vec![calls.clone(); WARM_UP].concat();
    let base = counter.count("warm-up", &warm_up).await?;
    for ((kind, expected), call) in EXPECTED.into_iter().zip(&calls) {
        let calls = [warm_up.clone(), vec![call.clone(); CALLS]].concat();
        let counted = counter.count(kind, &calls).await?.saturating_sub(base);
        counts.push((kind, counted / u64::try_from(CALLS)?, expected));
    }
    let memory = counter.memory(&calls).await?;
    bench.stop().await;
    print(&counts)?;
    let megabytes = megabytes(memory);
    println!("resident after {CALLS_BEFORE_MEMORY} calls: {megabytes:.1} MB");
    ensure!(
        memory <= LARGEST_MEMORY,
        "{memory} bytes are resident, the limit is {LARGEST_MEMORY}"
    );
    Ok(())
}

/// Prints each count with its limit. Fails if a count is above its limit or is zero.
fn print(counts: &[(&str, u64, u64)]) -> Result<()> {
    let limit = |expected: &u64| expected * (100 + TOLERANCE) / 100;
    let row = |(call, counted, expected): &(&str, u64, u64)| {
        vec![
            (*call).to_owned(),
            counted.to_string(),
            limit(expected).to_string(),
        ]
    };
    println!("instructions of `validate`\n");
    table(
        &["call", "instructions", "at most"],
        &Vec::from_iter(counts.iter().map(row)),
    );
    let exceeded = counts
        .iter()
        .filter(|(_, counted, expected)| *counted == 0 || *counted > limit(expected));
    let exceeded: Vec<_> = exceeded.map(|(call, ..)| *call).collect();
    ensure!(
        exceeded.is_empty(),
        "above the limit: {}",
        exceeded.join(", ")
    );
    Ok(())
}

/// Runs the binary under callgrind.
struct Counter<'a> {
    bench: &'a Bench,
    binary: PathBuf,
    folder: &'a Path,
}

impl Counter<'_> {
    /// Returns the number of instructions that a process needs to handle these calls over one connection to each
    /// service.
    async fn count(&self, name: &str, calls: &[Call]) -> Result<u64> {
        for _ in 0..ATTEMPTS {
            let before = self.bench.connections();
            let counted = self.count_once(name, calls).await?;
            if self.bench.connections() - before == CONNECTIONS {
                return Ok(counted);
            }
        }
        bail!(
            "{name}: each of {ATTEMPTS} processes opened more or less than {CONNECTIONS} connections"
        )
    }

    async fn count_once(&self, name: &str, calls: &[Call]) -> Result<u64> {
        let log = self.folder.join(format!("{name}.log"));
        let profile = self.folder.join(name);
        let mut valgrind = Command::new("valgrind");
        valgrind
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(format!("--log-file={}", log.display()))
            .arg(&self.binary);
        let environment = self.bench.environment("validate");
        let (mut function, _) = Function::run(valgrind, &environment).await?;
        for (event, is_expected) in calls {
            let body = function.invoke(event).await?.body;
            ensure!(is_expected(&body), "unexpected answer {body}");
        }
        function.terminate().await?;
        let log = std::fs::read_to_string(log)?;
        let counted = log.split_once("Collected : ");
        let (_, counted) = counted.context("callgrind counted nothing")?;
        let digits = counted.split_whitespace().next().unwrap_or_default();
        Ok(digits.parse()?)
    }

    /// Returns the resident memory, in bytes, of a process that has handled [`CALLS_BEFORE_MEMORY`] calls, cycling
    /// through `calls`.
    async fn memory(&self, calls: &[Call]) -> Result<u64> {
        let environment = self.bench.environment("validate");
        let (mut function, _) = Function::start(&self.binary, &environment).await?;
        for (event, is_expected) in calls.iter().cycle().take(CALLS_BEFORE_MEMORY) {
            let body = function.invoke(event).await?.body;
            ensure!(is_expected(&body), "unexpected answer {body}");
        }
        let resident = function.resident()?;
        function.stop().await?;
        Ok(resident)
    }
}
