//! Our `validate` and other key checkers, in the same run: one process each, in turn. A Lambda process has one call
//! at a time; a peer is asked over several connections, which costs it less CPU for each.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use nix::{time::clock_getcpuclockid, unistd::Pid};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

use crate::{
    bench::{ADMIN, Bench},
    binaries::{build, root},
    events::{event, validation},
    function::{Function, resident},
    plot,
    report::{Sample, megabytes, milliseconds, table, write},
    warm::{active, created, invalid, revoked},
};

const PEERS: [&str; 2] = ["better-auth", "drf-api-key"];
const LIBRARIES: [&str; 3] = ["better-auth", "drf-api-key", "prefixed-api-key"];
/// Expired keys are missing: better-auth deletes one when it is shown, so a second call would be about another kind.
const MIXES: [&str; 6] = [
    "valid",
    "remembered",
    "revoked",
    "unknown",
    "garbage",
    "create",
];
const KEYS: &str = "10000";

/// A peer's server.
struct Peer {
    name: String,
    about: String,
    child: Child,
    url: String,
    pids: Vec<Pid>,
    request: Value,
    keys: Value,
}

impl Peer {
    async fn start(name: &str, directory: &Path) -> Result<Self> {
        let mut child = Command::new(root().join("tests/peers").join(name).join("serve"))
            .arg(directory)
            .args(["--keys", KEYS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?)
            .read_line(&mut line)
            .await?;
        let ready: Value =
            serde_json::from_str(&line).with_context(|| format!("{name} said {line:?}"))?;
        let text = |name: &str| {
            ready[name]
                .as_str()
                .map(str::to_owned)
                .context("the peer's line is incomplete")
        };
        let pids = ready["pids"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_i64);
        Ok(Self {
            name: text("name")?,
            about: text("storage")?,
            child,
            url: text("url")?,
            pids: pids
                .map(|pid| Ok(Pid::from_raw(i32::try_from(pid)?)))
                .collect::<Result<_>>()?,
            request: ready["request"].clone(),
            keys: ready["keys"].clone(),
        })
    }

    fn verification(&self, client: &reqwest::Client, key: &str) -> Result<reqwest::Request> {
        let text = |name: &str| self.request[name].as_str();
        let url = format!("{}{}", self.url, text("path").context("no path")?);
        let request = client.post(url);
        let request = match (text("body"), text("header")) {
            (Some(name), _) => request.json(&json!({ name: key })),
            (_, Some(name)) => {
                request.header(name, format!("{}{key}", text("prefix").unwrap_or_default()))
            }
            _ => anyhow::bail!("the peer does not say how it is asked"),
        };
        Ok(request.build()?)
    }

    fn cpu(&self) -> Result<Duration> {
        self.pids
            .iter()
            .map(|pid| Ok(Duration::from(clock_getcpuclockid(*pid)?.now()?)))
            .sum()
    }
}

/// What one system did in one mix, by rounds.
#[derive(Default)]
struct Figures {
    cpu: Vec<f64>,
    /// With what the harness and the local store in it took besides.
    cpu_with_store: Vec<f64>,
    wall: Vec<f64>,
    seconds: f64,
    /// Of the latest round, for each call; a peer counts its own, in [`library`].
    store_requests: f64,
}

#[allow(clippy::cast_precision_loss)]
/// Runs ours and the peers, `rounds` times in turn, for `seconds` in each mix.
pub async fn run(
    rounds: usize,
    seconds: u64,
    connections: usize,
    directory: &Path,
    folder: &Path,
) -> Result<()> {
    let status = Command::new(root().join("tests/peers/setup"))
        .arg(directory)
        .status()
        .await?;
    ensure!(status.success(), "tests/peers/setup: {status}");
    let mut libraries = Vec::new();
    for name in LIBRARIES {
        libraries.push(library(name, directory).await?);
    }

    let binaries = build(&["validate", "create"])?;
    let bench = Bench::start(Duration::ZERO).await?;
    let mut keys = Vec::new();
    for n in 0..200 {
        keys.push(bench.key(&format!("key {n}")).await.1);
    }
    let (_, doomed) = bench.key("revoked").await;
    bench.tenant().revoke(&doomed).await;
    let validations = |staleness| {
        keys.iter()
            .map(move |key| validation(key, staleness))
            .collect::<Result<Vec<_>>>()
    };
    let forged = keys
        .iter()
        .map(|key| validation(&harness::forged(key), None))
        .collect::<Result<Vec<_>>>()?;
    let path = format!("/v1/users/{ADMIN}/access-keys");
    let body = json!({ "name": "n", "role": "viewer" });
    let create = event(
        "create",
        "POST /v1/users/{user_id}/access-keys",
        &path,
        &body,
    )?;
    let events = [
        validations(None)?,
        validations(Some(60))?,
        vec![validation(&doomed, None)?],
        forged,
        vec![validation("not-a-key", None)?],
        vec![Bytes::from(create.to_string())],
    ];
    let expected: [fn(&Value) -> bool; 6] = [active, active, revoked, invalid, invalid, created];
    let mut validate = bench.function(&binaries, "validate").await?;
    let mut creator = bench.function(&binaries, "create").await?;
    let mut peers = Vec::new();
    for name in PEERS {
        peers.push(Peer::start(name, directory).await?);
    }

    let client = reqwest::Client::builder().no_proxy().build()?;
    let limit = Duration::from_secs(seconds);
    let mut all: Vec<[Figures; 6]> = (0..=peers.len()).map(|_| Default::default()).collect();
    for round in 0..=rounds {
        for (m, mix) in MIXES.into_iter().enumerate() {
            let function = if mix == "create" {
                &mut creator
            } else {
                &mut validate
            };
            let name = if mix == "create" {
                "create"
            } else {
                "validate"
            };
            let before = bench.requests(name).0;
            let mut figures = ours(function, &events[m], expected[m], limit).await?;
            figures.store_requests =
                f64::from(bench.requests(name).0 - before) / figures.wall.len() as f64;
            // The first round warms up, page caches and just-in-time compilers included.
            if round > 0 {
                all[0][m].add(figures);
            }
            for (p, peer) in peers.iter().enumerate() {
                if mix == "remembered" {
                    continue;
                }
                let figures = theirs(peer, &client, mix, connections, limit).await?;
                if round > 0 {
                    all[p + 1][m].add(figures);
                }
            }
        }
    }
    let mut systems = vec![("access-keys".to_owned(), validate.resident()?)];
    for peer in &peers {
        let resident = peer
            .pids
            .iter()
            .map(|pid| resident(*pid))
            .sum::<Result<u64>>()?;
        systems.push((format!("{} ({})", peer.name, peer.about), resident));
    }
    validate.stop().await?;
    creator.stop().await?;
    for peer in &mut peers {
        drop(peer.child.stdin.take());
        peer.child.wait().await?;
    }
    bench.stop().await;
    print(&systems, all, &libraries, rounds, seconds, folder)
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

#[allow(clippy::cast_precision_loss)]
async fn ours(
    function: &mut Function,
    events: &[Bytes],
    expected: fn(&Value) -> bool,
    limit: Duration,
) -> Result<Figures> {
    let mut wall = Vec::new();
    let (before, harness) = (function.cpu_at_rest().await?, own_cpu()?);
    let started = Instant::now();
    for event in events.iter().cycle() {
        let answer = function.invoke(event).await?;
        ensure!(expected(&answer.body), "unexpected answer {}", answer.body);
        wall.push(milliseconds(answer.wall));
        if started.elapsed() > limit {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = milliseconds(function.cpu_at_rest().await?.saturating_sub(before));
    let harness = milliseconds(own_cpu()?.saturating_sub(harness));
    let calls = wall.len() as f64;
    Ok(Figures {
        cpu: vec![cpu / calls],
        cpu_with_store: vec![(cpu + harness) / calls],
        wall,
        seconds,
        store_requests: 0.0,
    })
}

#[allow(clippy::cast_precision_loss)]
async fn theirs(
    peer: &Peer,
    client: &reqwest::Client,
    mix: &'static str,
    connections: usize,
    limit: Duration,
) -> Result<Figures> {
    let keys = peer.keys[mix]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let mut requests = keys
        .map(|key| peer.verification(client, key))
        .collect::<Result<Vec<_>>>()?;
    if mix == "create" {
        requests.push(client.post(format!("{}/keys", peer.url)).build()?);
    }
    let requests = Arc::new(requests);
    let before = peer.cpu()?;
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for n in 0..connections {
        let (requests, client, name) = (requests.clone(), client.clone(), peer.name.clone());
        callers.spawn(async move {
            let mut wall = Vec::new();
            for request in requests.iter().cycle().skip(n * 7) {
                if started.elapsed() > limit {
                    break;
                }
                let request = request.try_clone().context("a request can be sent again")?;
                let sent = Instant::now();
                let answer = client.execute(request).await?;
                let (status, body) = (answer.status(), answer.text().await?);
                wall.push(milliseconds(sent.elapsed()));
                let body: Value = serde_json::from_str(&body).unwrap_or_default();
                let valid = status == 200 && body["valid"] == true;
                let as_expected = if mix == "create" {
                    status == 201
                } else {
                    valid == (mix == "valid")
                };
                ensure!(
                    as_expected && !status.is_server_error(),
                    "{name}, {mix}: {status} {body}"
                );
            }
            Ok(wall)
        });
    }
    let mut wall = Vec::new();
    while let Some(of_one) = callers.join_next().await {
        wall.extend(of_one??);
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = milliseconds(peer.cpu()?.saturating_sub(before)) / wall.len() as f64;
    Ok(Figures {
        cpu: vec![cpu],
        cpu_with_store: vec![cpu],
        wall,
        seconds,
        store_requests: f64::NAN,
    })
}

fn own_cpu() -> Result<Duration> {
    Ok(clock_getcpuclockid(Pid::this())?.now()?.into())
}

/// What a peer does without HTTP, as it says itself.
async fn library(name: &str, directory: &Path) -> Result<Value> {
    let output = Command::new(root().join("tests/peers").join(name).join("library"))
        .arg(directory)
        .args(["--keys", KEYS])
        .stderr(Stdio::inherit())
        .output()
        .await?;
    ensure!(output.status.success(), "{name}/library: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[allow(clippy::cast_precision_loss)]
fn print(
    systems: &[(String, u64)],
    all: Vec<[Figures; 6]>,
    libraries: &[Value],
    rounds: usize,
    seconds: u64,
    folder: &Path,
) -> Result<()> {
    let (mut rows, mut figures, mut bars) = (Vec::new(), Vec::new(), Vec::new());
    let mut medians = Vec::new();
    for ((name, resident), mixes) in systems.iter().zip(all) {
        let mut median = [f64::NAN; 6];
        for (m, (mix, figure)) in MIXES.into_iter().zip(mixes).enumerate() {
            let calls = figure.wall.len() as f64;
            if calls == 0.0 {
                continue;
            }
            let (cpu, sum, wall) = (
                Sample::new(figure.cpu),
                Sample::new(figure.cpu_with_store),
                Sample::new(figure.wall),
            );
            median[m] = cpu.median();
            rows.push(vec![
                name.clone(),
                mix.to_owned(),
                cpu.to_string(),
                format!("{:.2}", sum.median()),
                format!("{:.0}", 1000.0 / cpu.median()),
                format!("{:.0}", calls / figure.seconds),
                format!("{:.2}", wall.median()),
                format!("{:.2}", wall.quantile(0.99)),
                match (figure.store_requests.is_nan(), mix) {
                    (false, _) => format!("{:.0}", figure.store_requests),
                    (true, "valid") => statements(libraries, name, "statements_per_verify"),
                    (true, "unknown") => statements(libraries, name, "statements_per_forged"),
                    (true, _) => "-".to_owned(),
                },
                format!("{:.0}", megabytes(*resident)),
            ]);
            figures.push(json!({
                "system": name, "mix": mix, "cpu_ms": cpu.json(), "cpu_ms_with_store": sum.json(),
                "calls_per_second": calls / figure.seconds, "p50_ms": wall.median(), "p99_ms": wall.quantile(0.99),
                "resident_bytes": resident,
                "store_requests": (!figure.store_requests.is_nan()).then_some(figure.store_requests),
            }));
            let group = match mix {
                "valid" => "valid key",
                "unknown" => "forged key",
                "garbage" => "garbage",
                _ => continue,
            };
            bars.push(plot::Bar {
                group: group.to_owned(),
                name: name.split(" (").next().unwrap_or(name).to_owned(),
                parts: vec![cpu.median()],
            });
        }
        medians.push(median);
    }
    println!("peers over HTTP: one process each, {rounds} rounds of {seconds} s in turn\n");
    table(
        &[
            "system",
            "call",
            "CPU-ms",
            "with our store and the harness",
            "per CPU-second",
            "per second",
            "p50 ms",
            "p99 ms",
            "store requests",
            "resident MB",
        ],
        &rows,
    );
    let fastest = |m: usize| {
        medians
            .iter()
            .skip(1)
            .map(|of| of[m])
            .fold(f64::INFINITY, f64::min)
    };
    let [valid, remembered, _, unknown, garbage, _] = medians[0];
    let ratios = [
        ("valid", fastest(0) / valid, 2.0),
        ("remembered", fastest(0) / remembered, 5.0),
        ("forged", fastest(3) / unknown, 3.0),
        ("garbage", fastest(4) / garbage, 6.0),
    ];
    let rows: Vec<_> = ratios
        .iter()
        .map(|(mix, ratio, budget)| {
            vec![
                (*mix).to_owned(),
                format!("{ratio:.1}"),
                format!("{budget:.0}"),
            ]
        })
        .collect();
    println!("times the fastest peer, per CPU-second of the process that answers\n");
    table(&["call", "ours", "at least"], &rows);
    println!("library calls, without HTTP\n");
    let names = [
        "name",
        "create_per_s",
        "verify_per_s",
        "forged_per_s",
        "create_cpu_ms",
        "verify_cpu_ms",
        "forged_cpu_ms",
        "expired_cpu_ms",
        "revoked_cpu_ms",
        "statements_per_verify",
        "statements_per_forged",
        "rss_mb",
    ];
    let rows: Vec<Vec<_>> = libraries
        .iter()
        .map(|peer| {
            names
                .map(|name| match &peer[name] {
                    Value::String(text) => text.clone(),
                    Value::Null => "-".to_owned(),
                    number => format!("{:.3}", number.as_f64().unwrap_or(f64::NAN))
                        .trim_end_matches('0')
                        .trim_end_matches('.')
                        .to_owned(),
                })
                .to_vec()
        })
        .collect();
    table(&names, &rows);

    bars.sort_by_key(|bar| {
        ["valid key", "forged key", "garbage"]
            .iter()
            .position(|group| *group == bar.group)
    });
    std::fs::create_dir_all(folder)?;
    plot::bars(
        &folder.join("peers.svg"),
        "CPU-milliseconds per verification over HTTP",
        &[],
        &bars,
    )?;
    write(
        folder,
        "peers",
        &json!({
            "http": figures,
            "ratios": ratios.map(|(mix, ratio, budget)| json!({ "call": mix, "times_the_fastest_peer": ratio, "at_least": budget })),
            "libraries": libraries,
        }),
    )?;
    let missed: Vec<_> = ratios
        .iter()
        .filter(|(_, ratio, budget)| ratio < budget)
        .map(|(mix, ..)| *mix)
        .collect();
    ensure!(missed.is_empty(), "below the budget: {}", missed.join(", "));
    Ok(())
}

/// What a peer has counted.
fn statements(libraries: &[Value], system: &str, what: &str) -> String {
    let peer = libraries.iter().find(|peer| {
        peer["name"]
            .as_str()
            .is_some_and(|name| system.starts_with(name))
    });
    peer.and_then(|peer| peer[what].as_f64())
        .map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"))
}

/// Where the peers are installed, unless told otherwise.
pub fn directory() -> PathBuf {
    root().join("target/peers")
}
