//! Compares our `validate` and `create` with other key libraries (the peers). One run measures all of them in turn.
//!
//! A Lambda process handles one call at a time. A peer is called over several connections at the same time, so that
//! its event loop handles several calls per wake-up. This favours the peers.

mod comparison;
mod server;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use nix::{time::clock_getcpuclockid, unistd::Pid};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    bench::Bench,
    binaries::{build, root},
    events::{creation, validation},
    function::Function,
    report::milliseconds,
    warm::{active, created, invalid, revoked},
};
use server::Peer;

const PEERS: [&str; 2] = ["better-auth", "drf-api-key"];
const LIBRARIES: [&str; 3] = ["better-auth", "drf-api-key", "prefixed-api-key"];
/// The mixes of calls that are measured. No mix contains expired keys, because better-auth deletes an expired key when
/// it verifies the key.
const MIXES: [&str; 6] = [
    "valid",
    "remembered",
    "revoked",
    "unknown",
    "garbage",
    "create",
];
const KEYS: &str = "10000";

/// The figures of one system in one mix.
#[derive(Default)]
struct Figures {
    /// CPU-milliseconds per call, one value per round.
    cpu: Vec<f64>,
    /// Like `cpu`. For our functions, this value also includes the CPU time of this process, which runs the harness and
    /// the local stack.
    cpu_with_store: Vec<f64>,
    wall: Vec<f64>,
    seconds: f64,
    /// Requests per call in the latest round. NaN for a peer, whose SQL statements are counted by [`library`].
    store_requests: f64,
}

/// A measured system: ours, or a peer.
struct System {
    name: String,
    /// Resident memory in bytes.
    resident: u64,
    mixes: [Figures; 6],
}

/// The events of a mix, and the check of the response.
type Mix = (Vec<Bytes>, fn(&Value) -> bool);

/// Our functions and the mixes.
struct Ours {
    validate: Function,
    create: Function,
    mixes: [Mix; 6],
}

/// Measures our functions and the peers, `rounds` times in turn, for `seconds` in each mix.
pub async fn run(
    rounds: usize,
    seconds: u64,
    connections: usize,
    directory: &Path,
    folder: &Path,
) -> Result<()> {
    let libraries = libraries(directory).await?;
    let binaries = build(&["validate", "create"])?;
    let bench = Bench::start(Duration::ZERO).await?;
    let mut ours = Ours::start(&bench, &binaries).await?;
    let mut peers = Vec::new();
    for name in PEERS {
        peers.push(Peer::start(name, directory).await?);
    }

    let client = reqwest::Client::builder().no_proxy().build()?;
    let limit = Duration::from_secs(seconds);
    let mut all: Vec<[Figures; 6]> = (0..=peers.len()).map(|_| Default::default()).collect();
    for round in 0..=rounds {
        // The first round warms up page caches and just-in-time compilers.
        let is_warm = round > 0;
        for (m, mix) in MIXES.into_iter().enumerate() {
            let figures = ours.measure(&bench, m, limit).await?;
            if is_warm {
                all[0][m].add(figures);
            }
            for (p, peer) in peers.iter().enumerate() {
                if mix == "remembered" {
                    continue;
                }
                let figures = peer.measure(&client, mix, connections, limit).await?;
                if is_warm {
                    all[p + 1][m].add(figures);
                }
            }
        }
    }
    let mut systems = vec![("access-keys".to_owned(), ours.validate.resident()?)];
    for peer in &peers {
        let name = format!("{} ({})", peer.name, peer.about);
        systems.push((name, peer.resident()?));
    }
    ours.validate.stop().await?;
    ours.create.stop().await?;
    for peer in peers {
        peer.stop().await?;
    }
    bench.stop().await;
    let systems = systems.into_iter().zip(all);
    let systems = systems.map(|((name, resident), mixes)| System {
        name,
        resident,
        mixes,
    });
    comparison::print(systems.collect(), &libraries, rounds, seconds, folder)
}

impl Ours {
    /// Creates keys, and starts the functions.
    async fn start(bench: &Bench, binaries: &Path) -> Result<Self> {
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
        for event in events.iter().cycle() {
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

/// Installs the peers, and runs the benchmark of each library without HTTP.
async fn libraries(directory: &Path) -> Result<Vec<Value>> {
    let mut setup = Command::new(root().join("tests/peers/setup"));
    let status = setup.arg(directory).status().await?;
    ensure!(status.success(), "tests/peers/setup: {status}");
    let mut libraries = Vec::new();
    for name in LIBRARIES {
        libraries.push(library(name, directory).await?);
    }
    Ok(libraries)
}

async fn library(name: &str, directory: &Path) -> Result<Value> {
    let mut library = Command::new(root().join("tests/peers").join(name).join("library"));
    library.arg(directory).args(["--keys", KEYS]);
    let output = library.stderr(Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "{name}/library: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The default folder of the installed peers.
pub fn directory() -> PathBuf {
    root().join("target/peers")
}
