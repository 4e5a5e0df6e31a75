//! Computes the write units that are needed if every key is used once an hour and every cluster calls once an hour. The
//! computation is based on the requests that functions send to DynamoDB.
//!
//! Writing an item of up to 1 KB costs one unit, or two units in a transaction. In a transaction, a condition check
//! costs as much as a write. An index costs units only if a write changes its key attributes.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{Request, Tenant, eventually, now, send};
use serde_json::{Value, json};

use crate::{
    bench::{ADMIN, Bench, TENANT},
    report::{table, write},
};

const KEYS: f64 = 10_000_000.0;
const CLUSTERS: f64 = 1_000_000.0;
/// The default quota of live keys per user.
const KEYS_PER_USER: f64 = 100.0;
/// The interval, in seconds, at which each key is used and each cluster calls.
const PERIOD: f64 = 3600.0;
/// The number of write units per second that a partition accepts.
const PARTITION_LIMIT: f64 = 1000.0;
const HEADINGS: [&str; 6] = [
    "call",
    "partitions",
    "units per call",
    "calls per partition and hour",
    "units/s per partition",
    "a revocation writes it",
];

/// The write units that one call consumes, by the prefix of the partition key.
type Units = BTreeMap<String, f64>;

/// Prints the write units per second that each kind of partition consumes if one tenant has 10 million keys, each used
/// hourly, and 1 million clusters, each calling hourly.
pub async fn run(folder: &Path) -> Result<()> {
    let bench = Bench::start(Duration::ZERO).await?;
    let (use_of_key, call_of_cluster, revocation) = requests(&bench).await?;
    bench.stop().await;

    let (mut rows, mut figures, mut to_revoked) = (Vec::new(), Vec::new(), 0.0);
    for (call, units, callers) in [
        ("use of a key", use_of_key, KEYS),
        ("call of a cluster", call_of_cluster, CLUSTERS),
    ] {
        for (prefix, units) in units {
            let (partitions, calls) = match prefix.as_str() {
                "U" => ("one per user", KEYS_PER_USER),
                "C" => ("one of the tenant", callers),
                "N" => ("one per cluster", 1.0),
                // Each join token has a partition of its own.
                "J" => ("one per join token", 1.0),
                other => {
                    anyhow::bail!("{call} writes to {other}#, which this benchmark does not know")
                }
            };
            let rate = units * calls / PERIOD;
            let is_revoked = revocation.contains_key(&prefix);
            if is_revoked {
                to_revoked += rate;
            }
            ensure!(
                rate < PARTITION_LIMIT,
                "{call}: {rate} units/s exceed what a partition takes"
            );
            let (yes, name) = (
                if is_revoked { "yes" } else { "no" },
                format!("`{prefix}#`, {partitions}"),
            );
            let row = [
                call,
                &name,
                &units.to_string(),
                &calls.to_string(),
                &format!("{rate:.4}"),
                yes,
            ];
            rows.push(row.map(str::to_owned).to_vec());
            figures.push(json!({
                "call": call, "partition": prefix, "units_per_call": units, "units_per_second": rate,
                "revocation_writes_it": is_revoked,
            }));
        }
    }
    println!(
        "writes: units per second of each partition, for 10 million keys of one tenant that are used hourly and 1 \
              million clusters that call hourly\n"
    );
    table(&HEADINGS, &rows);
    ensure!(to_revoked > 0.0, "the use of a key was not counted");
    ensure!(
        to_revoked < 1.0,
        "usage writes {to_revoked} units/s to a partition that a revocation writes"
    );
    write(folder, "writes", &Value::from(figures))
}

/// Returns the write units of one use of a key, of one call of a cluster, and of revocations. Each measured use is one
/// that must be recorded in the table.
async fn requests(bench: &Bench) -> Result<(Units, Units, Units)> {
    let tenant = &bench.tenant();
    let (id, key) = bench.key("writes").await;
    let writes = Writes::new(bench);
    send(tenant.validation(&key)).await.expect(200);
    let use_of_key = writes.units(tenant).await?;

    let join = json!({ "cluster_name": "a", "node_name": "n", "type": "K8s" });
    send(tenant.process(&key, join.clone())).await.expect(200);
    let old = json!({ ":old": { "N": (now() - 7200).to_string() } });
    let (clusters, user) = (tenant.clusters_pk(), tenant.pk(ADMIN));
    tenant
        .edit_item(
            &clusters,
            "CLUSTER#a",
            "SET last_seen_at = :old",
            old.clone(),
        )
        .await;
    tenant
        .edit_item(&user, &format!("KEY#{id}"), "SET last_used_at = :old", old)
        .await;
    let writes = Writes::new(bench);
    send(tenant.process(&key, join)).await.expect(200);
    let call_of_cluster = writes.units(tenant).await?;

    let writes = Writes::new(bench);
    tenant.revoke_by_id(&id).await;
    tenant
        .delete(ADMIN, &format!("/v1/users/{ADMIN}/access-keys"))
        .await
        .expect(204);
    Ok((use_of_key, call_of_cluster, writes.units(tenant).await?))
}

/// The writes that functions have requested since this value was created.
struct Writes<'a> {
    bench: &'a Bench,
    before: usize,
}

impl<'a> Writes<'a> {
    fn new(bench: &'a Bench) -> Self {
        let before = bench.stack.requests().len();
        Self { bench, before }
    }

    async fn units(self, tenant: &Tenant<'_>) -> Result<Units> {
        let is_write = |request: &Request| {
            matches!(
                request.action.as_str(),
                "UpdateItem" | "PutItem" | "TransactWriteItems"
            )
        };
        let requests = || async {
            let mut requests = self.bench.stack.requests().split_off(self.before);
            requests.retain(|request| is_write(request) && request.status == 200);
            (!requests.is_empty()).then_some(requests)
        };
        let indexed = indexed(tenant).await?;
        let mut units = Units::new();
        for Request { action, body, .. } in eventually("a function writes", requests).await {
            let writes = match body["TransactItems"].as_array() {
                Some(writes) => writes
                    .iter()
                    .filter_map(|write| write.as_object()?.values().next())
                    .collect(),
                None => vec![&body],
            };
            let factor = if action == "TransactWriteItems" {
                2.0
            } else {
                1.0
            };
            for write in writes {
                let is_indexed = indexed
                    .iter()
                    .any(|name| write.to_string().contains(name.as_str()));
                ensure!(
                    !is_indexed,
                    "the write changes an index, whose units are not counted: {write}"
                );
                let key = if write["Item"].is_object() {
                    &write["Item"]
                } else {
                    &write["Key"]
                };
                let [pk, sk] = ["pk", "sk"].map(|name| key[name]["S"].as_str().unwrap_or_default());
                ensure!(
                    pk.contains(TENANT) || pk.starts_with("J#"),
                    "not a write of the tenant: {write}"
                );
                let items = tenant.partition(pk).await;
                let item = items.iter().find(|item| item["sk"]["S"] == sk);
                let size = item.map_or(0, size);
                let prefix = pk.split('#').next().unwrap_or_default().to_owned();
                *units.entry(prefix).or_default() += factor * f64::from(size.div_ceil(1024).max(1));
            }
        }
        Ok(units)
    }
}

/// Returns the names of the key attributes of the indexes.
async fn indexed(tenant: &Tenant<'_>) -> Result<Vec<String>> {
    let description = tenant.dynamodb("DescribeTable", json!({})).await;
    let attributes = description["Table"]["AttributeDefinitions"].as_array();
    let names = attributes.context("the table has no attributes")?.iter();
    let names = names.filter_map(|attribute| attribute["AttributeName"].as_str());
    let names = names.filter(|name| !matches!(*name, "pk" | "sk"));
    Ok(names.map(str::to_owned).collect())
}

/// Returns the size of an item in bytes, as DynamoDB defines it.
fn size(item: &Value) -> u32 {
    let attributes = item.as_object().into_iter().flatten();
    attributes
        .map(|(name, value)| length(name) + size_of(value))
        .sum()
}

fn size_of(value: &Value) -> u32 {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    let text = |value: &Value| length(value.as_str().unwrap_or_default());
    let list = |of: fn(&Value) -> u32| value.as_array().into_iter().flatten().map(of).sum::<u32>();
    match kind.as_str() {
        "S" => text(value),
        // A number takes about one byte per two digits, plus one byte.
        "N" => text(value).div_ceil(2) + 1,
        "B" => text(value) / 4 * 3,
        "SS" => list(|value| length(value.as_str().unwrap_or_default())),
        "L" => 3 + list(|value| 1 + size_of(value)),
        "M" => {
            3 + size(value)
                + u32::try_from(value.as_object().map_or(0, serde_json::Map::len))
                    .unwrap_or(u32::MAX)
        }
        _ => 1,
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}
