//! Decides which faults, kills and restarts happen, and when. These decisions depend only on the arguments, the race
//! and the number of the request.

use std::time::Duration;

use harness::{Fault, Rule, Service};
use rand::{RngExt, seq::IndexedRandom};

use crate::{Arguments, RACES, Race, Random, Sequence, generator};

/// The number of requests from the start of one fault to the start of the next.
const FAULT_EVERY: u64 = 20;
/// The longest time that a kill waits for the function to send a request to DynamoDB or KMS.
pub const PATIENCE: Duration = Duration::from_millis(300);

pub enum Chaos {
    Fault(Rule),
    /// `function` selects which of the race's functions to try first, and `which` selects one of that function's
    /// processes.
    Kill {
        function: usize,
        which: usize,
    },
    Restart,
}

/// Plans the faults, kills and restarts that interfere with a race.
pub struct Plan {
    seed: u64,
    race: usize,
    kill_every: Option<u64>,
    restart_every: Option<u64>,
    operations: u64,
    /// Kills that were postponed because no function was handling a request.
    postponed: Vec<Chaos>,
}

impl Plan {
    /// Distributes the kills and restarts evenly over all races, and over the requests of each race.
    pub fn new(arguments: &Arguments, race: usize) -> Self {
        let all = arguments.operations * RACES.len() as u64;
        let every = |count: u64| all.checked_div(count).map(|every| every.max(1));
        Self {
            seed: arguments.seed,
            race,
            kill_every: every(arguments.kills),
            restart_every: every(arguments.restarts),
            operations: 0,
            postponed: Vec::new(),
        }
    }

    /// Returns the faults, kills and restarts that are due before the race's next request.
    pub fn next(&mut self) -> Vec<Chaos> {
        self.operations += 1;
        let number = self.operations;
        let mut random = generator(self.seed, Sequence::Chaos, self.race, number);
        let is_due = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
        let mut due = Vec::from_iter(self.postponed.pop());
        if is_due(Some(FAULT_EVERY)) {
            due.push(Chaos::Fault(fault(&RACES[self.race], &mut random)));
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

    /// Postpones a kill until a later request.
    pub fn postpone(&mut self, kill: Chaos) {
        self.postponed.push(kill);
    }
}

/// Returns a rule that injects a fault into the next one to five requests from one of the race's functions. The SDK
/// hides up to two failures from the function by retrying.
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

/// Returns a rule that delays the next requests from a function, so that a kill can interrupt them.
pub fn pause(function: &str) -> Rule {
    let rule = Rule::new(Fault::Latency(Duration::from_millis(40)));
    rule.function(function).times(4)
}
