//! A Lambda authorizer (payload 2.0, simple responses) for APIs that accept access keys.
//!
//! The authorizer passes `tenant_id`, `user_id`, `key_id`, `role`, `scope` and `exp` to the API as context. Attach the
//! authorizer with a cache TTL of 0, because results that API Gateway caches outlive a revocation.

use access_keys::{
    http::{bearer_key, views::AuthorizerView, within_named_tenant},
    process::{clock, events},
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
    let request_id = event.payload.request_context.request_id.as_deref();
    match result.map_err(|error| unavailable(request_id, &error))? {
        Ok(grant) => Ok(Some(grant).into()),
        Err(code) => {
            tracing::info!(
                event.name = events::ACCESS_KEY_REFUSED,
                request.id = request_id,
                refusal.code = code.as_str(),
                "refused the access key"
            );
            Ok(None.into())
        }
    }
}

fn unavailable(request_id: Option<&str>, error: &Error) -> Diagnostic {
    tracing::error!(
        request.id = request_id,
        error.cause = error.causes(),
        "could not validate the access key"
    );
    Diagnostic {
        error_type: "Unavailable".into(),
        error_message: "could not validate the access key".into(),
    }
}
