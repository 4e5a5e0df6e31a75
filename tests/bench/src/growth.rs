//! Measures whether the cost of a call grows with the number of keys in the table or with one user's number of keys.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::dynoxide::{ImportOptions, types::AttributeValue};
use serde_json::json;

use crate::{
    bench::{ADMIN, Bench, TENANT},
    binaries::build,
    events::validation,
    machine::Before,
    report::{table, write},
    warm::{Mix, active, creations, lists, measure},
};

const IN_TABLE: [usize; 4] = [10, 1_000, 100_000, 1_000_000];
const OF_USER: [usize; 4] = [1, 100, 1_000, 10_000];
const CALLS: usize = 100;
const HEADINGS: [&str; 11] = [
    "keys",
    "how many",
    "validate CPU",
    "p50",
    "requests",
    "list 50 CPU",
    "p50",
    "requests",
    "create CPU",
    "p50",
    "requests",
];
/// The number of items per write.
const BATCH: usize = 50_000;

/// Fills the table, and then the partition of one user, and measures the calls at each size.
pub async fn run(machine: &Before, folder: &Path) -> Result<()> {
    let functions = ["validate", "list", "create"];
    let binaries = build(&functions)?;
    let bench = Bench::start(Duration::ZERO).await?;
    let watch = machine.watch().await?;
    let (key_id, key) = bench.key("growth").await;
    let mixes = mixes(&key)?;
    let mut processes = Vec::new();
    for function in functions {
        processes.push(bench.function(&binaries, function).await?);
    }

    let (mut rows, mut figures, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    let in_table = IN_TABLE.map(|keys| ("in the table", keys, false));
    let of_user = OF_USER.map(|keys| ("of the user", keys, true));
    let mut filled = [0, 0];
    for (place, keys, for_one_user) in in_table.into_iter().chain(of_user) {
        let filled = &mut filled[usize::from(for_one_user)];
        fill(&bench, &key_id, *filled..keys, for_one_user).await?;
        *filled = keys;
        let mut row = vec![place.to_owned(), keys.to_string()];
        for (mix, process) in mixes.iter().zip(&mut processes) {
            let cost = measure(&bench, process, mix, CALLS).await?;
            row.push(format!("{:.2}", cost.cpu.median()));
            row.push(format!("{:.2}", cost.wall.median()));
            row.push(cost.dynamodb.to_string());
            figures.push(json!({
                "keys": keys, "place": place, "function": mix.function, "cpu_ms": cost.cpu.json(),
                "p50_ms": cost.wall.median(), "dynamodb_requests": cost.dynamodb,
            }));
            cpu.push((
                format!("{} with {keys} keys {place}", mix.function),
                cost.cpu,
            ));
        }
        rows.push(row);
    }
    for process in processes {
        process.stop().await?;
    }
    bench.stop().await;
    let machine = watch.end(cpu)?;
    machine.print();
    println!(
        "growth: median CPU-ms of the function, p50 in ms and requests to DynamoDB, per call\n"
    );
    table(&HEADINGS, &rows);
    let figures = json!({ "machine": machine.json(), "figures": figures });
    write(folder, "growth", &figures)
}

fn mixes(key: &str) -> Result<[Mix; 3]> {
    Ok([
        Mix {
            name: "valid",
            function: "validate",
            events: vec![validation(key, None)?],
            expected: active,
        },
        lists()?,
        creations()?,
    ])
}

/// Writes copies of a key's item to the table. The copies belong to the administrator, or to other users of the tenant,
/// each of whom gets ten keys.
async fn fill(
    bench: &Bench,
    key_id: &str,
    numbers: std::ops::Range<usize>,
    for_one_user: bool,
) -> Result<()> {
    let read = json!({
        "TableName": bench.stack.table(),
        "Key": { "pk": { "S": format!("U#{TENANT}#{ADMIN}") }, "sk": { "S": format!("KEY#{}", key_id) } },
    });
    let database = bench.stack.database();
    let item = database
        .get_item(serde_json::from_value(read)?)?
        .item
        .context("the table has no item for the key")?;
    ensure!(
        item.contains_key("tenant_pk"),
        "the item is not in the index, so the copies would not be in it either"
    );
    let numbers: Vec<_> = numbers.collect();
    for numbers in numbers.chunks(BATCH) {
        let copy = |n: &usize| {
            let id = format!("{}{n:012x}", &key_id[..key_id.len() - 12]);
            let user = if for_one_user {
                ADMIN.to_owned()
            } else {
                format!("user{}", n / 10)
            };
            let mut item = item.clone();
            for (name, value) in &mut item {
                if let AttributeValue::S(text) = value {
                    *text = text.replace(key_id, &id);
                    if name == "pk" {
                        *text = format!("U#{TENANT}#{user}");
                    }
                }
            }
            item
        };
        let items = numbers.iter().map(copy).collect();
        database.import_items(bench.stack.table(), items, ImportOptions::default())?;
    }
    Ok(())
}
