//! The tables, the plot and the goals of the comparison with the peers.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    Figures, MIXES, Options, System,
    ratios::{GOALS, Goal, Median, Ratio, worst},
};
use crate::{
    machine::Watch,
    plot,
    report::{Sample, megabytes, table, write},
};

/// The mixes in the plot, each with the heading of its group of bars.
const GROUPS: [(&str, &str); 3] = [
    ("valid", "valid key"),
    ("unknown", "forged key"),
    ("garbage", "garbage"),
];

const HEADINGS: [&str; 11] = [
    "system",
    "connections",
    "call",
    "CPU-ms",
    "with store and harness",
    "per CPU-second",
    "per second",
    "p50 ms",
    "p99 ms",
    "store requests",
    "resident MB",
];

/// The headings of the table that shows the worst run for each call.
const WORST_HEADINGS: [&str; 5] = [
    "call",
    "access-keys, CPU-ms",
    "fastest peer, CPU-ms",
    "fastest peer",
    "ratio",
];

/// The columns of the table of library calls, named as in the output of the libraries' benchmarks.
const LIBRARY_FIGURES: [&str; 12] = [
    "name",
    "create_per_s",
    "verify_per_s",
    "forged_per_s",
    "create_cpu_ms",
    "verify_cpu_ms",
    "forged_cpu_ms",
    "expired_cpu_ms",
    "revoked_cpu_ms",
    "statements_per_verify",
    "statements_per_forged",
    "rss_mb",
];

/// The ratios of one kind of call, one per run.
struct Comparison {
    goal: &'static Goal,
    /// The number of connections to a peer, or `None` to use the better number for each peer.
    connections: Option<usize>,
    runs: Vec<Ratio>,
}

/// Prints and writes the figures. Fails if the worst ratio for a call is below its goal.
pub fn report(
    options: &Options,
    watch: Watch<'_>,
    runs: &[Vec<System>],
    libraries: Vec<Value>,
    folder: &Path,
) -> Result<()> {
    let systems = pooled(runs);
    let machine = watch.end(rows_of_cpu(&systems))?;
    let mut comparisons = compare(runs, None);
    let headline = comparisons.len();
    for connections in &options.connections {
        comparisons.extend(compare(runs, Some(*connections)));
    }
    machine.print();
    println!(
        "peers over HTTP, in turn: {} runs of {} rounds of {} s. CPU-ms: min / median / max of all rounds\n",
        options.runs, options.rounds, options.seconds
    );
    let mut tables = Tables::default();
    for system in systems {
        tables.add(system, &libraries);
    }
    table(&HEADINGS, &tables.rows);
    print_systems(&runs[0]);
    print_worst(&comparisons[..headline])?;
    print_runs(options.runs, &comparisons)?;
    print_libraries(&libraries);

    std::fs::create_dir_all(folder)?;
    tables.plot(folder)?;
    let written = json!({
        "machine": machine.json(),
        "runs": options.runs, "rounds": options.rounds, "seconds": options.seconds,
        "peers": Vec::from_iter(peers(&runs[0]).map(|peer| json!({ "name": peer.name, "about": peer.about }))),
        "http": tables.figures,
        "ratios": Vec::from_iter(comparisons.iter().map(Comparison::json)),
        "libraries": libraries,
    });
    write(folder, "peers", &written)?;
    let missed = comparisons[..headline].iter().filter(|of| of.is_missed());
    let missed: Vec<_> = missed.map(|comparison| comparison.goal.call).collect();
    ensure!(missed.is_empty(), "below the goal: {}", missed.join(", "));
    Ok(())
}

/// Returns the systems, each with the figures of all runs.
fn pooled(runs: &[Vec<System>]) -> Vec<System> {
    let mut pooled = runs[0].clone();
    for run in &runs[1..] {
        for (all, system) in pooled.iter_mut().zip(run) {
            all.resident = all.resident.max(system.resident);
            for (all, figures) in all.mixes.iter_mut().zip(&system.mixes) {
                all.add(figures.clone());
            }
        }
    }
    pooled
}

/// Returns the measured rows and their CPU times.
fn rows_of_cpu(systems: &[System]) -> Vec<(String, Sample)> {
    let mut rows = Vec::new();
    for system in systems {
        for (mix, figures) in MIXES.iter().zip(&system.mixes) {
            if !figures.cpu.is_empty() {
                let row = format!("{} ({}) {mix}", system.name, system.connections);
                rows.push((row, Sample::new(figures.cpu.clone())));
            }
        }
    }
    rows
}

/// Returns the peers of a run, each only once.
fn peers(run: &[System]) -> impl Iterator<Item = &System> {
    let peers = run.iter().skip(1);
    let first = peers.clone().next().map(|peer| peer.connections);
    peers.filter(move |peer| Some(peer.connections) == first)
}

/// Returns the ratios of all runs. The first system of each run is ours.
fn compare(runs: &[Vec<System>], connections: Option<usize>) -> Vec<Comparison> {
    let of_run = |goal: &Goal, run: &Vec<System>| {
        let ours = run[0].median(goal.ours)?.cpu;
        let peers = run[1..].iter().filter_map(|peer| peer.median(goal.peers));
        let wanted = |peer: &Median| connections.is_none_or(|number| number == peer.connections);
        Ratio::to_the_fastest(ours, peers.filter(wanted))
    };
    let comparison = |goal| Comparison {
        goal,
        connections,
        runs: runs.iter().filter_map(|run| of_run(goal, run)).collect(),
    };
    GOALS.iter().map(comparison).collect()
}

impl System {
    /// Returns the median CPU time for a mix, if the mix was measured.
    fn median(&self, mix: &str) -> Option<Median> {
        let mix = MIXES.iter().position(|name| *name == mix)?;
        let cpu = &self.mixes[mix].cpu;
        (!cpu.is_empty()).then(|| Median {
            system: self.name.clone(),
            connections: self.connections,
            cpu: Sample::new(cpu.clone()).median(),
        })
    }
}

impl Comparison {
    fn worst(&self) -> Result<&Ratio> {
        worst(&self.runs).with_context(|| format!("no ratio for {}", self.goal.call))
    }

    fn is_missed(&self) -> bool {
        worst(&self.runs).is_none_or(|ratio| ratio.times() < self.goal.at_least)
    }

    fn json(&self) -> Value {
        let run = |ratio: &Ratio| {
            json!({
                "ours_cpu_ms": ratio.ours, "peer_cpu_ms": ratio.peer.cpu, "peer": ratio.peer.system,
                "connections": ratio.peer.connections, "ratio": ratio.times(),
            })
        };
        json!({
            "call": self.goal.call, "connections": self.connections, "runs": Vec::from_iter(self.runs.iter().map(run)),
            "worst": worst(&self.runs).map(Ratio::times), "goal": self.goal.at_least,
        })
    }
}

/// The rows and figures of all systems.
#[derive(Default)]
struct Tables {
    rows: Vec<Vec<String>>,
    figures: Vec<Value>,
    bars: Vec<plot::Bar>,
}

impl Tables {
    fn add(&mut self, mut system: System, libraries: &[Value]) {
        for (mix, figures) in MIXES.into_iter().zip(std::mem::take(&mut system.mixes)) {
            if !figures.wall.is_empty() {
                self.add_mix(&system, mix, figures, libraries);
            }
        }
    }

    /// Adds the figures of one system for one mix.
    #[allow(clippy::cast_precision_loss)]
    fn add_mix(
        &mut self,
        system: &System,
        mix: &'static str,
        figures: Figures,
        libraries: &[Value],
    ) {
        let (name, connections) = (&system.name, system.connections);
        let per_second = figures.wall.len() as f64 / figures.seconds;
        let requests = figures.store_requests;
        let cpu = Sample::new(figures.cpu);
        let with_store = Sample::new(figures.cpu_with_store);
        let wall = Sample::new(figures.wall);
        self.rows.push(vec![
            name.clone(),
            connections.to_string(),
            mix.to_owned(),
            cpu.to_string(),
            format!("{:.2}", with_store.median()),
            format!("{:.0}", 1000.0 / cpu.median()),
            format!("{per_second:.0}"),
            format!("{:.2}", wall.median()),
            format!("{:.2}", wall.quantile(0.99)),
            match (requests.is_nan(), mix) {
                (false, _) => format!("{requests:.0}"),
                (true, "valid") => statements(libraries, name, "statements_per_verify"),
                (true, "unknown") => statements(libraries, name, "statements_per_forged"),
                (true, _) => "-".to_owned(),
            },
            format!("{:.0}", megabytes(system.resident)),
        ]);
        self.figures.push(json!({
            "system": name, "connections": connections, "mix": mix,
            "cpu_ms": cpu.json(), "cpu_ms_with_store": with_store.json(),
            "calls_per_second": per_second, "p50_ms": wall.median(), "p99_ms": wall.quantile(0.99),
            "resident_bytes": system.resident, "store_requests": (!requests.is_nan()).then_some(requests),
        }));
        if let Some((_, group)) = GROUPS.iter().find(|(plotted, _)| *plotted == mix) {
            self.bars.push(plot::Bar {
                group: (*group).to_owned(),
                name: with_connections(name, connections),
                parts: vec![cpu.median()],
            });
        }
    }

    fn plot(&mut self, folder: &Path) -> Result<()> {
        let group = |bar: &plot::Bar| GROUPS.iter().position(|(_, group)| *group == bar.group);
        self.bars.sort_by_key(group);
        let title = "CPU-milliseconds per verification over HTTP";
        plot::bars(&folder.join("peers.svg"), title, &[], &self.bars)
    }
}

fn with_connections(system: &str, connections: usize) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    format!("{system}, {connections} connection{plural}")
}

/// Prints the versions and settings that the peers report.
fn print_systems(run: &[System]) {
    let pairs = |value: &Value| {
        let pairs = value.as_object().into_iter().flatten();
        let pairs = pairs.map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        });
        Vec::from_iter(pairs).join(", ")
    };
    let row = |peer: &System| {
        let (versions, settings) = (&peer.about["versions"], &peer.about["settings"]);
        vec![peer.name.clone(), pairs(versions), pairs(settings)]
    };
    println!("versions and settings that the peers report\n");
    let rows = Vec::from_iter(peers(run).map(row));
    table(&["peer", "versions", "settings"], &rows);
}

/// Prints the worst run for each call.
fn print_worst(comparisons: &[Comparison]) -> Result<()> {
    let mut rows = Vec::new();
    for comparison in comparisons {
        let worst = comparison.worst()?;
        rows.push(vec![
            comparison.goal.call.to_owned(),
            format!("{:.2}", worst.ours),
            format!("{:.2}", worst.peer.cpu),
            with_connections(&worst.peer.system, worst.peer.connections),
            format!("{:.1}", worst.times()),
        ]);
    }
    println!(
        "calls per CPU-second of the process that answers: ours, divided by those of the fastest peer with its better \
         number of connections, in the worst run of each call\n"
    );
    table(&WORST_HEADINGS, &rows);
    Ok(())
}

/// Prints the ratio of each run.
fn print_runs(runs: u64, comparisons: &[Comparison]) -> Result<()> {
    let mut headings = vec!["call".to_owned(), "connections to the peer".to_owned()];
    headings.extend((1..=runs).map(|run| format!("run {run}")));
    headings.extend(["worst", "goal"].map(str::to_owned));
    let mut rows = Vec::new();
    for comparison in comparisons {
        let (connections, goal) = match comparison.connections {
            Some(number) => (number.to_string(), "-".to_owned()),
            None => (
                "the better number".to_owned(),
                format!("{:.1}", comparison.goal.at_least),
            ),
        };
        let mut row = vec![comparison.goal.call.to_owned(), connections];
        let times = |ratio: &Ratio| format!("{:.2}", ratio.times());
        row.extend(comparison.runs.iter().map(times));
        row.extend([times(comparison.worst()?), goal]);
        rows.push(row);
    }
    println!("the same ratio in each run. The goals are for the worst run\n");
    table(&headings, &rows);
    Ok(())
}

fn print_libraries(libraries: &[Value]) {
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        number => {
            let number = format!("{:.3}", number.as_f64().unwrap_or(f64::NAN));
            number
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
        }
    };
    let row = |library: &Value| LIBRARY_FIGURES.map(|name| cell(&library[name])).to_vec();
    println!("library calls, without HTTP\n");
    table(&LIBRARY_FIGURES, &Vec::from_iter(libraries.iter().map(row)));
}

/// Returns the number of SQL statements per call that the benchmark of a library counted.
fn statements(libraries: &[Value], system: &str, field: &str) -> String {
    let library = libraries.iter().find(|library| library["name"] == system);
    let count = library.and_then(|library| library[field].as_f64());
    count.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a system with these CPU times for the mixes `valid` and `remembered`.
    fn system(name: &str, connections: usize, valid: &[f64], remembered: &[f64]) -> System {
        let mut system = System::new(name, connections, Value::Null);
        system.mixes[0].cpu = valid.to_vec();
        system.mixes[1].cpu = remembered.to_vec();
        system
    }

    /// Returns two runs, each with our functions and one peer, which is measured with one and with eight connections.
    fn runs() -> [Vec<System>; 2] {
        [
            vec![
                system("ours", 1, &[0.1, 0.2, 0.3], &[0.1]),
                system("peer", 1, &[0.5, 0.6, 0.7], &[]),
                system("peer", 8, &[0.4, 0.5, 0.9], &[]),
            ],
            vec![
                system("ours", 1, &[0.2], &[0.2]),
                system("peer", 1, &[0.3], &[]),
                system("peer", 8, &[0.8], &[]),
            ],
        ]
    }

    fn peer_cpu(comparison: &Comparison) -> Vec<(usize, f64)> {
        let runs = comparison.runs.iter();
        runs.map(|ratio| (ratio.peer.connections, ratio.peer.cpu))
            .collect()
    }

    #[test]
    fn in_each_run_the_better_number_of_connections_to_a_peer_is_used() {
        let runs = runs();
        let cpu = |connections| peer_cpu(&compare(&runs, connections)[0]);
        assert_eq!(cpu(None), [(8, 0.5), (1, 0.3)]);
        assert_eq!(cpu(Some(1)), [(1, 0.6), (1, 0.3)]);
        assert_eq!(cpu(Some(8)), [(8, 0.5), (8, 0.8)]);
    }

    #[test]
    fn a_remembered_key_is_compared_with_a_valid_key_of_the_peer() {
        let remembered = &compare(&runs(), None)[1];
        assert_eq!(remembered.goal.call, "remembered");
        assert_eq!(peer_cpu(remembered), [(8, 0.5), (1, 0.3)]);
        assert_eq!(remembered.runs[0].ours, 0.1);
    }

    #[test]
    fn a_goal_is_missed_if_one_run_misses_it() {
        let valid = &compare(&runs(), None)[0];
        assert!(valid.runs[0].times() > valid.goal.at_least);
        assert!(valid.is_missed());
        assert!(!compare(&runs()[..1], None)[0].is_missed());
        assert!(compare(&runs()[..1], Some(2))[0].is_missed());
    }

    #[test]
    fn each_row_covers_the_rounds_of_all_runs() {
        let rows = rows_of_cpu(&pooled(&runs()));
        let rows = rows
            .iter()
            .map(|(name, cpu)| (name.as_str(), cpu.to_string()));
        let expected = [
            ("ours (1) valid", "0.10 / 0.20 / 0.30"),
            ("ours (1) remembered", "0.10 / 0.20 / 0.20"),
            ("peer (1) valid", "0.30 / 0.60 / 0.70"),
            ("peer (8) valid", "0.40 / 0.80 / 0.90"),
        ];
        assert!(rows.eq(expected.map(|(name, cpu)| (name, cpu.to_owned()))));
    }

    #[test]
    fn a_peer_is_listed_once() {
        assert_eq!(peers(&runs()[0]).count(), 1);
    }
}
