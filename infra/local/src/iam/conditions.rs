//! The conditions of policies, and how IAM evaluates them.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::request::{
    ATTRIBUTES, Access, EVENT_SOURCE, LEADING_KEYS, MESSAGE_TYPE, PRINCIPAL_ARN, RESOURCE_ALIASES,
    RETURN_VALUES, SELECT, SIGNING_ALGORITHM,
};

/// One condition of a statement. An access must meet all conditions of the statement.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    operator: Operator,
    pub key: String,
    /// The accepted values. With [`Operator::AllLike`] and [`Operator::AnyLike`], they are patterns.
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    /// `ForAllValues:StringEquals`, which is also true if the key is absent.
    AllEqual,
    /// `ForAllValues:StringLike`, which is also true if the key is absent.
    AllLike,
    /// `ForAnyValue:StringEquals`, which is false if the key is absent.
    AnyEqual,
    /// `ForAnyValue:StringLike`, which is false if the key is absent.
    AnyLike,
    /// `StringEquals`, which is false if the key is absent.
    Equals,
    /// `StringEqualsIfExists`, which is also true if the key is absent.
    EqualsIfExists,
    /// `Null` with the value `false`, a condition that is true if the key is present.
    Present,
}

impl Condition {
    pub fn holds(&self, access: &Access) -> bool {
        let found = access.context.get(self.key.as_str());
        let is_accepted =
            |found: &String| self.values.iter().any(|value| self.accepts(value, found));
        let all_accepted = |default| found.map_or(default, |found| found.iter().all(is_accepted));
        match self.operator {
            Operator::AllEqual | Operator::AllLike | Operator::EqualsIfExists => all_accepted(true),
            Operator::Equals => all_accepted(false),
            Operator::AnyEqual | Operator::AnyLike => {
                found.is_some_and(|found| found.iter().any(is_accepted))
            }
            Operator::Present => found.is_some(),
        }
    }

    /// Whether the condition lists the attributes, leading keys or aliases that it accepts.
    pub fn is_list(&self) -> bool {
        self.is_for_all() || matches!(self.operator, Operator::AnyEqual | Operator::AnyLike)
    }

    fn is_for_all(&self) -> bool {
        matches!(self.operator, Operator::AllEqual | Operator::AllLike)
    }

    /// Whether `found`, a value that the access contains, matches `value`, a value that the condition accepts.
    pub fn accepts(&self, value: &str, found: &str) -> bool {
        match self.operator {
            Operator::AllLike | Operator::AnyLike => is_like(value, found),
            _ => value == found,
        }
    }
}

/// Reads the `Condition` of a statement. Refuses conditions that this module does not evaluate. Also refuses
/// `ForAllValues` without `Null`, because `ForAllValues` alone would allow every request in which the key is absent.
pub(super) fn conditions(condition: Option<&Value>) -> Result<Vec<Condition>> {
    let mut conditions = Vec::new();
    let Some(condition) = condition else {
        return Ok(conditions);
    };
    let operators = condition.as_object().context("Condition is not a map")?;
    for (name, keys) in operators {
        for (key, values) in keys.as_object().context("a condition is not a map")? {
            let values = strings(values).with_context(|| format!("{name}: {key}"))?;
            let operator = operator(name, key, &values);
            let operator = operator.with_context(|| format!("{name} on {key} is not evaluated"))?;
            let key = key.clone();
            conditions.push(Condition {
                operator,
                key,
                values,
            });
        }
    }
    for list in conditions.iter().filter(|condition| condition.is_for_all()) {
        let key = &list.key;
        let is_present =
            |other: &Condition| other.operator == Operator::Present && other.key == *key;
        ensure!(
            conditions.iter().any(is_present),
            "ForAllValues on {key} needs Null: {{ {key}: \"false\" }}"
        );
    }
    Ok(conditions)
}

fn operator(name: &str, key: &str, values: &[String]) -> Option<Operator> {
    let operator = match name {
        "ForAllValues:StringEquals" => Operator::AllEqual,
        "ForAllValues:StringLike" => Operator::AllLike,
        "ForAnyValue:StringEquals" => Operator::AnyEqual,
        "ForAnyValue:StringLike" => Operator::AnyLike,
        "StringEquals" => Operator::Equals,
        "StringEqualsIfExists" => Operator::EqualsIfExists,
        "Null" if values == ["false"] => Operator::Present,
        _ => return None,
    };
    let evaluated: &[&str] = match operator {
        Operator::Equals => &[
            EVENT_SOURCE,
            MESSAGE_TYPE,
            PRINCIPAL_ARN,
            RETURN_VALUES,
            SELECT,
            SIGNING_ALGORITHM,
        ],
        Operator::EqualsIfExists => &[RETURN_VALUES, SELECT],
        Operator::AnyEqual | Operator::AnyLike => &[RESOURCE_ALIASES],
        Operator::AllEqual | Operator::AllLike | Operator::Present => &[ATTRIBUTES, LEADING_KEYS],
    };
    evaluated.contains(&key).then_some(operator)
}

fn strings(values: &Value) -> Result<Vec<String>> {
    let values = match values {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    let mut strings = Vec::with_capacity(values.len());
    for value in values {
        match value.as_str() {
            // A policy variable.
            Some(text) if text.contains("${") => bail!("{text} is not evaluated"),
            Some(text) => strings.push(text.to_owned()),
            None => bail!("{value} is not a string"),
        }
    }
    ensure!(!strings.is_empty(), "there are no values");
    Ok(strings)
}

/// Whether a text matches an IAM pattern, in which `*` stands for any text and `?` for one character.
pub(super) fn is_like(pattern: &str, text: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    let mut text_chars = text.chars();
    match pattern_chars.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern_chars.as_str();
            is_like(rest, text)
                || text_chars.next().is_some() && is_like(pattern, text_chars.as_str())
        }
        Some('?') => {
            text_chars.next().is_some() && is_like(pattern_chars.as_str(), text_chars.as_str())
        }
        Some(c) => {
            text_chars.next() == Some(c) && is_like(pattern_chars.as_str(), text_chars.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(condition: Value) -> Result<Vec<Condition>> {
        conditions(Some(&condition))
    }

    fn access(key: &'static str, values: &[&str]) -> Access {
        let mut access = Access::plain("dynamodb:UpdateItem", "arn");
        let values = values.iter().map(|value| (*value).to_owned());
        access.context.insert(key, values.collect());
        access
    }

    fn holds(conditions: &[Condition], access: &Access) -> bool {
        conditions.iter().all(|condition| condition.holds(access))
    }

    #[test]
    fn for_all_values_accepts_only_listed_values_and_null_refuses_their_absence() {
        let policy = read(json!({
            "ForAllValues:StringEquals": { ATTRIBUTES: ["pk", "a*"] },
            "Null": { ATTRIBUTES: "false" },
        }));
        let policy = policy.unwrap();
        assert!(holds(&policy, &access(ATTRIBUTES, &["pk"])));
        assert!(holds(&policy, &access(ATTRIBUTES, &["a*", "pk"])));
        assert!(!holds(&policy, &access(ATTRIBUTES, &["pk", "abc"])));
        assert!(!holds(&policy, &access(LEADING_KEYS, &["pk"])));
    }

    #[test]
    fn string_like_evaluates_wildcards() {
        let policy = read(json!({
            "ForAllValues:StringLike": { LEADING_KEYS: ["U#*", "T?", "*end"] },
            "Null": { LEADING_KEYS: "false" },
        }));
        let policy = policy.unwrap();
        for (key, accepted) in [
            ("U#acme#me", true),
            ("U#", true),
            ("U", false),
            ("XU#", false),
            ("T1", true),
            ("T12", false),
            ("the end", true),
            ("the end.", false),
            ("u#acme", false),
        ] {
            assert_eq!(
                holds(&policy, &access(LEADING_KEYS, &[key])),
                accepted,
                "{key}"
            );
        }
    }

    #[test]
    fn if_exists_accepts_the_absence_of_a_key() {
        let policy = |operator: &str| read(json!({ operator: { RETURN_VALUES: "NONE" } })).unwrap();
        for operator in ["StringEquals", "StringEqualsIfExists"] {
            assert!(holds(&policy(operator), &access(RETURN_VALUES, &["NONE"])));
            assert!(!holds(
                &policy(operator),
                &access(RETURN_VALUES, &["NONE", "ALL_OLD"])
            ));
        }
        let absent = access(SELECT, &["COUNT"]);
        assert!(!holds(&policy("StringEquals"), &absent));
        assert!(holds(&policy("StringEqualsIfExists"), &absent));
    }

    #[test]
    fn a_condition_that_is_not_evaluated_is_not_read() {
        for condition in [
            json!({ "ForAnyValue:StringEquals": { ATTRIBUTES: "pk" } }),
            json!({ "ForAllValues:StringEquals": { ATTRIBUTES: "pk" } }),
            json!({ "ForAllValues:StringLike": { LEADING_KEYS: "U#*" }, "Null": { ATTRIBUTES: "false" } }),
            json!({ "ForAllValues:StringLike": { LEADING_KEYS: "${aws:userid}" }, "Null": { LEADING_KEYS: "false" } }),
            json!({ "ForAllValues:StringNotLike": { ATTRIBUTES: "hash" } }),
            json!({ "StringEquals": { ATTRIBUTES: "pk" } }),
            json!({ "StringEquals": { "aws:SourceIp": "127.0.0.1" } }),
            json!({ "Null": { ATTRIBUTES: "true" } }),
            json!({ "Null": { ATTRIBUTES: false } }),
            json!({ "StringEquals": { RETURN_VALUES: [] } }),
            json!("no"),
        ] {
            assert!(read(condition.clone()).is_err(), "{condition}");
        }
    }
}
