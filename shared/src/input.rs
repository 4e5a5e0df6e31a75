//! What was sent: bodies and parameters, read field by field so that an answer can name everything that is wrong.

use lambda_http::{Body, Request, RequestExt};
use serde_json::{Map, Value};

use crate::{
    clock::Seconds,
    cluster::Liveness,
    cursor::Position,
    edge::bearer,
    error::{Error, FieldError},
    id::{ClusterName, KeyId, TenantId, UserId},
    key::AccessKey,
    record::Status,
    role::{Permission, Role},
};

/// The longest body that is read, in bytes.
pub const LONGEST_BODY: usize = 64 * 1024;

/// The fields of a JSON object. Each is taken once; what is left in the end is unknown and refused.
pub struct Fields {
    map: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Reads a JSON object from the body.
    ///
    /// # Errors
    /// When the body is no JSON object, or says that it is something else.
    pub fn of(request: &Request) -> Result<Self, Error> {
        if media_type(request).is_some_and(|media_type| !is_json(&media_type)) {
            return Err(Error::UnsupportedMediaType(
                "send Content-Type: application/json",
            ));
        }
        let body: &[u8] = request.body();
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::Malformed("the body is empty: send a JSON object"));
        }
        Self::parse(body)
    }

    /// Reads a JSON object from the body of one of the original's clients, which do not say what they send.
    ///
    /// # Errors
    /// When the body is no JSON object.
    pub fn of_original(request: &Request) -> Result<Self, Error> {
        Self::parse(request.body())
    }

    fn parse(body: &[u8]) -> Result<Self, Error> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self {
                map,
                errors: Vec::new(),
            }),
            Ok(_) => Err(Error::Malformed("the body is JSON, but not an object")),
            Err(_) => Err(Error::Malformed("the body is not valid JSON")),
        }
    }

    /// Notes that a field breaks a rule.
    pub fn refuse(&mut self, field: &'static str, detail: impl ToString) {
        self.errors.push(FieldError::new(field, detail));
    }

    /// A field, unless it is absent or null.
    pub fn take(&mut self, field: &'static str) -> Option<Value> {
        self.map.remove(field).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&mut self, field: &'static str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            _ => {
                self.refuse(field, "must be a string");
                None
            }
        }
    }

    /// A text that is parsed.
    pub fn parsed<T: std::str::FromStr<Err: ToString>>(
        &mut self,
        field: &'static str,
    ) -> Option<T> {
        let text = self.text(field)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(rule) => {
                self.refuse(field, rule.to_string());
                None
            }
        }
    }

    /// A whole number in a range.
    pub fn integer(
        &mut self,
        field: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        let value = self.take(field)?;
        let number = value.as_i64().filter(|number| range.contains(number));
        if number.is_none() {
            self.refuse(
                field,
                format!(
                    "must be a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
            );
        }
        number
    }

    /// A name of one of the original's clients, which send an empty text where they have none.
    pub fn name<T: std::str::FromStr<Err: ToString>>(&mut self, field: &'static str) -> Option<T> {
        if self.map.get(field).and_then(Value::as_str) == Some("") {
            self.map.remove(field);
        }
        self.parsed(field)
    }

    /// Whether nothing was wrong with a field so far.
    fn is_fine(&self, field: &str) -> bool {
        self.errors.iter().all(|error| error.field != field)
    }

    /// Insists on a field that was taken before.
    pub fn require<T>(&mut self, field: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && self.is_fine(field) {
            self.refuse(field, "is required");
        }
        value
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// With everything that was wrong, unknown fields included.
    pub fn finish(mut self, known: &'static str) -> Result<(), Error> {
        if !self.map.is_empty() {
            // The name of an unknown field came from outside: it is not repeated.
            self.refuse(
                "body",
                format!("has {} unknown field(s); known are {known}", self.map.len()),
            );
        }
        self.finish_leniently()
    }

    /// Ends the reading, whatever else was sent.
    ///
    /// # Errors
    /// With everything that was wrong.
    pub fn finish_leniently(self) -> Result<(), Error> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.errors))
        }
    }
}

/// The media type of the body, in lower case and without parameters.
#[must_use]
pub fn media_type(request: &Request) -> Option<String> {
    let value = request
        .headers()
        .get(http::header::CONTENT_TYPE)?
        .to_str()
        .unwrap_or_default();
    Some(
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json"
        || media_type.starts_with("application/") && media_type.ends_with("+json")
}

/// Whether the body holds anything.
#[must_use]
pub fn has_body(request: &Request) -> bool {
    !matches!(request.body(), Body::Empty) && !request.body().is_empty()
}

/// The user in the path; `me` is the caller. What cannot be a user id does not exist.
///
/// # Errors
/// When the path names no possible user.
pub fn path_user(request: &Request, me: &UserId) -> Result<UserId, Error> {
    match request
        .path_parameters_ref()
        .and_then(|path| path.first("user_id"))
    {
        Some("me") => Ok(me.clone()),
        Some(text) => text.parse().map_err(|_| Error::NotFound),
        None => Err(Error::NotFound),
    }
}

/// The key in the path.
///
/// # Errors
/// When the path names no possible key.
pub fn path_key(request: &Request) -> Result<KeyId, Error> {
    let text = request
        .path_parameters_ref()
        .and_then(|path| path.first("key_id"));
    text.and_then(|text| text.parse().ok())
        .ok_or(Error::NotFound)
}

/// The cluster in the path.
///
/// # Errors
/// When the path names no possible cluster.
pub fn path_cluster(request: &Request) -> Result<ClusterName, Error> {
    let text = request
        .path_parameters_ref()
        .and_then(|path| path.first("name"));
    text.and_then(|text| text.parse().ok())
        .ok_or(Error::NotFound)
}

/// A query parameter, given at most once.
///
/// # Errors
/// When it is given more than once.
pub fn query<'a>(request: &'a Request, name: &'static str) -> Result<Option<&'a str>, Error> {
    match request
        .query_string_parameters_ref()
        .and_then(|query| query.all(name))
        .as_deref()
    {
        None | Some([]) => Ok(None),
        Some([value]) => Ok(Some(*value)),
        Some(_) => Err(Error::field(name, "must be given once")),
    }
}

/// Which page of a list is asked for.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The most items in the answer.
    pub limit: usize,
    /// Where to go on.
    pub after: Option<Position>,
    /// The name of the list with its filters, to which its cursors are bound.
    pub list: String,
}

impl PageRequest {
    /// Items in an answer, unless the request says otherwise.
    pub const DEFAULT_LIMIT: usize = 50;
    /// The most items in an answer.
    pub const LARGEST_LIMIT: usize = 100;

    /// Reads `limit` and `cursor` of the list with this name.
    ///
    /// # Errors
    /// When a parameter breaks its rule.
    pub fn of(request: &Request, list: String) -> Result<Self, Error> {
        let limit = match query(request, "limit")? {
            None => Self::DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=Self::LARGEST_LIMIT).contains(limit))
                .ok_or_else(|| Error::field("limit", "must be a whole number from 1 to 100"))?,
        };
        let after = query(request, "cursor")?
            .map(|cursor| Position::from_cursor(cursor, &list))
            .transpose()?;
        Ok(Self { limit, after, list })
    }
}

/// Which keys are asked for.
#[derive(Debug, Clone)]
pub struct KeysRequest {
    /// Only keys of this status.
    pub status: Option<Status>,
    /// Only keys of this role.
    pub role: Option<Role>,
    /// The page.
    pub page: PageRequest,
}

impl KeysRequest {
    /// Reads `status`, `role`, `limit` and `cursor` of a list named `list`.
    ///
    /// # Errors
    /// When a parameter breaks its rule.
    pub fn of(request: &Request, list: &str) -> Result<Self, Error> {
        let status = filter(request, "status")?;
        let role = filter(request, "role")?;
        let page = PageRequest::of(request, format!("{list}?{status:?}&{role:?}"))?;
        Ok(Self { status, role, page })
    }
}

/// Which clusters are asked for.
#[derive(Debug, Clone)]
pub struct ClustersRequest {
    /// Only clusters in this state.
    pub status: Option<Liveness>,
    /// Only clusters that this key has onboarded or holds a slot for.
    pub key_id: Option<KeyId>,
    /// The page.
    pub page: PageRequest,
}

impl ClustersRequest {
    /// Reads `status`, `key_id`, `limit` and `cursor` of the tenant's list of clusters.
    ///
    /// # Errors
    /// When a parameter breaks its rule.
    pub fn of(request: &Request, tenant: &TenantId) -> Result<Self, Error> {
        let status = filter(request, "status")?;
        let key_id = filter(request, "key_id")?;
        let page = PageRequest::of(
            request,
            format!("clusters of {tenant}?{status:?}&{key_id:?}"),
        )?;
        Ok(Self {
            status,
            key_id,
            page,
        })
    }
}

fn filter<T: std::str::FromStr<Err: ToString>>(
    request: &Request,
    name: &'static str,
) -> Result<Option<T>, Error> {
    query(request, name)?
        .map(str::parse)
        .transpose()
        .map_err(|rule: T::Err| Error::field(name, rule))
}

/// A key that was sent to be looked at, and what it is to be good for.
pub struct Presented {
    /// The key.
    pub key: AccessKey,
    /// The permission asked about.
    pub permission: Option<Permission>,
    /// How old what the answer rests on may be. 0 is a reading of its own.
    pub max_staleness: Seconds,
}

impl Presented {
    /// Reads a JSON body `{"access_key", "permission"?, "max_staleness"?}`, a form `token=…` (RFC 7662, RFC 7009)
    /// or, without a body, the bearer token.
    ///
    /// # Errors
    /// When there is no key, or a field breaks a rule.
    pub fn of(request: &Request) -> Result<Self, Error> {
        if !has_body(request) {
            let key = bearer(request).ok_or(Error::Malformed(
                "send the key as JSON {\"access_key\": …}, as form token=…, or as bearer token",
            ))?;
            return Ok(Self::alone(key.to_owned()));
        }
        if media_type(request).as_deref() == Some("application/x-www-form-urlencoded") {
            let mut tokens =
                form_urlencoded::parse(request.body()).filter(|(name, _)| name == "token");
            return match (tokens.next(), tokens.next()) {
                (Some((_, token)), None) => Ok(Self::alone(token.into_owned())),
                _ => Err(Error::field("token", "is required, once")),
            };
        }
        let mut fields = Fields::of(request)?;
        let key = fields.text("access_key").map(AccessKey::new);
        let permission = fields.parsed("permission");
        let max_staleness = fields
            .integer("max_staleness", 0..=i32::MAX.into())
            .unwrap_or(0);
        let key = fields.require(
            "access_key",
            key.or_else(|| bearer(request).map(|k| AccessKey::new(k.to_owned()))),
        );
        fields.finish("access_key, permission, max_staleness")?;
        match key {
            Some(key) => Ok(Self {
                key,
                permission,
                max_staleness,
            }),
            None => Err(Error::field("access_key", "is required")),
        }
    }

    fn alone(key: String) -> Self {
        Self {
            key: AccessKey::new(key),
            permission: None,
            max_staleness: 0,
        }
    }
}

/// The `reason` of a revocation: at most 200 characters, without control characters.
///
/// # Errors
/// When it breaks the rule.
pub fn reason(request: &Request) -> Result<Option<String>, Error> {
    match query(request, "reason")?.map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) if text.chars().count() <= 200 && !text.chars().any(char::is_control) => {
            Ok(Some(text.to_owned()))
        }
        Some(_) => Err(Error::field(
            "reason",
            "must have at most 200 characters and no control characters",
        )),
    }
}
