//! Sends concurrent requests to the local stack while requests to DynamoDB and KMS fail, functions are killed, and the
//! stack is restarted. Each race compares the responses and the table with a model of what was acknowledged.
//!
//! A seed determines the requests, the faults and the kills, but not how they interleave.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot continue has failed"
)]

mod chaos;
mod creations;
mod deletions;
mod redemptions;
mod report;
mod retries;
mod revocations;
mod rotations;
mod round;
mod slots;
mod snapshot;
mod world;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use rand::{Rng, SeedableRng, rngs::Xoshiro256PlusPlus};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    chaos::Plan,
    report::{Report, Tally},
    round::Round,
    world::World,
};

/// A seeded random number generator.
pub type Random = Xoshiro256PlusPlus;

/// A race and the functions that it calls.
#[derive(Debug, Clone, Copy)]
pub struct Race {
    pub name: &'static str,
    pub functions: &'static [&'static str],
    /// How many rounds of the race run at the same time.
    rounds_at_once: usize,
}

/// A race ends after this many violations.
const MOST_VIOLATIONS: usize = 20;

const RACES: [Race; 7] = [
    slots::RACE,
    revocations::RACE,
    creations::RACE,
    retries::RACE,
    redemptions::RACE,
    deletions::RACE,
    rotations::RACE,
];

#[derive(Parser)]
pub struct Arguments {
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests per race.
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// Number of times that functions are killed, over all races.
    #[arg(long, default_value_t = 1000)]
    kills: u64,
    /// Number of times that the stack is restarted, over all races.
    #[arg(long, default_value_t = 100)]
    restarts: u64,
    /// Run only this race.
    #[arg(long)]
    race: Option<String>,
    /// Run a short version for CI, which ends within a minute.
    #[arg(long)]
    short: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::parse();
    let mut time = Duration::MAX;
    if arguments.short {
        (arguments.operations, time) = (600, Duration::from_secs(5));
        (arguments.kills, arguments.restarts) = (120, 12);
    }
    let wanted = |race: &Race| arguments.race.as_deref().is_none_or(|n| n == race.name);
    let races: Vec<Race> = RACES.into_iter().filter(wanted).collect();
    let names = RACES.map(|race| race.name).join(", ");
    ensure!(!races.is_empty(), "the races are {names}");
    let world = Arc::new(World::start().await?);
    let mut report = Report::default();
    for (position, race) in RACES.iter().enumerate() {
        if !races.iter().any(|wanted| wanted.name == race.name) {
            continue;
        }
        let tally = Arc::new(Tally::new(race, arguments.seed));
        world.begin(Plan::new(&arguments, position));
        run(&world, position, &arguments, time, &tally).await;
        world.calm(&tally).await;
        world.compare_trail(&tenant(position), &tally).await;
        report.add(tally);
    }
    println!("{report}");
    world.stop().await;
    Ok(ExitCode::from(u8::from(report.violations() > 0)))
}

/// Returns the id of a race's tenant.
fn tenant(position: usize) -> String {
    format!("t{position}x")
}

/// Runs rounds of a race until enough requests have been sent, `time` has passed, or the product or the test turns out
/// to be broken.
async fn run(
    world: &Arc<World>,
    position: usize,
    arguments: &Arguments,
    time: Duration,
    tally: &Arc<Tally>,
) {
    let race = &RACES[position];
    let tenant = tenant(position);
    let began = Instant::now();
    let mut running = JoinSet::new();
    let (mut number, mut is_broken) = (0, false);
    loop {
        is_broken |= tally.violations() >= MOST_VIOLATIONS;
        let is_done = tally.operations() >= arguments.operations || began.elapsed() >= time;
        while !is_broken && !is_done && running.len() < race.rounds_at_once {
            let round = Round::new(world, race, &tenant, number, tally);
            let random = generator(arguments.seed, Sequence::Requests, position, number);
            running.spawn(one(Arc::new(round), race.name, random));
            number += 1;
        }
        match running.join_next().await {
            None => return tally.end(began.elapsed()),
            Some(Ok(())) => {}
            Some(Err(error)) => {
                is_broken = true;
                tally.violation(number, format!("a round ended: {error}"));
            }
        }
    }
}

/// Returns the random number generator for one of a race's random sequences. The seed determines all of these
/// sequences.
pub fn generator(seed: u64, sequence: Sequence, race: usize, number: u64) -> Random {
    let parts = [seed, sequence as u64, race as u64, number];
    let mix = |mixed: u64, part| Random::seed_from_u64(mixed ^ part).next_u64();
    Random::seed_from_u64(parts.into_iter().fold(0, mix))
}

#[derive(Debug, Clone, Copy)]
pub enum Sequence {
    Requests,
    Chaos,
}

async fn one(round: Arc<Round>, race: &str, mut random: Random) {
    let random = &mut random;
    let ended = match race {
        "slots" => slots::round(&round, random).await,
        "revocations" => revocations::round(&round, random).await,
        "creations" => creations::round(&round, random).await,
        "retries" => retries::round(&round, random).await,
        "rotations" => rotations::round(&round, random).await,
        "redemptions" => redemptions::round(&round, random).await,
        _ => deletions::round(&round, random).await,
    };
    if let Err(error) = ended {
        round.violation(format!("{error:#}"));
    }
}
