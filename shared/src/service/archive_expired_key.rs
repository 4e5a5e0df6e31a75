//! Archives a key that TTL has removed: writes the key's record to the history and releases its slots. The key's
//! clusters remain, but the key no longer holds them.
//!
//! The modules `token` and `policy` refuse an expired key even before TTL removes it. See "What happens at expiry" in
//! ARCHITECTURE.md for the whole sequence.

use std::time::Duration;

use super::error::Error;
pub use crate::store::{Store, StreamRecord};
use crate::{
    model::Timestamp,
    process::{
        events,
        metrics::{self, Metric},
    },
    store::Archived,
};

/// Handles one record of the table's stream. Records can safely be handled more than once and in any order, because the
/// history is written only if the table has no item for the key and the history period has not ended.
pub async fn archive_expired_key(
    store: &Store,
    record: StreamRecord,
    history: Duration,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(key) = record.into_expired_key()? else {
        return Ok(());
    };
    let (tenant_id, owner_id, key_id) = (key.tenant_id.clone(), key.user_id.clone(), key.key_id);
    let ttl = key.expires_at + history;
    if ttl > now {
        let is_new = store.archive_key(key, ttl).await? == Archived::Now;
        tracing::info!(
            event.name = events::ACCESS_KEY_ARCHIVED,
            key.id = %key_id,
            tenant.id = %tenant_id,
            history.is_new = is_new,
            "archived the expired access key"
        );
        if is_new {
            metrics::count(Metric::KeyExpired);
        }
    }
    loop {
        let clusters = store.slots(&tenant_id, key_id, 100).await?;
        if clusters.is_empty() {
            return Ok(());
        }
        for cluster in clusters {
            let released = store.release_slot(&tenant_id, &owner_id, key_id, &cluster);
            if !released.await? {
                // The stream record was replayed although the key is live, for example because the table was restored.
                return Ok(());
            }
        }
    }
}
