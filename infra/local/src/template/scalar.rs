//! Scalars, which a template writes as themselves or as text.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// A scalar that is written as itself or, like the value of a parameter, as text.
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

/// A scalar as CloudFormation writes it into a string.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
