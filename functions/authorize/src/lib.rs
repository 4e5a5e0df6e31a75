//! A Lambda authorizer (payload 2.0, simple responses) for APIs that accept access keys.
//!
//! The API behind it gets `tenant_id`, `user_id`, `key_id`, `role`, `scope` and `exp` as context. Attach the authorizer
//! with a cache TTL of 0, because results that API Gateway caches outlive a revocation.

use access_keys::{
    http::{bearer_key, views::AuthorizerView, within_named_tenant},
    process::clock,
    service::{Error, KeyService, ValidateRequest, count_validation, validate_key},
};
use aws_lambda_events::apigw::ApiGatewayV2CustomAuthorizerV2Request;
use lambda_runtime::{Diagnostic, LambdaEvent};

/// Authorizes a request by its access key.
///
/// # Errors
/// When the key cannot be validated. API Gateway then returns 500, so the authorizer fails closed.
pub async fn handle(
    service: &KeyService,
    event: LambdaEvent<ApiGatewayV2CustomAuthorizerV2Request>,
) -> Result<AuthorizerView, Diagnostic> {
    let headers = &event.payload.headers;
    let Some(key) = bearer_key(headers) else {
        return Ok(None.into());
    };
    let request = ValidateRequest::new(key);
    let validation = validate_key(service, None, &request, clock::now()).await;
    let result = validation.map(|validation| within_named_tenant(headers, validation.result));
    count_validation("authorize", result.as_ref());
    let grant = result
        .map_err(|error| unavailable(&error))?
        .inspect_err(|code| tracing::info!(refusal.code = code.as_str(), "refused"));
    Ok(grant.ok().into())
}

fn unavailable(error: &Error) -> Diagnostic {
    tracing::error!(error.cause = error.causes(), "failed");
    Diagnostic {
        error_type: "Unavailable".into(),
        error_message: "the key could not be validated".into(),
    }
}
