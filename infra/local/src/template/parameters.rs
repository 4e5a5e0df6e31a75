//! The parameters of the template: declarations, overrides and checks.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::scalar::Scalar;

/// The declaration of a parameter.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parameter {
    #[serde(rename = "Type")]
    kind: String,
    default: Option<Scalar<String>>,
    allowed_pattern: Option<String>,
    constraint_description: Option<String>,
    min_length: Option<Scalar<usize>>,
    max_length: Option<Scalar<usize>>,
    allowed_values: Option<Vec<Scalar<String>>>,
    min_value: Option<Scalar<f64>>,
    max_value: Option<Scalar<f64>>,
}

impl Parameter {
    /// Checks a value. The error is the `ConstraintDescription` of the parameter. If there is no such description, the
    /// error states which rule the value breaks.
    fn check(&self, value: &str) -> Result<(), String> {
        self.broken_rule(value).map_err(|rule| {
            let description = self.constraint_description.as_ref();
            description.map_or(rule, |description| format!("it {description}"))
        })
    }

    fn broken_rule(&self, value: &str) -> Result<(), String> {
        if let Some(allowed) = &self.allowed_values {
            let allowed: Vec<_> = allowed.iter().map(|Scalar(value)| value.as_str()).collect();
            if !allowed.contains(&value) {
                return Err(format!("it must be one of {}", allowed.join(", ")));
            }
        }
        if let Some(pattern) = &self.allowed_pattern
            && !is_match(pattern, value)
        {
            return Err(format!("it must match {pattern}"));
        }
        let length = value.chars().count();
        match (&self.min_length, &self.max_length) {
            (Some(Scalar(min)), _) if length < *min => {
                return Err(format!("it must have at least {min} characters"));
            }
            (_, Some(Scalar(max))) if length > *max => {
                return Err(format!("it must have at most {max} characters"));
            }
            _ => {}
        }
        if self.kind != "Number" {
            return Ok(());
        }
        let Ok(number) = value.parse::<f64>() else {
            return Err("it must be a number".into());
        };
        match (&self.min_value, &self.max_value) {
            (Some(Scalar(min)), _) if number < *min => Err(format!("it must be at least {min}")),
            (_, Some(Scalar(max))) if number > *max => Err(format!("it must be at most {max}")),
            _ => Ok(()),
        }
    }

    fn value(&self, text: &str) -> Value {
        match self.kind.as_str() {
            "CommaDelimitedList" => text.split(',').map(str::trim).collect(),
            _ => text.into(),
        }
    }
}

/// Whether the pattern matches the whole value. False if the pattern is not valid.
fn is_match(pattern: &str, value: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(value))
}

/// Returns the values of the declared parameters. The last override of a parameter wins.
pub(super) fn values(
    declared: &BTreeMap<String, Parameter>,
    overrides: &[(String, String)],
) -> Result<BTreeMap<String, Value>> {
    if let Some((name, _)) = overrides
        .iter()
        .find(|(name, _)| !declared.contains_key(name))
    {
        let known: Vec<_> = declared.keys().map(String::as_str).collect();
        let known = known.join(", ");
        bail!("there is no parameter {name}; the template has {known}");
    }
    let overrides: BTreeMap<_, _> = overrides.iter().cloned().collect();
    let mut values = BTreeMap::new();
    for (name, parameter) in declared {
        let default = parameter.default.as_ref().map(|Scalar(default)| default);
        let value = overrides
            .get(name)
            .or(default)
            .with_context(|| format!("the parameter {name} has no default and needs a value"))?;
        parameter
            .check(value)
            .map_err(|reason| anyhow!("the parameter {name} cannot be {value:?}: {reason}"))?;
        values.insert(name.clone(), parameter.value(value));
    }
    Ok(values)
}
