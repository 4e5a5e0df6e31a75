//! Onboarding: a key registers a cluster or a node, within its limit, and gets a join token that works once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::validate::{self, Verifier};
use crate::{
    clock::Seconds,
    cluster::{Cluster, ClusterType, Node},
    error::Error,
    id::{ClusterName, NodeName, Number, TenantId},
    input::Fields,
    join::{self, Binding, JoinToken},
    key::{AccessKey, Claims},
    metrics::{self, Metric},
    role::Permission,
    store::{Onboarding, Seen, Store, StoreError, back_off},
};

/// How many keys may hold a slot for the same cluster. Bounds the cluster's item.
const MOST_HOLDERS: usize = 400;

/// What onboards.
#[derive(Debug, Clone)]
enum Joining {
    /// A cluster, perhaps with the name of the node that calls for it.
    Cluster(ClusterName, ClusterType, Option<NodeName>),
    /// A node of a cluster that is onboarded already: of the one named, or else of the only one the key has.
    Node(Option<ClusterName>, NodeName),
}

/// A call of one of the original's clients.
pub struct OnboardRequest {
    joining: Joining,
}

impl OnboardRequest {
    /// Reads `cluster_name`, `node_name` and `type`; what else is sent is not our business.
    ///
    /// # Errors
    /// With every field that breaks a rule.
    pub fn read(mut fields: Fields) -> Result<Self, Error> {
        let cluster: Option<ClusterName> = fields.name("cluster_name");
        let node: Option<NodeName> = fields.name("node_name");
        let kind = fields.text("type").map(|kind| kind.to_ascii_lowercase());
        let joining = match (kind.as_deref(), cluster, node) {
            (Some("node"), cluster, Some(node)) => Some(Joining::Node(cluster, node)),
            (Some("node"), Some(_), None) => {
                fields.require::<NodeName>("node_name", None);
                None
            }
            (Some("vm"), Some(cluster), node) => {
                Some(Joining::Cluster(cluster, ClusterType::Vm, node))
            }
            (Some("k8s"), Some(cluster), node) => {
                Some(Joining::Cluster(cluster, ClusterType::K8s, node))
            }
            (Some("vm" | "k8s"), None, Some(node)) => Some(Joining::Node(None, node)),
            (Some("node" | "vm" | "k8s"), None, None) => {
                fields.require::<ClusterName>("cluster_name", None);
                None
            }
            _ => {
                fields.refuse("type", "must be vm, Node or K8s, in any case");
                None
            }
        };
        fields.finish_leniently()?;
        joining
            .map(|joining| Self { joining })
            .ok_or(Error::Malformed("the body names nothing to onboard"))
    }
}

/// Onboards what the request names. The same cluster again is success, and takes no second slot. One signature
/// check, one read, one transaction; more only for a refusal, when others write the same items at the same moment, or
/// when a node leaves it to us to find its cluster.
///
/// # Errors
/// When the key is not good or its limit is reached, or when the table does not answer in time: then nothing was
/// onboarded, or what the same call finds again.
pub async fn onboard(
    verifier: &Verifier,
    key: &AccessKey,
    claims: &Claims,
    request: &OnboardRequest,
    node_history: Seconds,
    now: Seconds,
) -> Result<JoinToken, Error> {
    let store = &verifier.store;
    let (name, kind, node) = match &request.joining {
        Joining::Cluster(name, kind, node) => (name.clone(), Some(*kind), node.as_ref()),
        Joining::Node(Some(name), node) => (name.clone(), None, Some(node)),
        Joining::Node(None, node) => (
            only_cluster(verifier, key, claims, now).await?,
            None,
            Some(node),
        ),
    };
    let token = JoinToken::new()?;
    for attempt in 0..12 {
        back_off(attempt).await;
        let Seen {
            key: record,
            owner,
            cluster,
            has_slot,
        } = store
            .seen(&claims.tenant_id, &claims.user_id, claims.key_id, &name)
            .await?;
        let permission = Some(Permission::ClustersOnboard);
        let grant = validate::judge(
            key.hash(),
            claims,
            record.as_ref(),
            owner.as_ref(),
            permission,
            now,
        )?;
        let (Some(record), Some(owner)) = (record, owner) else {
            continue;
        };
        let is_new = cluster.is_none();
        let cluster = match (cluster, kind) {
            // The read is no snapshot: where slot and cluster contradict each other, one of them has changed meanwhile.
            (Some(cluster), _) if cluster.holders.contains(&claims.key_id) != has_slot => continue,
            (None, _) if has_slot => continue,
            (Some(cluster), _) => cluster,
            (None, Some(kind)) => Cluster {
                tenant_id: claims.tenant_id.clone(),
                name: name.clone(),
                number: Number::new()?,
                kind,
                key_id: claims.key_id,
                holders: BTreeSet::from([claims.key_id]),
                created_at: now,
                last_seen_at: now,
            },
            (None, None) => return Err(NOT_ONBOARDED),
        };
        let refusal = if grant.clusters_used >= grant.max_clusters {
            Some(LIMIT_REACHED)
        } else if cluster.holders.len() >= MOST_HOLDERS {
            Some(TOO_MANY_HOLDERS)
        } else {
            None
        };
        if let Some(refusal) = refusal.filter(|_| !has_slot) {
            // Nor is the counter as old as the slot: another call for this cluster may have taken it in between.
            if store
                .has_slot(&claims.tenant_id, claims.key_id, &name)
                .await?
            {
                continue;
            }
            if grant.clusters_used >= grant.max_clusters {
                metrics::count(Metric::Onboarding("limit_reached"));
            }
            return Err(refusal);
        }
        let binding = Binding {
            tenant_id: claims.tenant_id.clone(),
            user_id: claims.user_id.clone(),
            key_id: claims.key_id,
            key_hash: key.hash(),
            cluster: name.clone(),
            number: cluster.number,
            node: node.cloned(),
            expires_at: now + join::LIFETIME,
        };
        let node = match node {
            Some(node) => {
                let node = Node {
                    cluster: cluster.number,
                    name: node.clone(),
                    number: Number::new()?,
                    created_at: now,
                    last_seen_at: now,
                };
                Some((node, now + node_history))
            }
            None => None,
        };
        let onboarding = Onboarding {
            slot: (!has_slot).then_some(grant.max_clusters),
            note_use: validate::use_is_stale(&record, now),
            key: &record,
            owner: &owner,
            cluster: &cluster,
            is_new,
            node,
            token: &token,
            binding: &binding,
            now,
        };
        if store.onboard(&onboarding).await? {
            tracing::info!(
                key.id = %claims.key_id,
                tenant.id = %claims.tenant_id,
                cluster.name = %name,
                slot.is_new = !has_slot,
                "onboarded"
            );
            metrics::count(Metric::Onboarding(if has_slot {
                "repeated"
            } else {
                "onboarded"
            }));
            return Ok(token);
        }
    }
    Err(Error::Store(StoreError::Contention))
}

const NOT_ONBOARDED: Error = Error::Conflict(
    "cluster_not_onboarded",
    "a node joins a cluster that is onboarded, and this one is not: onboard the cluster first",
);
const LIMIT_REACHED: Error = Error::Conflict(
    "cluster_limit_reached",
    "the access key has onboarded as many clusters as it may: delete one, raise its max_clusters, or use another key",
);
const TOO_MANY_HOLDERS: Error = Error::Conflict(
    "cluster_key_limit_reached",
    "400 access keys hold this cluster: use one of them, or wait until some have expired",
);

/// The cluster of a node that names none: the only one that its key has onboarded.
async fn only_cluster(
    verifier: &Verifier,
    key: &AccessKey,
    claims: &Claims,
    now: Seconds,
) -> Result<ClusterName, Error> {
    // The slots of a key that is not good are nobody's business.
    validate::validate(verifier, key, Some(Permission::ClustersOnboard), now).await??;
    let mut names = verifier
        .store
        .slots(&claims.tenant_id, claims.key_id, 2)
        .await?;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        (None, _) => Err(NOT_ONBOARDED),
        (Some(_), false) => Err(Error::field(
            "cluster_name",
            "is required: the access key has onboarded more than one cluster, which of them does the node join?",
        )),
    }
}

/// Who presents a join token, and for what.
pub struct RedeemRequest {
    token: JoinToken,
    /// The tenant that it is redeemed for.
    pub tenant: TenantId,
    cluster: ClusterName,
}

impl RedeemRequest {
    /// Reads `join_token`, `cluster_name` and, from a caller that belongs to no tenant, `tenant_id`.
    ///
    /// # Errors
    /// With every field that breaks a rule.
    pub fn read(mut fields: Fields, tenant: Option<TenantId>) -> Result<Self, Error> {
        let token = fields.text("join_token").map(JoinToken::presented);
        let token = fields.require("join_token", token);
        let cluster = fields.parsed("cluster_name");
        let cluster = fields.require("cluster_name", cluster);
        let named: Option<TenantId> = fields.parsed("tenant_id");
        let tenant = match (tenant, named) {
            (Some(tenant), Some(named)) if tenant != named => return Err(Error::TenantMismatch),
            (Some(tenant), _) => Some(tenant),
            (None, named) => fields.require("tenant_id", named),
        };
        fields.finish("join_token, cluster_name, tenant_id")?;
        match (token, tenant, cluster) {
            (Some(token), Some(tenant), Some(cluster)) => Ok(Self {
                token,
                tenant,
                cluster,
            }),
            _ => Err(Error::Malformed(
                "the body must have a join_token and a cluster_name",
            )),
        }
    }
}

/// Redeems a join token: once, within its time, for its tenant and cluster, and only while its key is good.
///
/// # Errors
/// When the token is not good: what is unknown and what belongs to others is the same.
pub async fn redeem(store: &Store, request: &RedeemRequest, now: Seconds) -> Result<Value, Error> {
    const INVALID: Error = Error::Conflict(
        "join_token_invalid",
        "this is no join token of that cluster and tenant whose access key is still good: onboard again",
    );
    const EXPIRED: Error = Error::Conflict(
        "join_token_expired",
        "a join token is good for ten minutes: onboard again",
    );
    const REDEEMED: Error = Error::Conflict(
        "join_token_redeemed",
        "a join token is good once: onboard again",
    );

    let (binding, is_redeemed) = store.join_token(&request.token).await?.ok_or(INVALID)?;
    if binding.tenant_id != request.tenant || binding.cluster != request.cluster {
        return Err(INVALID);
    }
    if is_redeemed {
        tracing::warn!(key.id = %binding.key_id, tenant.id = %binding.tenant_id, "join token replayed");
        metrics::count(Metric::JoinToken("replayed"));
        return Err(REDEEMED);
    }
    if now >= binding.expires_at {
        return Err(EXPIRED);
    }
    let seen = store
        .seen(
            &binding.tenant_id,
            &binding.user_id,
            binding.key_id,
            &binding.cluster,
        )
        .await?;
    let may_onboard = seen
        .key
        .as_ref()
        .zip(seen.owner.as_ref())
        .is_some_and(|(key, owner)| {
            owner.is_active()
                && key.hash == Some(binding.key_hash)
                && key.revoked(Some(owner)).is_none()
                && now < key.expires_at
                && key
                    .role
                    .permissions()
                    .and(owner.role.permissions())
                    .contains(Permission::ClustersOnboard)
        });
    if !may_onboard
        || seen
            .cluster
            .is_none_or(|cluster| cluster.number != binding.number)
    {
        return Err(INVALID);
    }
    if !store.redeem(&request.token, Number::new()?, now).await? {
        metrics::count(Metric::JoinToken("replayed"));
        return Err(REDEEMED);
    }
    metrics::count(Metric::JoinToken("redeemed"));
    Ok(json!({
        "tenant_id": binding.tenant_id,
        "cluster_name": binding.cluster,
        "cluster_id": binding.number,
        "node_name": binding.node,
        "key_id": binding.key_id,
    }))
}
