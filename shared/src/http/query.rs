//! Reads query parameters and headers. The error for an invalid value names the query parameter or header.

use std::{str::FromStr, time::Duration};

use lambda_http::{Request, RequestExt};

use super::{cursor, error::Error};
use crate::{
    model::{Role, UserStatus, is_plain, words},
    service::{
        AuditFilter, ClusterFilter, KeyFilter, KeySearch, List, PageRequest, Position, UserFilter,
    },
    token::PREFIX,
};

/// Returns the query parameters that a route of our own API accepts. AccuKnox's routes and the console ignore unknown
/// parameters.
fn known(route: &str) -> Option<&'static [&'static str]> {
    let (_, path) = route.split_once(' ')?;
    let known: &[&str] = match route {
        "GET /v1/access-keys" => &[
            "q",
            "status",
            "role",
            "owner",
            "created_by",
            "label",
            "expires_before",
            "unused_for",
            "limit",
            "cursor",
        ],
        "GET /v1/users/{user_id}/access-keys" => &[
            "q",
            "status",
            "role",
            "created_by",
            "label",
            "expires_before",
            "unused_for",
            "limit",
            "cursor",
        ],
        "GET /v1/clusters" => &["status", "key_id", "limit", "cursor"],
        "GET /v1/audit" => &["actor", "target", "action", "from", "to", "limit", "cursor"],
        "GET /v1/users" => &["q", "status", "role", "limit", "cursor"],
        "DELETE /v1/users/{user_id}/access-keys"
        | "DELETE /v1/users/{user_id}/access-keys/{key_id}"
        | "POST /v1/access-keys/revoke"
        | "POST /v1/access-keys/revoke-matching" => &["reason"],
        "POST /v1/access-keys/validate" | "ANY /v1/access-keys/check" => {
            &["permission", "any_of", "max_staleness"]
        }
        // On this route, the path and the query belong to the request that the gateway is checking.
        "ANY /v1/access-keys/check/{proxy+}" => return None,
        _ => &[],
    };
    path.starts_with("/v1/").then_some(known)
}

/// Refuses query parameters that the route does not accept. Otherwise, a misspelt parameter would be ignored, and so
/// would the requirement that it states.
pub(super) fn refuse_unknown(request: &Request, route: &str) -> Result<(), Error> {
    let Some(known) = known(route) else {
        return Ok(());
    };
    let unknown = all(request).filter(|(name, _)| !known.contains(name));
    // The names come from the caller, so the message does not repeat them.
    let rule = match (unknown.count(), known) {
        (0, _) => return Ok(()),
        (_, []) => "must be empty: this call has no query parameters".to_owned(),
        (count, known) => {
            let known = known.join(", ");
            format!("has {count} unknown parameter(s); the known parameters are {known}")
        }
    };
    Err(Error::field("query", rule))
}

/// Returns the names and values of all query parameters.
pub(super) fn all(request: &Request) -> impl Iterator<Item = (&str, &str)> {
    let parameters = request.query_string_parameters_ref();
    parameters
        .into_iter()
        .flat_map(|parameters| parameters.iter())
}

/// Returns the value of a query parameter. Fails if the parameter is given more than once.
pub fn parameter<'a>(request: &'a Request, name: &'static str) -> Result<Option<&'a str>, Error> {
    let parameters = request.query_string_parameters_ref();
    match parameters
        .and_then(|parameters| parameters.all(name))
        .as_deref()
    {
        None | Some([]) => Ok(None),
        Some([value]) => Ok(Some(*value)),
        Some(_) => Err(Error::field(name, "must not be given more than once")),
    }
}

fn parsed<T: FromStr<Err: ToString>>(
    request: &Request,
    name: &'static str,
) -> Result<Option<T>, Error> {
    let value = parameter(request, name)?.map(str::parse);
    value
        .transpose()
        .map_err(|rule: T::Err| Error::field(name, rule))
}

/// Returns the value of `Idempotency-Key`: 1 to 255 visible ASCII characters, none of which is a comma or a quotation
/// mark. Quotation marks around the value, as in a structured header (RFC 9651), are not part of it.
///
/// # Errors
/// Fails if the value breaks this rule. API Gateway joins repeated headers with commas, so a repeated header also
/// breaks the rule.
pub fn idempotency_key(request: &Request) -> Result<Option<&str>, Error> {
    let mut values = request.headers().get_all("idempotency-key").iter();
    let (value, None) = (values.next(), values.next()) else {
        return Err(Error::field("Idempotency-Key", "must be sent only once"));
    };
    let Some(value) = value else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = quoted.unwrap_or(text);
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b',' && byte != b'"';
    if !(1..=255).contains(&text.len()) || !text.bytes().all(is_allowed) {
        let rule = "must be sent once, with 1 to 255 visible ASCII characters other than comma and quotation mark";
        return Err(Error::field("Idempotency-Key", rule));
    }
    Ok(Some(text))
}

/// Returns the `reason` of a revocation: at most 200 characters, without control characters, invisible characters or
/// characters that set the direction of text. The reason is stored and shown, so it must not contain an access key.
pub fn reason(request: &Request) -> Result<Option<String>, Error> {
    match parameter(request, "reason")?.map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) if text.contains(PREFIX) => {
            Err(Error::field("reason", "must not contain an access key"))
        }
        Some(text) if text.chars().count() <= 200 && is_plain(text) => Ok(Some(text.to_owned())),
        Some(_) => Err(Error::field(
            "reason",
            "must have at most 200 characters, and no control, text direction or invisible characters",
        )),
    }
}

const CURSOR: &str = "must be an unchanged next_cursor from the same list with the same filters";

/// A request for a page of a list. A list's name includes its filters. A cursor is valid only for a list with the same
/// name.
#[derive(Debug)]
pub struct ListQuery {
    name: String,
    pub page: PageRequest,
}

impl ListQuery {
    const DEFAULT_LIMIT: usize = 50;
    const LARGEST_LIMIT: usize = 100;

    /// Reads `limit` and `cursor`.
    pub fn read(request: &Request, list: List, name: String) -> Result<Self, Error> {
        let limit = parameter(request, "limit")?.map_or(Some(Self::DEFAULT_LIMIT), |text| {
            let limit = text.parse().ok();
            limit.filter(|limit| (1..=Self::LARGEST_LIMIT).contains(limit))
        });
        let limit =
            limit.ok_or_else(|| Error::field("limit", "must be a whole number from 1 to 100"))?;
        let after = position(parameter(request, "cursor")?, list, &name)?;
        let page = PageRequest { limit, after };
        Ok(Self { name, page })
    }

    /// Returns the cursor for a position in this list.
    pub(super) fn cursor(&self, position: &Position) -> String {
        cursor::encode(position, &self.name)
    }
}

/// Decodes a cursor, if there is one, to a position. Fails if the cursor is not valid for the list with this name.
pub(super) fn position(
    cursor: Option<&str>,
    list: List,
    name: &str,
) -> Result<Option<Position>, Error> {
    let decode = |cursor| {
        let position = cursor::decode(cursor, list, name);
        position.ok_or_else(|| Error::field("cursor", CURSOR))
    };
    cursor.map(decode).transpose()
}

/// Reads `q`, the text to search for.
fn search_text(request: &Request) -> Result<Option<&str>, Error> {
    let q = parameter(request, "q")?;
    if q.is_some_and(|q| q.chars().count() > 254) {
        return Err(Error::field("q", "must have at most 254 characters"));
    }
    Ok(q)
}

/// Reads the filters, `limit` and `cursor` for a list of keys. Only the list of all the tenant's keys has the filter
/// `owner`.
pub fn key_list(
    request: &Request,
    list: List,
    name: &str,
) -> Result<(KeyFilter, ListQuery), Error> {
    let unused_for = parameter(request, "unused_for")?.map(|days| {
        let days = days.parse().ok().filter(|days| (1..=3650).contains(days));
        let rule = "must be a whole number of days from 1 to 3650";
        days.ok_or_else(|| Error::field("unused_for", rule))
    });
    let filter = KeyFilter {
        search: search_text(request)?.map(KeySearch::new),
        status: parsed(request, "status")?,
        role: parsed(request, "role")?,
        owner: parsed(request, "owner")?,
        created_by: parsed(request, "created_by")?,
        label: parsed(request, "label")?,
        expires_before: parsed(request, "expires_before")?,
        unused_for: unused_for
            .transpose()?
            .map(|days: u64| Duration::from_secs(days * 86_400)),
    };
    let name = format!("{name}?{filter:?}");
    let query = ListQuery::read(request, list, name)?;
    // A list of only one key has no second page, so no cursor is valid for it. DynamoDB would reject the cursor's
    // position, because that is outside the range of the query.
    if filter.key_id().is_some() && query.page.after.is_some() {
        return Err(Error::field("cursor", CURSOR));
    }
    Ok((filter, query))
}

/// The rule for a user's role.
pub(super) const USER_ROLES: &str =
    "must be one of admin, editor, viewer: cluster_onboarding is for keys only";

/// Reads `q`, `status`, `role`, `limit` and `cursor` for a list of users.
pub fn user_list(request: &Request, name: &str) -> Result<(UserFilter, ListQuery), Error> {
    let status = parsed(request, "status")?;
    if status == Some(UserStatus::Deleted) {
        return Err(Error::field("status", "must be one of active, inactive"));
    }
    let role = parsed(request, "role")?;
    if role == Some(Role::ClusterOnboarding) {
        return Err(Error::field("role", USER_ROLES));
    }
    let words = search_text(request)?.map(words);
    let filter = UserFilter {
        status,
        role,
        words,
    };
    let filters = match filter.is_set() {
        true => format!("?{status:?}&{role:?}&{:?}", filter.words),
        false => String::new(),
    };
    let name = format!("{name}{filters}");
    let list = match filter.words {
        None => List::Users,
        Some(_) => List::FoundUsers,
    };
    let query = ListQuery::read(request, list, name)?;
    let word = filter.longest_word().unwrap_or_default();
    let after = query.page.after.as_ref();
    if after.is_some_and(|after| list == List::FoundUsers && !after.is_found_by(word)) {
        return Err(Error::field("cursor", CURSOR));
    }
    Ok((filter, query))
}

/// Reads `actor`, `target`, `action`, `from`, `to`, `limit` and `cursor` for the audit trail.
pub fn audit_trail(request: &Request, name: &str) -> Result<(AuditFilter, ListQuery), Error> {
    let filter = AuditFilter {
        actor: parsed(request, "actor")?,
        target: parsed(request, "target")?,
        action: parsed(request, "action")?,
        from: parsed(request, "from")?,
        to: parsed(request, "to")?,
    };
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from >= to
    {
        return Err(Error::field("to", "must be after from"));
    }
    let name = format!("{name}?{filter:?}");
    let query = ListQuery::read(request, List::AuditTrail, name)?;
    Ok((filter, query))
}

/// Reads `status`, `key_id`, `limit` and `cursor` for a list of clusters.
pub fn cluster_list(request: &Request, name: &str) -> Result<(ClusterFilter, ListQuery), Error> {
    let status = parsed(request, "status")?;
    let key_id = parsed(request, "key_id")?;
    let name = format!("{name}?{status:?}&{key_id:?}");
    let query = ListQuery::read(request, List::Clusters, name)?;
    Ok((ClusterFilter { status, key_id }, query))
}
