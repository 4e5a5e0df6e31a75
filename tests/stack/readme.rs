//! The commands of README.md.

use std::{fs, path::Path};

use harness::Tenant;
use serde_json::json;
use tokio::process::Command;

use crate::own_stack;

/// The commands in a section.
fn commands(heading: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_the_readme_work() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    tenant.user("editor", "editor").await;
    let platform = tenant.platform_token(json!({}));
    for (heading, expected, end) in [
        (
            "Use a key in five steps",
            "\"active\":true",
            "{\"active\":false,\"code\":\"revoked\"",
        ),
        (
            "Onboard a cluster",
            "\"message\":\"success\"",
            "\"name\":\"prod\"",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("bash");
        shell
            .arg("-c")
            .arg(commands(heading))
            .current_dir(folder.path());
        shell.env("URL", stack.url()).env("NO_PROXY", "127.0.0.1");
        shell
            .env("ADMIN", tenant.token("admin"))
            .env("PLATFORM", &platform);
        let output = shell.output().await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(!printed.contains("about:blank"), "{heading}: {printed}");
        assert!(printed.contains(expected), "{heading}: {printed}");
        let last = printed.lines().last().unwrap();
        assert!(last.contains(end), "{heading}: {printed}");
    }
    stack.stop().await;
}
