//! EventBridge, the table, the function `publish` and the stream fail one after another while users and keys change.
//! The seed determines every round. `PUBLISH_SEED=7` selects another seed.

use std::{
    collections::BTreeMap,
    env,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use harness::{Fault, Options, Rule, RuleGuard, Service, Stack, Tenant, contradictions, options};
use rand::{Rng, RngExt, SeedableRng, rngs::Xoshiro256PlusPlus, seq::SliceRandom};

use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

use crate::{
    crashes::{kill_at, process_of},
    publish::{PENDING, trail},
};

/// How many times each failure happens.
const REPETITIONS: usize = 2;

#[derive(Debug, Clone)]
enum Failure {
    /// EventBridge fails for this many requests.
    Bus(Fault, u32),
    /// The table fails for this many of the function's requests.
    Table(&'static str, Fault, u32),
    /// The function is killed after it has sent part of a batch.
    Kill,
    /// The reader of the stream stops in the middle of a batch and continues from its last position.
    Stream,
}

/// Returns failures that end before a record has been delivered six times. After six failed deliveries, the record
/// would be lost.
fn failures() -> Vec<Failure> {
    let slow = Fault::Latency(Duration::from_millis(1100));
    vec![
        Failure::Bus(Fault::DropBefore, 4),
        Failure::Bus(Fault::DropAfter, 4),
        Failure::Bus(Fault::Throttle, 7),
        Failure::Bus(Fault::InternalError, 4),
        Failure::Bus(slow, 2),
        Failure::Bus(Fault::Refuse, 3),
        Failure::Bus(Fault::RefuseFirstEntry, 5),
        Failure::Table("PutItem", Fault::DropBefore, 4),
        Failure::Table("PutItem", Fault::DropAfter, 4),
        Failure::Table("UpdateItem", Fault::DropBefore, 4),
        Failure::Table("UpdateItem", Fault::DropAfter, 4),
        Failure::Table("TransactWriteItems", Fault::DropBefore, 4),
        Failure::Table("TransactWriteItems", Fault::DropAfter, 4),
        Failure::Kill,
        Failure::Stream,
    ]
}

/// A consumer that ignores events whose ids it has already seen.
#[derive(Default)]
struct Consumer {
    seen: BTreeMap<String, Value>,
    copies: usize,
}

impl Consumer {
    fn receive(&mut self, events: &mut Receiver<Value>) {
        loop {
            let entry = match events.try_recv() {
                Ok(mut event) => event["detail"].take(),
                Err(TryRecvError::Lagged(_)) => panic!("events were lost"),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            };
            let id = entry["id"].as_str().unwrap().to_owned();
            match self.seen.get(&id) {
                Some(first) => {
                    assert_eq!(*first, entry, "a copy differs");
                    self.copies += 1;
                }
                None => drop(self.seen.insert(id, entry)),
            }
        }
    }
}

/// Creates a user, who gains and loses roles and keys. Returns the number of changes. If `waits` is true, the changes
/// that take something from the user cannot be written together with their entries. Otherwise, such writes fail at
/// random.
async fn live(stack: &Stack, tenant: &Tenant<'_>, user: &str, seed: u64, waits: bool) -> usize {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut without_entry = || {
        let rule = tenant.rule("TransactWriteItems", Fault::Refuse);
        let rule = rule.containing(&format!("U#{}#{user}\"", tenant.id));
        let rule = rule.without(PENDING);
        (waits || random.random_bool(0.3)).then(|| stack.inject(rule))
    };
    let (path, keys) = (
        format!("/v1/users/{user}"),
        format!("/v1/users/{user}/access-keys"),
    );
    tenant.user(user, "viewer").await;
    tenant.change_user(user, json!({ "role": "editor" })).await;
    let (id, _) = tenant.key(user, "viewer").await;
    tenant.key(user, "editor").await;
    for (method, path, body, status) in [
        ("DELETE", &format!("{keys}/{id}?reason=r"), Value::Null, 204),
        ("DELETE", &keys, Value::Null, 204),
        ("PATCH", &path, json!({ "status": "inactive" }), 200),
        ("DELETE", &path, Value::Null, 204),
    ] {
        let rule = without_entry();
        let answer = match body {
            Value::Null => tenant.delete("admin", path).await,
            body => tenant.send("admin", method, path, body).await,
        };
        answer.expect(status);
        assert!(rule.is_none_or(|rule| rule.hits() == 1), "{path}");
    }
    8
}

struct Suite {
    options: Options,
    seed: u64,
    consumer: Consumer,
    changes: AtomicUsize,
}

impl Suite {
    /// Changes two users and their keys concurrently.
    async fn change(&self, stack: &Stack, round: usize, waits: bool) {
        let tenant = Tenant::acme(stack);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ round as u64);
        let users: Vec<_> = (0..2).map(|n| format!("u{round}-{n}")).collect();
        let mut next = || random.next_u64();
        let (first, second) = tokio::join!(
            live(stack, &tenant, &users[0], next(), waits),
            live(stack, &tenant, &users[1], next(), waits)
        );
        self.changes.fetch_add(first + second, Ordering::SeqCst);
    }

    async fn fail(&self, stack: &Stack, round: usize, rule: Rule, times: u32, waits: bool) {
        let rule = stack.inject(rule.function("publish").times(times));
        self.change(stack, round, waits).await;
        stack.drain_events().await;
        assert_eq!(rule.hits(), times, "round {round}");
    }

    /// Makes changes and lets the function send some of their events. The last event is not sent until the returned
    /// rule is dropped.
    async fn send_in_part(&self, stack: &Stack, round: usize) -> RuleGuard {
        let tenant = Tenant::acme(stack);
        let hold = |user: &str| {
            let rule = Rule::new(Fault::Hold).service(Service::EventBridge);
            stack.inject(rule.containing(&format!("\\\"{user}\\\"")))
        };
        let [first, last] = ["first", "last"].map(|user| format!("{user}{round}"));
        let blocked = hold(&first);
        tenant.user(&first, "viewer").await;
        reached(&blocked).await;
        self.change(stack, round, false).await;
        let rest = hold(&last);
        tenant.user(&last, "viewer").await;
        self.changes.fetch_add(2, Ordering::SeqCst);
        drop(blocked);
        rest
    }

    async fn kill(&self, stack: &Stack, round: usize) {
        let pid = process_of(stack, "publish");
        let rest = self.send_in_part(stack, round).await;
        kill_at(&rest, pid).await;
        drop(rest);
        stack.drain_events().await;
        assert_ne!(process_of(stack, "publish"), pid);
    }

    /// Restarts the stack. The mapping that reads the stream then continues from its last saved position, so it
    /// delivers the unfinished batch again.
    async fn restart(&mut self, stack: Stack, events: &mut Receiver<Value>, round: usize) -> Stack {
        let rest = self.send_in_part(&stack, round).await;
        reached(&rest).await;
        assert_eq!(stack.dead_letters(), [Value::Null; 0]);
        stack.stop().await;
        self.consumer.receive(events);
        drop(rest);
        let stack = Stack::start(self.options.clone()).await.unwrap();
        *events = stack.subscribe();
        stack.drain_events().await;
        stack
    }
}

/// Waits until a request matches a rule.
async fn reached(rule: &RuleGuard) {
    while rule.hits() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_is_published_at_least_once_whatever_fails() {
    let data = tempfile::tempdir().unwrap();
    let options = Options {
        data: Some(data.path().to_owned()),
        processes_per_function: 1,
        ..options(&[])
    };
    let seed = env::var("PUBLISH_SEED").map_or(17, |seed| seed.parse().unwrap());
    let mut failures: Vec<_> = (0..REPETITIONS).flat_map(|_| failures()).collect();
    failures.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    let mut stack = Stack::start(options.clone()).await.unwrap();
    let mut events = stack.subscribe();
    let mut suite = Suite {
        options,
        seed,
        consumer: Consumer::default(),
        changes: AtomicUsize::default(),
    };
    let tenant = Tenant::acme(&stack);
    tenant.get("admin", "/v1/users/me").await.expect(200);
    let before = trail(&tenant).await.len();
    for (round, failure) in failures.into_iter().enumerate() {
        let copies = suite.consumer.copies;
        match failure.clone() {
            Failure::Bus(fault, times) => {
                let rule = Rule::new(fault).service(Service::EventBridge);
                suite.fail(&stack, round, rule, times, false).await;
            }
            Failure::Table(action, fault, times) => {
                let rule = Rule::new(fault).action(action);
                suite.fail(&stack, round, rule, times, true).await;
            }
            Failure::Kill => suite.kill(&stack, round).await,
            Failure::Stream => stack = suite.restart(stack, &mut events, round).await,
        }
        suite.consumer.receive(&mut events);
        let must_repeat = matches!(
            failure,
            Failure::Kill | Failure::Stream | Failure::Bus(Fault::DropAfter, _)
        );
        let has_repeated = suite.consumer.copies > copies;
        assert!(has_repeated || !must_repeat, "{round}: {failure:?}");
        let context = format!("seed {seed}, round {round}: {failure:?}");
        assert_eq!(stack.dead_letters(), [Value::Null; 0], "{context}");
        let trail = trail(&Tenant::acme(&stack)).await;
        assert_eq!(suite.consumer.seen, trail, "{context}");
        let changes = suite.changes.load(Ordering::SeqCst);
        assert_eq!(trail.len(), before + changes, "{context}");
    }
    let tenant = Tenant::acme(&stack);
    assert_eq!(contradictions(&tenant).await, [""; 0]);
    for shard in 0..8 {
        let waiting = tenant.partition(&format!("P#acme#{shard}")).await;
        assert_eq!(waiting, [Value::Null; 0]);
    }
    stack.stop().await;
}
