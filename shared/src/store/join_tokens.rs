//! Reads and redeems join tokens. [`super::onboarding`] writes the tokens.

use super::{
    handle::Store,
    schema::{JoinTokenItem, PrimaryKey, read},
    table::{Outcome, StoreError, Write},
    users::is_unchanged,
};
use crate::model::{
    AuditEntry, JoinToken, JoinTokenRecord, KeyRecord, Redemption, Timestamp, User,
};

/// The result of redeeming a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    Now,
    /// The token had already been redeemed.
    Before,
    /// The key or its owner has changed since it was read.
    Changed,
}

impl Store {
    pub(crate) async fn join_token(
        &self,
        token: &JoinToken,
    ) -> Result<Option<JoinTokenRecord>, StoreError> {
        let item = self.table.get(PrimaryKey::join_token(token.hash())).await?;
        Ok(item.map(read::<JoinTokenItem, _>).transpose()?)
    }

    /// Records that a redeemed token was presented again, unless an earlier replay has already been recorded.
    pub(crate) async fn record_replay(
        &self,
        token: &JoinToken,
        now: Timestamp,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        let token = PrimaryKey::join_token(token.hash());
        let update = Write::update(token, "SET replayed_at = :now")
            .when("attribute_exists(pk) AND attribute_not_exists(replayed_at)")
            .value(":now", now);
        let writes = [update, self.entered(entry)];
        self.table.transact(&writes).await.map(drop)
    }

    /// Redeems a join token, provided that its key and the key's owner still allow it. Returns [`Redeemed::Now`] only
    /// for the first `redemption`. Writing the same redemption again also returns [`Redeemed::Now`], because the SDK
    /// retries a write whose response was lost.
    pub(crate) async fn redeem(
        &self,
        token: &JoinToken,
        key: &KeyRecord,
        owner: &User,
        redemption: Redemption,
        now: Timestamp,
    ) -> Result<Redeemed, StoreError> {
        let token = PrimaryKey::join_token(token.hash());
        let update = Write::update(token, "SET redeemed_at = :now, redemption = :redemption")
            .when(
                "expires_at > :now AND \
                 (attribute_not_exists(redeemed_at) OR redemption = :redemption)",
            )
            .value(":now", now)
            .value(":redemption", redemption);
        let key = PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id);
        let is_live = Write::check(key)
            .when("attribute_not_exists(revoked_at) AND expires_at > :now")
            .value(":now", now);
        let writes = [update, is_live, is_unchanged(owner)];
        Ok(match self.table.transact(&writes).await? {
            Outcome::Done => Redeemed::Now,
            Outcome::Refused(refusals) if refusals.has(0) => Redeemed::Before,
            Outcome::Refused(_) => Redeemed::Changed,
        })
    }
}
