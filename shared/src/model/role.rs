//! Roles and permissions. A role is a set of permissions. Role A is within role B if B has all permissions of A.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};

/// An action that a key or a user may perform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Permission {
    /// Read cloud security posture.
    CspmRead = 1,
    /// Read workload protection.
    CwppRead = 1 << 1,
    /// Read application security posture.
    AspmRead = 1 << 2,
    /// Read clusters and nodes.
    ClustersRead = 1 << 3,
    /// Onboard a cluster or a node.
    ClustersOnboard = 1 << 4,
    /// Run workflows from the CLI.
    WorkflowsRun = 1 << 5,
    /// Manage bundles from the CLI.
    BundlesManage = 1 << 6,
    /// Manage the access keys of others.
    AccessKeysManage = 1 << 7,
    /// Manage the directory of users.
    UsersManage = 1 << 8,
    /// Delete clusters.
    ClustersManage = 1 << 9,
    /// Read the audit trail.
    AuditRead = 1 << 10,
}

impl Permission {
    const ALL: [(Self, &'static str); 11] = [
        (Self::CspmRead, "cspm:read"),
        (Self::CwppRead, "cwpp:read"),
        (Self::AspmRead, "aspm:read"),
        (Self::ClustersRead, "clusters:read"),
        (Self::ClustersOnboard, "clusters:onboard"),
        (Self::ClustersManage, "clusters:manage"),
        (Self::WorkflowsRun, "workflows:run"),
        (Self::BundlesManage, "bundles:manage"),
        (Self::AccessKeysManage, "access-keys:manage"),
        (Self::UsersManage, "users:manage"),
        (Self::AuditRead, "audit:read"),
    ];
}

/// Why a string is not a valid role or permission. The message is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownName(&'static str);

impl FromStr for Permission {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text);
        known.map(|(permission, _)| *permission).ok_or(UnknownName(
            "must be one of cspm:read, cwpp:read, aspm:read, clusters:read, clusters:onboard, clusters:manage, \
             workflows:run, bundles:manage, access-keys:manage, users:manage, audit:read",
        ))
    }
}

/// A set of permissions. Displayed like the `scope` of RFC 6749, as names separated by spaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u16);

impl Permissions {
    const fn of(list: &[Permission]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < list.len() {
            bits |= list[i] as u16;
            i += 1;
        }
        Self(bits)
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & permission as u16 != 0
    }

    /// Whether every permission of this set is in `other`.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Permission::ALL
            .iter()
            .filter(|(p, _)| self.contains(*p))
            .map(|(_, name)| name);
        if let Some(first) = names.next() {
            f.write_str(first)?;
        }
        names.try_for_each(|name| write!(f, " {name}"))
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Permission> for Permissions {
    fn from(permission: Permission) -> Self {
        Self::of(&[permission])
    }
}

/// Reads one or more names, separated by commas.
impl FromStr for Permissions {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let add = |all: Self, name: &str| Ok(all.or(name.parse::<Permission>()?.into()));
        text.split(',').try_fold(Self::default(), add)
    }
}

/// The permissions that a caller requires of a key. By default, the caller requires none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Required {
    pub all: Permissions,
    /// The key must have at least one of these permissions, unless the set is empty.
    pub any_of: Permissions,
}

impl Required {
    #[must_use]
    pub const fn is_met_by(self, scope: Permissions) -> bool {
        let has_any = self.any_of.is_empty() || !self.any_of.and(scope).is_empty();
        has_any && self.all.is_within(scope)
    }
}

impl From<Permission> for Required {
    fn from(permission: Permission) -> Self {
        Self {
            all: permission.into(),
            ..Self::default()
        }
    }
}

/// The role of a key or a user. ARCHITECTURE.md describes how to add a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything that an Editor may do, plus managing keys and users and reading the audit trail.
    Admin,
    /// Everything that a Viewer may do, plus onboarding and deleting clusters, running workflows and managing bundles.
    Editor,
    Viewer,
    /// Onboarding clusters, and nothing else. Only keys have this role.
    ClusterOnboarding,
}

const VIEWER: [Permission; 4] = [
    Permission::CspmRead,
    Permission::CwppRead,
    Permission::AspmRead,
    Permission::ClustersRead,
];

impl Role {
    const ALL: [Self; 4] = [
        Self::Admin,
        Self::Editor,
        Self::Viewer,
        Self::ClusterOnboarding,
    ];

    #[must_use]
    pub const fn permissions(self) -> Permissions {
        use Permission::{
            AccessKeysManage, AuditRead, BundlesManage, ClustersManage, ClustersOnboard,
            UsersManage, WorkflowsRun,
        };
        let viewer = Permissions::of(&VIEWER);
        let editor = Permissions(
            viewer.0
                | Permissions::of(&[ClustersOnboard, ClustersManage, WorkflowsRun, BundlesManage])
                    .0,
        );
        match self {
            Self::Viewer => viewer,
            Self::Editor => editor,
            Self::Admin => Permissions(
                editor.0 | Permissions::of(&[AccessKeysManage, UsersManage, AuditRead]).0,
            ),
            Self::ClusterOnboarding => Permissions::of(&[ClustersOnboard]),
        }
    }

    /// Whether `other` has every permission of this role.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.permissions().is_within(other.permissions())
    }

    /// Returns whichever of this role and `owner` has fewer permissions; `None` if neither has all the permissions of
    /// the other, as with a Cluster Onboarding key owned by a Viewer.
    #[must_use]
    pub const fn limited_to(self, owner: Self) -> Option<Self> {
        if self.is_within(owner) {
            Some(self)
        } else if owner.is_within(self) {
            Some(owner)
        } else {
            None
        }
    }

    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
            Self::ClusterOnboarding => "cluster_onboarding",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(UnknownName(
                "must be one of admin, editor, viewer, cluster_onboarding",
            ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_onboarding_can_onboard_and_nothing_else() {
        assert_eq!(
            Role::ClusterOnboarding.permissions().to_string(),
            "clusters:onboard"
        );
        assert!(Role::ClusterOnboarding.is_within(Role::Editor));
        assert!(!Role::ClusterOnboarding.is_within(Role::Viewer));
        assert_eq!(Role::ClusterOnboarding.limited_to(Role::Viewer), None);
    }

    #[test]
    fn a_limited_role_has_exactly_the_permissions_in_common() {
        for key in Role::ALL {
            for owner in Role::ALL {
                let common = key.permissions().and(owner.permissions());
                match key.limited_to(owner) {
                    Some(role) => assert_eq!(role.permissions(), common, "{key} key of a {owner}"),
                    None => assert!(common.is_empty(), "{key} key of a {owner}"),
                }
            }
        }
    }

    #[test]
    fn role_and_permission_names_must_match_exactly() {
        for (permission, name) in Permission::ALL {
            assert_eq!(name.parse(), Ok(permission));
        }
        assert!("Admin".parse::<Role>().is_err());
    }
}
