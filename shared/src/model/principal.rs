//! Who made a change.

use serde::{Deserialize, Serialize};

use super::id::{KeyId, UserId};

/// Who made a change, as stored in the table and shown to callers.
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
    /// This service itself.
    #[must_use]
    pub fn system() -> Self {
        let (kind, id) = (PrincipalKind::System, "access-keys".to_owned());
        Self { kind, id }
    }
}
