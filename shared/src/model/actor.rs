//! Who makes a management call: the verified identity, and its current rights.

use super::{
    id::{TenantId, UserId},
    origin::Origin,
    principal::Principal,
    role::{Permission, Permissions, Role},
    user::{Person, User},
};

/// The identity that makes a request, as verified by the identity provider, and the tenant in which it acts. An actor
/// has no permissions of its own: a service turns the actor into a [`Caller`], which has them.
#[derive(Debug, Clone)]
pub struct Actor {
    pub tenant_id: TenantId,
    pub identity: Identity,
    pub origin: Origin,
}

#[derive(Debug, Clone)]
pub enum Identity {
    Person(Person),
    /// The back end of the SaaS, identified by the id of its OAuth client. An operator may act in any tenant.
    Operator(String),
}

impl Actor {
    #[must_use]
    pub fn principal(&self) -> Principal {
        match &self.identity {
            Identity::Person(person) => (&person.user_id).into(),
            Identity::Operator(client) => Principal::operator(client),
        }
    }

    /// Returns the person who makes the request; `None` for an operator.
    #[must_use]
    pub const fn person(&self) -> Option<&Person> {
        match &self.identity {
            Identity::Person(person) => Some(person),
            Identity::Operator(_) => None,
        }
    }
}

/// Who makes a call, with their current rights.
#[derive(Debug, Clone)]
pub enum Caller {
    User(User),
    /// An operator may do anything that an administrator of the tenant may do. These rights come from the operator's
    /// token, so they cannot change during the call.
    Operator {
        tenant_id: TenantId,
        client: String,
    },
}

impl Caller {
    #[must_use]
    pub const fn tenant_id(&self) -> &TenantId {
        match self {
            Self::User(user) => &user.tenant_id,
            Self::Operator { tenant_id, .. } => tenant_id,
        }
    }

    #[must_use]
    pub fn principal(&self) -> Principal {
        match self {
            Self::User(user) => (&user.user_id).into(),
            Self::Operator { client, .. } => Principal::operator(client),
        }
    }

    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::User(user) => user.role,
            Self::Operator { .. } => Role::Admin,
        }
    }

    #[must_use]
    pub const fn permissions(&self) -> Permissions {
        self.role().permissions()
    }

    #[must_use]
    pub const fn has(&self, permission: Permission) -> bool {
        self.permissions().contains(permission)
    }

    /// Returns the user who makes the call; `None` for an operator.
    #[must_use]
    pub const fn user(&self) -> Option<&User> {
        match self {
            Self::User(user) => Some(user),
            Self::Operator { .. } => None,
        }
    }

    /// Whether the caller is this user.
    #[must_use]
    pub fn is(&self, user: &UserId) -> bool {
        self.user().is_some_and(|me| me.user_id == *user)
    }
}
