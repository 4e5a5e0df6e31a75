//! EventBridge Scheduler: invokes functions at the rates that the template's schedules declare.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    clock,
    function::Function,
    iam::{Access, Permissions},
    runtime_api::Outcome,
    template::{self, Resource},
};

/// A keyword that AWS replaces with the scheduled time of the run.
const SCHEDULED_TIME: &str = "<aws.scheduler.scheduled-time>";

pub(crate) struct Schedule {
    id: String,
    function: Arc<Function>,
    rate: Duration,
    input: String,
}

impl Schedule {
    /// # Errors
    ///
    /// Fails if the role of the schedule is not permitted to invoke the function, or if the schedule uses a feature
    /// that is not supported.
    pub(crate) fn new(
        Resource { id, properties, .. }: Resource<template::Schedule>,
        function: Arc<Function>,
        permissions: &Permissions,
    ) -> Result<Self> {
        let access = Access::plain("lambda:InvokeFunction", function.arn());
        ensure!(
            permissions.is_allowed(&id, &access),
            "{id}: the role may not invoke {}",
            function.arn()
        );
        let schedule = Self {
            rate: rate(&properties.schedule_expression)
                .with_context(|| format!("{id}: ScheduleExpression must be a rate"))?,
            input: properties.target.input,
            function,
            id,
        };
        schedule.payload(Duration::ZERO)?;
        Ok(schedule)
    }

    /// Invokes the function as if the scheduled time were `time`, which is a duration since 1970.
    pub(crate) async fn run(&self, time: Duration) -> Result<Outcome> {
        Ok(self.function.invoke(self.payload(time)?).await)
    }

    /// Invokes the function now, and then at the rate of the schedule. A failed run is not repeated.
    pub(crate) async fn run_forever(&self) -> Result<()> {
        let mut ticks = interval(self.rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.run(clock::now()).await? {
                eprintln!("the schedule {} failed: {error:?}", self.id);
            }
        }
    }

    /// Returns the schedule's input, with the time filled in. Refuses all other keywords.
    fn payload(&self, time: Duration) -> Result<Value> {
        let time = jiff::Timestamp::from_second(time.as_secs().try_into()?)?;
        let input = self.input.replace(SCHEDULED_TIME, &time.to_string());
        let id = &self.id;
        ensure!(
            !input.contains("<aws.scheduler."),
            "{id}: Input has a keyword that the local stack does not support"
        );
        serde_json::from_str(&input).with_context(|| format!("{id}: Input is not JSON"))
    }
}

/// Returns the interval of an expression such as `rate(1 hour)`.
fn rate(expression: &str) -> Option<Duration> {
    let (number, unit) = expression
        .strip_prefix("rate(")?
        .strip_suffix(')')?
        .split_once(' ')?;
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    let seconds = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3600,
        "day" | "days" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(seconds) * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        assert_eq!(rate("rate(5 minutes)"), minutes(5));
        assert_eq!(rate("rate(1 hour)"), minutes(60));
        assert_eq!(rate("rate(2 days)"), minutes(2 * 24 * 60));
        for wrong in [
            "rate(0 minutes)",
            "rate(1 week)",
            "rate(-1 hour)",
            "cron(0 * * * ? *)",
            "1 hour",
        ] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }
}
