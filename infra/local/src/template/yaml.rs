//! Reads YAML with CloudFormation's tags.

use anyhow::{Context, Result, bail};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

use super::scalar::text;

/// Converts a YAML document to JSON. Tags such as `!Sub` become their long form, `{"Fn::Sub": …}`.
pub(super) fn parse(yaml: &str) -> Result<Value> {
    let documents = Yaml::load_from_str(yaml).context("the template is not YAML")?;
    let document = documents.first().context("the template is empty")?;
    to_json(document)
}

fn to_json(yaml: &Yaml<'_>) -> Result<Value> {
    Ok(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(flag)) => (*flag).into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Value(Scalar::FloatingPoint(number)) => number.into_inner().into(),
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Sequence(items) => items.iter().map(to_json).collect::<Result<_>>()?,
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = text(&to_json(key)?).context("a key in the template is not a scalar")?;
                map.insert(key, to_json(value)?);
            }
            map.into()
        }
        Yaml::Tagged(tag, node) => {
            let name = match tag.suffix.as_str() {
                name @ ("Ref" | "Condition") => name.to_owned(),
                name => format!("Fn::{name}"),
            };
            json!({ name: to_json(node)? })
        }
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => {
            bail!("CloudFormation does not accept this YAML: {yaml:?}")
        }
    })
}

/// Returns the name and the argument of an intrinsic function, or `None` if the object is something else.
pub(super) fn intrinsic(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = map.iter().next().filter(|_| map.len() == 1)?;
    let known =
        name.starts_with("Fn::") || name == "Ref" || (name == "Condition" && argument.is_string());
    known.then_some((name, argument))
}
