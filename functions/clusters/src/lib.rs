//! Lists and deletes onboarded clusters (`/v1/clusters`, and AccuKnox's `get-onboarded-clusters` and
//! `nodes-in-cluster`). Also changes the name, the labels, the expiry and the cluster limit of a key.

use std::time::Duration;

use access_keys::{
    accuknox::lists::{nodes_in_cluster, onboarded_clusters},
    http::{
        self, Error, IdentityProvider, path,
        query::{self, ListQuery},
        requests,
        views::{ClusterView, ClusterWithNodesView, KeyView, PageView},
    },
    model::Timestamp,
    process::{
        clock,
        config::{self, CallerSettings, Environment},
    },
    service::{KeyService, Viewer, change_key, delete_cluster, get_cluster, list_clusters},
};
use lambda_http::{Body, Request, Response, http::StatusCode};

pub struct App {
    pub service: KeyService,
    callers: CallerSettings,
    identity_provider: IdentityProvider,
    inactive_after: Duration,
    history: Duration,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            service: KeyService::read(environment),
            callers: CallerSettings::read(environment),
            identity_provider: IdentityProvider::read(environment),
            inactive_after: config::inactive_after(environment),
            history: config::history(environment),
        }
    }
}

/// Returns 200 with clusters, nodes or the record of a key. Returns 204 after a deletion.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let now = clock::now();
    match http::route(&request) {
        "GET /v1/clusters" => list(app, &request, now).await,
        "GET /v1/clusters/{name}" => get(app, &request, now).await,
        "DELETE /v1/clusters/{name}" => delete(app, &request, now).await,
        "PATCH /v1/users/{user_id}/access-keys/{key_id}" => change(app, &request, now).await,
        "GET /cluster-onboarding/api/v1/get-onboarded-clusters" => {
            let (store, inactive_after) = (&app.service.store, app.inactive_after);
            let viewer = http::calling_key(&request, &app.service, now).await?;
            let clusters = onboarded_clusters(&request, &viewer, store, inactive_after, now);
            Ok(http::json(StatusCode::OK, &clusters.await?))
        }
        "POST /cm/api/v1/cluster-management/nodes-in-cluster" => {
            let (store, inactive_after) = (&app.service.store, app.inactive_after);
            let viewer = http::calling_key(&request, &app.service, now).await?;
            let nodes = nodes_in_cluster(&request, &viewer, store, inactive_after, now);
            Ok(http::json(StatusCode::OK, &nodes.await?))
        }
        _ => Err(Error::NOT_FOUND),
    }
}

async fn viewer(app: &App, request: &Request, now: Timestamp) -> Result<Viewer, Error> {
    let (service, identity_provider) = (&app.service, &app.identity_provider);
    http::key_or_person(request, service, identity_provider, &app.callers, now).await
}

async fn list(app: &App, request: &Request, now: Timestamp) -> Result<Response<Body>, Error> {
    let viewer = viewer(app, request, now).await?;
    let name = format!("clusters of {}", viewer.tenant_id);
    let (filter, query): (_, ListQuery) = query::cluster_list(request, &name)?;
    let (store, inactive_after) = (&app.service.store, app.inactive_after);
    let clusters = list_clusters(&viewer, store, filter, &query.page, inactive_after, now).await?;
    let view = |cluster| ClusterView::new(cluster, inactive_after, now);
    Ok(http::json(
        StatusCode::OK,
        &PageView::new(clusters, &query, view),
    ))
}

async fn get(app: &App, request: &Request, now: Timestamp) -> Result<Response<Body>, Error> {
    let viewer = viewer(app, request, now).await?;
    let name = path::cluster(request)?;
    let (cluster, nodes) = get_cluster(&viewer, &app.service.store, &name, now).await?;
    let view = ClusterWithNodesView::new(cluster, nodes, app.inactive_after, now);
    Ok(http::json(StatusCode::OK, &view))
}

async fn delete(app: &App, request: &Request, now: Timestamp) -> Result<Response<Body>, Error> {
    let viewer = viewer(app, request, now).await?;
    let name = path::cluster(request)?;
    delete_cluster(&viewer, &app.service.store, &name, now).await?;
    Ok(http::no_content())
}

async fn change(app: &App, request: &Request, now: Timestamp) -> Result<Response<Body>, Error> {
    let actor = http::actor(request, &app.callers)?;
    let owner_id = path::user(request, &actor)?;
    let key_id = path::key(request)?;
    let change = requests::change_key(request)?;
    let (store, history) = (&app.service.store, app.history);
    let key = change_key(&actor, store, (&owner_id, key_id), &change, history, now).await?;
    Ok(http::json(StatusCode::OK, &KeyView::from(key)))
}
