//! The table's stream, as Lambda delivers it.

use serde::Deserialize;

use super::{
    audit::{PENDING, PendingEntry},
    schema::{AuditItem, AuditPk, BadItem, Item, KeyItem, KeySk, is_kind, partition_key, read},
    table::StoreError,
};
use crate::model::{Happening, KeyRecord, SupersededUse};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRecord {
    event_name: String,
    user_identity: Option<UserIdentity>,
    dynamodb: Change,
}

/// Lambda's events have member names in lower camel case. Operators replay records with the API operation `GetRecords`,
/// which returns member names in upper camel case.
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
    new_image: Option<serde_dynamo::Item>,
}

/// What a stream record contributes to the events and to the audit trail.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub event: Option<Happening>,
    /// An audit entry that is stored in another item until it is added to the audit trail, because it could not be
    /// written to the trail together with the change that it records.
    pub pending: Option<PendingEntry>,
}

impl StreamRecord {
    /// # Errors
    /// When the record contains an incomplete entry or a damaged key.
    pub(crate) fn into_outgoing(self) -> Result<Outgoing, StoreError> {
        let keys = Item::from(self.dynamodb.keys);
        let image = self.dynamodb.new_image.map(Item::from);
        let old = self.dynamodb.old_image.map(Item::from);
        if partition_key(&keys).parse::<AuditPk>().is_ok() {
            return match image {
                _ if self.event_name != "INSERT" => Ok(Outgoing::default()),
                None => Err(missing("NewImage").into()),
                Some(image) => Ok(Outgoing {
                    event: Some(Happening::Entry(read::<AuditItem, _>(image)?)),
                    pending: None,
                }),
            };
        }
        let Some(mut image) = image else {
            return Ok(Outgoing::default());
        };
        let pending = image.remove(PENDING);
        let pending = pending.map(|entry| PendingEntry::read(&keys, entry));
        let key = is_first_superseded_use(old.as_ref(), &image)
            .then(|| read::<KeyItem, KeyRecord>(image))
            .transpose()?;
        let used = key.as_ref().and_then(SupersededUse::of);
        Ok(Outgoing {
            event: used.map(Happening::SupersededUse),
            pending: pending.transpose()?,
        })
    }

    /// Returns the expired key that TTL has removed, or `None` if the record describes any other change.
    ///
    /// # Errors
    /// Fails if the record does not contain the complete key.
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

/// Whether a change records the first use of a superseded secret. A rotation removes `previous_used_at`, and the first
/// use of the superseded secret adds it.
fn is_first_superseded_use(old: Option<&Item>, new: &Item) -> bool {
    let is_recorded = |item: &Item| item.contains_key("previous_used_at");
    is_kind(new, KeySk::PREFIX) && is_recorded(new) && old.is_some_and(|old| !is_recorded(old))
}

fn missing(part: &str) -> BadItem {
    BadItem::new("of a", "stream record", format_args!("no {part}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_dynamodb::types::AttributeValue;

    use super::{
        super::schema::{PrimaryKey, to_item},
        *,
    };
    use crate::model::{
        Action, AuditEntry, Origin, PreviousSecret, Principal, Role, Target, Timestamp,
        fixtures::{self, NOW, at},
    };

    #[test]
    fn a_record_can_contain_a_waiting_entry_and_the_first_use_of_a_replaced_secret() {
        let owner = fixtures::user("ann", Role::Editor);
        let key = fixtures::key(&owner, [2; 32].into());
        let about = (
            Action::AccessKeyRevoked,
            Target::key(key.key_id, &key.user_id),
        );
        let (by, origin) = (Principal::system(), Origin::default());
        let entry = AuditEntry::new(&key.tenant_id, by, &origin, about, NOW);
        let entry = to_item(&AuditItem::new(&entry, Duration::from_secs(86_400)));
        let image = |used_at: Option<Timestamp>| {
            let previous = PreviousSecret {
                hash: Some([1; 32].into()),
                generation: 0,
                ends_at: at(100),
                used_at,
            };
            let key = KeyRecord {
                generation: 1,
                previous: Some(previous),
                ..key.clone()
            };
            let mut item = to_item(&KeyItem::new(&key, key.expires_at));
            item.insert(PENDING.into(), AttributeValue::M(entry.clone()));
            Some(item.into())
        };
        let PrimaryKey(keys) = PrimaryKey::key(&key.tenant_id, &key.user_id, key.key_id);
        let record = StreamRecord {
            event_name: "MODIFY".into(),
            user_identity: None,
            dynamodb: Change {
                keys: keys.into(),
                old_image: image(None),
                new_image: image(Some(NOW)),
            },
        };
        let outgoing = record.into_outgoing().unwrap();
        assert!(matches!(
            outgoing.event,
            Some(Happening::SupersededUse(used)) if used.generation == 0
        ));
        assert!(outgoing.pending.is_some());
    }
}
