//! Clusters and their nodes: what the table keeps about them, and how they look on the wire.

use std::{collections::BTreeSet, str::FromStr};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    clock::{Seconds, rfc3339},
    id::{ClusterName, KeyId, NodeName, Number, TenantId},
};

/// What a cluster consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterType {
    /// Virtual machines or bare metal.
    Vm,
    /// Kubernetes.
    K8s,
}

impl ClusterType {
    /// The name in the table and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::K8s => "k8s",
        }
    }
}

impl FromStr for ClusterType {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "vm" => Ok(Self::Vm),
            "k8s" => Ok(Self::K8s),
            _ => Err("must be vm or k8s"),
        }
    }
}

/// Whether a cluster or a node has given a sign of life lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It has.
    Active,
    /// It has not.
    Inactive,
}

impl Liveness {
    /// What somebody last seen at `last_seen_at` is at `now`.
    #[must_use]
    pub const fn of(last_seen_at: Seconds, inactive_after: Seconds, now: Seconds) -> Self {
        if now - last_seen_at < inactive_after {
            Self::Active
        } else {
            Self::Inactive
        }
    }

    /// The word that the original's clients read.
    #[must_use]
    pub const fn as_original(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
        }
    }
}

impl FromStr for Liveness {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "active" => Ok(Self::Active),
            "inactive" => Ok(Self::Inactive),
            _ => Err("must be one of active, inactive"),
        }
    }
}

/// An onboarded cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The name, unique in the tenant.
    pub name: ClusterName,
    /// The number. A cluster that is deleted and onboarded again has another.
    pub number: Number,
    /// What it consists of.
    pub kind: ClusterType,
    /// The key that onboarded it, whatever has become of that key.
    pub key_id: KeyId,
    /// The keys that hold a slot for it. A key that has expired and been cleaned up holds none.
    pub holders: BTreeSet<KeyId>,
    /// When it was onboarded.
    pub created_at: Seconds,
    /// When it, or one of its nodes, last gave a sign of life.
    pub last_seen_at: Seconds,
}

impl Cluster {
    /// The cluster as our clients see it.
    #[must_use]
    pub fn to_json(&self, inactive_after: Seconds, now: Seconds) -> Value {
        json!({
            "id": self.number,
            "name": self.name,
            "tenant_id": self.tenant_id,
            "type": self.kind,
            "status": Liveness::of(self.last_seen_at, inactive_after, now),
            "key_id": self.key_id,
            "key_ids": self.holders,
            "created_at": rfc3339(self.created_at),
            "last_seen_at": rfc3339(self.last_seen_at),
        })
    }

    /// The cluster as the original's clients see it.
    #[must_use]
    pub fn to_original(&self, inactive_after: Seconds, now: Seconds) -> Value {
        json!({
            "ID": self.number,
            "WorkspaceID": workspace(&self.tenant_id),
            "ClusterName": self.name,
            "Status": Liveness::of(self.last_seen_at, inactive_after, now).as_original(),
            "type": self.kind,
            "token_id": self.key_id,
            "created_at": rfc3339(self.created_at),
            "last_updated_time": rfc3339(self.last_seen_at),
        })
    }
}

/// A node of a cluster.
#[derive(Debug, Clone)]
pub struct Node {
    /// The cluster's number.
    pub cluster: Number,
    /// The name, unique in the cluster.
    pub name: NodeName,
    /// The number.
    pub number: Number,
    /// When it joined.
    pub created_at: Seconds,
    /// When it last gave a sign of life.
    pub last_seen_at: Seconds,
}

impl Node {
    /// The node as our clients see it.
    #[must_use]
    pub fn to_json(&self, inactive_after: Seconds, now: Seconds) -> Value {
        json!({
            "id": self.number,
            "name": self.name,
            "status": Liveness::of(self.last_seen_at, inactive_after, now),
            "created_at": rfc3339(self.created_at),
            "last_seen_at": rfc3339(self.last_seen_at),
        })
    }

    /// The node as the original's clients see it. Onboarding does not report agents, so their version is empty.
    #[must_use]
    pub fn to_original(&self, tenant: &TenantId, inactive_after: Seconds, now: Seconds) -> Value {
        json!({
            "ID": self.number,
            "WorkspaceID": workspace(tenant),
            "ClusterID": self.cluster,
            "NodeName": self.name,
            "Status": Liveness::of(self.last_seen_at, inactive_after, now).as_original(),
            "agents_version": "",
            "created_at": rfc3339(self.created_at),
            "last_updated_time": rfc3339(self.last_seen_at),
        })
    }
}

/// The original's tenants are numbers, and its clients send and read them unquoted.
fn workspace(tenant: &TenantId) -> Value {
    match tenant.as_str().parse::<u64>() {
        Ok(number) if number.to_string() == tenant.as_str() => json!(number),
        _ => json!(tenant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_tenant_is_a_number_on_the_originals_wire() {
        for (tenant, expected) in [
            ("167", json!(167)),
            ("acme", json!("acme")),
            ("007", json!("007")),
        ] {
            assert_eq!(workspace(&tenant.parse().unwrap()), expected);
        }
    }

    #[test]
    fn silence_makes_inactive_to_the_second() {
        assert_eq!(Liveness::of(100, 60, 159), Liveness::Active);
        assert_eq!(Liveness::of(100, 60, 160), Liveness::Inactive);
    }
}
