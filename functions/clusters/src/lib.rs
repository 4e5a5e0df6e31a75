//! Clusters after their onboarding: the original's `get-onboarded-clusters` and `nodes-in-cluster`, `/v1/clusters`, and
//! how many clusters a key may onboard.

mod oidc;

use access_keys::{
    caller::{Caller, same_tenant},
    clock::{self, Seconds},
    config::{self, CallerSettings, Environment},
    edge,
    error::Error,
    id::TenantId,
    input::{self, ClustersRequest, Fields},
    key::{self, AccessKey},
    operations::{
        clusters::{self, NodesRequest, Viewer},
        directory,
        validate::{self, Verifier},
    },
};
use lambda_http::{Body, Request, Response, http::StatusCode};

use crate::oidc::Issuer;

/// What the function works with.
pub struct App {
    /// The KMS keys and the table.
    pub verifier: Verifier,
    callers: CallerSettings,
    issuer: Issuer,
    inactive_after: Seconds,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            verifier: Verifier::read(environment),
            callers: CallerSettings::read(environment),
            issuer: Issuer::read(environment),
            inactive_after: config::inactive_after(environment),
        }
    }
}

/// Answers with clusters, nodes or the record of a key.
///
/// # Errors
/// When there is no such thing, or the caller may not see or change it.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let now = clock::now();
    let store = &app.verifier.store;
    let body = match edge::route(&request) {
        "GET /v1/clusters" => {
            let viewer = key_or_user(app, &request, now).await?;
            let wanted = ClustersRequest::of(&request, &viewer.tenant_id)?;
            clusters::list(store, &viewer, &wanted, now).await?
        }
        "GET /v1/clusters/{name}" => {
            let viewer = key_or_user(app, &request, now).await?;
            clusters::get(store, &viewer, &input::path_cluster(&request)?, now).await?
        }
        "DELETE /v1/clusters/{name}" => {
            let viewer = key_or_user(app, &request, now).await?;
            clusters::delete(store, &viewer, &input::path_cluster(&request)?).await?;
            return Ok(edge::no_content());
        }
        "PATCH /v1/users/{user_id}/access-keys/{key_id}" => {
            let caller = Caller::of(&request, &app.callers)?;
            let (user_id, key_id) = (
                input::path_user(&request, &caller.user_id)?,
                input::path_key(&request)?,
            );
            let me = directory::resolve(store, &caller, now).await?;
            clusters::limit(store, &me, &user_id, key_id, Fields::of(&request)?, now).await?
        }
        "GET /cluster-onboarding/api/v1/get-onboarded-clusters" => {
            let viewer = key_only(app, &request, now).await?;
            same_workspace(input::query(&request, "wsid")?, &viewer.tenant_id)?;
            clusters::original_clusters(store, &viewer, now).await?
        }
        "POST /cm/api/v1/cluster-management/nodes-in-cluster" => {
            let viewer = key_only(app, &request, now).await?;
            let wanted = NodesRequest::read(Fields::of_original(&request)?, &viewer.tenant_id)?;
            clusters::original_nodes(store, &viewer, &wanted, now).await?
        }
        _ => return Err(Error::NotFound),
    };
    Ok(edge::json(StatusCode::OK, &body))
}

/// The key that calls.
async fn key_only(app: &App, request: &Request, now: Seconds) -> Result<Viewer, Error> {
    let key = edge::bearer(request).ok_or(Error::KeyRefused(
        "invalid_key",
        "there is no access key: send it as Authorization: Bearer",
    ))?;
    let key = AccessKey::new(key.to_owned());
    let grant = validate::validate(&app.verifier, &key, None, now).await??;
    same_tenant(request.headers(), &grant.tenant_id)?;
    Ok(Viewer {
        tenant_id: grant.tenant_id,
        scope: grant.scope,
        inactive_after: app.inactive_after,
    })
}

/// The key or the user that calls. A route of the API has one authorizer, which knows either keys or the identity
/// provider's tokens: where both may call, there is none, and the token is verified here (shared/decisions/0006).
async fn key_or_user(app: &App, request: &Request, now: Seconds) -> Result<Viewer, Error> {
    let token = edge::bearer(request).ok_or(Error::Unauthenticated(
        "an access key or a token of the identity provider is required",
    ))?;
    if token.starts_with(key::PREFIX) {
        return key_only(app, request, now).await;
    }
    let claims = app.issuer.verify(token).await?;
    let caller = Caller::from_claims(&claims, &app.callers)?;
    same_tenant(request.headers(), &caller.tenant_id)?;
    let me = directory::resolve(&app.verifier.store, &caller, now).await?;
    Ok(Viewer {
        tenant_id: me.tenant_id,
        scope: me.role.permissions(),
        inactive_after: app.inactive_after,
    })
}

fn same_workspace(workspace: Option<&str>, tenant: &TenantId) -> Result<(), Error> {
    match workspace {
        Some(workspace) if !workspace.is_empty() && workspace != tenant.as_str() => {
            Err(Error::TenantMismatch)
        }
        _ => Ok(()),
    }
}
