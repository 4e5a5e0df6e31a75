//! `GET /cluster-onboarding/api/v1/get-onboarded-clusters` and `POST /cm/api/v1/cluster-management/nodes-in-cluster`.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use lambda_http::Request;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    http::{
        Error,
        body::{self, Field, FromJson, Integer},
        query,
    },
    model::{
        Cluster, ClusterName, ClusterNumber, ClusterType, KeyId, Liveness, Node, NodeName,
        NodeNumber, TenantId, Timestamp,
    },
    service::{Error as ServiceError, MOST_CLUSTERS_READ, Store, Viewer, all_clusters, list_nodes},
};

/// The maximum size of a response, in bytes. The list of clusters is not paginated, and Lambda limits a response to 6
/// MB.
const LONGEST_ANSWER: usize = 5_500_000;
/// The maximum number of nodes in a response.
const NODES_SHOWN: usize = 1000;

/// AccuKnox identifies tenants by number. Its clients send and read the number without quotes.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Workspace {
    Number(u64),
    Text(TenantId),
}

impl From<&TenantId> for Workspace {
    fn from(tenant: &TenantId) -> Self {
        match tenant.as_str().parse::<u64>() {
            Ok(number) if number.to_string() == tenant.as_str() => Self::Number(number),
            _ => Self::Text(tenant.clone()),
        }
    }
}

/// A cluster, in the form that AccuKnox's clients expect.
#[derive(Serialize)]
pub struct ClusterShape {
    #[serde(rename = "ID")]
    id: ClusterNumber,
    #[serde(rename = "WorkspaceID")]
    workspace_id: Workspace,
    #[serde(rename = "ClusterName")]
    cluster_name: ClusterName,
    #[serde(rename = "Status")]
    status: &'static str,
    r#type: ClusterType,
    token_id: KeyId,
    created_at: String,
    last_updated_time: String,
}

/// A node, in the form that AccuKnox's clients expect. `agents_version` is empty, because onboarding does not report
/// the agents' version.
#[derive(Serialize)]
pub struct NodeShape {
    #[serde(rename = "ID")]
    id: NodeNumber,
    #[serde(rename = "WorkspaceID")]
    workspace_id: Workspace,
    #[serde(rename = "ClusterID")]
    cluster_id: ClusterNumber,
    #[serde(rename = "NodeName")]
    node_name: NodeName,
    #[serde(rename = "Status")]
    status: &'static str,
    agents_version: &'static str,
    created_at: String,
    last_updated_time: String,
}

/// A page of nodes, and the number of nodes on all pages, which is at most 10,000.
#[derive(Serialize)]
pub struct NodesAnswer {
    total_record: usize,
    result: Vec<NodeShape>,
}

fn status(last_seen_at: Timestamp, inactive_after: Duration, now: Timestamp) -> &'static str {
    match Liveness::at(now, last_seen_at, inactive_after) {
        Liveness::Active => "Active",
        Liveness::Inactive => "Inactive",
    }
}

/// Lists all clusters of the tenant.
///
/// # Errors
/// Fails if the request names the workspace of another tenant, or the clusters do not fit in one response.
pub async fn onboarded_clusters(
    request: &Request,
    viewer: &Viewer,
    store: &Store,
    inactive_after: Duration,
    now: Timestamp,
) -> Result<Vec<ClusterShape>, Error> {
    let workspace = query::parameter(request, "wsid")?;
    require_workspace(workspace.unwrap_or_default(), &viewer.tenant_id)?;
    let shape = |cluster: Cluster| ClusterShape {
        id: cluster.number,
        workspace_id: Workspace::from(&cluster.tenant_id),
        cluster_name: cluster.name,
        status: status(cluster.last_seen_at, inactive_after, now),
        r#type: cluster.kind,
        token_id: cluster.key_id,
        created_at: cluster.created_at.to_string(),
        last_updated_time: cluster.last_seen_at.to_string(),
    };
    let (mut shapes, mut bytes) = (Vec::new(), 0);
    all_clusters(viewer, store, |clusters| {
        for cluster in clusters {
            let shape = shape(cluster);
            bytes += serde_json::to_string(&shape).map_or(0, |text| text.len() + 1);
            shapes.push(shape);
        }
        if bytes > LONGEST_ANSWER {
            return Err(ServiceError::Conflict(
                "too_many_clusters",
                "the clusters do not fit in one response: use GET /v1/clusters, which has pages",
            ));
        }
        Ok(())
    })
    .await?;
    Ok(shapes)
}

/// Clients also send the filters `from_time` and `to_time`, which are ignored because they are always empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct NodesBody {
    /// A number or a string.
    workspace_id: Value,
    cluster_id: Field<ClusterNumbers>,
    filter: Field<NodeFilter>,
    page_previous: Integer,
    page_next: Integer,
}

/// A list of cluster numbers, each a JSON number or a string. An empty list becomes `None`, which stands for all
/// clusters.
struct ClusterNumbers(Option<BTreeSet<ClusterNumber>>);

impl FromJson for ClusterNumbers {
    fn from_json(value: Value) -> Result<Self, String> {
        let number = |value: &Value| match value {
            Value::String(text) => text.parse().ok(),
            number => i64::from_json(number.clone())
                .ok()?
                .to_string()
                .parse()
                .ok(),
        };
        let numbers: Option<BTreeSet<_>> = match &value {
            Value::Array(ids) if ids.len() <= MOST_CLUSTERS_READ => {
                ids.iter().map(number).collect()
            }
            _ => None,
        };
        let numbers = numbers.ok_or("must be a list of at most 100 cluster numbers")?;
        Ok(Self(Some(numbers).filter(|numbers| !numbers.is_empty())))
    }
}

/// The supported part of the filter that clients send. The values of `connection_status` are those of `Status` in
/// [`NodeShape`].
struct NodeFilter {
    liveness: Option<Liveness>,
}

impl FromJson for NodeFilter {
    fn from_json(value: Value) -> Result<Self, String> {
        const RULE: &str =
            "must be an object whose connection_status, if it has one, is Active or Inactive";
        let filter = value.as_object().ok_or(RULE)?;
        let liveness = match filter.get("connection_status") {
            None | Some(Value::Null) => None,
            Some(Value::String(status)) if status.is_empty() => None,
            Some(status) => {
                let status = status.as_str().unwrap_or_default().to_ascii_lowercase();
                Some(status.parse().map_err(|_| RULE)?)
            }
        };
        Ok(Self { liveness })
    }
}

/// A request for the nodes at positions `page_previous` up to, but not including, `page_next`. The response contains at
/// most 1,000 nodes, all of which are among the first 10,000.
struct NodesRequest {
    clusters: Option<BTreeSet<ClusterNumber>>,
    liveness: Option<Liveness>,
    page: Range<usize>,
}

impl NodesRequest {
    fn read(request: &Request, tenant: &TenantId) -> Result<Self, Error> {
        let (body, mut errors) = body::read_leniently::<NodesBody>(request)?;
        let unquoted = |value: &Value| value.to_string().trim_matches('"').to_owned();
        if !body.workspace_id.is_null() {
            require_workspace(&unquoted(&body.workspace_id), tenant)?;
        }
        let clusters = errors.value("cluster_id", body.cluster_id);
        let filter = errors.value("filter", body.filter);
        let most = i64::MAX >> 1;
        let start = errors.integer("page_previous", body.page_previous, 0..=most);
        let end = errors.integer("page_next", body.page_next, 0..=most);
        errors.finish()?;
        let start = start.unwrap_or(0);
        // Clients send a `page_next` of 0 to request all nodes.
        let end = end.filter(|end| *end > 0).unwrap_or(most).max(start);
        let index = |position: i64| usize::try_from(position).unwrap_or(usize::MAX);
        Ok(Self {
            clusters: clusters.and_then(|ClusterNumbers(numbers)| numbers),
            liveness: filter.and_then(|filter| filter.liveness),
            page: index(start)..index(end),
        })
    }
}

/// Lists the nodes of the requested clusters.
///
/// # Errors
/// Fails if the request names the workspace of another tenant, or a field is invalid.
pub async fn nodes_in_cluster(
    request: &Request,
    viewer: &Viewer,
    store: &Store,
    inactive_after: Duration,
    now: Timestamp,
) -> Result<NodesAnswer, Error> {
    let NodesRequest {
        clusters,
        liveness,
        page,
    } = NodesRequest::read(request, &viewer.tenant_id)?;
    let mut nodes = list_nodes(viewer, store, clusters, now).await?;
    if let Some(wanted) = liveness {
        nodes.retain(|node| Liveness::at(now, node.last_seen_at, inactive_after) == wanted);
    }
    let shape = |node: Node| NodeShape {
        id: node.number,
        workspace_id: Workspace::from(&viewer.tenant_id),
        cluster_id: node.cluster,
        node_name: node.name,
        status: status(node.last_seen_at, inactive_after, now),
        agents_version: "",
        created_at: node.created_at.to_string(),
        last_updated_time: node.last_seen_at.to_string(),
    };
    let total_record = nodes.len();
    let shown = page.len().min(NODES_SHOWN);
    let result = nodes.into_iter().skip(page.start).take(shown);
    Ok(NodesAnswer {
        total_record,
        result: result.map(shape).collect(),
    })
}

/// Refuses a workspace other than the caller's tenant. Clients may leave the workspace empty.
fn require_workspace(workspace: &str, tenant: &TenantId) -> Result<(), Error> {
    if workspace.is_empty() || workspace == tenant.as_str() {
        Ok(())
    } else {
        Err(Error::TenantMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_tenant_is_sent_to_accuknox_clients_as_a_number() {
        for (tenant, is_number) in [("167", true), ("acme", false), ("007", false)] {
            let workspace = Workspace::from(&tenant.parse().unwrap());
            assert_eq!(
                matches!(workspace, Workspace::Number(_)),
                is_number,
                "{tenant}"
            );
        }
    }
}
