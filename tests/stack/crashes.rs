//! Function processes that are killed or hang.

use std::{path::Path, time::Duration};

use harness::{Fault, GATEWAY, RuleGuard, Stack, Tenant, send};
use serde_json::json;
use tokio::{process::Command, time::Instant};

use crate::{BUDGET, own_stack};

pub async fn signal(signal: &str, pid: u32) {
    // Uses the shell's builtin `kill`, because some machines do not have the `kill` program.
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("kill {signal} {pid}")]);
    assert!(shell.status().await.unwrap().success());
}

pub fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Returns the process id of a function that has only one process.
pub fn process_of(stack: &Stack, function: &str) -> u32 {
    let [pid] = stack.process_ids(function)[..] else {
        panic!("{function} does not have exactly one process")
    };
    pid
}

/// Kills a process as soon as a request matches the rule.
pub async fn kill_at(rule: &RuleGuard, pid: u32) {
    while rule.hits() == 0 {
        tokio::task::yield_now().await;
    }
    signal("-KILL", pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_or_hanging_function_returns_500_and_is_restarted() {
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (_, key) = tenant.key("admin", "viewer").await;
    assert_eq!(tenant.verdict(&key).await, "active");

    let slow = Fault::Latency(Duration::from_millis(900));
    let slow = stack.inject(tenant.rule("BatchGetItem", slow));
    let killed = kill_at(&slow, process_of(&stack, "validate"));
    let (answer, ()) = tokio::join!(send(tenant.validation(&key)), killed);
    answer.expect_code(500, GATEWAY);
    drop(slow);
    assert_eq!(tenant.verdict(&key).await, "active");

    let pid = process_of(&stack, "validate");
    signal("-STOP", pid).await;
    let started = Instant::now();
    let answer = send(tenant.validation(&key)).await;
    answer.expect_code(500, GATEWAY);
    assert!(started.elapsed() >= BUDGET);
    assert!(!is_alive(pid));
    assert_eq!(tenant.verdict(&key).await, "active");
    stack.stop().await;
}

/// Returns a key's counter and the number of its slots.
async fn counter_and_slots(tenant: &Tenant<'_>, key_id: &str) -> (u64, u64) {
    let item = tenant.key_item(key_id).await.unwrap();
    let counter = item["clusters_used"]["N"].as_str().unwrap();
    let slots = tenant.slots(key_id).await.len();
    (counter.parse().unwrap(), slots as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onboarding_can_be_repeated_after_a_kill_and_takes_one_slot() {
    const ROUNDS: u64 = 50;
    let stack = own_stack(&[]).await;
    let tenant = Tenant::acme(&stack);
    let (id, key) = tenant.onboarding_key(ROUNDS).await;
    let (mut killed, mut killed_after_write) = (0, 0);
    for round in 0..ROUNDS {
        let node = json!({ "cluster_name": format!("c{round}"), "node_name": "n", "type": "K8s" });
        let onboard = || send(tenant.process(&key, node.clone()));
        // In even rounds, the function is killed before the transaction. In odd rounds, it is killed after the
        // transaction but before the response.
        let fault = if round % 2 == 0 {
            Fault::Latency(Duration::from_secs(30))
        } else {
            Fault::DropAfter
        };
        let rule = tenant.rule("TransactWriteItems", fault);
        let rule = stack.inject(rule.function("onboard"));
        let kill = kill_at(&rule, process_of(&stack, "onboard"));
        let (answer, ()) = tokio::join!(onboard(), kill);
        drop(rule);
        let (counter, slots) = counter_and_slots(&tenant, &id).await;
        assert_eq!(counter, slots, "round {round}");
        let expected = round..=round + 1;
        assert!(expected.contains(&slots), "round {round}: {slots}");
        let (failed, written) = (answer.status == 500, slots == round + 1);
        killed += u64::from(failed);
        killed_after_write += u64::from(failed && written);
        assert!(failed || written, "{} but no slot was taken", answer.status);
        // The client repeats the call.
        let answer = onboard().await;
        assert_eq!(answer["message"], "success", "{round}: {}", answer.text);
        let counted = counter_and_slots(&tenant, &id).await;
        assert_eq!(counted, (round + 1, round + 1));
    }
    assert!(killed >= ROUNDS / 2, "only {killed} calls failed");
    assert!(killed_after_write > 0, "no call failed after the write");
    stack.stop().await;
}
