//! Scalars, which a template may contain either as typed YAML scalars or as strings.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// A scalar that is written either with its own type or, like the value of a parameter, as a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scalar<T>(pub T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Scalar<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = text(&value).ok_or_else(|| D::Error::custom("expected a scalar"))?;
        match text.parse() {
            Ok(scalar) => Ok(Self(scalar)),
            Err(error) => Err(D::Error::custom(format!("{text:?}: {error}"))),
        }
    }
}

/// Returns a scalar as a string, in the form that CloudFormation uses.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
