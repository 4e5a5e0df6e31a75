//! Reads and redeems join tokens. [`super::onboarding`] writes them.

use super::{
    handle::Store,
    schema::{JoinTokenItem, PrimaryKey, read},
    table::{Outcome, StoreError, Write},
};
use crate::model::{JoinToken, JoinTokenRecord, Redemption, Timestamp};

impl Store {
    pub(crate) async fn join_token(
        &self,
        token: &JoinToken,
    ) -> Result<Option<JoinTokenRecord>, StoreError> {
        let item = self.table.get(PrimaryKey::join_token(token.hash())).await?;
        Ok(item.map(read::<JoinTokenItem, _>).transpose()?)
    }

    /// Redeems a join token. Returns true only for the first `redemption`. Writing the same redemption again also
    /// returns true, because the SDK retries a write whose response was lost.
    pub(crate) async fn redeem(
        &self,
        token: &JoinToken,
        redemption: Redemption,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = PrimaryKey::join_token(token.hash());
        let update = Write::update(key, "SET redeemed_at = :now, redemption = :redemption")
            .when(
                "expires_at > :now AND \
                 (attribute_not_exists(redeemed_at) OR redemption = :redemption)",
            )
            .value(":now", now)
            .value(":redemption", redemption);
        let outcome = self.table.update(&update).await?;
        Ok(matches!(outcome, Outcome::Done))
    }
}
