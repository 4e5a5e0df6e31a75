//! What a warm call costs: CPU time of the function, waiting time of the caller, requests to DynamoDB and KMS.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use harness::forged;
use serde_json::{Value, json};

use crate::{
    bench::{ADMIN, Bench},
    binaries::build,
    events::{authorization, event, validation},
    function::Function,
    report::{Sample, megabytes, milliseconds, table},
};

const ROUNDS: usize = 7;
const WARM_UP: usize = 100;

/// A kind of call, and how to tell that it was answered as it should be.
pub struct Mix {
    pub name: &'static str,
    pub function: &'static str,
    pub events: Vec<Bytes>,
    pub expected: fn(&Value) -> bool,
}

/// What one kind of call costs.
pub struct Cost {
    /// CPU-milliseconds of the function per call, by rounds.
    pub cpu: Sample,
    /// Milliseconds from the event to the answer.
    pub wall: Sample,
    pub dynamodb: f64,
    pub kms: f64,
    pub resident: u64,
}

/// Measures a kind of call on a function that is warm.
#[allow(clippy::cast_precision_loss)]
pub async fn measure(
    bench: &Bench,
    function: &mut Function,
    mix: &Mix,
    calls: usize,
) -> Result<Cost> {
    let mut events = mix.events.iter().cycle();
    let mut next = move || events.next().cloned().unwrap_or_default();
    for _ in 0..WARM_UP {
        let answer = function.invoke(&next()).await?.body;
        ensure!(
            (mix.expected)(&answer),
            "{}: unexpected answer {answer}",
            mix.name
        );
    }
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    let (mut dynamodb, mut kms) = (0, 0);
    for _ in 0..ROUNDS {
        let before = (function.cpu_at_rest().await?, bench.requests(mix.function));
        for _ in 0..calls {
            let answer = function.invoke(&next()).await?;
            ensure!(
                (mix.expected)(&answer.body),
                "{}: unexpected answer {}",
                mix.name,
                answer.body
            );
            wall.push(milliseconds(answer.wall));
        }
        let after = bench.requests(mix.function);
        dynamodb += after.0 - before.1.0;
        kms += after.1 - before.1.1;
        cpu.push(
            milliseconds(function.cpu_at_rest().await?.saturating_sub(before.0)) / calls as f64,
        );
    }
    let all = (calls * ROUNDS) as f64;
    Ok(Cost {
        cpu: Sample::new(cpu),
        wall: Sample::new(wall),
        dynamodb: f64::from(dynamodb) / all,
        kms: f64::from(kms) / all,
        resident: function.resident()?,
    })
}

/// A body of the gateway's response.
fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or_default()
}

pub fn active(answer: &Value) -> bool {
    body(answer)["active"] == true
}

fn expired(answer: &Value) -> bool {
    body(answer)["code"] == "expired"
}

pub fn revoked(answer: &Value) -> bool {
    body(answer)["code"] == "revoked"
}

pub fn invalid(answer: &Value) -> bool {
    body(answer)["code"] == "invalid"
}

fn authorized(answer: &Value) -> bool {
    answer["isAuthorized"] == true
}

fn refused(answer: &Value) -> bool {
    answer["isAuthorized"] == false
}

pub fn ok(answer: &Value) -> bool {
    answer["statusCode"] == 200
}

pub fn created(answer: &Value) -> bool {
    answer["statusCode"] == 201
}

/// What is measured.
#[derive(clap::Args)]
pub struct Options {
    /// How many calls a round has.
    #[arg(long, default_value_t = 300)]
    calls: usize,
    /// Only these functions, separated by commas.
    #[arg(long, value_delimiter = ',')]
    functions: Vec<String>,
    /// Only this kind of call.
    #[arg(long)]
    call: Option<String>,
    /// Other binaries than the release build of this checkout.
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// Runs every mix in turn.
pub async fn run(options: &Options, folder: &Path) -> Result<()> {
    let calls = options.calls;
    let mut functions = vec!["validate", "authorize", "create", "list", "onboard"];
    if !options.functions.is_empty() {
        functions.retain(|function| options.functions.iter().any(|wanted| wanted == function));
    }
    let binaries = match &options.binaries {
        Some(binaries) => binaries.clone(),
        None => build(&functions)?,
    };
    let bench = Bench::start(Duration::ZERO).await?;

    let (_, expiring, end) = bench.tenant().short_lived("viewer", 2).await;
    let (_, doomed) = bench.key("revoked").await;
    bench.tenant().revoke(&doomed).await;
    let mut valid = Vec::new();
    for n in 0..100 {
        valid.push(bench.key(&format!("valid {n}")).await.1);
    }
    harness::until(end + 1).await;
    let forgeries: Vec<_> = valid.iter().map(|key| forged(key)).collect();
    let oversize = vec!["A".repeat(50_000)];
    let garbage = vec!["not-a-key".to_owned()];
    let one = |key: &str| vec![key.to_owned()];

    let mut mixes = Vec::new();
    type Expected = fn(&Value) -> bool;
    let kinds: [(&str, &[String], Expected, Expected); 6] = [
        ("valid", &valid, active, authorized),
        ("expired", &one(&expiring), expired, refused),
        ("revoked", &one(&doomed), revoked, refused),
        ("forged", &forgeries, invalid, refused),
        ("garbage", &garbage, invalid, refused),
        ("oversize", &oversize, invalid, refused),
    ];
    for (name, keys, expected, authorized) in kinds {
        let events = keys
            .iter()
            .map(|key| validation(key, None))
            .collect::<Result<_>>()?;
        mixes.push(Mix {
            name,
            function: "validate",
            events,
            expected,
        });
        let events = keys
            .iter()
            .map(|key| authorization(key))
            .collect::<Result<_>>()?;
        mixes.push(Mix {
            name,
            function: "authorize",
            events,
            expected: authorized,
        });
    }
    let remembered = valid
        .iter()
        .map(|key| validation(key, Some(60)))
        .collect::<Result<_>>()?;
    mixes.push(Mix {
        name: "valid, remembered",
        function: "validate",
        events: remembered,
        expected: active,
    });
    mixes.sort_by_key(|mix| mix.function != "validate");
    let path = format!("/v1/users/{ADMIN}/access-keys");
    let create = event(
        "create",
        "POST /v1/users/{user_id}/access-keys",
        &path,
        &json!({ "name": "n", "role": "viewer" }),
    )?;
    mixes.push(Mix {
        name: "a key",
        function: "create",
        events: vec![create.to_string().into()],
        expected: created,
    });
    let list = event(
        "list",
        "GET /v1/users/{user_id}/access-keys",
        &path,
        &Value::Null,
    )?;
    mixes.push(Mix {
        name: "50 keys",
        function: "list",
        events: vec![list.to_string().into()],
        expected: ok,
    });
    let node = json!({ "cluster_name": "a", "node_name": "n", "type": "K8s" });
    let path = "/access-token/api/v1/process";
    let mut process = event("onboard", &format!("POST {path}"), path, &node)?;
    process["headers"]["authorization"] = format!("Bearer {}", valid[0]).into();
    mixes.push(Mix {
        name: "the same node",
        function: "onboard",
        events: vec![process.to_string().into()],
        expected: ok,
    });

    let mut rows = Vec::new();
    let mut figures = Vec::new();
    for name in functions {
        let mut function = bench.function(&binaries, name).await?;
        let wanted = |mix: &&Mix| {
            mix.function == name && options.call.as_deref().is_none_or(|call| call == mix.name)
        };
        for mix in mixes.iter().filter(wanted) {
            let cost = measure(&bench, &mut function, mix, calls).await?;
            rows.push(vec![
                name.to_owned(),
                mix.name.to_owned(),
                cost.cpu.to_string(),
                format!("{:.2}", cost.wall.median()),
                format!("{:.2}", cost.wall.quantile(0.99)),
                format!("{}", cost.dynamodb),
                format!("{}", cost.kms),
                format!("{:.1}", megabytes(cost.resident)),
            ]);
            figures.push(json!({
                "function": name, "call": mix.name, "cpu_ms": cost.cpu.json(),
                "p50_ms": cost.wall.median(), "p99_ms": cost.wall.quantile(0.99),
                "dynamodb_requests": cost.dynamodb, "kms_requests": cost.kms, "resident_bytes": cost.resident,
            }));
        }
        function.stop().await?;
    }
    bench.stop().await;
    println!(
        "warm calls: CPU-ms of the function per call (min / median / max of {ROUNDS} rounds of {calls})\n"
    );
    let headings = [
        "function",
        "call",
        "CPU-ms",
        "p50 ms",
        "p99 ms",
        "DynamoDB",
        "KMS",
        "resident MB",
    ];
    table(&headings, &rows);
    crate::report::write(folder, "warm", &json!(figures))
}
