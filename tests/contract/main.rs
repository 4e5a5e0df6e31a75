//! `infra/openapi.yaml` against the template's routes, the source's error codes, and real answers of the stack.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod answers;
mod calls;
mod document;
mod runbook;

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use crate::document::{Document, GATEWAY, described, file, yaml};

#[test]
fn the_document_has_the_routes_of_the_template() {
    let template = yaml("infra/template.yaml");
    let resources = template["Resources"].as_object().unwrap().values();
    let routes = resources.filter(|resource| resource["Type"] == "AWS::ApiGatewayV2::Route");
    let routes = routes.map(|route| route["Properties"]["RouteKey"].as_str().unwrap().to_owned());
    // The console serves pages to people, and is no part of the API.
    let routes: BTreeSet<_> = routes
        .filter(|route| !route.contains(" /console"))
        .collect();
    let operations = Document::read().operations();
    let documented: BTreeSet<_> = operations
        .iter()
        .map(|o| format!("{} {}", o.method, o.path))
        .collect();
    assert_eq!(documented, routes);
}

#[test]
fn every_parameter_header_and_body_has_an_example_and_every_example_is_valid() {
    let document = Document::read();
    let mut holders = Vec::new();
    described(&document.whole, "", &mut holders);
    assert!(!holders.is_empty());
    for (at, holder) in holders {
        let mut examples: Vec<&Value> = holder.get("example").into_iter().collect();
        let named = holder.get("examples").and_then(Value::as_object);
        examples.extend(
            named
                .into_iter()
                .flat_map(|named| named.values())
                .map(|example| &example["value"]),
        );
        assert!(!examples.is_empty(), "{at} has no example");
        for example in examples {
            document.validate(&holder["schema"], example, &at);
        }
    }
}

#[test]
fn the_document_has_the_version_of_the_packages() {
    assert_eq!(
        Document::read().whole["info"]["version"],
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn the_documented_codes_are_those_of_the_source() {
    let document = Document::read();
    let mut documented = BTreeSet::new();
    for operation in document
        .operations()
        .iter()
        .filter(|operation| operation.id != "validateKey")
    {
        documented.extend(
            document
                .outcomes(operation)
                .into_iter()
                .map(|(_, label)| label),
        );
    }
    documented.retain(|label| !label.is_empty() && label != GATEWAY);

    let source = source();
    let mut codes = BTreeSet::new();
    for before in ["Conflict(", "KeyRefused(", "code: "] {
        codes.extend(source.split(before).skip(1).filter_map(literal));
    }
    // `(StatusCode::CONFLICT, "code", detail)`
    let after_status = source
        .split("StatusCode::")
        .skip(1)
        .filter_map(|rest| rest.split_once(','));
    codes.extend(after_status.filter_map(|(_, rest)| literal(rest)));

    let undocumented: Vec<_> = codes.difference(&documented).collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
    // AccuKnox errors name the field in the code, as in invalid_cluster_name.
    let is_field = |code: &str| {
        code.strip_prefix("invalid_")
            .is_some_and(|field| source.contains(&format!("\"{field}\"")))
    };
    let invented: Vec<_> = documented
        .difference(&codes)
        .filter(|code| !is_field(code))
        .collect();
    assert!(invented.is_empty(), "{invented:?}");
}

/// The code that a text begins with, if it begins with a literal of that form.
fn literal(text: &str) -> Option<String> {
    let (code, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    code.chars()
        .all(|c| c.is_ascii_lowercase() || c == '_')
        .then(|| code.to_owned())
}

/// The source of the shared crate and of the functions, in one text.
fn source() -> String {
    let mut text = String::new();
    let mut directories = vec!["shared/src".to_owned(), "functions".to_owned()];
    while let Some(directory) = directories.pop() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for entry in std::fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{directory}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                directories.push(path);
            } else if path.ends_with(".rs") {
                text.push_str(&file(&path));
            }
        }
    }
    text
}
