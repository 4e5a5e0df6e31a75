//! Builds the functions, so that the stack never runs an old version of them.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// The prefixes of the environment variables that `cargo run` and `cargo test` set for the package that they run. If
/// `cargo build` inherited these variables, it would rerun build scripts.
const OF_PACKAGE: [&str; 5] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_",
    "CARGO_CRATE_",
    "CARGO_PRIMARY_",
];

/// Builds the workspace's binaries with the same Cargo profile as the running program. Returns the binaries' directory.
///
/// Builds the whole workspace, because the selected packages determine which features of the dependencies are enabled.
/// Building only the functions would enable other features and therefore rebuild the dependencies.
pub(crate) async fn build() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot find the path of this program")?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    // Test binaries are in `deps`, and example binaries are in `examples`.
    let directory = match directory.file_name().and_then(|name| name.to_str()) {
        Some("deps" | "examples") => directory.parent().unwrap_or(directory),
        _ => directory,
    };
    let (target, profile) = directory
        .parent()
        .zip(directory.file_name())
        .with_context(|| format!("{} is not in a target directory", program.display()))?;
    let profile = match profile.to_string_lossy() {
        profile if profile == "debug" => "dev".into(),
        profile => profile,
    };
    let package_variables = env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| OF_PACKAGE.iter().any(|prefix| name.starts_with(prefix)));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["build", "--workspace", "--bins", "--profile", &profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .kill_on_drop(true);
    for name in package_variables {
        cargo.env_remove(name);
    }
    let status = cargo.status().await.context("cannot run cargo")?;
    ensure!(status.success(), "the functions do not build");
    Ok(directory.to_owned())
}
