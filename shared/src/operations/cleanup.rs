//! Cleaning up after TTL: the deletion of a key's record moves it to the history and removes its slots.

use serde_json::Value;

use crate::{
    clock::Seconds,
    error::Error,
    metrics::{self, Metric},
    store::{Archived, Store, StoreError, key_from_image},
};

/// Handles one record of the table's stream (a Lambda event's record). Again, late or out of order is the same:
/// the history is written only where nothing stands, and not after its own time. Clusters stay as they are.
///
/// # Errors
/// When the record cannot be read, or the table does not answer.
pub async fn removed(
    store: &Store,
    record: &Value,
    history: Seconds,
    now: Seconds,
) -> Result<(), Error> {
    let by_ttl = record["eventName"] == "REMOVE"
        && record["userIdentity"]["type"] == "Service"
        && record["userIdentity"]["principalId"] == "dynamodb.amazonaws.com";
    let sk = record["dynamodb"]["Keys"]["sk"]["S"].as_str();
    let is_key = match sk {
        Some(sk) => sk.starts_with("KEY#"),
        None => return Err(unreadable("Keys")),
    };
    if !by_ttl || !is_key {
        return Ok(());
    }
    let image = record["dynamodb"]["OldImage"]
        .as_object()
        .ok_or_else(|| unreadable("OldImage"))?;
    if !image.contains_key("hash") {
        // The end of the history itself.
        return Ok(());
    }
    let key = key_from_image(image).map_err(StoreError::from)?;
    let (key_id, tenant_id, ttl) = (key.key_id, key.tenant_id.clone(), key.expires_at + history);
    if ttl > now {
        let archived = store.archive_key(key, ttl).await?;
        tracing::info!(key.id = %key_id, tenant.id = %tenant_id, outcome = ?archived, "expired");
        if archived == Archived::Now {
            metrics::count(Metric::KeyExpired);
        }
    }
    loop {
        let clusters = store.slots(&tenant_id, key_id, 100).await?;
        if clusters.is_empty() {
            return Ok(());
        }
        for cluster in clusters {
            store.release_slot(&tenant_id, key_id, &cluster).await?;
        }
    }
}

fn unreadable(what: &'static str) -> Error {
    Error::Store(StoreError::Item(crate::store::BadItem(what)))
}
