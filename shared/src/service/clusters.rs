//! Lists and deletes onboarded clusters.

use std::{collections::BTreeSet, time::Duration};

use super::{
    error::Error,
    page::{Gather, Listing, PageRequest},
    users,
};
use crate::{
    model::{
        Actor, Cluster, ClusterName, ClusterNumber, KeyId, Liveness, Node, Permissions, TenantId,
        Timestamp,
    },
    policy::{self, Grant},
    process::events,
    store::{Attempts, Deletion, Position, Store},
};

/// The maximum number of nodes that are read, and counted, for one response.
const NODES_READ: usize = 10_000;

/// The caller of a use case for clusters: a key or a person.
#[derive(Debug, Clone)]
pub struct Viewer {
    pub tenant_id: TenantId,
    pub scope: Permissions,
}

impl From<Grant> for Viewer {
    fn from(grant: Grant) -> Self {
        Self {
            tenant_id: grant.tenant_id,
            scope: grant.scope,
        }
    }
}

impl Viewer {
    /// A person, with the permissions of their role.
    pub async fn person(actor: &Actor, store: &Store, now: Timestamp) -> Result<Self, Error> {
        let me = users::resolve(actor, store, now).await?;
        Ok(Self {
            scope: me.role.permissions(),
            tenant_id: me.tenant_id,
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub struct ClusterFilter {
    pub status: Option<Liveness>,
    /// Only clusters that this key has onboarded or holds a slot for.
    pub key_id: Option<KeyId>,
}

impl ClusterFilter {
    fn matches(&self, cluster: &Cluster, inactive_after: Duration, now: Timestamp) -> bool {
        let status = Liveness::at(now, cluster.last_seen_at, inactive_after);
        let has_key = |key| cluster.key_id == key || cluster.holders.contains(&key);
        self.status.is_none_or(|wanted| wanted == status) && self.key_id.is_none_or(has_key)
    }
}

/// A page of the tenant's clusters, sorted by name.
pub async fn list_clusters(
    viewer: &Viewer,
    store: &Store,
    filter: ClusterFilter,
    page: &PageRequest,
    inactive_after: Duration,
    now: Timestamp,
) -> Result<Listing<Cluster>, Error> {
    policy::may_see_clusters(viewer.scope)?;
    let mut gather = Gather::new(page);
    let size = gather.page_size(filter.status.is_some() || filter.key_id.is_some());
    loop {
        let clusters = store
            .clusters(&viewer.tenant_id, gather.position(), size)
            .await?;
        let show =
            |cluster| Some(cluster).filter(|cluster| filter.matches(cluster, inactive_after, now));
        if gather.take(clusters, Position::after_cluster, show) {
            return Ok(gather.finish());
        }
    }
}

/// Passes all clusters of the tenant to `take`, sorted by name and page by page. Stops at the first error.
pub async fn all_clusters(
    viewer: &Viewer,
    store: &Store,
    mut take: impl FnMut(Vec<Cluster>) -> Result<(), Error>,
) -> Result<(), Error> {
    policy::may_see_clusters(viewer.scope)?;
    let mut after = None;
    loop {
        let page = store
            .clusters(&viewer.tenant_id, after.as_ref(), 1000)
            .await?;
        after = page.items.last().map(Position::after_cluster);
        take(page.items)?;
        if !page.has_more {
            return Ok(());
        }
    }
}

/// A cluster and at most 10,000 of its nodes.
pub async fn get_cluster(
    viewer: &Viewer,
    store: &Store,
    name: &ClusterName,
) -> Result<(Cluster, Vec<Node>), Error> {
    policy::may_see_clusters(viewer.scope)?;
    let cluster = store.cluster(&viewer.tenant_id, name).await?;
    let cluster = cluster.ok_or(Error::NotFound)?;
    let numbers = BTreeSet::from([cluster.number]);
    let nodes = nodes_of(store, &viewer.tenant_id, &numbers).await?;
    Ok((cluster, nodes))
}

/// The nodes of some clusters, at most 10,000 in total.
pub async fn list_nodes(
    viewer: &Viewer,
    store: &Store,
    clusters: &BTreeSet<ClusterNumber>,
) -> Result<Vec<Node>, Error> {
    policy::may_see_clusters(viewer.scope)?;
    nodes_of(store, &viewer.tenant_id, clusters).await
}

async fn nodes_of(
    store: &Store,
    tenant: &TenantId,
    clusters: &BTreeSet<ClusterNumber>,
) -> Result<Vec<Node>, Error> {
    let mut nodes: Vec<Node> = Vec::new();
    for cluster in clusters {
        let mut after: Option<Node> = None;
        while nodes.len() < NODES_READ {
            let page = store.nodes(tenant, *cluster, after.as_ref()).await?;
            after = page.items.last().cloned();
            nodes.extend(page.items);
            if !page.has_more {
                break;
            }
        }
    }
    nodes.truncate(NODES_READ);
    Ok(nodes)
}

/// Deletes a cluster, and frees the slot of each key that holds it. If the call stops halfway, the cluster is still
/// listed with its remaining holders, and repeating the call continues the deletion.
pub async fn delete_cluster(
    viewer: &Viewer,
    store: &Store,
    name: &ClusterName,
) -> Result<(), Error> {
    policy::may_delete_clusters(viewer.scope)?;
    let tenant = &viewer.tenant_id;
    let mut number = None;
    let mut attempts = Attempts::new();
    while attempts.next().await {
        let cluster = match (store.cluster(tenant, name).await?, number) {
            (Some(cluster), None) => cluster,
            (Some(cluster), Some(number)) if cluster.number == number => cluster,
            (None, None) => return Err(Error::NotFound),
            // Another request has deleted the cluster. A new cluster with the same name must stay.
            (_, Some(_)) => return Ok(()),
        };
        number = Some(cluster.number);
        match store.delete_cluster_step(&cluster).await? {
            Deletion::Done => {
                tracing::info!(
                    event.name = events::CLUSTER_DELETED,
                    tenant.id = %tenant,
                    cluster.name = %name,
                    "deleted the cluster"
                );
                return Ok(());
            }
            Deletion::Progress => attempts = Attempts::new(),
            Deletion::Stale => {}
        }
    }
    Err(Error::CHANGED_MEANWHILE)
}
