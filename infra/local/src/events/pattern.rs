//! The filter patterns of event source mappings. Supports only the matching rules of EventBridge that this project
//! uses.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// A pattern for a value.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Each field named here matches its pattern.
    Fields(BTreeMap<String, Pattern>),
    /// The value matches at least one of the choices.
    Choices(Vec<Choice>),
}

#[derive(Debug)]
pub(super) enum Choice {
    Exists(bool),
    Prefix(String),
    Equals(Value),
}

impl Pattern {
    /// # Errors
    ///
    /// Fails if the text is not a JSON object, or contains matching rules that [`Pattern::matches`] does not implement.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).context("a filter pattern is not JSON")?;
        Some(&json)
            .filter(|json| json.is_object())
            .and_then(Self::read)
            .with_context(|| format!("the local stack does not support the filter pattern {json}"))
    }

    fn read(json: &Value) -> Option<Self> {
        match json {
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, json)| Some((name.clone(), Self::read(json)?)));
                fields.collect::<Option<_>>().map(Self::Fields)
            }
            Value::Array(choices) => {
                let choices = choices.iter().map(Choice::read);
                choices.collect::<Option<_>>().map(Self::Choices)
            }
            _ => None,
        }
    }

    /// Whether a value matches the pattern. `None` stands for an absent field.
    pub(super) fn matches(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Fields(fields) => fields
                .iter()
                .all(|(name, pattern)| pattern.matches(value.and_then(|value| value.get(name)))),
            Self::Choices(choices) => choices.iter().any(|choice| choice.matches(value)),
        }
    }
}

impl Choice {
    fn read(json: &Value) -> Option<Self> {
        match json {
            Value::Object(rule) if rule.len() == 1 => {
                match (rule.get("exists"), rule.get("prefix")) {
                    (Some(Value::Bool(exists)), _) => Some(Self::Exists(*exists)),
                    (_, Some(Value::String(prefix))) => Some(Self::Prefix(prefix.clone())),
                    _ => None,
                }
            }
            Value::Object(_) | Value::Array(_) => None,
            scalar => Some(Self::Equals(scalar.clone())),
        }
    }

    fn matches(&self, value: Option<&Value>) -> bool {
        let accepts = |value: &Value| match self {
            Self::Exists(_) => false,
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            Self::Equals(expected) => value == expected,
        };
        match (self, value) {
            (Self::Exists(exists), value) => *exists == value.is_some(),
            (_, Some(Value::Array(values))) => values.iter().any(accepts),
            (_, Some(value)) => accepts(value),
            (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pattern_requires_every_field_and_one_of_its_choices() {
        let text = r#"{"eventName":["REMOVE"],"userIdentity":{"type":["Service"]},"x":[{"exists":false}]}"#;
        let removal = Pattern::parse(text).unwrap();
        let record = json!({ "eventName": "REMOVE", "userIdentity": { "type": "Service" } });
        assert!(removal.matches(Some(&record)));
        for other in [
            json!({ "eventName": "INSERT", "userIdentity": { "type": "Service" } }),
            json!({ "eventName": "REMOVE" }),
            json!({ "eventName": "REMOVE", "userIdentity": { "type": "Service" }, "x": 1 }),
        ] {
            assert!(!removal.matches(Some(&other)), "{other}");
        }
        let prefix = Pattern::parse(r#"{"sk":[{"prefix":"KEY#"}]}"#).unwrap();
        assert!(prefix.matches(Some(&json!({ "sk": "KEY#1" }))));
        assert!(!prefix.matches(Some(&json!({ "sk": "USER" }))));
    }

    #[test]
    fn a_pattern_with_unknown_rules_is_refused() {
        for bad in ["", "[]", r#"{"a":"b"}"#, r#"{"a":[{"numeric":[">",1]}]}"#] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
