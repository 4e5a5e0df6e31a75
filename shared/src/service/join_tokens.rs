//! Redeeming join tokens. [`super::onboard_cluster`] issues them.

use super::error::Error;
use crate::{
    model::{ClusterName, JoinToken, JoinTokenRecord, Redemption, TenantId, Timestamp},
    policy,
    process::metrics::{self, Metric},
    store::Store,
};

/// A join token, and what the service that admits agents expects of it.
#[derive(Debug)]
pub struct RedeemRequest {
    pub token: JoinToken,
    pub tenant: TenantId,
    pub cluster: ClusterName,
}

const INVALID: Error = Error::Conflict(
    "join_token_invalid",
    "this is not a join token of that tenant and cluster, or its access key has ended: onboard again",
);
const EXPIRED: Error = Error::Conflict(
    "join_token_expired",
    "a join token is valid for ten minutes: onboard again",
);
const REDEEMED: Error = Error::Conflict(
    "join_token_redeemed",
    "a join token can be redeemed once: onboard again",
);

/// Redeems a join token: once, within its time, for its tenant and cluster, and only while its key may onboard.
///
/// # Errors
/// When the token is not valid. Unknown tokens and tokens of others look the same.
pub async fn redeem_join_token(
    store: &Store,
    request: &RedeemRequest,
    now: Timestamp,
) -> Result<JoinTokenRecord, Error> {
    let token = store.join_token(&request.token).await?.ok_or(INVALID)?;
    if token.tenant_id != request.tenant || token.cluster != request.cluster {
        return Err(INVALID);
    }
    if token.redeemed_at.is_some() {
        tracing::warn!(
            key.id = %token.key_id,
            tenant.id = %token.tenant_id,
            "join token replayed"
        );
        metrics::count(Metric::JoinToken("replayed"));
        return Err(REDEEMED);
    }
    if now >= token.expires_at {
        return Err(EXPIRED);
    }
    let (tenant, user) = (&token.tenant_id, &token.user_id);
    let state = store
        .onboarding_state(tenant, user, token.key_id, &token.cluster)
        .await?;
    let (key, owner) = (state.key.as_ref(), state.owner.as_ref());
    if !policy::may_join(&token, key, owner, state.cluster.as_ref(), now) {
        return Err(INVALID);
    }
    let redemption = Redemption::generate()?;
    if !store.redeem(&request.token, redemption, now).await? {
        metrics::count(Metric::JoinToken("replayed"));
        return Err(REDEEMED);
    }
    metrics::count(Metric::JoinToken("redeemed"));
    Ok(token)
}
