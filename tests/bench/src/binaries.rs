//! Release binaries of the functions.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

/// Builds release binaries of this checkout. Returns their folder.
pub fn build(functions: &[&str]) -> Result<PathBuf> {
    let root = root();
    let target = root.join("target");
    build_in(&root, &target, functions, &[])?;
    Ok(target.join("release"))
}

/// Builds release binaries of the workspace at `root`, with `target` as the target directory.
pub fn build_in(
    root: &Path,
    target: &Path,
    functions: &[&str],
    environment: &[(&str, &str)],
) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(root)
        .args(["build", "--release", "--target-dir"])
        .arg(target);
    for function in functions {
        cargo.args(["-p", function]);
    }
    let status = cargo.envs(environment.iter().copied()).status()?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(())
}

/// Returns the root folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
