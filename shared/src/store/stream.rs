//! The table's stream, as Lambda delivers it.

use serde::Deserialize;

use super::{
    schema::{BadItem, Item, KeyItem, KeySk, is_kind, read},
    table::StoreError,
};
use crate::model::KeyRecord;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRecord {
    event_name: String,
    user_identity: Option<UserIdentity>,
    dynamodb: Change,
}

/// Lambda's events spell its members in lower camel case, and the API `GetRecords`, from which an operator replays
/// records, in upper camel case.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UserIdentity {
    #[serde(alias = "Type")]
    r#type: String,
    #[serde(rename = "principalId", alias = "PrincipalId")]
    principal_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    keys: serde_dynamo::Item,
    old_image: Option<serde_dynamo::Item>,
}

impl StreamRecord {
    /// The expired key that TTL has removed. `None` if the record is about any other change.
    ///
    /// # Errors
    /// When the record does not contain the whole key.
    pub(crate) fn into_expired_key(self) -> Result<Option<KeyRecord>, StoreError> {
        let by_ttl = self.event_name == "REMOVE"
            && self.user_identity.is_some_and(|identity| {
                identity.r#type == "Service" && identity.principal_id == "dynamodb.amazonaws.com"
            });
        let keys = Item::from(self.dynamodb.keys);
        if !keys.contains_key("sk") {
            return Err(missing("sort key").into());
        }
        if !by_ttl || !is_kind(&keys, KeySk::PREFIX) {
            return Ok(None);
        }
        let image = self.dynamodb.old_image.ok_or_else(|| missing("OldImage"))?;
        let image = Item::from(image);
        if !image.contains_key("hash") {
            // TTL has removed the key's history, not the key.
            return Ok(None);
        }
        Ok(Some(read::<KeyItem, _>(image)?))
    }
}

fn missing(part: &str) -> BadItem {
    BadItem::new("of a", "stream record", format_args!("no {part}"))
}
