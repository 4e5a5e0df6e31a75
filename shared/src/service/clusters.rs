//! Lists and deletes onboarded clusters.

use std::{collections::BTreeSet, time::Duration};

use super::{
    error::Error,
    page::{Gather, Listing, PageRequest},
    users,
};
use crate::{
    model::{
        Action, Actor, AuditEntry, Cluster, ClusterName, ClusterNumber, KeyId, Liveness, Node,
        NodeQuota, Origin, Permissions, Principal, Target, TenantId, Timestamp,
    },
    policy::{self, Grant},
    process::events,
    store::{Attempts, Deletion, Position, Store},
};

/// A deletion that takes longer than this is considered interrupted. The next onboarding of the cluster or the next
/// repair then finishes it.
pub(super) const DELETION_PATIENCE: Duration = Duration::from_secs(30);

/// The maximum number of nodes to read and count for one response.
const NODES_READ: usize = NodeQuota::LISTED as usize;
/// The maximum number of clusters whose nodes are read for one response. Each of these clusters costs a request.
pub const MOST_CLUSTERS_READ: usize = 100;

/// The caller of a use case for clusters: a key, a person or an operator.
#[derive(Debug, Clone)]
pub struct Viewer {
    pub tenant_id: TenantId,
    pub scope: Permissions,
    pub principal: Principal,
    pub origin: Origin,
}

impl Viewer {
    /// Creates the viewer for a key. The viewer has the key's current permissions.
    #[must_use]
    pub fn key(grant: Grant, origin: Origin) -> Self {
        Self {
            principal: grant.key_id.into(),
            tenant_id: grant.tenant_id,
            scope: grant.scope,
            origin,
        }
    }

    /// Creates the viewer for an operator or a person. A person has the permissions of their role.
    pub async fn signed_in(actor: &Actor, store: &Store, now: Timestamp) -> Result<Self, Error> {
        let me = users::resolve(actor, store, now).await?;
        Ok(Self {
            scope: me.permissions(),
            principal: me.principal(),
            origin: actor.origin.clone(),
            tenant_id: actor.tenant_id.clone(),
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

/// Returns a page of the tenant's clusters, sorted by name.
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

/// Passes all clusters of the tenant to `take`, page by page and sorted by name. Stops at the first error.
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
        take(page.items)?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Returns a cluster and up to 10,000 of its nodes.
pub async fn get_cluster(
    viewer: &Viewer,
    store: &Store,
    name: &ClusterName,
    now: Timestamp,
) -> Result<(Cluster, Vec<Node>), Error> {
    policy::may_see_clusters(viewer.scope)?;
    let cluster = store.cluster(&viewer.tenant_id, name).await?;
    let cluster = cluster.ok_or(Error::NotFound)?;
    let numbers = BTreeSet::from([cluster.number]);
    let nodes = nodes_of(store, &viewer.tenant_id, &numbers, now).await?;
    Ok((cluster, nodes))
}

/// Returns up to 10,000 nodes in total: those of the given clusters or, if `clusters` is `None`, of all clusters of the
/// tenant.
///
/// # Errors
/// Fails if the nodes of all clusters are requested and the tenant has more than [`MOST_CLUSTERS_READ`] clusters.
pub async fn list_nodes(
    viewer: &Viewer,
    store: &Store,
    clusters: Option<BTreeSet<ClusterNumber>>,
    now: Timestamp,
) -> Result<Vec<Node>, Error> {
    policy::may_see_clusters(viewer.scope)?;
    let clusters = match clusters {
        Some(clusters) => clusters,
        None => all_numbers(viewer, store).await?,
    };
    nodes_of(store, &viewer.tenant_id, &clusters, now).await
}

async fn all_numbers(viewer: &Viewer, store: &Store) -> Result<BTreeSet<ClusterNumber>, Error> {
    let mut numbers = BTreeSet::new();
    all_clusters(viewer, store, |clusters| {
        numbers.extend(clusters.into_iter().map(|cluster| cluster.number));
        if numbers.len() > MOST_CLUSTERS_READ {
            let rule = "is required, because the tenant has more than 100 clusters";
            return Err(Error::field("cluster_id", rule));
        }
        Ok(())
    })
    .await?;
    Ok(numbers)
}

async fn nodes_of(
    store: &Store,
    tenant: &TenantId,
    clusters: &BTreeSet<ClusterNumber>,
    now: Timestamp,
) -> Result<Vec<Node>, Error> {
    let mut nodes: Vec<Node> = Vec::new();
    for cluster in clusters {
        let mut after = None;
        while nodes.len() < NODES_READ {
            let page = store.nodes(tenant, *cluster, after.as_ref()).await?;
            let remembered = page
                .items
                .into_iter()
                .filter(|node| node.forgotten_at > now);
            nodes.extend(remembered);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    nodes.truncate(NODES_READ);
    Ok(nodes)
}

/// Deletes a cluster and frees each slot that a key holds for the cluster. If the call stops halfway, the cluster is
/// still listed with its remaining holders, and repeating the call continues the deletion.
pub async fn delete_cluster(
    viewer: &Viewer,
    store: &Store,
    name: &ClusterName,
    now: Timestamp,
) -> Result<(), Error> {
    policy::may_delete_clusters(viewer.scope)?;
    let cluster = store.cluster(&viewer.tenant_id, name).await?;
    let by = (&viewer.principal, &viewer.origin);
    delete(store, cluster.ok_or(Error::NotFound)?, by, now).await
}

/// Deletes a cluster, in several steps if many keys hold it. If the first step does not complete the deletion, the
/// cluster is marked as being deleted, and no key can onboard it until it is gone. If someone else began the deletion
/// earlier, the audit trail names them instead of `by`.
pub(super) async fn delete(
    store: &Store,
    cluster: Cluster,
    (by, origin): (&Principal, &Origin),
    now: Timestamp,
) -> Result<(), Error> {
    let (tenant, name, number) = (&cluster.tenant_id, &cluster.name, cluster.number);
    let mut found = Some(cluster.clone());
    let mut attempts = Attempts::new();
    while attempts.next().await {
        // If someone else has already deleted the cluster, there may be a new cluster of the same name, which must not
        // be deleted.
        let Some(cluster) = found.filter(|found| found.number == number) else {
            return Ok(());
        };
        let by = cluster.deleting_by.as_ref().unwrap_or(by);
        let about = (Action::ClusterDeleted, Target::cluster(name));
        let entry = AuditEntry::new(tenant, by.clone(), origin, about, now);
        let step = store.delete_cluster_step(&cluster, &entry).await?;
        if step == Deletion::Done {
            tracing::info!(
                event.name = events::CLUSTER_DELETED,
                actor = %by,
                tenant.id = %tenant,
                cluster.name = %name,
                "deleted the cluster"
            );
            return Ok(());
        }
        if cluster.deleting.is_none() {
            store.mark_deleting(&cluster, by, now).await?;
        }
        if step == Deletion::Progress {
            attempts = Attempts::new();
        }
        found = store.cluster(tenant, name).await?;
    }
    Err(Error::CHANGED_MEANWHILE)
}
