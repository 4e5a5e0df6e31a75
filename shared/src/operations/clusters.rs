//! Clusters after their onboarding: listing, deleting, and how many a key may still onboard.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    directory,
    list::{Gathered, PAGES, page_size},
};
use crate::{
    clock::Seconds,
    cluster::{Cluster, Liveness, Node},
    cursor::Position,
    error::Error,
    id::{ClusterName, KeyId, Number, TenantId, UserId},
    input::{ClustersRequest, Fields},
    record::{KeyRecord, Status, User},
    role::{Permission, Permissions},
    store::{Store, back_off},
};

/// Nodes in an answer.
const NODES_SHOWN: usize = 1000;
/// Nodes that are read, and counted, for an answer.
const NODES_READ: usize = 10_000;
/// The most bytes of an answer in the original's form, which has no pages: Lambda's own limit is 6 MB.
const LONGEST_ANSWER: usize = 5_500_000;

/// Whose clusters are looked at, and with what right.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// The tenant.
    pub tenant_id: TenantId,
    /// What the caller may do.
    pub scope: Permissions,
    /// Silence after which a cluster or node counts as inactive.
    pub inactive_after: Seconds,
}

impl Viewer {
    fn insist_on(&self, permission: Permission) -> Result<(), Error> {
        if self.scope.contains(permission) {
            return Ok(());
        }
        Err(match permission {
            Permission::ClustersManage => {
                Error::Forbidden("this takes the permission clusters:manage")
            }
            _ => Error::Forbidden("this takes the permission clusters:read"),
        })
    }
}

/// A page of the tenant's clusters, by name.
///
/// # Errors
/// When the caller may not see them, or the table does not answer in time.
pub async fn list(
    store: &Store,
    viewer: &Viewer,
    request: &ClustersRequest,
    now: Seconds,
) -> Result<Value, Error> {
    viewer.insist_on(Permission::ClustersRead)?;
    let shown = |cluster: &Cluster| {
        let status = Liveness::of(cluster.last_seen_at, viewer.inactive_after, now);
        let is_wanted = request.status.is_none_or(|wanted| wanted == status)
            && request
                .key_id
                .is_none_or(|key| cluster.key_id == key || cluster.holders.contains(&key));
        is_wanted.then(|| cluster.to_json(viewer.inactive_after, now))
    };
    let mut gathered = Gathered::new(&request.page);
    let size = page_size(
        &request.page,
        request.status.is_some() || request.key_id.is_some(),
    );
    for _ in 0..PAGES {
        let page = store
            .clusters(&viewer.tenant_id, gathered.last.as_ref(), size)
            .await?;
        for cluster in &page.items {
            if !gathered.take(format!("CLUSTER#{}", cluster.name), || shown(cluster)) {
                return Ok(gathered.answer(false));
            }
        }
        if page.next.is_none() {
            return Ok(gathered.answer(true));
        }
    }
    Ok(gathered.answer(false))
}

/// One cluster with its nodes.
///
/// # Errors
/// When there is no such cluster, or the caller may not see it.
pub async fn get(
    store: &Store,
    viewer: &Viewer,
    name: &ClusterName,
    now: Seconds,
) -> Result<Value, Error> {
    viewer.insist_on(Permission::ClustersRead)?;
    let cluster = store
        .cluster(&viewer.tenant_id, name)
        .await?
        .ok_or(Error::NotFound)?;
    let nodes = nodes_of(store, &viewer.tenant_id, [cluster.number].into()).await?;
    let mut body = cluster.to_json(viewer.inactive_after, now);
    body["nodes_total"] = json!(nodes.len());
    body["nodes"] = nodes
        .iter()
        .take(NODES_SHOWN)
        .map(|node| node.to_json(viewer.inactive_after, now))
        .collect();
    Ok(body)
}

async fn nodes_of(
    store: &Store,
    tenant: &TenantId,
    clusters: BTreeSet<Number>,
) -> Result<Vec<Node>, Error> {
    let mut nodes = Vec::new();
    for cluster in clusters {
        let mut after: Option<Position> = None;
        while nodes.len() < NODES_READ {
            let page = store.nodes(tenant, cluster, after.as_ref()).await?;
            nodes.extend(page.items);
            match page.next {
                None => break,
                next => after = next,
            }
        }
    }
    nodes.truncate(NODES_READ);
    Ok(nodes)
}

/// Deletes a cluster, and frees the slot of every key that holds it. Stopped half-way, the cluster is still listed
/// with the holders that are left, and the same call goes on.
///
/// # Errors
/// When there is no such cluster, or the caller may not delete it.
pub async fn delete(store: &Store, viewer: &Viewer, name: &ClusterName) -> Result<(), Error> {
    viewer.insist_on(Permission::ClustersManage)?;
    let mut cluster = store
        .cluster(&viewer.tenant_id, name)
        .await?
        .ok_or(Error::NotFound)?;
    let doomed = cluster.number;
    // The most holders take 10 steps; the rest is for conflicts.
    for _ in 0..40 {
        if store.free_and_delete(&cluster).await? {
            tracing::info!(tenant.id = %viewer.tenant_id, cluster.name = %name, "deleted");
            return Ok(());
        }
        back_off(1).await;
        match store.cluster(&viewer.tenant_id, name).await? {
            Some(changed) if changed.number == doomed => cluster = changed,
            // Deleted by someone else, and perhaps onboarded anew: that one is not ours to delete.
            _ => return Ok(()),
        }
    }
    Err(Error::Conflict(
        "changed_meanwhile",
        "clusters are joining with this name at this moment: try again",
    ))
}

/// All clusters of the tenant in the original's form, which has no pages.
///
/// # Errors
/// When the caller may not see them, or they are too many for one answer.
pub async fn original_clusters(
    store: &Store,
    viewer: &Viewer,
    now: Seconds,
) -> Result<Value, Error> {
    viewer.insist_on(Permission::ClustersRead)?;
    let (mut clusters, mut bytes, mut after) = (Vec::new(), 0, None);
    loop {
        let page = store
            .clusters(&viewer.tenant_id, after.as_ref(), 1000)
            .await?;
        for cluster in &page.items {
            let cluster = cluster.to_original(viewer.inactive_after, now);
            bytes += cluster.to_string().len() + 1;
            clusters.push(cluster);
        }
        if bytes > LONGEST_ANSWER {
            return Err(Error::Conflict(
                "too_many_clusters",
                "the clusters do not fit into one answer: read them in pages from GET /v1/clusters",
            ));
        }
        match page.next {
            None => return Ok(Value::Array(clusters)),
            next => after = next,
        }
    }
}

/// Which nodes one of the original's clients asks for.
pub struct NodesRequest {
    clusters: BTreeSet<Number>,
    page: std::ops::Range<usize>,
}

impl NodesRequest {
    /// Reads `workspace_id`, `cluster_id`, `page_previous` and `page_next`. The filters `from_time` and `to_time`,
    /// which the clients send empty, are not looked at.
    ///
    /// # Errors
    /// With every field that breaks a rule, or when the workspace is another tenant's.
    pub fn read(mut fields: Fields, tenant: &TenantId) -> Result<Self, Error> {
        const CLUSTERS: &str = "must be a list of 1 to 20 numbers of clusters";
        let workspace = fields.take("workspace_id").map(|id| match id {
            Value::String(text) => text,
            other => other.to_string(),
        });
        if workspace.is_some_and(|workspace| !workspace.is_empty() && workspace != tenant.as_str())
        {
            return Err(Error::TenantMismatch);
        }
        let numbers: Option<BTreeSet<Number>> = match fields.take("cluster_id") {
            Some(Value::Array(ids)) if (1..=20).contains(&ids.len()) => ids
                .iter()
                .map(|id| id.to_string().trim_matches('"').parse().ok())
                .collect(),
            _ => None,
        };
        if numbers.is_none() {
            fields.refuse("cluster_id", CLUSTERS);
        }
        let most = i64::MAX >> 1;
        let start = fields.integer("page_previous", 0..=most).unwrap_or(0);
        let end = fields
            .integer("page_next", 0..=most)
            .filter(|end| *end > 0)
            .unwrap_or(most);
        fields.finish_leniently()?;
        let index = |position: i64| usize::try_from(position).unwrap_or(usize::MAX);
        Ok(Self {
            clusters: numbers.unwrap_or_default(),
            page: index(start)..index(end.max(start)),
        })
    }
}

/// The nodes of some clusters in the original's form: those from `page_previous` up to `page_next`, at most 1000 of
/// the first 10,000.
///
/// # Errors
/// When the caller may not see them.
pub async fn original_nodes(
    store: &Store,
    viewer: &Viewer,
    request: &NodesRequest,
    now: Seconds,
) -> Result<Value, Error> {
    viewer.insist_on(Permission::ClustersRead)?;
    let nodes = nodes_of(store, &viewer.tenant_id, request.clusters.clone()).await?;
    let page = nodes
        .iter()
        .skip(request.page.start)
        .take(request.page.len().min(NODES_SHOWN));
    let result: Vec<_> = page
        .map(|node| node.to_original(&viewer.tenant_id, viewer.inactive_after, now))
        .collect();
    Ok(json!({ "total_record": nodes.len(), "result": result }))
}

/// Changes how many clusters a key may onboard, up to the limit that was signed into it. Below what it has onboarded
/// it gets no new slot, and loses none.
///
/// # Errors
/// When `me` is no administrator, there is no such key, or it is no longer live.
pub async fn limit(
    store: &Store,
    me: &User,
    user_id: &UserId,
    key_id: KeyId,
    mut fields: Fields,
    now: Seconds,
) -> Result<Value, Error> {
    let owner = directory::key_owner(store, me, user_id).await?;
    if !me.role.permissions().contains(Permission::AccessKeysManage) {
        return Err(Error::Forbidden(
            "only an administrator may change the limit of a key",
        ));
    }
    let record = store
        .key(&owner.tenant_id, &owner.user_id, key_id)
        .await?
        .ok_or(Error::NotFound)?;
    let max_clusters = fields.integer("max_clusters", 1..=i64::from(record.signed_max_clusters));
    let max_clusters = fields.require("max_clusters", max_clusters);
    fields.finish("max_clusters")?;
    let max_clusters = max_clusters
        .and_then(|max| u32::try_from(max).ok())
        .unwrap_or(record.max_clusters);
    let is_live = record.status(Some(&owner), now) == Status::Active;
    if !is_live || !store.limit_clusters(&record, max_clusters).await? {
        return Err(Error::Conflict(
            "key_gone",
            "the key was revoked or has expired: create a new one",
        ));
    }
    tracing::info!(
        tenant.id = %owner.tenant_id,
        user.id = %owner.user_id,
        key.id = %key_id,
        key.max_clusters = max_clusters,
        "limit written"
    );
    Ok(KeyRecord {
        max_clusters,
        ..record
    }
    .to_json(Some(&owner), now))
}
