//! Reads `infra/openapi.yaml` and `infra/template.yaml`, and validates responses.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    path::Path,
};

use harness::{Answer, GATEWAY};
use jsonschema::Validator;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

/// Returns the content of the file at `path`, which is relative to the root of the repository.
pub fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a YAML file as JSON, without tags such as those for CloudFormation functions.
pub fn yaml(path: &str) -> Value {
    to_json(&Yaml::load_from_str(&file(path)).unwrap()[0])
}

fn to_json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(flag)) => json!(flag),
        Yaml::Value(Scalar::Integer(number)) => json!(number),
        Yaml::Value(Scalar::FloatingPoint(number)) => json!(number.into_inner()),
        Yaml::Value(Scalar::String(text)) => json!(text),
        Yaml::Sequence(items) => items.iter().map(to_json).collect(),
        Yaml::Mapping(entries) => {
            let entry = |(key, value): (&Yaml<'_>, &Yaml<'_>)| {
                let key = key.as_str().unwrap_or_else(|| panic!("{key:?}"));
                (key.to_owned(), to_json(value))
            };
            Value::Object(entries.iter().map(entry).collect())
        }
        Yaml::Tagged(_, node) => to_json(node),
        other => panic!("{other:?}"),
    }
}

/// An operation of the document.
#[derive(Debug, Clone)]
pub struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    /// Includes the parameters that the document declares for the whole path.
    pub parameters: Vec<Value>,
    pub definition: Value,
}

impl Operation {
    /// Whether the operation accepts credentials of this scheme.
    pub fn takes(&self, scheme: &str) -> bool {
        let mut alternatives = self.definition["security"].as_array().unwrap().iter();
        alternatives.any(|alternative| alternative.get(scheme).is_some())
    }
}

pub struct Document {
    pub whole: Value,
    /// Validators, by the JSON of their schema. They are cached because building one takes longer than any call.
    validators: RefCell<HashMap<String, Validator>>,
}

impl Document {
    pub fn read() -> Self {
        Self {
            whole: yaml("infra/openapi.yaml"),
            validators: RefCell::default(),
        }
    }

    pub fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, item) in self.whole["paths"].as_object().unwrap() {
            for (method, definition) in item.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let parameters = [&item["parameters"], &definition["parameters"]].into_iter();
                let parameters = parameters.filter_map(Value::as_array).flatten();
                let parameters = parameters.map(|parameter| self.resolve(parameter).clone());
                operations.push(Operation {
                    id: definition["operationId"].as_str().unwrap().to_owned(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                    parameters: parameters.collect(),
                    definition: definition.clone(),
                });
            }
        }
        operations
    }

    /// Follows a `$ref`.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let reference = value["$ref"].as_str();
        let Some(pointer) = reference.and_then(|reference| reference.strip_prefix('#')) else {
            return value;
        };
        let found = self.whole.pointer(pointer);
        found.unwrap_or_else(|| panic!("there is no {pointer}"))
    }

    fn validator(&self, schema: &Value) -> Validator {
        let schema = json!({ "allOf": [schema], "components": self.whole["components"] });
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012);
        let validator = options.should_validate_formats(true).build(&schema);
        validator.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the status and label of every documented response of an operation. A label is an error code,
    /// [`GATEWAY`], or empty.
    pub fn outcomes(&self, operation: &Operation) -> BTreeSet<(String, String)> {
        let mut outcomes = BTreeSet::new();
        for (status, response) in operation.definition["responses"].as_object().unwrap() {
            let content = self.resolve(response)["content"].as_object();
            let labels: BTreeSet<String> = match content {
                Some(content) => content.values().flat_map(|m| self.labels(m)).collect(),
                None => BTreeSet::from([String::new()]),
            };
            outcomes.extend(labels.into_iter().map(|label| (status.clone(), label)));
        }
        outcomes
    }

    /// Returns the labels of a media type. An error schema allows any code, so the codes of each response come from its
    /// examples.
    fn labels(&self, media: &Value) -> BTreeSet<String> {
        let schema = self.resolve(&media["schema"]);
        let variants = schema["oneOf"].as_array();
        let variants = variants.map_or(std::slice::from_ref(schema), Vec::as_slice);
        let variants = variants.iter().map(|variant| self.resolve(variant));
        let mut labels: BTreeSet<String> = variants.flat_map(codes).collect();
        labels.extend(examples(media).map(label));
        labels
    }

    /// Asserts that the document allows a response.
    pub fn check(&self, operation: &Operation, answer: &Answer) {
        let status = answer.status;
        let at = format!("{} returned {status} {}", operation.id, answer.text);
        let responses = &operation.definition["responses"];
        let response = responses.get(status.to_string());
        let response = response.unwrap_or_else(|| panic!("{at}: the status is not documented"));
        let response = self.resolve(response);
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = self.resolve(header);
            match answer.header(name) {
                Some(value) => {
                    self.validate(&header["schema"], &json!(value), &format!("{at}: {name}"))
                }
                None => assert!(header["required"] != true, "{at}: no header {name}"),
            }
        }
        let content_type = answer.header("content-type");
        let Some(content) = response["content"].as_object() else {
            assert_eq!((&*answer.text, content_type), ("", None), "{at}");
            return;
        };
        let media = content_type.and_then(|content_type| content.get(content_type));
        let media = media.unwrap_or_else(|| panic!("{at}: {content_type:?} is not documented"));
        let body: Value = serde_json::from_str(&answer.text).expect(&at);
        self.validate(&media["schema"], &body, &at);
        let labels = self.labels(media);
        assert!(labels.contains(answer.code()), "{at}: only {labels:?}");
        if content_type == Some("application/problem+json") {
            assert_eq!(body["status"], status, "{at}");
        }
    }

    /// Asserts that `value` matches `schema`.
    pub fn validate(&self, schema: &Value, value: &Value, at: &str) {
        let mut validators = self.validators.borrow_mut();
        let validator = validators.entry(schema.to_string());
        let validator = validator.or_insert_with(|| self.validator(schema));
        let errors = validator.iter_errors(value);
        let errors = errors.map(|error| format!("{}: {error}", error.instance_path()));
        let errors: Vec<_> = errors.collect();
        assert!(errors.is_empty(), "{at}\n{}", errors.join("\n"));
    }
}

/// Returns the codes that a schema lists.
fn codes(schema: &Value) -> impl Iterator<Item = String> {
    let codes = schema["properties"]["code"]["enum"].as_array();
    let codes = codes.into_iter().flatten();
    codes.map(|code| code.as_str().unwrap().to_owned())
}

/// Returns the label of a body.
fn label(body: &Value) -> String {
    let codes = [&body["code"], &body["error_code"]];
    match codes.iter().find_map(|code| code.as_str()) {
        Some(code) => code.to_owned(),
        None if body.as_object().is_some_and(is_gateway_message) => GATEWAY.to_owned(),
        None => String::new(),
    }
}

fn is_gateway_message(body: &Map<String, Value>) -> bool {
    body.len() == 1 && body.contains_key("message")
}

/// Returns the examples of a parameter, header or media type.
pub fn examples(holder: &Value) -> impl Iterator<Item = &Value> {
    let named = holder["examples"].as_object().into_iter();
    let named = named.flat_map(|named| named.values().map(|example| &example["value"]));
    holder.get("example").into_iter().chain(named)
}

/// Adds every object that has a schema (a parameter, header or media type) to `found`, together with its place in the
/// document.
pub fn described<'a>(value: &'a Value, at: &str, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(map) => {
            if map.contains_key("schema") {
                found.push((at.to_owned(), value));
            }
            for (name, value) in map {
                described(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (n, value) in items.iter().enumerate() {
                described(value, &format!("{at}/{n}"), found);
            }
        }
        _ => {}
    }
}
