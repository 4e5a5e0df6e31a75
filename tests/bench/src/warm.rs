//! Measures warm calls: CPU time of the function, latency, and requests to DynamoDB and KMS.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use harness::{PROCESS, forged};
use serde_json::{Value, json};

use crate::{
    bench::Bench,
    binaries::build,
    events::{authorization, creation, event, list, validation},
    function::Function,
    machine::Before,
    report::{Sample, megabytes, milliseconds, table},
};

const ROUNDS: usize = 7;
const WARM_UP: usize = 100;
const HEADINGS: [&str; 8] = [
    "function",
    "call",
    "CPU-ms",
    "p50 ms",
    "p99 ms",
    "DynamoDB",
    "KMS",
    "resident MB",
];

/// A kind of call, and the check that its response must pass.
pub struct Mix {
    pub name: &'static str,
    pub function: &'static str,
    pub events: Vec<Bytes>,
    pub expected: fn(&Value) -> bool,
}

/// The cost of a kind of call.
pub struct Cost {
    /// CPU-milliseconds of the function per call, one value per round.
    pub cpu: Sample,
    /// Milliseconds from the event to the response, one value per call.
    pub wall: Sample,
    pub dynamodb: f64,
    pub kms: f64,
    pub resident: u64,
}

/// Measures a kind of call after a warm-up.
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
        mix.check(&function.invoke(&next()).await?.body)?;
    }
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    let (mut dynamodb, mut kms) = (0, 0);
    for _ in 0..ROUNDS {
        let (cpu_before, before) = (function.cpu_at_rest().await?, bench.requests(mix.function));
        for _ in 0..calls {
            let answer = function.invoke(&next()).await?;
            mix.check(&answer.body)?;
            wall.push(milliseconds(answer.wall));
        }
        let after = bench.requests(mix.function);
        dynamodb += after.0 - before.0;
        kms += after.1 - before.1;
        let cpu_after = function.cpu_at_rest().await?;
        cpu.push(milliseconds(cpu_after.saturating_sub(cpu_before)) / calls as f64);
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

impl Mix {
    fn check(&self, answer: &Value) -> Result<()> {
        let name = self.name;
        ensure!(
            (self.expected)(answer),
            "{name}: unexpected answer {answer}"
        );
        Ok(())
    }
}

/// Returns the body in a function's response to the gateway.
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

/// The options of `bench warm`.
#[derive(clap::Args)]
pub struct Options {
    /// Number of calls per round.
    #[arg(long, default_value_t = 300)]
    calls: usize,
    /// Measure only these functions, separated by commas.
    #[arg(long, value_delimiter = ',')]
    functions: Vec<String>,
    /// Measure only this kind of call.
    #[arg(long)]
    call: Option<String>,
    /// Folder of the binaries to measure instead of the release build of this checkout.
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// Returns the mixes for `validate` and for the authorizer. Waits until one of the keys has expired.
async fn validations(bench: &Bench, valid: &[String]) -> Result<Vec<Mix>> {
    type Expected = fn(&Value) -> bool;
    let (_, expiring, end) = bench.tenant().short_lived("viewer", 2).await;
    let (_, doomed) = bench.key("revoked").await;
    bench.tenant().revoke(&doomed).await;
    harness::until(end + 1).await;
    let forgeries: Vec<_> = valid.iter().map(|key| forged(key)).collect();
    let kinds: [(&str, &[String], Expected, Expected); 6] = [
        ("valid", valid, active, authorized),
        ("expired", &[expiring], expired, refused),
        ("revoked", &[doomed], revoked, refused),
        ("forged", &forgeries, invalid, refused),
        ("garbage", &["not-a-key".to_owned()], invalid, refused),
        ("oversize", &["A".repeat(50_000)], invalid, refused),
    ];
    let (mut validate, mut authorize) = (Vec::new(), Vec::new());
    for (name, keys, expected, authorized) in kinds {
        let validations = keys.iter().map(|key| validation(key, None));
        validate.push(Mix {
            name,
            function: "validate",
            events: validations.collect::<Result<_>>()?,
            expected,
        });
        let authorizations = keys.iter().map(|key| authorization(key));
        authorize.push(Mix {
            name,
            function: "authorize",
            events: authorizations.collect::<Result<_>>()?,
            expected: authorized,
        });
    }
    let cached = valid.iter().map(|key| validation(key, Some(60)));
    validate.push(Mix {
        name: "valid, remembered",
        function: "validate",
        events: cached.collect::<Result<_>>()?,
        expected: active,
    });
    validate.append(&mut authorize);
    Ok(validate)
}

/// Returns the mix of calls that create a key.
pub fn creations() -> Result<Mix> {
    Ok(Mix {
        name: "a key",
        function: "create",
        events: vec![creation()?],
        expected: created,
    })
}

/// Returns the mix of calls that list the administrator's keys.
pub fn lists() -> Result<Mix> {
    Ok(Mix {
        name: "50 keys",
        function: "list",
        events: vec![list()?],
        expected: ok,
    })
}

/// Returns the mixes for the other functions.
fn other_calls(key: &str) -> Result<[Mix; 3]> {
    let node = json!({ "cluster_name": "a", "node_name": "n", "type": "K8s" });
    let mut process = event("onboard", &format!("POST {PROCESS}"), PROCESS, &node)?;
    process["headers"]["authorization"] = format!("Bearer {key}").into();
    Ok([
        creations()?,
        lists()?,
        Mix {
            name: "the same node",
            function: "onboard",
            events: vec![process.to_string().into()],
            expected: ok,
        },
    ])
}

/// Measures every mix in turn.
pub async fn run(options: &Options, machine: &Before, folder: &Path) -> Result<()> {
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
    let watch = machine.watch().await?;
    let mut valid = Vec::new();
    for n in 0..100 {
        valid.push(bench.key(&format!("valid {n}")).await.1);
    }
    let mut mixes = validations(&bench, &valid).await?;
    mixes.extend(other_calls(&valid[0])?);

    let (mut rows, mut figures, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for name in functions {
        let mut function = bench.function(&binaries, name).await?;
        let is_wanted = |mix: &&Mix| {
            mix.function == name && options.call.as_deref().is_none_or(|call| call == mix.name)
        };
        for mix in mixes.iter().filter(is_wanted) {
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
            cpu.push((format!("{name} {}", mix.name), cost.cpu));
        }
        function.stop().await?;
    }
    bench.stop().await;
    let machine = watch.end(cpu)?;
    machine.print();
    println!(
        "warm calls: CPU-ms of the function per call (min / median / max of {ROUNDS} rounds of {calls})\n"
    );
    table(&HEADINGS, &rows);
    let figures = json!({ "machine": machine.json(), "figures": figures });
    crate::report::write(folder, "warm", &figures)
}
