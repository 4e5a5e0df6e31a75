//! The tables, the plot and the goals of the comparison with the peers.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Figures, MIXES, System};
use crate::{
    plot,
    report::{Sample, megabytes, table, write},
};

/// The bars of the plot: a mix, and the heading of its group.
const GROUPS: [(&str, &str); 3] = [
    ("valid", "valid key"),
    ("unknown", "forged key"),
    ("garbage", "garbage"),
];

/// The columns of the table of library calls, as the peers name them.
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

/// The ratio of our calls per CPU-second to those of the fastest peer, and its goal.
struct Ratio {
    mix: &'static str,
    times: f64,
    goal: f64,
}

/// Collects the rows and figures of all systems.
#[derive(Default)]
struct Comparison {
    rows: Vec<Vec<String>>,
    figures: Vec<Value>,
    bars: Vec<plot::Bar>,
    /// The median CPU-milliseconds of each system, by mix.
    medians: Vec<[f64; 6]>,
}

/// Prints and writes the figures. Fails if a ratio is below its goal.
pub fn print(
    systems: Vec<System>,
    libraries: &[Value],
    rounds: usize,
    seconds: u64,
    folder: &Path,
) -> Result<()> {
    let mut comparison = Comparison::default();
    for system in systems {
        comparison.add(system, libraries);
    }
    let ratios = comparison.ratios();
    println!("peers over HTTP: one process each, {rounds} rounds of {seconds} s in turn\n");
    comparison.print();
    print_ratios(&ratios);
    print_libraries(libraries);

    let Comparison {
        figures, mut bars, ..
    } = comparison;
    bars.sort_by_key(|bar| GROUPS.iter().position(|(_, group)| *group == bar.group));
    std::fs::create_dir_all(folder)?;
    let title = "CPU-milliseconds per verification over HTTP";
    plot::bars(&folder.join("peers.svg"), title, &[], &bars)?;
    let ratio = |ratio: &Ratio| {
        let (mix, times, goal) = (ratio.mix, ratio.times, ratio.goal);
        json!({ "call": mix, "times_the_fastest_peer": times, "at_least": goal })
    };
    let written = json!({
        "http": figures,
        "ratios": ratios.each_ref().map(ratio),
        "libraries": libraries,
    });
    write(folder, "peers", &written)?;
    let missed = ratios.iter().filter(|ratio| ratio.times < ratio.goal);
    let missed: Vec<_> = missed.map(|ratio| ratio.mix).collect();
    ensure!(missed.is_empty(), "below the goal: {}", missed.join(", "));
    Ok(())
}

impl Comparison {
    fn add(&mut self, system: System, libraries: &[Value]) {
        let mut medians = [f64::NAN; 6];
        for ((median, mix), figures) in medians.iter_mut().zip(MIXES).zip(system.mixes) {
            if !figures.wall.is_empty() {
                *median = self.add_mix(&system.name, system.resident, mix, figures, libraries);
            }
        }
        self.medians.push(medians);
    }

    /// Adds the figures of a system in a mix. Returns the median of its CPU time.
    #[allow(clippy::cast_precision_loss)]
    fn add_mix(
        &mut self,
        name: &str,
        resident: u64,
        mix: &'static str,
        figures: Figures,
        libraries: &[Value],
    ) -> f64 {
        let per_second = figures.wall.len() as f64 / figures.seconds;
        let requests = figures.store_requests;
        let cpu = Sample::new(figures.cpu);
        let with_store = Sample::new(figures.cpu_with_store);
        let wall = Sample::new(figures.wall);
        self.rows.push(vec![
            name.to_owned(),
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
            format!("{:.0}", megabytes(resident)),
        ]);
        self.figures.push(json!({
            "system": name, "mix": mix, "cpu_ms": cpu.json(), "cpu_ms_with_store": with_store.json(),
            "calls_per_second": per_second, "p50_ms": wall.median(), "p99_ms": wall.quantile(0.99),
            "resident_bytes": resident, "store_requests": (!requests.is_nan()).then_some(requests),
        }));
        if let Some((_, group)) = GROUPS.iter().find(|(plotted, _)| *plotted == mix) {
            self.bars.push(plot::Bar {
                group: (*group).to_owned(),
                name: name.split(" (").next().unwrap_or(name).to_owned(),
                parts: vec![cpu.median()],
            });
        }
        cpu.median()
    }

    /// Compares the first system, which is ours, with the fastest peer.
    fn ratios(&self) -> [Ratio; 4] {
        let fastest = |m: usize| {
            let peers = self.medians.iter().skip(1).map(|of| of[m]);
            peers.fold(f64::INFINITY, f64::min)
        };
        let [valid, remembered, _, unknown, garbage, _] = self.medians[0];
        [
            ("valid", fastest(0) / valid, 2.0),
            ("remembered", fastest(0) / remembered, 5.0),
            ("forged", fastest(3) / unknown, 3.0),
            ("garbage", fastest(4) / garbage, 6.0),
        ]
        .map(|(mix, times, goal)| Ratio { mix, times, goal })
    }

    fn print(&self) {
        let headings = [
            "system",
            "call",
            "CPU-ms",
            "with our store and the harness",
            "per CPU-second",
            "per second",
            "p50 ms",
            "p99 ms",
            "store requests",
            "resident MB",
        ];
        table(&headings, &self.rows);
    }
}

fn print_ratios(ratios: &[Ratio]) {
    let row = |ratio: &Ratio| {
        let (times, goal) = (ratio.times, ratio.goal);
        vec![
            ratio.mix.to_owned(),
            format!("{times:.1}"),
            format!("{goal:.0}"),
        ]
    };
    println!("ratio to the fastest peer, in calls per CPU-second of the process that answers\n");
    table(
        &["call", "ours", "at least"],
        &Vec::from_iter(ratios.iter().map(row)),
    );
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

/// The number of SQL statements per call that a library counted.
fn statements(libraries: &[Value], system: &str, field: &str) -> String {
    let is_system = |library: &&Value| {
        let name = library["name"].as_str();
        name.is_some_and(|name| system.starts_with(name))
    };
    let library = libraries.iter().find(is_system);
    let count = library.and_then(|library| library[field].as_f64());
    count.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"))
}
