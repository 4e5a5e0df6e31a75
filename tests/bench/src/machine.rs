//! The machine that a run used, and how quiet it was.
//!
//! Other processes make a call more expensive, even in CPU time, because they compete with it for the caches and the
//! cores.

use std::{
    fs,
    process::Command,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use access_keys::process::clock;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::{binaries::root, report::Sample};

/// The limit on the load average of the last minute.
const LOAD_LIMIT: f64 = 0.3;
/// The limit on the share of the machine's CPU time that the host took.
const STEAL_LIMIT: f64 = 0.01;
/// The limit on the share of the machine's CPU time that other processes used.
const OTHERS_LIMIT: f64 = 0.05;
/// The limit on the difference between the CPU times of the rounds, as a share of the median.
const SPREAD_LIMIT: f64 = 0.15;
const POLL: Duration = Duration::from_secs(5);

/// The state of the machine, read before anything is built, because a build would raise the load average.
pub struct Before {
    about: Value,
    load: f64,
    wait: Option<Duration>,
}

/// A run in progress.
pub struct Watch<'a> {
    before: &'a Before,
    load: f64,
    whole: Ticks,
    own: u64,
}

/// The state of the machine during a run.
pub struct Machine {
    about: Value,
    load: f64,
    steal: f64,
    others: f64,
    /// The name of each row of the run, and the spread of its CPU times.
    spreads: Vec<(String, f64)>,
}

/// The CPU time of all cores since the machine started, in ticks of the kernel.
#[derive(Debug, PartialEq)]
struct Ticks {
    busy: u64,
    idle: u64,
    steal: u64,
}

impl Before {
    /// Reads the load average. `minutes` is how long [`Self::watch`] may wait for a quiet machine.
    pub fn read(minutes: Option<u64>) -> Result<Self> {
        Ok(Self {
            load: load()?,
            about: about()?,
            wait: minutes.map(|minutes| Duration::from_secs(minutes * 60)),
        })
    }

    /// Starts watching the machine. Call this after all builds and before the measured processes start.
    pub async fn watch(&self) -> Result<Watch<'_>> {
        let load = match self.wait {
            Some(limit) => wait_until_quiet(limit).await?,
            None => self.load,
        };
        Ok(Watch {
            before: self,
            load,
            whole: whole()?,
            own: own()?,
        })
    }
}

impl Watch<'_> {
    /// Ends the watch. Call this after the measured processes have ended, because only then does the kernel add the CPU
    /// time of a process to that of its parent. For each row of the run, `rows` contains its name and its CPU times,
    /// one CPU time per round.
    pub fn end(self, rows: Vec<(String, Sample)>) -> Result<Machine> {
        let Ticks { busy, idle, steal } = whole()?.since(&self.whole);
        let own = own()?.saturating_sub(self.own);
        let all = busy + idle + steal;
        let spreads = rows.into_iter();
        Ok(Machine {
            about: self.before.about.clone(),
            load: self.load,
            steal: share(steal, all),
            others: share(others(busy, own), all),
            spreads: spreads.map(|(row, cpu)| (row, cpu.spread())).collect(),
        })
    }
}

impl Machine {
    /// Prints a line about the machine, followed by the warnings.
    pub fn print(&self) {
        let text = |name: &str| self.about[name].as_str().unwrap_or("unknown");
        let changes = if self.about["changed"] == true {
            " with local changes"
        } else {
            ""
        };
        println!(
            "machine: {} ({}), {} cores, Linux {}, {}, commit {}{changes}, load {:.2} before the run, {:.1} % of the \
             CPU time stolen, {:.1} % used by other processes\n",
            text("cpu"),
            text("architecture"),
            self.about["cores"],
            text("kernel"),
            text("date"),
            text("commit"),
            self.load,
            self.steal * 100.0,
            self.others * 100.0,
        );
        for warning in self.warnings() {
            println!("WARNING: {warning}\n");
        }
    }

    /// Returns a warning for each value that exceeds its limit. The warning states both the value and the limit.
    fn warnings(&self) -> Vec<String> {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let mut warnings = Vec::new();
        if self.load > LOAD_LIMIT {
            let load = self.load;
            warnings.push(format!(
                "the load average before the run was {load:.2} (limit {LOAD_LIMIT})"
            ));
        }
        for (share, limit, by) in [
            (self.steal, STEAL_LIMIT, "taken by the host"),
            (self.others, OTHERS_LIMIT, "used by other processes"),
        ] {
            if share > limit {
                let (share, limit) = (percent(share), percent(limit));
                warnings.push(format!("{share} of the CPU time was {by} (limit {limit})"));
            }
        }
        let mut unsteady = Vec::from_iter(self.spreads.iter().filter(|row| row.1 > SPREAD_LIMIT));
        unsteady.sort_by(|a, b| b.1.total_cmp(&a.1));
        if !unsteady.is_empty() {
            let rows = unsteady
                .iter()
                .map(|(row, spread)| format!("{row} {}", percent(*spread)));
            warnings.push(format!(
                "the CPU time of {} of {} rows differs between rounds by more than the limit of {}: {}",
                unsteady.len(),
                self.spreads.len(),
                percent(SPREAD_LIMIT),
                Vec::from_iter(rows).join(", "),
            ));
        }
        warnings
    }

    pub fn json(&self) -> Value {
        let spreads = self.spreads.iter();
        let spreads: Map<_, _> = spreads
            .map(|(row, spread)| (row.clone(), json!(spread)))
            .collect();
        json!({
            "about": self.about, "load_before": self.load, "steal": self.steal, "other_processes": self.others,
            "spread_between_rounds": spreads, "warnings": self.warnings(),
            "limits": {
                "load_before": LOAD_LIMIT, "steal": STEAL_LIMIT, "other_processes": OTHERS_LIMIT,
                "spread_between_rounds": SPREAD_LIMIT,
            },
        })
    }
}

impl Ticks {
    fn since(&self, before: &Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            idle: self.idle.saturating_sub(before.idle),
            steal: self.steal.saturating_sub(before.steal),
        }
    }
}

/// Waits until the load average is at most [`LOAD_LIMIT`]. Returns the load average. Fails if it is still higher after
/// `limit`.
async fn wait_until_quiet(limit: Duration) -> Result<f64> {
    let started = Instant::now();
    loop {
        let load = load()?;
        if load <= LOAD_LIMIT {
            return Ok(load);
        }
        ensure!(
            started.elapsed() < limit,
            "the load average is still {load} after {} minutes (limit {LOAD_LIMIT})",
            limit.as_secs() / 60
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Describes the machine, the time and the commit.
fn about() -> Result<Value> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let (commit, changes) = (
        git(&["rev-parse", "--short", "HEAD"]),
        git(&["status", "--porcelain"]),
    );
    Ok(json!({
        "cpu": model(&cpu), "architecture": std::env::consts::ARCH, "cores": available_parallelism()?.get(),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(), "date": clock::now().to_string(),
        "commit": commit, "changed": changes.map(|changes| !changes.is_empty()),
    }))
}

/// Returns the output of a git command, or `None` if the command fails, as it does outside a clone.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(root())
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

fn load() -> Result<f64> {
    parse_load(&fs::read_to_string("/proc/loadavg")?)
}

fn whole() -> Result<Ticks> {
    parse_ticks(&fs::read_to_string("/proc/stat")?)
}

fn own() -> Result<u64> {
    parse_own(&fs::read_to_string("/proc/self/stat")?)
}

/// Returns the name of the processor from `/proc/cpuinfo`. On some architectures, the file does not contain a name.
fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// Returns the load average of the last minute from the content of `/proc/loadavg`.
fn parse_load(text: &str) -> Result<f64> {
    let load = text.split_whitespace().next().context("no load average")?;
    Ok(load.parse()?)
}

/// Reads the line for all cores in `/proc/stat`. Its columns are user, nice, system, idle, iowait, irq, softirq and
/// steal. The columns after those are already included in user and nice.
fn parse_ticks(text: &str) -> Result<Ticks> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("cpu "));
    let ticks = line.context("no line of all cores")?.split_whitespace();
    let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] else {
        anyhow::bail!("too few columns of CPU time: {text}");
    };
    Ok(Ticks {
        busy: user + nice + system + irq + softirq,
        idle: idle + iowait,
        steal,
    })
}

/// Returns the user and system time of a process, including the time of its children that have ended. `text` is the
/// content of `/proc/<pid>/stat`. The second field is the name of the process, which may contain spaces and
/// parentheses.
fn parse_own(text: &str) -> Result<u64> {
    let (_, fields) = text.rsplit_once(')').context("no name of the process")?;
    let times: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    ensure!(times.len() == 4, "too few fields of the process: {text}");
    Ok(times.iter().sum())
}

/// Returns the busy time of other processes. `busy` and `own` come from clocks that differ slightly, so `own` may
/// exceed `busy`.
fn others(busy: u64, own: u64) -> u64 {
    busy.saturating_sub(own)
}

#[allow(clippy::cast_precision_loss)]
fn share(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(load: f64, steal: f64, others: f64, spread: f64) -> Machine {
        Machine {
            about: Value::Null,
            load,
            steal,
            others,
            spreads: vec![("steady".to_owned(), 0.0), ("row".to_owned(), spread)],
        }
    }

    #[test]
    fn the_load_average_of_the_last_minute_is_read() {
        assert_eq!(parse_load("0.72 1.51 3.36 2/84 32726\n").unwrap(), 0.72);
        assert!(parse_load("").is_err());
    }

    #[test]
    fn steal_and_waiting_are_not_busy_time() {
        let text =
            "cpu  1 20 300 4000 50000 600000 7000000 80000000 9 9\ncpu0 5 5 5 5 5 5 5 5 5 5\n";
        let ticks = Ticks {
            busy: 7_600_321,
            idle: 54_000,
            steal: 80_000_000,
        };
        assert_eq!(parse_ticks(text).unwrap(), ticks);
        assert!(parse_ticks("cpu  1 2 3\n").is_err());
    }

    #[test]
    fn each_kind_of_tick_is_subtracted_separately() {
        let [before, after] =
            [(1, 2, 3), (11, 22, 33)].map(|(busy, idle, steal)| Ticks { busy, idle, steal });
        let since = Ticks {
            busy: 10,
            idle: 20,
            steal: 30,
        };
        assert_eq!(after.since(&before), since);
    }

    #[test]
    fn the_time_of_a_process_includes_the_time_of_children_that_have_ended() {
        let text = "3760 (a) R b) R 3756 3756 32117 0 -1 4194304 101 0 0 0 1 20 300 4000 20 0 1 0 5751675\n";
        assert_eq!(parse_own(text).unwrap(), 4321);
        assert!(parse_own("3760 (a) R 3756").is_err());
    }

    #[test]
    fn the_processor_may_have_no_name() {
        let text = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n";
        assert_eq!(model(text), Some("AMD EPYC"));
        assert_eq!(model("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
    }

    #[test]
    fn a_quiet_machine_causes_no_warning() {
        let limits = machine(LOAD_LIMIT, STEAL_LIMIT, OTHERS_LIMIT, SPREAD_LIMIT);
        assert_eq!(limits.warnings(), Vec::<String>::new());
    }

    #[test]
    fn each_warning_states_the_value_and_the_limit() {
        let cases = [
            (
                machine(0.31, 0.0, 0.0, 0.0),
                "the load average before the run was 0.31 (limit 0.3)",
            ),
            (
                machine(0.0, 0.011, 0.0, 0.0),
                "1.1 % of the CPU time was taken by the host (limit 1.0 %)",
            ),
            (
                machine(0.0, 0.0, 0.061, 0.0),
                "6.1 % of the CPU time was used by other processes (limit 5.0 %)",
            ),
            (
                machine(0.0, 0.0, 0.0, 0.16),
                "the CPU time of 1 of 2 rows differs between rounds by more than the limit of 15.0 %: row 16.0 %",
            ),
        ];
        for (machine, warning) in cases {
            assert_eq!(machine.warnings(), [warning]);
            assert_eq!(machine.json()["warnings"], json!([warning]));
        }
    }

    #[test]
    fn the_time_of_other_processes_excludes_the_time_of_the_process_itself() {
        assert_eq!(share(others(1000, 600), 2000), 0.2);
        assert_eq!(share(others(600, 1000), 2000), 0.0);
        assert_eq!(share(0, 0), 0.0);
    }
}
