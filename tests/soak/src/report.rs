//! Counts the responses in each race, collects violations, and prints the counts and the violations.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use harness::{Answer, GATEWAY, RuleGuard};

use crate::Race;

/// Whether a response comes from the gateway because the function crashed or hung.
pub fn is_crash(answer: &Answer) -> bool {
    answer.status == 500 && answer.code() == GATEWAY
}

/// What happened in a race.
pub struct Tally {
    race: &'static str,
    seed: u64,
    operations: AtomicU64,
    acknowledged: AtomicU64,
    unavailable: AtomicU64,
    crashed: AtomicU64,
    lost: AtomicU64,
    /// How many requests to DynamoDB and KMS failed.
    faults: AtomicU64,
    kills: AtomicU64,
    restarts: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
    violations: Mutex<Vec<String>>,
    time: OnceLock<Duration>,
}

fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

impl Tally {
    pub fn new(race: &Race, seed: u64) -> Self {
        Self {
            race: race.name,
            seed,
            operations: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            crashed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            kills: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            refused: Mutex::default(),
            violations: Mutex::default(),
            time: OnceLock::new(),
        }
    }

    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    pub fn answered(&self, answer: &Answer) {
        increment(&self.operations);
        match answer.status {
            200..=299 => increment(&self.acknowledged),
            503 => increment(&self.unavailable),
            _ if is_crash(answer) => increment(&self.crashed),
            0 => increment(&self.lost),
            status => {
                let reason = format!("{status} {}", answer.code());
                *self.refused.lock().unwrap().entry(reason).or_default() += 1;
            }
        }
    }

    /// Counts the requests that these rules affected, and then removes the rules.
    pub fn faulted(&self, rules: impl IntoIterator<Item = RuleGuard>) {
        let hits = rules.into_iter().map(|rule| u64::from(rule.hits())).sum();
        self.faults.fetch_add(hits, Ordering::SeqCst);
    }

    pub fn killed(&self) {
        increment(&self.kills);
    }

    pub fn restarted(&self) {
        increment(&self.restarts);
    }

    /// Reports a violation immediately, because the run may take hours.
    pub fn violation(&self, round: u64, what: String) {
        let Self { race, seed, .. } = self;
        let text = format!("VIOLATION --seed {seed} --race {race}, round {round}: {what}");
        eprintln!("{text}");
        self.violations.lock().unwrap().push(text);
    }

    pub fn end(&self, time: Duration) {
        let _ = self.time.set(time);
    }

    pub fn violations(&self) -> usize {
        self.violations.lock().unwrap().len()
    }
}

#[derive(Default)]
pub struct Report(Vec<Arc<Tally>>);

impl Report {
    pub fn add(&mut self, tally: Arc<Tally>) {
        self.0.push(tally);
    }

    pub fn violations(&self) -> usize {
        self.0.iter().map(|tally| tally.violations()).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>10} {:>12} {:>7} {:>7} {:>5} {:>7} {:>6} {:>8} {:>10} {:>7}  refused",
            "race",
            "operations",
            "acknowledged",
            "503",
            "500",
            "lost",
            "faults",
            "kills",
            "restarts",
            "violations",
            "seconds"
        )?;
        for tally in &self.0 {
            let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
            let refused = tally.refused.lock().unwrap();
            let refused = refused.iter().map(|(code, n)| format!("{code}: {n}"));
            let refused = refused.collect::<Vec<_>>().join(", ");
            writeln!(
                f,
                "{:<12} {:>10} {:>12} {:>7} {:>7} {:>5} {:>7} {:>6} {:>8} {:>10} {:>7}  {refused}",
                tally.race,
                count(&tally.operations),
                count(&tally.acknowledged),
                count(&tally.unavailable),
                count(&tally.crashed),
                count(&tally.lost),
                count(&tally.faults),
                count(&tally.kills),
                count(&tally.restarts),
                tally.violations(),
                tally.time.get().map_or(0, Duration::as_secs),
            )?;
        }
        for tally in &self.0 {
            for violation in tally.violations.lock().unwrap().iter() {
                writeln!(f, "{violation}")?;
            }
        }
        Ok(())
    }
}
