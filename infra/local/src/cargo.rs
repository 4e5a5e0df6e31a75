//! Builds the functions, so that the stack never runs yesterday's.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::process::Command;

/// Builds every binary of the workspace in the profile of the running program; returns the directory they are in.
///
/// It builds the whole workspace and not the functions alone: with another selection cargo would unify other
/// features, and build the dependencies once more.
pub(crate) async fn build() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    // A test's binary lies in `deps`, an example's in `examples`, below the others.
    let directory = match directory.file_name().and_then(|name| name.to_str()) {
        Some("deps" | "examples") => directory.parent().unwrap_or(directory),
        _ => directory,
    };
    let (Some(target), Some(profile)) = (directory.parent(), directory.file_name()) else {
        bail!("{} does not lie where cargo builds", program.display());
    };
    let profile = profile.to_string_lossy();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args([
            "build",
            "--workspace",
            "--bins",
            "--profile",
            if profile == "debug" { "dev" } else { &profile },
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    // What `cargo run` and `cargo test` tell a program about its package would make build scripts believe that they
    // must run again.
    for (name, _) in env::vars_os() {
        let of_package = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
        ];
        if name
            .to_str()
            .is_some_and(|name| of_package.iter().any(|prefix| name.starts_with(prefix)))
        {
            cargo.env_remove(name);
        }
    }
    let status = cargo
        .kill_on_drop(true)
        .status()
        .await
        .context("cannot run cargo")?;
    if status.success() {
        Ok(directory.to_owned())
    } else {
        Err(anyhow!("the functions do not build"))
    }
}
