//! Rules that `infra/openapi.yaml` must follow so that client generators understand all of it. Generators drop what
//! they do not understand, such as a schema that contradicts another one under `allOf`. `tests/clients` runs two
//! generators.

use serde_json::Value;

use crate::{
    document::{Document, examples},
    source,
};

/// Returns the operation, the status and the definition of each documented response.
fn responses(document: &Document) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for operation in document.operations() {
        for (status, response) in operation.definition["responses"].as_object().unwrap() {
            let response = document.resolve(response).clone();
            found.push((operation.id.clone(), status.clone(), response));
        }
    }
    found
}

fn is_composed(schema: &Value) -> bool {
    let keywords = ["allOf", "anyOf", "oneOf"];
    keywords.iter().any(|name| schema.get(name).is_some())
}

/// Whether a schema describes an object with properties of its own and is not composed of other schemas.
fn is_plain_object(schema: &Value) -> bool {
    schema["type"] == "object" && schema["properties"].is_object() && !is_composed(schema)
}

/// Whether `keyword` occurs in `schema` or in a schema that `schema` refers to.
fn has_keyword(document: &Document, schema: &Value, keyword: &str) -> bool {
    match document.resolve(schema) {
        Value::Object(map) => {
            map.contains_key(keyword) || map.values().any(|v| has_keyword(document, v, keyword))
        }
        Value::Array(items) => items
            .iter()
            .any(|item| has_keyword(document, item, keyword)),
        _ => false,
    }
}

/// Returns all objects in a part of the document, at any depth.
fn objects(value: &Value) -> Vec<&Value> {
    let children: Vec<&Value> = match value {
        Value::Object(map) => map.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => return Vec::new(),
    };
    let nested = children.into_iter().flat_map(objects);
    let itself = Some(value).filter(|value| value.is_object());
    itself.into_iter().chain(nested).collect()
}

#[test]
fn every_response_has_a_concrete_status() {
    for (operation, status, _) in responses(&Document::read()) {
        let number = status.parse::<u16>();
        assert!(number.is_ok(), "{operation}: {status}");
    }
}

#[test]
fn every_error_response_has_only_one_schema_and_it_is_a_plain_object() {
    let document = Document::read();
    for (operation, status, response) in responses(&document) {
        if status.as_str() < "400" {
            continue;
        }
        let at = format!("{operation}: {status}");
        let mut media = response["content"].as_object().expect(&at).values();
        let schema = &media.next().expect(&at)["schema"];
        assert!(schema["$ref"].is_string(), "{at}: the schema has no name");
        assert!(is_plain_object(document.resolve(schema)), "{at}: {schema}");
        for other in media {
            assert_eq!(&other["schema"], schema, "{at}");
        }
    }
}

#[test]
fn every_example_of_a_problem_has_the_status_of_its_response() {
    for (operation, status, response) in responses(&Document::read()) {
        for problem in examples(&response["content"]["application/problem+json"]) {
            assert_eq!(problem["status"].to_string(), status, "{operation}");
        }
    }
}

#[test]
fn no_schema_with_properties_is_also_composed_of_others() {
    let document = Document::read();
    let schemas = objects(&document.whole).into_iter();
    for schema in schemas.filter(|schema| schema["properties"].is_object()) {
        assert!(!is_composed(schema), "{schema}");
    }
}

#[test]
fn no_schema_listed_in_an_allof_contains_a_const() {
    let document = Document::read();
    let composed = objects(&document.whole).into_iter();
    for schemas in composed.filter_map(|schema| schema.get("allOf")) {
        assert!(!has_keyword(&document, schemas, "const"), "{schemas}");
    }
}

#[test]
fn no_request_body_schema_contains_a_default_value() {
    let document = Document::read();
    for operation in document.operations() {
        let body = &operation.definition["requestBody"];
        let has_default = has_keyword(&document, body, "default");
        assert!(!has_default, "{}", operation.id);
    }
}

#[test]
fn all_public_keys_share_one_schema() {
    let document = Document::read();
    let keys = &document.whole["components"]["schemas"]["PublicKeys"]["properties"]["keys"];
    assert!(is_plain_object(document.resolve(&keys["items"])));
}

#[test]
fn the_documented_maximum_of_keys_per_cluster_matches_the_source() {
    let document = Document::read();
    let cluster = &document.whole["components"]["schemas"]["ClusterFields"];
    let most = &cluster["properties"]["key_ids"]["maxItems"];
    let constant = format!("const MOST_HOLDERS: usize = {most};");
    assert!(source().contains(&constant), "{constant}");
}
