//! The `local-stack` command.

use std::{process::Stdio, time::Duration};

use harness::send;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::crashes::{is_alive, signal};

fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        // The format of the file is `pid (name) state parent ...`.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields = stat.rsplit_once(')')?.1;
        let found: u32 = fields.split_whitespace().nth(1)?.parse().ok()?;
        (parent == found).then_some(pid)
    });
    processes.collect()
}

fn local_stack(arguments: &[&str]) -> Child {
    let here = std::env::current_exe().unwrap();
    let mut command = Command::new(here.ancestors().nth(2).unwrap().join("local-stack"));
    command.args(arguments).args(["--port", "0"]);
    command.stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_a_line_for_each_event() {
    let mut child = local_stack(&[]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The demo creates three users: an administrator and two users that the administrator adds.
    let mut created = 0;
    while created < 3 {
        let line = timeout(Duration::from_secs(60), lines.next_line()).await;
        let line = line.unwrap().unwrap().unwrap();
        let fields: Vec<&str> = line.split("  ").collect();
        if let [_, "acme", "user:admin", "user.created", user] = fields[..] {
            assert!(user.starts_with("user:"), "{line}");
            created += 1;
        }
    }
    signal("-INT", child.id().unwrap()).await;
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_one_line_of_json_and_stops_its_processes() {
    let mut child = local_stack(&["--json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let users = ready["users"].as_array().unwrap().iter();
    let users: Vec<_> = users.map(|u| json!([u["tenant_id"], u["role"]])).collect();
    let expected = json!([
        ["acme", "admin"],
        ["acme", "editor"],
        ["acme", "viewer"],
        ["globex", "admin"]
    ]);
    assert_eq!(json!(users), expected);
    let [url, token] = [&ready["url"], &ready["users"][1]["token"]];
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let me = client.get(format!("{}/v1/users/me", url.as_str().unwrap()));
    let me = me.bearer_auth(token.as_str().unwrap());
    assert_eq!(send(me).await["role"], "editor");
    let children = children_of(child.id().unwrap());
    assert!(children.len() >= 8, "{children:?}");
    signal("-INT", child.id().unwrap()).await;
    assert!(child.wait().await.unwrap().success());
    assert!(lines.next_line().await.unwrap().is_none(), "one line");
    assert!(children.into_iter().all(|pid| !is_alive(pid)));
}
