//! JSON request bodies: serde structs of [`Field`]s. If a value is invalid, its [`Field`] contains the broken rule
//! instead of the value, so that one response can list every error.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use lambda_http::{Body, Request};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

use super::error::Error;
use crate::{
    model::{Labels, Name, Permission, Permissions},
    service::{Error as ServiceError, FieldError},
};

/// The maximum size of a body, in bytes.
pub const LONGEST: usize = 64 * 1024;

/// Reads a JSON object. Unknown and repeated fields are errors.
///
/// # Errors
/// Fails if the body is not a JSON object, or its media type is not JSON.
pub fn read<T: DeserializeOwned>(request: &Request) -> Result<(T, Errors), Error> {
    if media_type(request).is_some_and(|media_type| !is_json(&media_type)) {
        return Err(Error::UnsupportedMediaType(
            "send Content-Type: application/json",
        ));
    }
    let body: &[u8] = request.body();
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::MalformedBody(
            "the body is empty: send a JSON object",
        ));
    }
    let mut errors = Errors::default();
    let members = parse(body)?;
    if members.has_repeated {
        return Err(Error::MalformedBody("a field occurs more than once"));
    }
    let strict = Object {
        fields: members.fields,
        errors: Some(&mut errors),
    };
    Ok((T::deserialize(strict).map_err(|_| MALFORMED)?, errors))
}

/// Reads a JSON object. Accepts any media type, and allows unknown and repeated fields.
pub fn read_leniently<T: DeserializeOwned>(request: &Request) -> Result<(T, Errors), Error> {
    let lenient = Object {
        fields: parse(request.body())?.fields,
        errors: None,
    };
    let body = T::deserialize(lenient).map_err(|_| MALFORMED)?;
    Ok((body, Errors::default()))
}

const MALFORMED: Error = Error::MalformedBody("the body is not valid JSON");

fn parse(body: &[u8]) -> Result<Members, Error> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Error::MalformedBody("the body must be a JSON object")
        } else {
            MALFORMED
        }
    })
}

/// The members of a JSON object. If a name is repeated, the last value is used, as in most parsers.
#[derive(Default)]
struct Members {
    fields: Map<String, Value>,
    has_repeated: bool,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut members: M) -> Result<Self, M::Error> {
        while let Some((name, value)) = members.next_entry()? {
            self.has_repeated |= self.fields.insert(name, value).is_some();
        }
        Ok(self)
    }
}

/// A JSON object. Unknown fields are reported in `errors`, or ignored if `errors` is `None`.
struct Object<'a> {
    fields: Map<String, Value>,
    errors: Option<&'a mut Errors>,
}

impl<'de> Deserializer<'de> for Object<'_> {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let unknown = self
            .fields
            .keys()
            .filter(|field| !known.contains(&field.as_str()))
            .count();
        if let Some(errors) = self.errors.filter(|_| unknown > 0) {
            // The names of unknown fields come from the caller, so the message does not repeat them.
            let known = known.join(", ");
            let detail = format!("has {unknown} unknown field(s); the known fields are {known}");
            errors.add("body", detail);
        }
        self.fields.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.fields.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A field of a body: its value, or the rule that the value breaks. `null` counts as absent.
pub struct Field<T>(Result<Option<T>, String>);

/// A field that may be absent, but not `null`. If `null` counted as absent, a client that sends `null` to remove a
/// value would get no error, and a filter of `null` would select everything.
#[derive(Default)]
pub struct NotNull<F>(pub F);

impl<'de, T: FromJson> Deserialize<'de> for NotNull<Field<T>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = match Value::deserialize(deserializer)? {
            Value::Null => Err("must not be null".to_owned()),
            value => T::from_json(value).map(Some),
        };
        Ok(Self(Field(value)))
    }
}

/// A text field, parsed as `T`.
pub type Text<T> = Field<Parsed<T>>;
/// A field that contains a whole number.
pub type Integer = Field<i64>;
/// A field that is true or false.
pub type Flag = Field<bool>;

/// A field that contains permission names, as a list or as a comma-separated string.
pub type Names = Field<Permissions>;

/// A value parsed from a string.
pub struct Parsed<T>(T);

pub trait FromJson: Sized {
    /// # Errors
    /// Returns the rule that the value breaks.
    fn from_json(value: Value) -> Result<Self, String>;
}

impl<T: FromStr<Err: ToString>> FromJson for Parsed<T> {
    fn from_json(value: Value) -> Result<Self, String> {
        let text = value.as_str().ok_or("must be a string")?;
        let parsed = text.parse().map_err(|rule: T::Err| rule.to_string());
        parsed.map(Self)
    }
}

impl FromJson for bool {
    fn from_json(value: Value) -> Result<Self, String> {
        let value = value.as_bool();
        value.ok_or_else(|| "must be true or false".to_owned())
    }
}

impl FromJson for Permissions {
    fn from_json(value: Value) -> Result<Self, String> {
        fn parse<T: FromStr<Err: ToString>>(name: &Value) -> Result<T, String> {
            let name = name
                .as_str()
                .ok_or("must be a string or a list of strings")?;
            name.parse().map_err(|rule: T::Err| rule.to_string())
        }
        let Value::Array(names) = value else {
            return parse(&value);
        };
        let add = |all: Self, name| Ok(all.or(parse::<Permission>(name)?.into()));
        names.iter().try_fold(Self::default(), add)
    }
}

impl FromJson for Labels {
    fn from_json(value: Value) -> Result<Self, String> {
        let rule = || format!("must be a list of at most {} strings", Self::MOST);
        let Value::Array(labels) = value else {
            return Err(rule());
        };
        if labels.len() > Self::MOST {
            return Err(rule());
        }
        let labels = labels.iter().map(|label| {
            let label = label.as_str().ok_or_else(rule)?;
            let named = label.parse::<Name>();
            named.map_err(|broken| format!("{broken}, in each label"))
        });
        labels.collect()
    }
}

/// Leaves the error message empty: [`Errors::integer`] writes the message, which includes the allowed range.
impl FromJson for i64 {
    fn from_json(value: Value) -> Result<Self, String> {
        // JSON does not distinguish integers from other numbers: 30.0 and 3e1 are the same number as 30, and Rust
        // formats all of them as 30.
        let whole = |number: f64| number.to_string().parse().ok();
        let number = value.as_i64().or_else(|| value.as_f64().and_then(whole));
        number.ok_or_else(String::new)
    }
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self(Ok(None))
    }
}

impl<'de, T: FromJson> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<Value>::deserialize(deserializer)?;
        Ok(Self(value.map(T::from_json).transpose()))
    }
}

impl<T> Field<T> {
    /// Whether the field is missing or `null`.
    pub const fn is_absent(&self) -> bool {
        matches!(self.0, Ok(None))
    }
}

#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// Records that a field is invalid.
    pub fn add(&mut self, field: &'static str, rule: impl ToString) {
        self.0.push(FieldError::new(field, rule));
    }

    /// Records an error, if there is one.
    pub fn extend(&mut self, error: Option<FieldError>) {
        self.0.extend(error);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records that a field is invalid, unless the field already has an error.
    pub fn add_first(&mut self, field: &'static str, rule: impl ToString) {
        if self.0.iter().all(|error| error.field != field) {
            self.add(field, rule);
        }
    }

    /// Returns the value of a text field; `None` if the field is absent or invalid.
    pub fn text<T>(&mut self, field: &'static str, text: Text<T>) -> Option<T> {
        self.value(field, text).map(|Parsed(value)| value)
    }

    /// Returns the value of a field; `None` if the field is absent or invalid.
    pub fn value<T>(&mut self, field: &'static str, value: Field<T>) -> Option<T> {
        value.0.unwrap_or_else(|rule| {
            self.add(field, rule);
            None
        })
    }

    /// Returns the value of a required text field; `None` if the field is absent or invalid.
    pub fn required<T>(&mut self, field: &'static str, text: Text<T>) -> Option<T> {
        if text.is_absent() {
            self.add(field, "is required");
        }
        self.text(field, text)
    }

    /// Returns the value of an integer field, which must be within `range`; `None` if the field is absent or invalid.
    pub fn integer(
        &mut self,
        field: &'static str,
        integer: Integer,
        range: RangeInclusive<i64>,
    ) -> Option<i64> {
        let number = match integer.0 {
            Ok(None) => return None,
            Ok(number) => number.filter(|number| range.contains(number)),
            Err(_) => None,
        };
        if number.is_none() {
            let (start, end) = (range.start(), range.end());
            let rule = format!("must be a whole number from {start} to {end}");
            self.add(field, rule);
        }
        number
    }

    /// Fails with all errors, if there are any.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ServiceError::Invalid(self.0).into())
        }
    }

    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Combines all errors into one. Call this only if there is at least one error.
    #[must_use]
    pub fn into_error(self) -> Error {
        ServiceError::Invalid(self.0).into()
    }
}

/// Returns the media type of the body, in lower case and without parameters.
#[must_use]
pub(super) fn media_type(request: &Request) -> Option<String> {
    let value = request.headers().get(http::header::CONTENT_TYPE)?;
    let value = value.to_str().unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json"
        || media_type.starts_with("application/") && media_type.ends_with("+json")
}

/// The format of a request's body. A body that is neither empty nor a form is read as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    Form,
    Json,
}

pub(super) fn kind(request: &Request) -> Kind {
    if matches!(request.body(), Body::Empty) || request.body().is_empty() {
        Kind::Empty
    } else if media_type(request).as_deref() == Some("application/x-www-form-urlencoded") {
        Kind::Form
    } else {
        Kind::Json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_with_a_decimal_point_keeps_every_digit() {
        // These numbers have up to 52 bits, like cluster numbers.
        for number in (0..1000).map(|n| (1 << 52) - 1 - n * 1_000_003) {
            let value = serde_json::from_str(&format!("{number}.0")).unwrap();
            assert_eq!(i64::from_json(value), Ok(number));
        }
    }
}
