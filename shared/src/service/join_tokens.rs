//! Redeems join tokens, which [`super::onboard_cluster`] issues.

use super::error::Error;
use crate::{
    model::{
        Action, AuditEntry, ClusterName, JoinToken, JoinTokenRecord, Origin, Principal, Redemption,
        Target, TenantId, Timestamp,
    },
    policy::{self, JoinRefusal},
    process::{
        events,
        metrics::{self, Metric},
        telemetry,
    },
    store::{Attempts, Redeemed, Store},
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
            JoinRefusal::Redeemed => Self::Conflict(
                "join_token_redeemed",
                "the join token has already been redeemed: onboard again",
            ),
        }
    }
}

/// Redeems a join token. A token can be redeemed only once, before it expires, for its own tenant and cluster, and
/// while its key is still allowed to onboard.
///
/// # Errors
/// Fails if the token is not valid. Callers cannot tell unknown tokens from those of other tenants or clusters.
pub async fn redeem_join_token(
    store: &Store,
    request: &RedeemRequest,
    caller: (Principal, Origin),
    now: Timestamp,
) -> Result<JoinTokenRecord, Error> {
    let RedeemRequest {
        tenant, cluster, ..
    } = request;
    let redemption = Redemption::generate()?;
    let mut attempts = Attempts::new();
    while attempts.next().await {
        let token = store.join_token(&request.token).await?;
        let token = token.ok_or(JoinRefusal::Invalid)?;
        if let Err(refusal) = policy::may_redeem(&token, tenant, cluster, now) {
            if refusal == JoinRefusal::Redeemed {
                report_replay(store, request, &token, caller, now).await;
            }
            return Err(refusal.into());
        }
        let state = store
            .onboarding_state(tenant, &token.user_id, token.key_id, cluster)
            .await?;
        let cluster = state.cluster.as_ref();
        let (key, owner) = policy::may_join(&token, state.key, state.owner, cluster, now)?;
        match store
            .redeem(&request.token, &key, &owner, redemption, now)
            .await?
        {
            Redeemed::Now => {
                metrics::count(Metric::JoinToken("redeemed"));
                return Ok(token);
            }
            Redeemed::Before => {
                report_replay(store, request, &token, caller, now).await;
                return Err(JoinRefusal::Redeemed.into());
            }
            Redeemed::Changed => {}
        }
    }
    Err(Error::TryAgain)
}

/// Logs and counts a replay. The first replay of a token is also written to the audit trail. If that write fails, the
/// request is still refused as a replay.
async fn report_replay(
    store: &Store,
    request: &RedeemRequest,
    token: &JoinTokenRecord,
    (by, origin): (Principal, Origin),
    now: Timestamp,
) {
    if token.replayed_at.is_none() {
        let about = (Action::JoinTokenReplayed, Target::cluster(&token.cluster));
        let entry = AuditEntry::new(&token.tenant_id, by.clone(), &origin, about, now)
            .with_new("key_id", token.key_id.to_string().as_str());
        if let Err(error) = store.record_replay(&request.token, now, &entry).await {
            tracing::warn!(
                error.cause = telemetry::chain(&error),
                "could not enter the replay of a join token in the audit trail"
            );
        }
    }
    tracing::warn!(
        event.name = events::JOIN_TOKEN_REPLAYED,
        actor = %by,
        key.id = %token.key_id,
        tenant.id = %token.tenant_id,
        cluster.name = %token.cluster,
        "refused a join token that had already been redeemed"
    );
    metrics::count(Metric::JoinToken("replayed"));
}
