//! Measures the first call of a process, for four builds of the same functions.

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
    bench::Bench,
    binaries::{build_in, root},
    events::{creation, validation},
    function::Function,
    machine::{Before, Machine},
    plot,
    report::{Sample, megabytes, milliseconds, table, write},
};

/// A build of this checkout, with or without a patch.
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

/// A function with this much memory has one vCPU. Every function has at least one vCPU while it initialises.
const MEGABYTES_PER_CPU: f64 = 1769.0;
const MEMORIES: [f64; 3] = [128.0, 256.0, 512.0];

/// The measurements of one function in one build, one value per start.
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

/// A function, its event, and the expected status.
type Invocation = (&'static str, Bytes, u16);

/// Starts the builds A to D in turn, `rounds` times each.
pub async fn run(rounds: usize, latency: Duration, machine: &Before, folder: &Path) -> Result<()> {
    let mut directories = Vec::new();
    for build in &BUILDS {
        directories.push(prepare(build)?);
    }
    let bench = Bench::start(latency).await?;
    let watch = machine.watch().await?;
    let key = bench.key("cold").await.1;
    let invocations: [Invocation; 2] = [
        ("validate", validation(&key, None)?, 200),
        ("create", creation()?, 201),
    ];
    let mut runs: [[Runs; BUILDS.len()]; FUNCTIONS.len()] = Default::default();
    for round in 0..=rounds {
        for (b, directory) in directories.iter().enumerate() {
            for (f, invocation) in invocations.iter().enumerate() {
                // The first round only fills the page cache.
                let mut discarded = Runs::default();
                let runs = if round > 0 {
                    &mut runs[f][b]
                } else {
                    &mut discarded
                };
                measure(&bench, directory, invocation, runs).await?;
            }
        }
    }
    bench.stop().await;
    // Each round is a single start, so differences in CPU time between rounds say little about the machine.
    let machine = watch.end(Vec::new())?;

    let mut report = Report::default();
    for (function, runs) in FUNCTIONS.into_iter().zip(runs) {
        for ((build, directory), runs) in BUILDS.iter().zip(&directories).zip(runs) {
            report.add(function, build, directory, runs)?;
        }
    }
    machine.print();
    report.print(rounds, latency);
    report.write(&machine, folder)
}

/// Starts a function and invokes it twice.
async fn measure(
    bench: &Bench,
    directory: &Path,
    (function, event, status): &Invocation,
    runs: &mut Runs,
) -> Result<()> {
    let environment = bench.environment(function);
    let before = bench.requests(function);
    let (mut process, init) = Function::start(&directory.join(function), &environment).await?;
    let answer = process.invoke(event).await?;
    let body = &answer.body;
    ensure!(body["statusCode"] == *status, "{function}: {body}");
    let first = process.cpu_at_rest().await?;
    let after = bench.requests(function);
    process.invoke(event).await?;
    let second = process.cpu_at_rest().await?;
    let first_cpu = first.saturating_sub(init.cpu);
    let second_cpu = second.saturating_sub(first);
    runs.init_cpu.push(milliseconds(init.cpu));
    runs.init_wall.push(milliseconds(init.wall));
    runs.first_cpu.push(milliseconds(first_cpu));
    runs.first_wall.push(milliseconds(answer.wall));
    runs.second_cpu.push(milliseconds(second_cpu));
    runs.dynamodb.push(f64::from(after.0 - before.0));
    runs.kms.push(f64::from(after.1 - before.1));
    runs.resident.push(megabytes(process.resident()?));
    process.stop().await
}

/// The rows and figures of all functions and builds.
#[derive(Default)]
struct Report {
    rows: Vec<Vec<String>>,
    /// The estimated latency of the first call, by memory size.
    on_lambda: Vec<Vec<String>>,
    figures: Vec<Value>,
    bars: Vec<plot::Bar>,
}

impl Report {
    fn add(&mut self, function: &str, build: &Build, directory: &Path, runs: Runs) -> Result<()> {
        let binary = fs::read(directory.join(function))?;
        let zip = deflated(&binary)?;
        let size = |bytes: usize| format!("{:.2}", megabytes(bytes as u64));
        let init = Sample::new(runs.init_cpu);
        let init_wall = Sample::new(runs.init_wall);
        let first = Sample::new(runs.first_cpu);
        let first_wall = Sample::new(runs.first_wall);
        let second = Sample::new(runs.second_cpu);
        let dynamodb = Sample::new(runs.dynamodb);
        let kms = Sample::new(runs.kms);
        let resident = Sample::new(runs.resident);
        self.rows.push(vec![
            function.to_owned(),
            format!("{}: {}", build.name, build.about),
            init.to_string(),
            first.to_string(),
            second.to_string(),
            format!("{:.0} + {:.0}", dynamodb.median(), kms.median()),
            format!("{:.1}", resident.median()),
            size(binary.len()),
            size(zip),
        ]);
        // Estimates the latency as the handler's CPU time divided by the function's share of a CPU, plus the time that
        // the handler spends waiting.
        let waits = (first_wall.median() - first.median()).max(0.0);
        let at = |memory: f64| first.median() * (MEGABYTES_PER_CPU / memory).max(1.0) + waits;
        let mut row = vec![function.to_owned(), build.name.to_owned()];
        row.push(format!("{:.1}", init_wall.median()));
        row.extend(MEMORIES.map(|memory| format!("{:.1}", at(memory))));
        self.on_lambda.push(row);
        self.bars.push(plot::Bar {
            group: function.to_owned(),
            name: format!("{} {}", build.name, build.about),
            parts: vec![init.median(), first.median()],
        });
        self.figures.push(json!({
            "function": function, "build": build.name, "about": build.about,
            "init_cpu_ms": init.json(), "init_wall_ms": init_wall.json(),
            "first_cpu_ms": first.json(), "first_wall_ms": first_wall.json(), "second_cpu_ms": second.json(),
            "dynamodb_requests": dynamodb.json(), "kms_requests": kms.json(),
            "resident_mb": resident.json(), "bootstrap_bytes": binary.len(), "zip_bytes": zip,
            "first_call_ms_by_memory": MEMORIES.map(|memory| json!({ "mb": memory, "ms": at(memory) })),
        }));
        Ok(())
    }

    fn print(&self, rounds: usize, latency: Duration) {
        println!(
            "cold start: CPU-ms, min / median / max of {rounds}, builds in turn, {} ms of latency\n",
            latency.as_millis()
        );
        let headings = [
            "function",
            "build",
            "exec to /next",
            "first call",
            "second call",
            "DynamoDB + KMS",
            "resident MB",
            "MB",
            "zip MB",
        ];
        table(&headings, &self.rows);
        println!(
            "first call on Lambda in ms, by memory size (INIT has a whole CPU at every size)\n"
        );
        let headings = ["function", "build", "INIT", "128 MB", "256 MB", "512 MB"];
        table(&headings, &self.on_lambda);
    }

    fn write(self, machine: &Machine, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let title = "Cold start: CPU-milliseconds until the first answer";
        let legend = ["exec to the first /next (INIT)", "first call"];
        plot::bars(&folder.join("cold.svg"), title, &legend, &self.bars)?;
        let figures = json!({ "machine": machine.json(), "figures": self.figures });
        write(folder, "cold", &figures)
    }
}

/// Copies this checkout, applies the patch of a build, and builds the copy. Returns the folder of the binaries. The
/// builds share a target directory, so that common dependencies are compiled only once.
fn prepare(build: &Build) -> Result<PathBuf> {
    let root = root().canonicalize()?;
    let folder = root.join("target/bench");
    let (source, binaries) = (folder.join("source"), folder.join(build.name));
    copy_checkout(&root, &source)?;
    if let Some(patch) = build.patch {
        let patch = root.join(format!("tests/bench/builds/{patch}.patch"));
        // Uses `patch`, because `git apply` would act on the enclosing repository.
        let mut apply = Command::new("patch");
        apply.current_dir(&source);
        let status = apply.args(["-p1", "--input"]).arg(&patch).status()?;
        ensure!(
            status.success(),
            "{} does not apply to the current sources",
            patch.display()
        );
    }
    println!("build {}: {}", build.name, build.about);
    build_in(&source, &root.join("target"), &FUNCTIONS, build.environment)?;
    fs::create_dir_all(&binaries)?;
    for function in FUNCTIONS {
        let built = root.join("target/release").join(function);
        fs::copy(built, binaries.join(function))?;
    }
    Ok(binaries)
}

/// Copies the files of a checkout, except those that Git ignores.
fn copy_checkout(root: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    let mut list = Command::new("git");
    list.current_dir(root).args(["ls-files", "-z", "--cached"]);
    let files = list.args(["--others", "--exclude-standard"]).output()?;
    let errors = String::from_utf8_lossy(&files.stderr);
    ensure!(files.status.success(), "git ls-files: {errors}");
    for file in String::from_utf8(files.stdout)?.split_terminator('\0') {
        let to = to.join(file);
        fs::create_dir_all(to.parent().context("the file has no folder")?)?;
        fs::copy(root.join(file), to).with_context(|| file.to_owned())?;
    }
    Ok(())
}

/// Returns the size of a Lambda deployment package, not counting the few hundred bytes of the zip file's directory.
fn deflated(binary: &[u8]) -> Result<usize> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(binary)?;
    Ok(encoder.finish()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patches_of_all_builds_apply_to_the_current_sources() {
        for patch in BUILDS.iter().filter_map(|build| build.patch) {
            let patch = format!("tests/bench/builds/{patch}.patch");
            let mut git = Command::new("git");
            let apply = git.current_dir(root()).args(["apply", "--check", &patch]);
            assert!(apply.status().unwrap().success(), "{patch}");
        }
    }
}
