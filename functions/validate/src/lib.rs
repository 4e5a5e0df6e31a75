//! `POST /v1/access-keys/validate`: is this key good, and for what?

use access_keys::{
    caller::same_tenant,
    clock,
    config::Environment,
    edge,
    error::Error,
    input::Presented,
    operations::validate::{self, Checked, Code, Memory, Verifier},
};
use lambda_http::{Body, Request, Response, http::StatusCode};
use serde_json::{Value, json};

/// What the function works with.
pub struct App {
    /// The KMS keys and the table.
    pub verifier: Verifier,
    memory: Memory,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            verifier: Verifier::read(environment),
            memory: Memory::read(environment),
        }
    }
}

/// Answers 200 with `active` true or false, as RFC 7662 has it.
///
/// # Errors
/// When there is no key in the request, or when it cannot be told whether the key is good.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let Presented {
        key,
        permission,
        max_staleness,
    } = Presented::of(&request)?;
    let App { verifier, memory } = app;
    let now = clock::unix_millis();
    let mut checked =
        validate::validate_recalling(verifier, memory, &key, permission, max_staleness, now).await;
    if let Ok(Checked { verdict, .. }) = &mut checked
        && verdict
            .as_ref()
            .is_ok_and(|grant| same_tenant(request.headers(), &grant.tenant_id).is_err())
    {
        *verdict = Err(Code::Forbidden);
    }
    validate::count("validate", checked.as_ref().map(|checked| &checked.verdict));
    Ok(edge::json(StatusCode::OK, &body(checked?)))
}

fn body(checked: Checked) -> Value {
    let mut body = match checked.verdict {
        Ok(grant) => {
            let mut body = json!(grant);
            body["active"] = json!(true);
            body["token_type"] = json!("Bearer");
            body
        }
        Err(code) => json!({ "active": false, "code": code }),
    };
    body["checked_at"] = json!(checked.at);
    body
}
