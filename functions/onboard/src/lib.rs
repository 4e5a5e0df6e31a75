//! `POST /access-token/api/v1/process`: onboards a cluster or a node with an access key, in AccuKnox's protocol.
//! `POST /v1/join-tokens/redeem`: redeems a join token. The service that admits agents makes this call.

use access_keys::{
    accuknox::process::{Process, ProcessAnswer},
    http::{self, Error, requests, views::RedeemedView},
    model::NodeQuota,
    process::{
        clock,
        config::{self, Environment},
    },
    service::{KeyService, onboard_cluster, redeem_join_token},
};
use lambda_http::{Body, Request, Response, http::StatusCode};

pub struct App {
    pub service: KeyService,
    node_quota: NodeQuota,
    tenant_claim: String,
    platform_clients: Vec<String>,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            service: KeyService::read(environment),
            node_quota: config::node_quota(environment),
            tenant_claim: environment.required("TENANT_CLAIM"),
            platform_clients: config::platform_clients(environment),
        }
    }
}

/// Returns 200 with a new join token, or with the data of a redeemed join token.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let now = clock::now();
    match http::route(&request) {
        "POST /access-token/api/v1/process" => {
            let (key, process) = Process::read(&request)?;
            let key = app.service.verify(&key, now).await??;
            http::require_tenant(request.headers(), &key.claims().tenant_id)?;
            let joining = process.joining()?;
            let (service, quota) = (&app.service, &app.node_quota);
            let origin = http::origin(&request);
            let joined = onboard_cluster(service, &key, &joining, quota, &origin, now).await?;
            Ok(http::json(StatusCode::OK, &ProcessAnswer::from(&joined)))
        }
        "POST /v1/join-tokens/redeem" => {
            let tenant = http::tenant(&request, &app.tenant_claim, &app.platform_clients)?;
            let wanted = requests::redeem_join_token(&request, tenant)?;
            let caller = http::back_end(&request)?;
            let token = redeem_join_token(&app.service.store, &wanted, caller, now).await?;
            Ok(http::json(StatusCode::OK, &RedeemedView::from(token)))
        }
        _ => Err(Error::NOT_FOUND),
    }
}
