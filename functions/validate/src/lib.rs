//! `POST /v1/access-keys/validate`: is this key good, and for what?

use access_keys::{
    aws::AwsSettings,
    caller::same_tenant,
    clock,
    config::{Environment, KeySettings},
    edge,
    error::Error,
    input::Presented,
    key::Realm,
    operations::validate::{self, Code, Grant},
    signer::Signer,
    store::Store,
};
use lambda_http::{Body, Request, Response, http::StatusCode};
use serde_json::{Value, json};

/// What the function works with.
pub struct App {
    /// The KMS keys.
    pub signer: Signer,
    store: Store,
    realm: Realm,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        let keys = KeySettings::read(environment);
        Self {
            signer: Signer::new(aws.kms(), keys.signing_keys),
            store: Store::new(aws.dynamodb(), environment.required("TABLE_NAME")),
            realm: keys.realm,
        }
    }
}

/// Answers 200 with `active` true or false, as RFC 7662 has it.
///
/// # Errors
/// When there is no key in the request, or when it cannot be told whether the key is good.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let Presented { key, permission } = Presented::of(&request)?;
    let services = (&app.store, &app.signer, &app.realm);
    let mut answer = validate::validate(services, &key, permission, clock::now()).await?;
    if answer.as_ref().is_ok_and(|grant| same_tenant(&request, &grant.tenant_id).is_err()) {
        answer = Err(Code::Forbidden);
    }
    Ok(edge::json(StatusCode::OK, &body(answer)))
}

fn body(answer: Result<Grant, Code>) -> Value {
    match answer {
        Ok(grant) => {
            let mut body = json!(grant);
            body["active"] = json!(true);
            body["token_type"] = json!("Bearer");
            body
        }
        Err(code) => json!({ "active": false, "code": code }),
    }
}
