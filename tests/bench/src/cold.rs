//! What the first call of a process costs, by four builds of the same functions.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flate2::{Compression, write::DeflateEncoder};
use serde_json::{Value, json};

use crate::{
    bench::{ADMIN, Bench},
    binaries::{build_in, root},
    events::{event, validation},
    function::Function,
    plot,
    report::{Sample, megabytes, milliseconds, table, write},
};

/// A build of the workspace: this checkout with a patch.
struct Build {
    name: &'static str,
    about: &'static str,
    patch: Option<&'static str>,
    environment: &'static [(&'static str, &'static str)],
}

const BUILDS: [Build; 4] = [
    Build {
        name: "A",
        about: "SDK defaults (aws-lc)",
        patch: Some("sdk-defaults"),
        environment: &[],
    },
    Build {
        name: "B",
        about: "A without jitter entropy",
        patch: Some("sdk-defaults"),
        environment: &[("AWS_LC_SYS_NO_JITTER_ENTROPY", "1")],
    },
    Build {
        name: "C",
        about: "ring",
        patch: Some("no-warm-up"),
        environment: &[],
    },
    Build {
        name: "D",
        about: "ring, warm-up in INIT",
        patch: None,
        environment: &[],
    },
];

const FUNCTIONS: [&str; 2] = ["validate", "create"];

/// Lambda gives a function this many megabytes per vCPU, and one vCPU and more while it initialises.
const MEGABYTES_PER_CPU: f64 = 1769.0;

#[derive(Default)]
struct Runs {
    init_cpu: Vec<f64>,
    init_wall: Vec<f64>,
    first_cpu: Vec<f64>,
    first_wall: Vec<f64>,
    second_cpu: Vec<f64>,
    dynamodb: Vec<f64>,
    kms: Vec<f64>,
    resident: Vec<f64>,
}

/// Runs A B C D, `rounds` times.
pub async fn run(rounds: usize, latency: Duration, folder: &Path) -> Result<()> {
    let mut directories = Vec::new();
    for build in &BUILDS {
        directories.push(prepare(build)?);
    }
    let bench = Bench::start(latency).await?;
    let key = bench.key("cold").await.1;
    let validate = validation(&key, None)?;
    let path = format!("/v1/users/{ADMIN}/access-keys");
    let route = "POST /v1/users/{user_id}/access-keys";
    let create = event(
        "create",
        route,
        &path,
        &json!({ "name": "n", "role": "viewer" }),
    )?
    .to_string()
    .into();
    let events: [(&str, Bytes, u16); 2] = [("validate", validate, 200), ("create", create, 201)];

    let mut runs: Vec<Runs> = (0..BUILDS.len() * FUNCTIONS.len())
        .map(|_| Runs::default())
        .collect();
    for round in 0..=rounds {
        for (b, directory) in directories.iter().enumerate() {
            for (f, (function, event, status)) in events.iter().enumerate() {
                let environment = bench.environment(function);
                let before = bench.requests(function);
                let (mut process, init) =
                    Function::start(&directory.join(function), &environment).await?;
                let answer = process.invoke(event).await?;
                ensure!(
                    answer.body["statusCode"] == *status,
                    "{function}: {}",
                    answer.body
                );
                let first = process.cpu_at_rest().await?;
                let after = bench.requests(function);
                process.invoke(event).await?;
                let second = process.cpu_at_rest().await?;
                // The first round fills the page cache.
                if round > 0 {
                    let runs = &mut runs[b * FUNCTIONS.len() + f];
                    runs.init_cpu.push(milliseconds(init.cpu));
                    runs.init_wall.push(milliseconds(init.wall));
                    runs.first_cpu
                        .push(milliseconds(first.saturating_sub(init.cpu)));
                    runs.first_wall.push(milliseconds(answer.wall));
                    runs.second_cpu
                        .push(milliseconds(second.saturating_sub(first)));
                    runs.dynamodb.push(f64::from(after.0 - before.0));
                    runs.kms.push(f64::from(after.1 - before.1));
                    runs.resident.push(megabytes(process.resident()?));
                }
                process.stop().await?;
            }
        }
    }
    bench.stop().await;

    let (mut rows, mut translated, mut figures, mut bars) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (f, function) in FUNCTIONS.into_iter().enumerate() {
        for (b, build) in BUILDS.iter().enumerate() {
            let runs = std::mem::take(&mut runs[b * FUNCTIONS.len() + f]);
            let binary = fs::read(directories[b].join(function))?;
            let zip = deflated(&binary)?;
            let size = |bytes: usize| megabytes(bytes as u64);
            let [init, init_wall, first, first_wall, second] = [
                runs.init_cpu,
                runs.init_wall,
                runs.first_cpu,
                runs.first_wall,
                runs.second_cpu,
            ]
            .map(Sample::new);
            let [dynamodb, kms, resident] =
                [runs.dynamodb, runs.kms, runs.resident].map(Sample::new);
            rows.push(vec![
                function.to_owned(),
                format!("{}: {}", build.name, build.about),
                init.to_string(),
                first.to_string(),
                second.to_string(),
                format!("{:.0} + {:.0}", dynamodb.median(), kms.median()),
                format!("{:.1}", resident.median()),
                format!("{:.2}", size(binary.len())),
                format!("{:.2}", size(zip)),
            ]);
            // The handler's CPU time, stretched by the share of a CPU that it gets; then what it waits for.
            let waits = (first_wall.median() - first.median()).max(0.0);
            let at = |memory: f64| first.median() * (MEGABYTES_PER_CPU / memory).max(1.0) + waits;
            let memories = [128.0, 256.0, 512.0];
            translated.push(
                [
                    function.to_owned(),
                    build.name.to_owned(),
                    format!("{:.1}", init_wall.median()),
                ]
                .into_iter()
                .chain(memories.map(|memory| format!("{:.1}", at(memory))))
                .collect(),
            );
            bars.push(plot::Bar {
                group: function.to_owned(),
                name: format!("{} {}", build.name, build.about),
                parts: vec![init.median(), first.median()],
            });
            figures.push(json!({
                "function": function, "build": build.name, "about": build.about,
                "init_cpu_ms": init.json(), "init_wall_ms": init_wall.json(),
                "first_cpu_ms": first.json(), "first_wall_ms": first_wall.json(), "second_cpu_ms": second.json(),
                "dynamodb_requests": dynamodb.json(), "kms_requests": kms.json(),
                "resident_mb": resident.json(), "bootstrap_bytes": binary.len(), "zip_bytes": zip,
                "first_call_ms_by_memory": memories.map(|memory| json!({ "mb": memory, "ms": at(memory) })),
            }));
        }
    }
    println!(
        "cold start: CPU-ms, min / median / max of {rounds}, builds in turn, {} ms of latency\n",
        latency.as_millis()
    );
    table(
        &[
            "function",
            "build",
            "exec to /next",
            "first call",
            "second call",
            "DynamoDB + KMS",
            "resident MB",
            "MB",
            "zip MB",
        ],
        &rows,
    );
    println!(
        "first call on Lambda in ms, by memory (the INIT phase has a whole CPU at every size)\n"
    );
    table(
        &["function", "build", "INIT", "128 MB", "256 MB", "512 MB"],
        &translated,
    );
    fs::create_dir_all(folder)?;
    plot::bars(
        &folder.join("cold.svg"),
        "Cold start: CPU-milliseconds until the first answer",
        &["exec to the first /next (INIT)", "first call"],
        &bars,
    )?;
    write(folder, "cold", &Value::from(figures))
}

/// Builds it from a copy of this checkout; gives the folder of the binaries. What the builds have in common is compiled
/// once.
fn prepare(build: &Build) -> Result<PathBuf> {
    let root = root().canonicalize()?;
    let folder = root.join("target/bench");
    let (source, binaries) = (folder.join("source"), folder.join(build.name));
    let _ = fs::remove_dir_all(&source);
    let files = Command::new("git")
        .current_dir(&root)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()?;
    ensure!(
        files.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&files.stderr)
    );
    for file in String::from_utf8(files.stdout)?.split_terminator('\0') {
        let to = source.join(file);
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        fs::copy(root.join(file), to).with_context(|| file.to_owned())?;
    }
    if let Some(patch) = build.patch {
        let patch = root
            .join("tests/bench/builds")
            .join(format!("{patch}.patch"));
        // Not `git apply`, which would look for the repository above.
        let status = Command::new("patch")
            .current_dir(&source)
            .args(["-p1", "--input"])
            .arg(&patch)
            .status()?;
        ensure!(
            status.success(),
            "{} does not apply: it is to follow the sources",
            patch.display()
        );
    }
    println!("build {}: {}", build.name, build.about);
    build_in(&source, &root.join("target"), &FUNCTIONS, build.environment)?;
    fs::create_dir_all(&binaries)?;
    for function in FUNCTIONS {
        fs::copy(
            root.join("target/release").join(function),
            binaries.join(function),
        )?;
    }
    Ok(binaries)
}

/// The size of a Lambda deployment package, but for a few hundred bytes of its directory.
fn deflated(binary: &[u8]) -> Result<usize> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(binary)?;
    Ok(encoder.finish()?.len())
}
