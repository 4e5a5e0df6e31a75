//! A Lambda authorizer (payload 2.0, simple response) that APIs attach to accept access keys.
//!
//! The context of an authorized request: `tenant_id`, `user_id`, `key_id`, `role`, `scope`, `exp`. Attach it with a
//! cache TTL of 0: whatever API Gateway caches outlives a revocation.

use access_keys::{
    caller::same_tenant,
    clock, edge,
    error::Error,
    key::AccessKey,
    operations::validate::{self, Code, Verifier},
};
use aws_lambda_events::apigw::ApiGatewayV2CustomAuthorizerV2Request;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};

/// Says whether the request's access key is good.
///
/// # Errors
/// When that cannot be told: API Gateway then answers 500, so it fails closed.
pub async fn handle(
    verifier: &Verifier,
    event: LambdaEvent<ApiGatewayV2CustomAuthorizerV2Request>,
) -> Result<Value, Diagnostic> {
    let headers = &event.payload.headers;
    let key = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(edge::bearer_token);
    let Some(key) = key else {
        return Ok(json!({ "isAuthorized": false }));
    };
    let key = AccessKey::new(key.to_owned());
    let mut answer = validate::validate(verifier, &key, None, clock::now()).await;
    if let Ok(Ok(grant)) = &answer
        && same_tenant(headers, &grant.tenant_id).is_err()
    {
        answer = Ok(Err(Code::Forbidden));
    }
    validate::count("authorize", answer.as_ref());
    Ok(match answer.map_err(|error| unavailable(&error))? {
        Ok(grant) => json!({
            "isAuthorized": true,
            "context": {
                "tenant_id": grant.tenant_id,
                "user_id": grant.sub,
                "key_id": grant.jti,
                "role": grant.role,
                "scope": grant.scope,
                "exp": grant.exp,
            },
        }),
        Err(code) => {
            tracing::info!(refusal.code = code.as_str(), "refused");
            json!({ "isAuthorized": false })
        }
    })
}

fn unavailable(error: &Error) -> Diagnostic {
    tracing::error!(error.cause = edge::cause(error), "failed");
    Diagnostic {
        error_type: "Unavailable".into(),
        error_message: "the key could not be checked".into(),
    }
}
