//! Redeems join tokens, which [`super::onboard_cluster`] issues.

use super::error::Error;
use crate::{
    model::{ClusterName, JoinToken, JoinTokenRecord, Redemption, TenantId, Timestamp},
    policy::{self, JoinRefusal},
    process::{
        events,
        metrics::{self, Metric},
    },
    store::Store,
};

/// A join token, and the tenant and cluster that the redeeming service expects.
#[derive(Debug)]
pub struct RedeemRequest {
    pub token: JoinToken,
    pub tenant: TenantId,
    pub cluster: ClusterName,
}

impl From<JoinRefusal> for Error {
    fn from(refusal: JoinRefusal) -> Self {
        match refusal {
            JoinRefusal::Invalid => Self::Conflict(
                "join_token_invalid",
                "the join token is not valid for this tenant and cluster, or its access key may no longer onboard: onboard again",
            ),
            JoinRefusal::Expired => Self::Conflict(
                "join_token_expired",
                "a join token is valid for ten minutes: onboard again",
            ),
            JoinRefusal::Redeemed => Self::Conflict(
                "join_token_redeemed",
                "the join token has already been redeemed: onboard again",
            ),
        }
    }
}

/// Redeems a join token. A token can be redeemed once, before it expires, for its own tenant and cluster, and only
/// while its key may onboard.
///
/// # Errors
/// When the token is not valid. Callers cannot tell unknown tokens from those of other tenants or clusters.
pub async fn redeem_join_token(
    store: &Store,
    request: &RedeemRequest,
    now: Timestamp,
) -> Result<JoinTokenRecord, Error> {
    let token = store.join_token(&request.token).await?;
    let token = token.ok_or(JoinRefusal::Invalid)?;
    let RedeemRequest {
        tenant, cluster, ..
    } = request;
    policy::may_redeem(&token, tenant, cluster, now).inspect_err(|refusal| {
        if *refusal == JoinRefusal::Redeemed {
            report_replay(&token);
        }
    })?;
    let state = store
        .onboarding_state(tenant, &token.user_id, token.key_id, cluster)
        .await?;
    let (key, owner) = (state.key.as_ref(), state.owner.as_ref());
    policy::may_join(&token, key, owner, state.cluster.as_ref(), now)?;
    let redemption = Redemption::generate()?;
    if !store.redeem(&request.token, redemption, now).await? {
        report_replay(&token);
        return Err(JoinRefusal::Redeemed.into());
    }
    metrics::count(Metric::JoinToken("redeemed"));
    Ok(token)
}

fn report_replay(token: &JoinTokenRecord) {
    tracing::warn!(
        event.name = events::JOIN_TOKEN_REPLAYED,
        key.id = %token.key_id,
        tenant.id = %token.tenant_id,
        cluster.name = %token.cluster,
        "refused a join token that had already been redeemed"
    );
    metrics::count(Metric::JoinToken("replayed"));
}
