//! A Lambda authorizer (payload format 2.0, simple responses) for APIs that accept access keys.
//!
//! The context that the authorizer passes to the API contains `tenant_id`, `user_id`, `key_id`, `role`, `scope`, `exp`
//! and, if a rotation has replaced the secret, `superseded_until`. Attach the authorizer with a cache TTL of 0, because
//! a result that API Gateway has cached outlives a revocation.

use access_keys::{
    http::{AuthorizerEvent, bearer_key, views::AuthorizerView, within_named_tenant},
    process::{clock, events},
    service::{KeyService, ValidateRequest, count_validation, validate_key},
};
use lambda_runtime::{Diagnostic, LambdaEvent};

/// Authorizes a request by its access key.
///
/// # Errors
/// Fails if the event does not have payload format version 2.0, or if the validity of the key cannot be determined. API
/// Gateway then returns 500, so the authorizer fails closed.
pub async fn handle(
    service: &KeyService,
    event: LambdaEvent<AuthorizerEvent>,
) -> Result<AuthorizerView, Diagnostic> {
    let AuthorizerEvent::Request {
        headers,
        request_id,
    } = &event.payload
    else {
        let rule =
            "the event is not of payload format version 2.0: set this version for the authorizer";
        tracing::error!(error.cause = rule, "could not read the event");
        return Err(diagnostic("NotARequest", rule));
    };
    let Some(key) = bearer_key(headers) else {
        return Ok(None.into());
    };
    let request = ValidateRequest::new(key);
    let validation = validate_key(service, None, &request, clock::now()).await;
    let result = validation.map(|validation| {
        let grant = validation.result?;
        within_named_tenant(headers, &grant.tenant_id)?;
        Ok(grant)
    });
    count_validation("authorize", result.as_ref());
    let result = result.map_err(|error| {
        tracing::error!(
            request.id = request_id,
            error.cause = error.causes(),
            "could not validate the access key"
        );
        diagnostic("Unavailable", "could not validate the access key")
    })?;
    match result {
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

fn diagnostic(error_type: &str, detail: &str) -> Diagnostic {
    Diagnostic {
        error_type: error_type.into(),
        error_message: detail.into(),
    }
}
