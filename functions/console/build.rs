//! Embeds the files of `dist/` and the OpenAPI document in the binary, each in plain and compressed form.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{Error, Result, Write as _},
    path::PathBuf,
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=dist");
    println!("cargo::rerun-if-changed=../../infra/openapi.yaml");
    // This script reads cargo's environment variables when it runs. If it used `env!`, the compiled script would
    // contain the path of the checkout in which it was compiled, and would still read from there after the target
    // directory was copied to another checkout.
    let directory = |variable| {
        let path = env::var_os(variable).ok_or(Error::other("run this with cargo"));
        path.map(PathBuf::from)
    };
    let here = directory("CARGO_MANIFEST_DIR")?;
    let out = directory("OUT_DIR")?;
    let mut paths: Vec<_> = fs::read_dir(here.join("dist"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.push(here.join("../../infra/openapi.yaml"));
    paths.sort();
    let mut table = String::from("&[\n");
    for path in paths {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or(Error::other("a file name is not valid UTF-8"))?;
        let plain = fs::read(&path)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain)?;
        let gzip = out.join(format!("{name}.gz"));
        fs::write(&gzip, encoder.finish()?)?;
        let digest = Sha256::digest(&plain);
        let hash = digest[..16]
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let entry = format!(
            "File {{ name: {name:?}, hash: {hash:?}, plain: include_bytes!({path:?}), gzip: include_bytes!({gzip:?}) }},"
        );
        writeln!(table, "{entry}").map_err(Error::other)?;
    }
    table.push(']');
    fs::write(out.join("files.rs"), table)
}
