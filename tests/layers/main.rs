//! Checks that the source follows the layers in ARCHITECTURE.md. The rules define what each layer may import and which
//! layers may use the table, HTTP and AWS.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot continue has failed"
)]

mod rules;
mod source;

use source::{File, Sources};
use std::{path::Path, sync::LazyLock};

type Rule = fn(&[File]) -> Vec<String>;

fn check(rule: Rule) {
    static FILES: LazyLock<Vec<File>> =
        LazyLock::new(|| source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")));
    let found = rule(&FILES);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_file_imports_only_its_own_layer_and_those_below() {
    check(rules::layers);
}

#[test]
fn policy_imports_only_model_and_token() {
    check(rules::policy);
}

#[test]
fn no_layer_below_http_uses_lambda_http_or_untyped_json() {
    check(rules::http);
}

#[test]
fn only_store_contains_table_keys() {
    check(rules::table_keys);
}

#[test]
fn only_the_layers_store_token_and_bus_use_the_clients_that_the_layer_process_builds() {
    check(rules::clients);
}

#[test]
fn functions_import_neither_policy_nor_store_nor_token_and_only_two_import_accuknox() {
    check(rules::functions);
}

#[test]
fn imports_have_no_cycle() {
    check(rules::cycles);
}

#[test]
fn policy_is_synchronous() {
    check(rules::synchronous_policy);
}

#[test]
fn each_rule_reports_sources_that_break_it_and_accepts_sources_that_follow_it() {
    let rules: [(&str, Rule); 8] = [
        ("clients", rules::clients),
        ("cycles", rules::cycles),
        ("functions", rules::functions),
        ("http", rules::http),
        ("layers", rules::layers),
        ("policy", rules::policy),
        ("synchronous_policy", rules::synchronous_policy),
        ("table_keys", rules::table_keys),
    ];
    let good = cases("A small tree that follows every rule");
    let good: Sources = good
        .into_iter()
        .map(|[file, source, _]| (file, source))
        .collect();
    for (name, rule) in rules {
        assert_eq!(rule(&source::parse(&good)), [""; 0], "{name}");
        for [file, source, expected] in cases(name) {
            let mut sources = good.clone();
            sources.insert(file.clone(), source.clone());
            sources.retain(|_, source| !source.is_empty());
            let found = rule(&source::parse(&sources));
            let case = format!("{name}: {file} | {source} | {expected}\nreported: {found:#?}");
            assert_eq!(found.len(), usize::from(!expected.is_empty()), "{case}");
            assert!(found.iter().all(|line| line.contains(&expected)), "{case}");
        }
    }
}

/// Returns the rows of one section of `cases.txt`. A row consists of the name of a file, its source and the expected
/// report.
fn cases(section: &str) -> Vec<[String; 3]> {
    let text = include_str!("cases.txt");
    let (_, rows) = text.split_once(&format!("\n{section}:\n")).unwrap();
    let rows = rows.lines().take_while(|line| line.starts_with("    "));
    let cell = |text: &str| text.trim().replace("\\n", "\n");
    rows.map(|row| {
        let mut cells = row.split(" |").map(cell);
        [(); 3].map(|()| cells.next().unwrap_or_default())
    })
    .collect()
}

#[test]
fn a_module_declared_under_cfg_test_is_test_code() {
    let mut sources = Sources::new();
    for (name, source) in [
        ("mod", "#[cfg(test)] mod tests;"),
        ("tests", "use serde_json::json;"),
    ] {
        sources.insert(format!("shared/src/model/{name}.rs"), source.to_owned());
    }
    let files = source::parse(&sources);
    assert!(files[1].mentions.iter().all(|mention| mention.scope.test));
}
