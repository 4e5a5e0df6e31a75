//! The commands of README.md.

use std::{fs, path::Path};

use harness::Tenant;
use serde_json::json;
use tokio::process::Command;

use crate::own_stack;

/// Returns the commands in a section of README.md.
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
    for (headings, expected) in [
        (
            vec!["Use a key in five steps"],
            vec!["\"active\":true", "{\"active\":false,\"code\":\"revoked\""],
        ),
        (
            vec!["Onboard a cluster", "Rotate a key"],
            vec![
                "\"message\":\"success\"",
                "\"name\":\"prod\"",
                "\"generation\":1",
            ],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("bash");
        let commands: String = headings.iter().copied().map(commands).collect();
        shell.arg("-c").arg(commands).current_dir(folder.path());
        shell.env("URL", stack.url()).env("NO_PROXY", "127.0.0.1");
        shell
            .env("ADMIN_TOKEN", tenant.token("admin"))
            .env("PLATFORM_TOKEN", &platform);
        let output = shell.output().await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(!printed.contains("about:blank"), "{headings:?}: {printed}");
        let mut rest = printed.as_str();
        for text in expected {
            let (_, after) = rest
                .split_once(text)
                .unwrap_or_else(|| panic!("{text}: {printed}"));
            rest = after;
        }
        assert!(!rest.trim_end().contains('\n'), "{headings:?}: {printed}");
    }
    stack.stop().await;
}
