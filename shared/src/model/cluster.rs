//! Onboarded clusters and their nodes.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    id::{ClusterName, ClusterNumber, KeyId, NodeName, NodeNumber, TenantId},
    principal::Principal,
    time::Timestamp,
};

/// The platform of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterType {
    /// Virtual machines or bare metal.
    Vm,
    /// Kubernetes.
    K8s,
}

/// Whether a cluster or node has called recently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    Active,
    Inactive,
}

impl Liveness {
    /// Returns the liveness, at `now`, of a cluster or node that last called at `last_seen_at`.
    #[must_use]
    pub fn at(now: Timestamp, last_seen_at: Timestamp, inactive_after: Duration) -> Self {
        if now < last_seen_at + inactive_after {
            Self::Active
        } else {
            Self::Inactive
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

#[derive(Debug, Clone)]
pub struct Cluster {
    pub tenant_id: TenantId,
    /// Unique within the tenant.
    pub name: ClusterName,
    /// A cluster that is deleted and onboarded again gets a new number.
    pub number: ClusterNumber,
    pub kind: ClusterType,
    /// The key that onboarded the cluster, whether or not that key still exists.
    pub key_id: KeyId,
    /// The keys that hold a slot for the cluster. An expired key holds its slot until it is archived.
    pub holders: BTreeSet<KeyId>,
    pub created_at: Timestamp,
    /// The last recorded call from the cluster or any of its nodes. Calls in the hour after that call are not recorded.
    pub last_seen_at: Timestamp,
    /// When the deletion of the cluster began, if it is not yet finished. No key can join the cluster until the
    /// deletion is finished.
    pub deleting: Option<Timestamp>,
    /// Who began the deletion.
    pub deleting_by: Option<Principal>,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub cluster: ClusterNumber,
    /// Unique within the cluster.
    pub name: NodeName,
    pub number: NodeNumber,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// The time from which the node is no longer listed, unless it calls before then. TTL may remove the node later.
    pub forgotten_at: Timestamp,
}

/// How many active nodes a cluster may have. The quota never refuses a node that is currently listed.
#[derive(Debug, Clone, Copy)]
pub struct NodeQuota {
    pub nodes: u32,
    /// How long a node is considered active after its last call.
    pub inactive_after: Duration,
    /// How long a node stays listed after its last call.
    pub history: Duration,
}

impl NodeQuota {
    /// The maximum number of listed nodes in a cluster, whether or not these nodes are active.
    pub const LISTED: u32 = 10_000;

    #[must_use]
    pub fn is_active(&self, node: &Node, now: Timestamp) -> bool {
        Liveness::at(now, node.last_seen_at, self.inactive_after) == Liveness::Active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_becomes_inactive_at_the_exact_second() {
        let liveness = |now| {
            let inactive_after = Duration::from_secs(60);
            Liveness::at(
                Timestamp::from_seconds(now),
                Timestamp::from_seconds(100),
                inactive_after,
            )
        };
        assert_eq!(liveness(159), Liveness::Active);
        assert_eq!(liveness(160), Liveness::Inactive);
    }
}
