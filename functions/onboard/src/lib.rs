//! `POST /access-token/api/v1/process`: a cluster or a node onboards with an access key, as the original's clients do
//! it; `POST /v1/join-tokens/redeem` takes the join token that it got.

use access_keys::{
    caller::same_tenant,
    clock::{self, Seconds},
    config::{self, Environment},
    edge,
    error::Error,
    id::TenantId,
    input::Fields,
    key::AccessKey,
    operations::{
        onboard::{self, OnboardRequest, RedeemRequest},
        validate::{self, Verifier},
    },
};
use lambda_http::{Body, Request, RequestExt, Response, http::StatusCode, request::RequestContext};
use serde_json::json;

/// What the function works with.
pub struct App {
    /// The KMS keys and the table.
    pub verifier: Verifier,
    node_history: Seconds,
    tenant_claim: String,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            verifier: Verifier::read(environment),
            node_history: config::history(environment),
            tenant_claim: environment.required("TENANT_CLAIM"),
        }
    }
}

/// Answers 200 with a join token, or with what a join token stands for.
///
/// # Errors
/// When the key or the join token is not good, or a rule forbids it.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let now = clock::now();
    let body = match edge::route(&request) {
        "POST /access-token/api/v1/process" => {
            let mut fields = Fields::of_original(&request)?;
            let key = presented(edge::bearer(&request), fields.text("token"))?;
            let claims = validate::verify(&app.verifier, &key, now).await??;
            same_tenant(request.headers(), &claims.tenant_id)?;
            let wanted = OnboardRequest::read(fields)?;
            let token =
                onboard::onboard(&app.verifier, &key, &claims, &wanted, app.node_history, now)
                    .await?;
            json!({ "join_token": token.reveal(), "message": "success" })
        }
        "POST /v1/join-tokens/redeem" => {
            let wanted = RedeemRequest::read(Fields::of(&request)?, tenant(app, &request)?)?;
            same_tenant(request.headers(), &wanted.tenant)?;
            onboard::redeem(&app.verifier.store, &wanted, now).await?
        }
        _ => return Err(Error::NotFound),
    };
    Ok(edge::json(StatusCode::OK, &body))
}

/// The key of the header and of the body, which the clients send in both.
fn presented(header: Option<&str>, body: Option<String>) -> Result<AccessKey, Error> {
    match (header, body.filter(|token| !token.is_empty())) {
        (Some(header), Some(body)) if header != body => Err(Error::field(
            "token",
            "is another access key than the one in the Authorization header",
        )),
        (Some(header), _) => Ok(AccessKey::new(header.to_owned())),
        (None, Some(body)) => Ok(AccessKey::new(body)),
        (None, None) => Err(Error::KeyRefused(
            "invalid_key",
            "there is no access key: send it as Authorization: Bearer and as the field token",
        )),
    }
}

/// The tenant of the caller that the JWT authorizer let pass; none for a service of the platform, which belongs to no
/// tenant.
fn tenant(app: &App, request: &Request) -> Result<Option<TenantId>, Error> {
    let context = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.authorizer.as_ref(),
        _ => None,
    };
    let jwt = context.and_then(|authorizer| authorizer.jwt.as_ref());
    let jwt = jwt.ok_or(Error::Unauthenticated(
        "a token of the identity provider is required",
    ))?;
    let tenant = jwt
        .claims
        .get(&app.tenant_claim)
        .map(|tenant| tenant.parse());
    tenant
        .transpose()
        .map_err(|_| Error::Unauthenticated("the token's tenant claim is not a valid tenant id"))
}
