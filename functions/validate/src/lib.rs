//! `POST /v1/access-keys/validate`: is this key good, and for what?

use access_keys::{
    caller::same_tenant,
    clock, edge,
    error::Error,
    input::Presented,
    operations::validate::{self, Code, Grant, Verifier},
};
use lambda_http::{Body, Request, Response, http::StatusCode};
use serde_json::{Value, json};

/// Answers 200 with `active` true or false, as RFC 7662 has it.
///
/// # Errors
/// When there is no key in the request, or when it cannot be told whether the key is good.
pub async fn handle(verifier: &Verifier, request: Request) -> Result<Response<Body>, Error> {
    let Presented { key, permission } = Presented::of(&request)?;
    let mut answer = validate::validate(verifier, &key, permission, clock::now()).await;
    if let Ok(Ok(grant)) = &answer
        && same_tenant(&request, &grant.tenant_id).is_err()
    {
        answer = Ok(Err(Code::Forbidden));
    }
    validate::count("validate", &answer);
    Ok(edge::json(StatusCode::OK, &body(answer?)))
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
