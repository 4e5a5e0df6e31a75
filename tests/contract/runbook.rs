//! Checks the log queries in the runbook and in the template against the log lines in the source.

use std::collections::{BTreeMap, BTreeSet};

use crate::{document::file, source};

/// Returns every constant that contains an event name, with its value.
fn event_names() -> BTreeMap<String, String> {
    let list = file("shared/src/process/events.rs");
    let constants = list
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "));
    constants
        .map(|line| {
            let (constant, value) = line.split_once(": &str = \"").unwrap();
            let value = value.strip_suffix("\";").unwrap();
            (constant.to_owned(), value.to_owned())
        })
        .collect()
}

/// Returns the queries in a document. A query is code in backticks, or a block of lines that start with a command or a
/// pipe.
fn queries(text: &str) -> Vec<String> {
    let is_command = |code: &str| code.starts_with("filter ") || code.starts_with("fields ");
    let inline = text.split('`').filter(|code| is_command(code));
    let mut queries: Vec<String> = inline.map(str::to_owned).collect();
    for line in text.lines().map(str::trim_start) {
        match (queries.last_mut(), line.strip_prefix("| ")) {
            (Some(query), Some(rest)) if is_command(rest) => query.push_str(&format!(" | {rest}")),
            _ if is_command(line) => queries.push(line.to_owned()),
            _ => {}
        }
    }
    queries
}

/// Returns the fields that a query names (dotted names and `level`), each with the values that the query compares it
/// with.
fn conditions(query: &str) -> Vec<(String, Vec<String>)> {
    let parts: Vec<&str> = query.split('"').collect();
    let mut conditions: Vec<(String, Vec<String>)> = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        if n % 2 == 1 {
            conditions.last_mut().unwrap().1.push((*part).to_owned());
            continue;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._@".contains(c);
        let words = part.split(|c| !is_name(c));
        let fields = words.filter(|word| word.contains('.') || *word == "level");
        conditions.extend(fields.map(|field| (field.to_owned(), Vec::new())));
    }
    conditions
}

#[test]
fn the_queries_filter_by_fields_and_event_names_that_the_source_logs() {
    let source = source();
    let known: BTreeSet<String> = event_names().into_values().collect();
    let text = file("infra/README.md") + &file("infra/template.yaml");
    let mut used = BTreeSet::new();
    for query in queries(&text) {
        for (field, values) in conditions(&query) {
            match field.as_str() {
                "level" => {
                    for level in values {
                        let call = format!("tracing::{}!(", level.to_lowercase());
                        assert!(
                            source.contains(&call),
                            "no log line has this level: {query}"
                        );
                    }
                    continue;
                }
                "event.name" => used.extend(values),
                // Every other field is compared with a placeholder for an id, such as "<id>".
                _ => assert!(values.iter().all(|text| text.starts_with('<')), "{query}"),
            }
            let assignment = format!(" {field} = ");
            assert!(
                source.contains(&assignment),
                "no log line has {field}: {query}"
            );
        }
    }
    assert!(
        !used.is_empty(),
        "none of the queries filters by event.name"
    );
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "unknown event names: {unknown:?}");
    // A filter by message stops matching when the message changes.
    assert!(!text.contains("filter message"));
    assert!(!text.contains("and message "));
}

#[test]
fn every_event_name_is_logged_through_its_constant() {
    let source = source();
    let names = event_names();
    let values: BTreeSet<&String> = names.values().collect();
    assert_eq!(values.len(), names.len(), "two events have the same name");
    for (constant, value) in &names {
        let logged = format!("event.name = events::{constant},");
        assert!(source.contains(&logged), "{constant} is not logged");
        assert!(
            value.split_once('.').is_some_and(|(entity, action)| {
                let is_word = |c: char| c.is_ascii_lowercase() || c == '-';
                [entity, action]
                    .iter()
                    .all(|part| part.chars().all(is_word))
            }),
            "{value} is not of the form entity.action"
        );
    }
    let lines = source.matches("event.name = ").count();
    let from_list = source.matches("event.name = events::").count();
    assert_eq!(lines, from_list, "an event name is not from the list");
}
