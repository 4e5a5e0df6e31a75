//! Compares our `validate` and `create` with other key libraries (the peers). Each run measures all of them in turn.
//!
//! A Lambda process handles one call at a time. A peer is measured with one connection, and again with several, so that
//! its event loop can handle several calls per wake-up. The better of the two figures is used.

mod comparison;
mod ratios;
mod server;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use nix::{time::clock_getcpuclockid, unistd::Pid};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    bench::Bench,
    binaries::{build, root},
    events::{creation, validation},
    function::Function,
    machine::Before,
    report::milliseconds,
    warm::{active, created, invalid, revoked},
};
use server::Peer;

const PEERS: [&str; 2] = ["better-auth", "drf-api-key"];
const LIBRARIES: [&str; 3] = ["better-auth", "drf-api-key", "prefixed-api-key"];
/// The mixes of calls that are measured. No mix contains expired keys, because better-auth deletes expired keys when it
/// verifies them.
const MIXES: [&str; 6] = [
    "valid",
    "remembered",
    "revoked",
    "unknown",
    "garbage",
    "create",
];
/// The largest number of calls to `create` in a run. A user may have 1,000 keys, and the other calls create 201.
const MOST_CREATIONS: usize = 799;
const KEYS: &str = "10000";
const WARM_UP: Duration = Duration::from_secs(1);

/// The figures of one system for one mix.
#[derive(Clone, Default)]
struct Figures {
    /// CPU-milliseconds per call, one value per round.
    cpu: Vec<f64>,
    /// Like `cpu`. For our functions, this also includes the CPU time of the benchmark process, which runs the harness
    /// and the local stack.
    cpu_with_store: Vec<f64>,
    wall: Vec<f64>,
    seconds: f64,
    /// Requests per call in the latest round. NaN for a peer, whose SQL statements are counted by [`library`].
    store_requests: f64,
}

/// A measured system: our functions, or a peer with a given number of connections.
#[derive(Clone)]
struct System {
    name: String,
    connections: usize,
    /// The versions and settings that a peer reports.
    about: Value,
    /// Resident memory in bytes.
    resident: u64,
    mixes: [Figures; 6],
}

/// The events of a mix, and the check that each response must pass.
type Mix = (Vec<Bytes>, fn(&Value) -> bool);

/// Our functions and the mixes of calls to them.
struct Ours {
    validate: Function,
    create: Function,
    mixes: [Mix; 6],
    /// The largest number of calls to `create` in a round.
    creations: usize,
}

/// The options of `bench peers`. With the defaults, the measurement takes ten minutes.
#[derive(clap::Args)]
pub struct Options {
    /// Number of runs, each with new processes. The worst run counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Number of measurements of each call in a run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Numbers of connections to a peer, each measured in turn.
    #[arg(long, default_value = "1,8", value_delimiter = ',')]
    connections: Vec<usize>,
    /// Folder to install the libraries into, instead of `target/peers`.
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// Installs the peers, and then measures both them and our functions.
pub async fn run(options: &Options, machine: &Before, folder: &Path) -> Result<()> {
    let default = root().join("target/peers");
    let directory = options.directory.as_ref().unwrap_or(&default);
    let mut setup = Command::new(root().join("tests/peers/setup"));
    let status = setup.arg(directory).status().await?;
    ensure!(status.success(), "tests/peers/setup: {status}");
    let binaries = build(&["validate", "create"])?;
    // Starting the local stack also builds it.
    Bench::start(Duration::ZERO).await?.stop().await;

    let watch = machine.watch().await?;
    let mut libraries = Vec::new();
    for name in LIBRARIES {
        libraries.push(library(name, directory).await?);
    }
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        println!("run {number} of {}", options.runs);
        let bench = Bench::start(Duration::ZERO).await?;
        let creations = MOST_CREATIONS / usize::try_from(options.rounds + 1)?;
        let ours = Ours::start(&bench, &binaries, creations).await?;
        let mut peers = Vec::new();
        for name in PEERS {
            peers.push(Peer::start(name, directory).await?);
        }
        runs.push(one_run(options, &bench, ours, peers).await?);
        bench.stop().await;
    }
    comparison::report(options, watch, &runs, libraries, folder)
}

/// Measures all systems in turn, once to warm up page caches and just-in-time compilers, and then `rounds` times.
async fn one_run(
    options: &Options,
    bench: &Bench,
    mut ours: Ours,
    peers: Vec<Peer>,
) -> Result<Vec<System>> {
    let seconds = Duration::from_secs(options.seconds);
    let mut systems = vec![System::new("access-keys", 1, json!({}))];
    let mut servers = vec![None];
    for (peer, connections) in pairs(&peers, &options.connections) {
        systems.push(System::new(&peer.name, connections, peer.about.clone()));
        servers.push(Some(peer));
    }
    for round in 0..=options.rounds {
        let limit = if round == 0 {
            WARM_UP.min(seconds)
        } else {
            seconds
        };
        for (m, mix) in MIXES.into_iter().enumerate() {
            for (system, server) in systems.iter_mut().zip(&servers) {
                let figures = match server {
                    None => ours.measure(bench, m, limit).await?,
                    Some(_) if mix == "remembered" => continue,
                    Some(peer) => peer.measure(mix, system.connections, limit).await?,
                };
                if round > 0 {
                    system.mixes[m].add(figures);
                }
            }
        }
    }
    for (system, server) in systems.iter_mut().zip(&servers) {
        system.resident = match server {
            None => ours.validate.resident()?,
            Some(peer) => peer.resident()?,
        };
    }
    ours.validate.stop().await?;
    ours.create.stop().await?;
    for peer in peers {
        peer.stop().await?;
    }
    Ok(systems)
}

/// Returns every combination of a peer and a number of connections.
fn pairs<'a>(peers: &'a [Peer], connections: &[usize]) -> impl Iterator<Item = (&'a Peer, usize)> {
    peers
        .iter()
        .flat_map(|peer| connections.iter().map(move |number| (peer, *number)))
}

impl System {
    fn new(name: &str, connections: usize, about: Value) -> Self {
        Self {
            name: name.to_owned(),
            connections,
            about,
            resident: 0,
            mixes: Default::default(),
        }
    }
}

impl Ours {
    /// Creates keys and starts the functions.
    async fn start(bench: &Bench, binaries: &Path, creations: usize) -> Result<Self> {
        let mut keys = Vec::new();
        for n in 0..200 {
            keys.push(bench.key(&format!("key {n}")).await.1);
        }
        let (_, doomed) = bench.key("revoked").await;
        bench.tenant().revoke(&doomed).await;
        let validations = |staleness| {
            let events = keys.iter().map(|key| validation(key, staleness));
            events.collect::<Result<Vec<_>>>()
        };
        let forged = keys
            .iter()
            .map(|key| validation(&harness::forged(key), None));
        let mixes: [Mix; 6] = [
            (validations(None)?, active),
            (validations(Some(60))?, active),
            (vec![validation(&doomed, None)?], revoked),
            (forged.collect::<Result<_>>()?, invalid),
            (vec![validation("not-a-key", None)?], invalid),
            (vec![creation()?], created),
        ];
        Ok(Self {
            validate: bench.function(binaries, "validate").await?,
            create: bench.function(binaries, "create").await?,
            mixes,
            creations,
        })
    }

    /// Calls the function of a mix until `limit` has passed.
    #[allow(clippy::cast_precision_loss)]
    async fn measure(&mut self, bench: &Bench, mix: usize, limit: Duration) -> Result<Figures> {
        let (name, function) = match MIXES[mix] {
            "create" => ("create", &mut self.create),
            _ => ("validate", &mut self.validate),
        };
        let (events, is_expected) = &self.mixes[mix];
        let requests_before = bench.requests(name).0;
        let mut wall = Vec::new();
        let (before, harness) = (function.cpu_at_rest().await?, own_cpu()?);
        let started = Instant::now();
        let most = match name {
            "create" => self.creations,
            _ => usize::MAX,
        };
        for event in events.iter().cycle().take(most) {
            let answer = function.invoke(event).await?;
            let body = &answer.body;
            ensure!(is_expected(body), "unexpected answer {body}");
            wall.push(milliseconds(answer.wall));
            if started.elapsed() > limit {
                break;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let cpu = milliseconds(function.cpu_at_rest().await?.saturating_sub(before));
        let harness = milliseconds(own_cpu()?.saturating_sub(harness));
        let calls = wall.len() as f64;
        let requests = bench.requests(name).0 - requests_before;
        Ok(Figures {
            cpu: vec![cpu / calls],
            cpu_with_store: vec![(cpu + harness) / calls],
            wall,
            seconds,
            store_requests: f64::from(requests) / calls,
        })
    }
}

impl Figures {
    fn add(&mut self, mut other: Self) {
        self.cpu.append(&mut other.cpu);
        self.cpu_with_store.append(&mut other.cpu_with_store);
        self.wall.append(&mut other.wall);
        self.seconds += other.seconds;
        self.store_requests = other.store_requests;
    }
}

fn own_cpu() -> Result<Duration> {
    Ok(clock_getcpuclockid(Pid::this())?.now()?.into())
}

/// Runs a library's benchmark, which does not use HTTP.
async fn library(name: &str, directory: &Path) -> Result<Value> {
    let mut library = Command::new(root().join("tests/peers").join(name).join("library"));
    library.arg(directory).args(["--keys", KEYS]);
    let output = library.stderr(Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "{name}/library: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
