//! When faults, kills and restarts happen. All follow from the seed and the number of the request.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use harness::{Fault, Rule, Service};
use rand::{RngExt, seq::IndexedRandom};

use crate::{Race, Random, generator};

/// The number of the sequence of faults and kills. Those of the races are lower.
const CHAOS: u64 = 15;
/// A fault begins after this many requests.
const FAULT_EVERY: u64 = 20;
/// How long a kill waits until the function handles a request.
pub const PATIENCE: Duration = Duration::from_millis(300);

pub enum Chaos {
    Fault(Rule),
    /// Numbers that select the first of the race's functions to try, and one of its processes.
    Kill {
        function: usize,
        which: usize,
    },
    Restart,
}

pub struct Plan {
    seed: u64,
    kill_every: Option<u64>,
    restart_every: Option<u64>,
    operations: AtomicU64,
}

impl Plan {
    /// Distributes kills and restarts evenly over all operations.
    pub fn new(seed: u64, operations: u64, kills: u64, restarts: u64) -> Self {
        let every = |count: u64| operations.checked_div(count).map(|every| every.max(1));
        Self {
            seed,
            kill_every: every(kills),
            restart_every: every(restarts),
            operations: AtomicU64::new(1),
        }
    }

    /// What happens before the next request.
    pub fn next(&self, race: &Race) -> Vec<Chaos> {
        let number = self.operations.fetch_add(1, Ordering::SeqCst);
        let mut random = generator(self.seed, CHAOS, number);
        let is_due = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
        let mut due = Vec::new();
        if is_due(Some(FAULT_EVERY)) {
            due.push(Chaos::Fault(fault(race, &mut random)));
        }
        if is_due(self.kill_every) {
            let (function, which) = (random.random_range(0..1000), random.random_range(0..1000));
            due.push(Chaos::Kill { function, which });
        }
        if is_due(self.restart_every) {
            due.push(Chaos::Restart);
        }
        due
    }
}

/// A fault of the next one to five requests of a function of the race. The SDK hides up to two from the function.
fn fault(race: &Race, random: &mut Random) -> Rule {
    let faults = [
        Fault::TransactionConflict,
        Fault::Throttle,
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::InternalError,
    ];
    let fault = faults.choose(random).expect("there are faults").clone();
    let function = race.functions.choose(random).expect("there are functions");
    let is_conflict = matches!(fault, Fault::TransactionConflict);
    let rule = Rule::new(fault).function(function);
    let rule = rule.times(random.random_range(1..=5));
    // Only writes conflict with transactions.
    if is_conflict {
        let write = ["TransactWriteItems", "UpdateItem"].choose(random);
        rule.service(Service::DynamoDb)
            .action(write.expect("there are writes"))
    } else if random.random_bool(0.2) {
        rule.service(Service::Kms)
    } else {
        rule.service(Service::DynamoDb)
    }
}

/// Holds the next requests of a function, so that a kill interrupts them.
pub fn pause(function: &str) -> Rule {
    let rule = Rule::new(Fault::Latency(Duration::from_millis(40)));
    rule.function(function).times(4)
}
