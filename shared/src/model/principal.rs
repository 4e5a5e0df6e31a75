//! Who made a change.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::id::{KeyId, UserId};

/// Who made a change, as stored in the table and shown to callers. Displayed as `<kind>:<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    pub kind: PrincipalKind,
    /// The id of the user, key or client, or the name of a part of the system.
    pub id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    User,
    /// The holder of an access key.
    Key,
    /// The back end of the SaaS.
    Operator,
    System,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            PrincipalKind::User => "user",
            PrincipalKind::Key => "key",
            PrincipalKind::Operator => "operator",
            PrincipalKind::System => "system",
        };
        write!(f, "{kind}:{}", self.id)
    }
}

impl FromStr for Principal {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, id) = text.split_once(':').unwrap_or_default();
        let kind = match kind {
            "user" => PrincipalKind::User,
            "key" => PrincipalKind::Key,
            "operator" => PrincipalKind::Operator,
            "system" => PrincipalKind::System,
            _ => return Err(RULE),
        };
        let id = id.to_owned();
        (1..=255)
            .contains(&id.len())
            .then_some(Self { kind, id })
            .ok_or(RULE)
    }
}

const RULE: &str = "must be user:<id>, key:<id>, operator:<client> or system:<name>";

impl From<&UserId> for Principal {
    fn from(user: &UserId) -> Self {
        let (kind, id) = (PrincipalKind::User, user.to_string());
        Self { kind, id }
    }
}

impl From<KeyId> for Principal {
    fn from(key: KeyId) -> Self {
        let (kind, id) = (PrincipalKind::Key, key.to_string());
        Self { kind, id }
    }
}

impl Principal {
    /// Returns the principal for an OAuth client that acts for the SaaS.
    #[must_use]
    pub fn operator(client: &str) -> Self {
        let (kind, id) = (PrincipalKind::Operator, client.to_owned());
        Self { kind, id }
    }

    /// Returns the principal for this service itself.
    #[must_use]
    pub fn system() -> Self {
        let (kind, id) = (PrincipalKind::System, "access-keys".to_owned());
        Self { kind, id }
    }
}
