//! The rules. Each rule returns the violations that it finds. If there is nothing to check, it returns a message that
//! says so.

use crate::source::{File, Mention, parent};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The layers from top to bottom.
const LAYERS: &[&str] = &[
    "accuknox", "http", "service", "policy", "store", "token", "bus", "process", "model",
];
const BELOW_HTTP: &[&str] = LAYERS.split_at(2).1;
/// This function may run in an AWS account in which access-keys is not deployed. From the shared crate, it uses only
/// `process`.
const ROTATE_SECRET: &str = "functions/rotate-secret";

pub fn layers(files: &[File]) -> Vec<String> {
    let rank = |layer: &str| LAYERS.iter().position(|l| *l == layer);
    let mut found = without_code(files, LAYERS);
    let shared = files.iter().filter(|f| f.package == "shared");
    for file in shared.filter(|f| f.module != "crate") {
        let Some(own) = rank(layer(file)) else {
            found.push(format!("{}:1: the file is not in a layer", file.name));
            continue;
        };
        let rule = format!("{} imports only {}", LAYERS[own], LAYERS[own..].join(", "));
        found.extend(breaches([file], &rule, |_, mention| {
            let layer = mention.below("crate");
            layer.is_some_and(|layer| !LAYERS[own..].contains(&layer))
        }));
    }
    found
}

pub fn policy(files: &[File]) -> Vec<String> {
    let rule = "policy imports only model and token";
    let mut found = without_code(files, &["policy"]);
    found.extend(breaches(within(files, &["policy"]), rule, |_, mention| {
        let layer = mention.below("crate");
        layer.is_some_and(|l| !["policy", "model", "token"].contains(&l))
    }));
    found
}

pub fn http(files: &[File]) -> Vec<String> {
    let rule = "only http and accuknox use lambda_http and untyped JSON";
    let untyped = ["Value", "Map", "json", "to_value", "*"];
    let lambda = [
        "lambda_http",
        "lambda_runtime",
        "aws_lambda_events",
        "hyper",
    ];
    let mut found = without_code(files, BELOW_HTTP);
    found.extend(unnamed(files, "http", "lambda_http"));
    found.extend(breaches(within(files, BELOW_HTTP), rule, |_, mention| {
        let json = mention.names("serde_json") && !mention.scope.test;
        let mut steps = mention.text.split("::");
        lambda.iter().any(|name| mention.names(name))
            || json && steps.any(|step| untyped.contains(&step))
    }));
    found
}

pub fn table_keys(files: &[File]) -> Vec<String> {
    let rule = "only store contains table keys";
    let whole = "USER JOIN ADMINS pk sk tenant_pk tenant_sk";
    let starts = "U# T# K# C# N# J# S# A# P# D# KEY# IDEM# SLOT# CLUSTER# NODE# EPOCH# QUOTA SIGNINGS# SIGNINS#";
    let is_key = |_: &File, mention: &Mention| {
        let text = mention.text.trim_matches('"');
        mention.text.starts_with('"')
            && (whole.split(' ').any(|key| text == key)
                || starts.split(' ').any(|key| text.starts_with(key)))
    };
    let mut found = Vec::from_iter(unnamed(files, "functions", "access_keys"));
    if breaches(within(files, &["store"]), rule, is_key).is_empty() {
        found.push("nothing to check: store contains no table key".to_owned());
    }
    let outside = product(files).filter(|file| layer(file) != "store");
    found.extend(breaches(outside, rule, is_key));
    found
}

pub fn clients(files: &[File]) -> Vec<String> {
    let rule = "only store uses DynamoDB, only token KMS, only bus EventBridge, only rotate-secret Secrets Manager";
    let mut found = Vec::from_iter(unnamed(files, "store", "aws_sdk_dynamodb"));
    found.extend(unnamed(files, "token", "aws_sdk_kms"));
    found.extend(unnamed(files, "bus", "aws_sdk_eventbridge"));
    found.extend(breaches(product(files), rule, |file, mention| {
        mention.names("aws_sdk_dynamodb") && !["store", "process"].contains(&layer(file))
            || mention.names("aws_sdk_kms") && !["token", "process"].contains(&layer(file))
            || mention.names("aws_sdk_eventbridge") && !["bus", "process"].contains(&layer(file))
            || mention.names("aws_sdk_secretsmanager") && file.package != ROTATE_SECRET
            || mention.names("serde_dynamo") && layer(file) != "store"
    }));
    found
}

pub fn functions(files: &[File]) -> Vec<String> {
    let rule = "functions import http, service, model and process; onboard and clusters also accuknox; rotate-secret \
                only process";
    let mut found = Vec::from_iter(unnamed(files, "functions", "access_keys"));
    let functions = files.iter().filter(|f| f.package.starts_with("functions/"));
    found.extend(breaches(functions, rule, |file, mention| {
        match mention.below("access_keys") {
            Some(layer) if file.package == ROTATE_SECRET => layer != "process",
            None | Some("http" | "service" | "model" | "process") => false,
            Some("accuknox") => {
                !["functions/onboard", "functions/clusters"].contains(&&*file.package)
            }
            Some(_) => true,
        }
    }));
    found
}

pub fn synchronous_policy(files: &[File]) -> Vec<String> {
    let rule = "policy does no I/O";
    let mut found = without_code(files, &["policy"]);
    found.extend(breaches(within(files, &["policy"]), rule, |_, mention| {
        let mut steps = mention.text.split("::");
        let std = ["std::env", "std::fs", "std::io", "std::net", "std::process"];
        steps.any(|step| ["async", "await", "tokio"].contains(&step))
            || std.iter().any(|name| mention.text.starts_with(name))
    }));
    found
}

pub fn cycles(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for package in ["shared", "infra/local"] {
        let imports = imports(files, package);
        if imports.is_empty() {
            found.push(format!("nothing to check: no imports in {package}/src"));
        }
        let cycles: BTreeSet<String> = imports
            .iter()
            .flat_map(|(from, targets)| targets.keys().map(|to| (*from, *to)))
            .filter_map(|(from, to)| shortest_way(&imports, to, from))
            .map(|cycle| render(cycle, &imports))
            .collect();
        found.extend(cycles);
    }
    found
}

/// For each file, maps each file that it imports to the line of the first import.
type Imports<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

fn imports<'a>(files: &'a [File], package: &str) -> Imports<'a> {
    let files = || files.iter().filter(|f| f.package == package);
    let names: BTreeMap<&str, &str> = files().map(|f| (&*f.module, &*f.name)).collect();
    let mut imports = Imports::new();
    for file in files() {
        for mention in file.mentions.iter().filter(|m| m.below("crate").is_some()) {
            let mut modules = std::iter::successors(Some(&*mention.text), |path| parent(path));
            let target = modules.find_map(|module| names.get(module).copied());
            if let Some(target) = target.filter(|target| *target != file.name) {
                let lines = imports.entry(&file.name).or_default();
                lines.entry(target).or_insert(mention.line);
            }
        }
    }
    imports
}

fn shortest_way<'a>(imports: &Imports<'a>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::from([from]);
    let mut ways = VecDeque::from([vec![from]]);
    while let Some(way) = ways.pop_front() {
        let last = way[way.len() - 1];
        if last == to {
            return Some(way);
        }
        let next = imports.get(last).into_iter().flat_map(BTreeMap::keys);
        let new = next.filter(|file| seen.insert(file));
        ways.extend(new.map(|file| [&way[..], &[file]].concat()));
    }
    None
}

/// Renders a cycle. Starts at the file whose name sorts first, so that the same cycle is always rendered in the same
/// way.
fn render(mut cycle: Vec<&str>, imports: &Imports) -> String {
    let first = cycle.iter().min().copied();
    while cycle.first().copied() != first {
        cycle.rotate_left(1);
    }
    cycle.extend(first);
    let step = |pair: &[&str]| format!("{}:{} -> ", pair[0], imports[pair[0]][pair[1]]);
    cycle.windows(2).map(step).collect::<String>() + cycle[0]
}

/// Returns the layer of a file, or an empty string for a file outside the shared crate.
fn layer(file: &File) -> &str {
    let mut steps = file.module.split("::").filter(|_| file.package == "shared");
    steps.nth(1).unwrap_or_default()
}

fn within<'a>(files: &'a [File], layers: &[&str]) -> impl Iterator<Item = &'a File> {
    files.iter().filter(|file| layers.contains(&layer(file)))
}

fn product(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.package != "infra/local")
}

fn breaches<'a>(
    files: impl IntoIterator<Item = &'a File>,
    rule: &str,
    breaks: impl Fn(&File, &Mention) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let mut imports = BTreeSet::new();
        for mention in file.mentions.iter().filter(|m| breaks(file, m)) {
            // If an import has been reported, the code that uses this import is not reported as well.
            if !parent(&mention.text).is_some_and(|path| imports.contains(path)) {
                let Mention { line, text, .. } = mention;
                found.push(format!("{}:{line}: {text}: {rule}", file.name));
            }
            imports.insert(&*mention.text);
        }
    }
    found
}

/// Reports layers that contain no code, because a rule could never find anything in them.
fn without_code(files: &[File], layers: &[&str]) -> Vec<String> {
    let code = |layer| within(files, &[layer]).any(|file| !file.mentions.is_empty());
    let message = |layer| format!("nothing to check: no code in {layer}");
    let empty = layers.iter().filter(|layer| !code(**layer));
    empty.map(message).collect()
}

/// Reports `place` (a layer or `functions`) if none of its files mentions `name`, the crate that the rule is about.
fn unnamed(files: &[File], place: &str, name: &str) -> Option<String> {
    let here = |file: &&File| layer(file) == place || file.package.starts_with(place);
    let mut mentions = files.iter().filter(here).flat_map(|file| &file.mentions);
    let message = format!("nothing to check: no file in {place} names {name}");
    (!mentions.any(|mention| mention.names(name))).then_some(message)
}
