//! CloudFormation's intrinsic functions and conditions.

use anyhow::{Context, Error, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use super::{ACCOUNT, REGION, STACK, Template, scalar::text, yaml::intrinsic};

impl Template {
    /// Resolves `value`. `None` stands for `AWS::NoValue`. `at` is the logical id to name in error messages.
    pub(super) fn resolve(&self, value: &Value, at: &str) -> Result<Option<Value>> {
        match value {
            Value::Array(items) => {
                let items = items
                    .iter()
                    .filter_map(|item| self.resolve(item, at).transpose());
                Ok(Some(Value::Array(items.collect::<Result<_>>()?)))
            }
            Value::Object(map) => match intrinsic(map) {
                Some((name, argument)) => self.intrinsic(name, argument, at),
                None => {
                    let mut resolved = Map::new();
                    for (key, value) in map {
                        if let Some(value) = self.resolve(value, at)? {
                            resolved.insert(key.clone(), value);
                        }
                    }
                    Ok(Some(Value::Object(resolved)))
                }
            },
            scalar => Ok(Some(scalar.clone())),
        }
    }

    fn intrinsic(&self, name: &str, argument: &Value, at: &str) -> Result<Option<Value>> {
        let wrong = || wrong_argument(name, argument, at);
        let value = match name {
            "Ref" if argument == "AWS::NoValue" => return Ok(None),
            "Ref" => self.reference(argument.as_str().ok_or_else(wrong)?, at)?,
            "Fn::GetAtt" => self.get_att(&attribute_path(argument).ok_or_else(wrong)?, at)?,
            "Fn::Sub" => self.substitute(argument, at)?,
            "Fn::Join" => self.join(argument, at)?,
            "Fn::Split" => self.split(argument, at)?,
            "Fn::Select" => self.select(argument, at)?,
            "Fn::If" => {
                let [condition, yes, no] = arguments(argument).ok_or_else(wrong)?;
                let holds = self.named_condition(condition.as_str().ok_or_else(wrong)?, at)?;
                return self.resolve(if holds { yes } else { no }, at);
            }
            "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or" => {
                self.condition(&json!({ name: argument }), at)?.into()
            }
            _ => bail!("{at}: the local stack does not support {name}"),
        };
        Ok(Some(value))
    }

    fn join(&self, argument: &Value, at: &str) -> Result<Value> {
        let wrong = || wrong_argument("Fn::Join", argument, at);
        let [delimiter, items] = arguments(argument).ok_or_else(wrong)?;
        let items = self.list(items, at)?.ok_or_else(wrong)?;
        let items: Option<Vec<_>> = items.iter().map(text).collect();
        let items = items.ok_or_else(wrong)?;
        Ok(items.join(delimiter.as_str().ok_or_else(wrong)?).into())
    }

    fn split(&self, argument: &Value, at: &str) -> Result<Value> {
        let wrong = || wrong_argument("Fn::Split", argument, at);
        let [delimiter, whole] = arguments(argument).ok_or_else(wrong)?;
        let whole = self.text(whole, at)?.ok_or_else(wrong)?;
        Ok(whole.split(delimiter.as_str().ok_or_else(wrong)?).collect())
    }

    fn select(&self, argument: &Value, at: &str) -> Result<Value> {
        let wrong = || wrong_argument("Fn::Select", argument, at);
        let [index, items] = arguments(argument).ok_or_else(wrong)?;
        let index: usize = text(index)
            .and_then(|index| index.parse().ok())
            .ok_or_else(wrong)?;
        let items = self.list(items, at)?.ok_or_else(wrong)?;
        items.get(index).cloned().ok_or_else(wrong)
    }

    /// Resolves `value` to a list. Returns `None` if the result is not a list.
    fn list(&self, value: &Value, at: &str) -> Result<Option<Vec<Value>>> {
        match self.resolve(value, at)? {
            Some(Value::Array(items)) => Ok(Some(items)),
            _ => Ok(None),
        }
    }

    /// Resolves `value` to a scalar. Returns `None` if the result is not a scalar.
    pub(super) fn text(&self, value: &Value, at: &str) -> Result<Option<String>> {
        Ok(self.resolve(value, at)?.as_ref().and_then(text))
    }

    pub(super) fn named_condition(&self, name: &str, at: &str) -> Result<bool> {
        let condition = self.conditions.get(name);
        let condition = condition.with_context(|| format!("{at}: there is no condition {name}"))?;
        self.condition(condition, name)
    }

    pub(super) fn condition(&self, condition: &Value, at: &str) -> Result<bool> {
        let wrong = || anyhow!("{at}: {condition} is not a condition");
        let (name, argument) = condition
            .as_object()
            .and_then(intrinsic)
            .ok_or_else(wrong)?;
        let all = || argument.as_array().ok_or_else(wrong);
        match name {
            "Condition" => self.named_condition(argument.as_str().ok_or_else(wrong)?, at),
            "Fn::Equals" => {
                let [left, right] = arguments(argument).ok_or_else(wrong)?;
                Ok(self.text(left, at)? == self.text(right, at)?)
            }
            "Fn::Not" => {
                let [inner] = arguments(argument).ok_or_else(wrong)?;
                Ok(!self.condition(inner, at)?)
            }
            "Fn::And" => all()?
                .iter()
                .try_fold(true, |held, inner| Ok(held && self.condition(inner, at)?)),
            "Fn::Or" => all()?
                .iter()
                .try_fold(false, |held, inner| Ok(held || self.condition(inner, at)?)),
            _ => Err(wrong()),
        }
    }

    fn reference(&self, name: &str, at: &str) -> Result<Value> {
        let pseudo = match name {
            "AWS::Region" => Some(REGION),
            "AWS::AccountId" => Some(ACCOUNT),
            "AWS::Partition" => Some("aws"),
            "AWS::StackName" => Some(STACK),
            "AWS::StackId" => Some("arn:aws:cloudformation:us-east-1:000000000000:stack/local/0"),
            "AWS::URLSuffix" => Some("amazonaws.com"),
            _ => None,
        };
        // `Function.Alias` is SAM's reference to the alias that it creates for a function.
        let (id, attribute) = match name.strip_suffix(".Alias") {
            Some(function) => (function, "Alias"),
            None => (name, "Ref"),
        };
        pseudo
            .map(Value::from)
            .or_else(|| self.parameters.get(name).cloned())
            .or_else(|| self.attribute(id, attribute).map(Value::from))
            .with_context(|| format!("{at}: there is no parameter or resource {name}"))
    }

    fn get_att(&self, path: &str, at: &str) -> Result<Value> {
        let (id, attribute) = path.split_once('.').unwrap_or((path, ""));
        self.attribute(id, attribute)
            .map(Value::from)
            .with_context(|| format!("{at}: the local stack has no attribute {path}"))
    }

    fn substitute(&self, argument: &Value, at: &str) -> Result<Value> {
        let wrong = || wrong_argument("Fn::Sub", argument, at);
        let variables = Map::new();
        let (pattern, variables) = match argument {
            Value::String(pattern) => (pattern, &variables),
            _ => match arguments(argument).ok_or_else(wrong)? {
                [Value::String(pattern), Value::Object(variables)] => (pattern, variables),
                _ => return Err(wrong()),
            },
        };
        let mut parts = pattern.split("${");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').ok_or_else(wrong)?;
            if let Some(literal) = name.strip_prefix('!') {
                whole += &format!("${{{literal}}}");
            } else {
                let value = match variables.get(name) {
                    Some(value) => self.resolve(value, at)?.unwrap_or_default(),
                    None if name.contains('.') => self.get_att(name, at)?,
                    None => self.reference(name, at)?,
                };
                whole += &text(&value).ok_or_else(wrong)?;
            }
            whole += rest;
        }
        Ok(whole.into())
    }
}

/// Returns the arguments of an intrinsic function that accepts a list of `COUNT` arguments.
fn arguments<const COUNT: usize>(argument: &Value) -> Option<&[Value; COUNT]> {
    argument.as_array()?.as_slice().try_into().ok()
}

/// Returns the argument of `Fn::GetAtt` as `Resource.Attribute`, even if it is written as `[Resource, Attribute]`.
fn attribute_path(argument: &Value) -> Option<String> {
    match argument {
        Value::String(path) => Some(path.clone()),
        Value::Array(parts) => {
            let parts: Vec<_> = parts.iter().filter_map(Value::as_str).collect();
            Some(parts.join("."))
        }
        _ => None,
    }
}

fn wrong_argument(name: &str, argument: &Value, at: &str) -> Error {
    anyhow!("{at}: {name} does not accept this argument: {argument}")
}
