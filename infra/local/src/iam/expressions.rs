//! Finds the attributes named in DynamoDB expressions. If an expression cannot be parsed, there is no result, and the
//! request is therefore denied.

use std::collections::BTreeSet;

use serde_json::Value;

const KEYWORDS: &[&str] = &[
    "ADD", "AND", "BETWEEN", "DELETE", "IN", "NOT", "OR", "REMOVE", "SET",
];
const FUNCTIONS: &[&str] = &[
    "attribute_exists",
    "attribute_not_exists",
    "attribute_type",
    "begins_with",
    "contains",
    "if_not_exists",
    "list_append",
    "size",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Keyword,
    /// The name of an attribute or of a function.
    Word(&'a str),
    /// A placeholder for a name, such as `#role`.
    Name(&'a str),
    /// A placeholder for a value, such as `:now`.
    Value(&'a str),
    /// A position in a list, such as `[0]`.
    Index,
    Symbol(char),
}

/// Returns the top-level attributes that an expression names, in conditions as well as in updates. `names` are the
/// request's `ExpressionAttributeNames`.
pub(super) fn attribute_names(expression: &str, names: &Value) -> Option<BTreeSet<String>> {
    let tokens = tokens(expression)?;
    let mut found = BTreeSet::new();
    for (position, token) in tokens.iter().enumerate() {
        let previous = position.checked_sub(1).map(|before| tokens[before]);
        let next = tokens.get(position + 1).copied();
        let is_nested = previous == Some(Token::Symbol('.'));
        let is_call = next == Some(Token::Symbol('('));
        match *token {
            Token::Word(word) if is_call && (is_nested || !FUNCTIONS.contains(&word)) => {
                return None;
            }
            Token::Word(_) if is_call => {}
            Token::Word(word) if !is_nested => drop(found.insert(word.to_owned())),
            Token::Name(_) if is_call => return None,
            Token::Name(name) => {
                let name = names[name].as_str()?;
                if !is_nested {
                    found.insert(name.to_owned());
                }
            }
            Token::Symbol('.') if !(is_path(previous) && is_name(next)) => return None,
            Token::Index if !is_path(previous) => return None,
            _ => {}
        }
    }
    Some(found)
}

/// Returns the partition key value that a key condition requires. The condition must name the partition key exactly
/// once, as `partition = :value`.
pub(super) fn partition_value(
    condition: &str,
    partition: &str,
    names: &Value,
    values: &Value,
) -> Option<String> {
    let tokens = tokens(condition)?;
    let is_partition = |token: &Token<'_>| match *token {
        Token::Word(word) => word == partition,
        Token::Name(name) => names[name] == partition,
        _ => false,
    };
    let position = tokens.iter().position(is_partition)?;
    let is_named_once = tokens.iter().filter(|token| is_partition(token)).count() == 1;
    match tokens.get(position + 1..position + 3)? {
        [Token::Symbol('='), Token::Value(value)] if is_named_once => scalar(&values[*value]),
        _ => None,
    }
}

/// Returns the text of a string, number or binary attribute value.
pub(super) fn scalar(value: &Value) -> Option<String> {
    let text = ["S", "N", "B"]
        .into_iter()
        .find_map(|kind| value[kind].as_str());
    text.map(str::to_owned)
}

fn is_name(token: Option<Token<'_>>) -> bool {
    matches!(token, Some(Token::Word(_) | Token::Name(_)))
}

fn is_path(token: Option<Token<'_>>) -> bool {
    is_name(token) || token == Some(Token::Index)
}

fn tokens(expression: &str) -> Option<Vec<Token<'_>>> {
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let mut tokens = Vec::new();
    let mut rest = expression.trim_ascii_start();
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
        let (token, length) = match first {
            '#' if end > 0 => (Token::Name(&rest[..=end]), end + 1),
            ':' if end > 0 => (Token::Value(&rest[..=end]), end + 1),
            '_' | 'a'..='z' | 'A'..='Z' => (word(&rest[..=end]), end + 1),
            '[' => {
                let digits = after.split_once(']')?.0;
                let is_index = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                is_index.then_some((Token::Index, digits.len() + 2))?
            }
            '=' | '<' | '>' | '+' | '-' | '(' | ')' | ',' | '.' => (Token::Symbol(first), 1),
            _ => return None,
        };
        tokens.push(token);
        rest = rest[length..].trim_ascii_start();
    }
    Some(tokens)
}

fn word(word: &str) -> Token<'_> {
    let is_keyword = |keyword: &&str| keyword.eq_ignore_ascii_case(word);
    if KEYWORDS.iter().any(is_keyword) {
        Token::Keyword
    } else {
        Token::Word(word)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(expression: &str) -> Option<String> {
        let placeholders = json!({ "#role": "role", "#n": "hash", "#dots": "a.b" });
        let names = attribute_names(expression, &placeholders)?;
        Some(Vec::from_iter(names).join(" "))
    }

    #[test]
    fn conditions_name_attributes_in_comparisons_and_functions() {
        for (condition, expected) in [
            ("#role = :r AND epoch=:e", "epoch role"),
            (
                "attribute_exists(pk) AND (attribute_not_exists(a) OR a <= :s)",
                "a pk",
            ),
            ("size (admins) > :one and contains(admins, :id)", "admins"),
            ("begins_with(sk, :p) or attribute_type(b, :t)", "b sk"),
            ("a BETWEEN :x AND b", "a b"),
            ("NOT a in (:x, b, #n)", "a b hash"),
            ("a <> b And size(c) >= d", "a b c d"),
            ("#dots = :x", "a.b"),
        ] {
            assert_eq!(names(condition).as_deref(), Some(expected), "{condition}");
        }
    }

    #[test]
    fn updates_name_the_attributes_that_they_read_and_write() {
        for (update, expected) in [
            ("SET a = if_not_exists(b, :x), #n = #n - :one", "a b hash"),
            (
                "set l = list_append(l, :x) REMOVE c, d ADD e :y DELETE f :z",
                "c d e f l",
            ),
            ("SET\ta=:x\n,b=c+:y", "a b c"),
        ] {
            assert_eq!(names(update).as_deref(), Some(expected), "{update}");
        }
    }

    #[test]
    fn a_path_names_its_first_attribute() {
        for path in ["a.b[0]", "a[0][1].hash", "a . hash", "a.#n.#role[2]"] {
            assert_eq!(names(path).as_deref(), Some("a"), "{path}");
        }
        assert_eq!(names("a.b, #n[0], c").as_deref(), Some("a c hash"));
    }

    #[test]
    fn an_expression_that_cannot_be_parsed_has_no_result() {
        for expression in [
            "a = 'x'",
            "a = \"x\"",
            "#unknown = :x",
            "a.#unknown",
            "exists(a)",
            "Size(a) > :x",
            "#n(a)",
            "a.size(b)",
            ".hash = :x",
            "AND.hash = :x",
            "a..hash",
            "a. = :x",
            "a[x]",
            "a[]",
            "a[0",
            "[0] = :x",
            "a = 1",
            "a;b",
            "# = :x",
            "a = :",
            "ä = :x",
            "a\u{a0}= :x",
        ] {
            assert_eq!(names(expression), None, "{expression}");
        }
    }

    #[test]
    fn a_key_condition_has_one_value_of_the_partition_key() {
        let values = json!({ ":pk": { "S": "U#a" }, ":n": { "N": "7" }, ":l": { "L": [] } });
        let value = |condition| partition_value(condition, "pk", &json!({ "#p": "pk" }), &values);
        assert_eq!(value("pk = :pk").as_deref(), Some("U#a"));
        assert_eq!(
            value("begins_with(sk, :x) AND (#p=:n)").as_deref(),
            Some("7")
        );
        for condition in [
            "sk = :pk",
            "pk = :missing",
            "pk = :l",
            "pk < :pk",
            "pk = :pk AND pk = :n",
            ":pk = pk",
            "pk =",
            "pk = 'x'",
        ] {
            assert_eq!(value(condition), None, "{condition}");
        }
    }
}
