//! Checks `infra/openapi.yaml` against the routes of the template, the error codes in the source, and the responses of
//! the local stack.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot continue has failed"
)]

mod answers;
mod calls;
mod document;
mod examples;
mod generators;
mod runbook;

use std::{collections::BTreeSet, path::Path};

use harness::GATEWAY;
use serde_json::{Value, json};

use crate::document::{Document, described, examples, file, yaml};

#[test]
fn the_documented_operations_match_the_routes_of_the_template() {
    let template = yaml("infra/template.yaml");
    let resources = template["Resources"].as_object().unwrap().values();
    let routes = resources.filter(|resource| resource["Type"] == "AWS::ApiGatewayV2::Route");
    let routes = routes.map(|route| route["Properties"]["RouteKey"].as_str().unwrap().to_owned());
    // The console and the OpenAPI document are not part of the API.
    let others = [" /console", " /openapi.yaml"];
    let routes = routes.filter(|route| !others.iter().any(|other| route.contains(other)));
    // The route `/api/v1/{proxy+}` serves only `/api/v1/jwks/`.
    let routes = routes.map(|route| route.replace("/api/v1/{proxy+}", "/api/v1/jwks/"));
    // OpenAPI can express neither `ANY` routes nor greedy parameters.
    let routes = routes.map(|route| route.replace("ANY ", "GET ").replace("+}", "}"));
    let operations = Document::read().operations().into_iter();
    let documented = operations.map(|o| format!("{} {}", o.method, o.path));
    assert_eq!(BTreeSet::from_iter(documented), BTreeSet::from_iter(routes));
}

#[test]
fn anonymous_routes_and_revoking_routes_have_rate_limits_of_their_own() {
    let template = yaml("infra/template.yaml");
    let resources = template["Resources"].as_object().unwrap();
    let stage = &resources["Stage"];
    let limited = stage["Properties"]["RouteSettings"].as_object().unwrap();
    let mut expected = BTreeSet::new();
    for (id, resource) in resources {
        let properties = &resource["Properties"];
        let is_revoke = properties["Target"] == "integrations/${RevokeIntegration}";
        if properties["AuthorizationType"] == "NONE" || is_revoke {
            let key = properties["RouteKey"].as_str().unwrap();
            let kind = if is_revoke { "Revoke" } else { "Anonymous" };
            let limits = json!({
                "ThrottlingRateLimit": format!("{kind}RateLimit"),
                "ThrottlingBurstLimit": format!("{kind}BurstLimit"),
            });
            assert_eq!(limited[key], limits, "{id}");
            expected.insert(key);
        }
    }
    let limited: BTreeSet<_> = limited.keys().map(String::as_str).collect();
    assert_eq!(limited, expected);
}

#[test]
fn pages_from_allowed_origins_can_use_the_documented_methods_and_headers() {
    let template = yaml("infra/template.yaml");
    let allowed = &template["Resources"]["Api"]["Properties"]["CorsConfiguration"][1];
    let list = |name: &str| -> BTreeSet<String> {
        let items = allowed[name].as_array().unwrap().iter();
        items.map(|item| item.as_str().unwrap().into()).collect()
    };
    let document = Document::read();
    let operations = document.operations();
    let methods = operations.iter().map(|operation| operation.method.clone());
    assert_eq!(list("AllowMethods"), methods.collect());

    let parameters = operations
        .iter()
        .flat_map(|operation| &operation.parameters);
    let headers = parameters.filter(|parameter| parameter["in"] == "header");
    let mut sent: BTreeSet<_> = headers.map(|header| header["name"].to_string()).collect();
    sent = sent
        .iter()
        .map(|name| name.trim_matches('"').to_lowercase())
        .collect();
    // OpenAPI does not list credentials or content types as parameters. Scripts may send If-None-Match to revalidate
    // the public keys.
    sent.extend(["authorization", "content-type", "if-none-match"].map(str::to_owned));
    assert_eq!(list("AllowHeaders"), sent);

    let responses = document.whole["components"]["responses"]
        .as_object()
        .unwrap();
    let headers = responses
        .values()
        .filter_map(|response| response["headers"].as_object());
    let names = headers.flat_map(|headers| headers.keys().map(|name| name.to_lowercase()));
    // Scripts can always read Cache-Control. The headers of `check` are for gateways.
    let readable = |name: &String| {
        name != "cache-control"
            && !["access-control-", "x-auth-"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
    };
    assert_eq!(list("ExposeHeaders"), names.filter(readable).collect());
}

#[test]
fn all_parameters_and_headers_and_bodies_have_valid_examples() {
    let document = Document::read();
    let mut holders = Vec::new();
    described(&document.whole, "", &mut holders);
    assert!(!holders.is_empty());
    for (at, holder) in holders {
        let examples: Vec<&Value> = examples(holder).collect();
        assert!(!examples.is_empty(), "{at} has no example");
        for example in examples {
            document.validate(&holder["schema"], example, &at);
        }
    }
}

#[test]
fn the_document_and_the_packages_have_the_same_version() {
    let version = &Document::read().whole["info"]["version"];
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_documented_error_codes_match_the_source() {
    let document = Document::read();
    let mut documented = BTreeSet::new();
    for operation in document.operations() {
        if operation.id != "validateKey" {
            let outcomes = document.outcomes(&operation).into_iter();
            documented.extend(outcomes.map(|(_, label)| label));
        }
    }
    documented.retain(|label| !label.is_empty() && label != GATEWAY);

    let source = source();
    let mut codes = BTreeSet::new();
    for before in ["Conflict(", "KeyRefused(", "code: "] {
        codes.extend(source.split(before).skip(1).filter_map(literal));
    }
    // `(StatusCode::CONFLICT, "code", detail)`
    let after_status = source.split("StatusCode::").skip(1);
    let after_status = after_status.filter_map(|rest| rest.split_once(','));
    codes.extend(after_status.filter_map(|(_, rest)| literal(rest)));

    let undocumented: Vec<_> = codes.difference(&documented).collect();
    assert!(undocumented.is_empty(), "undocumented: {undocumented:?}");
    // A code in AccuKnox's format can contain the name of a field, as in invalid_cluster_name.
    let is_field = |code: &str| {
        let field = code.strip_prefix("invalid_");
        field.is_some_and(|field| source.contains(&format!("\"{field}\"")))
    };
    let unknown = documented.difference(&codes);
    let unknown: Vec<_> = unknown.filter(|code| !is_field(code)).collect();
    assert!(unknown.is_empty(), "not in the source: {unknown:?}");
}

/// Returns the code at the start of `text`, if `text` starts with a string literal that looks like a code.
fn literal(text: &str) -> Option<String> {
    let (code, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    let is_code = code.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    is_code.then(|| code.to_owned())
}

/// Returns the source of the shared crate and of the functions, as one string.
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
