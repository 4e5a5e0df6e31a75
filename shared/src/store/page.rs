//! Pages of lists.

use serde::de::DeserializeOwned;

use super::{
    schema::{
        BadItem, ClusterSk, IndexedKeysPk, IndexedUsersPk, Item, KeySk, PrimaryKey, SearchSk,
        readable, sort_key,
    },
    table::{Query, StoreError, Table},
};
use crate::model::{Cluster, KeyId, KeyRecord, TenantId, UserId};

/// Part of a list, in order.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// How many items were left out because they are damaged.
    pub skipped: usize,
    /// The position after the last item that was read; `None` at the end of the list.
    pub next: Option<Position>,
}

/// A list that clients read page by page. Each list has its own kind of position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    UserKeys,
    TenantKeys,
    Users,
    /// The users that a search finds.
    FoundUsers,
    Clusters,
    /// The entries in the audit trail, either of all targets or of a single one.
    AuditTrail,
}

/// A position in a list, directly after an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position(pub(crate) String);

impl Position {
    /// Parses a position that a client sent. Returns `None` if no item of the list could be at this position: DynamoDB
    /// would reject a start key that the query could never return. The item itself need not exist.
    pub(crate) fn parse(text: &str, list: List) -> Option<Self> {
        let is_valid = match list {
            List::UserKeys => text.parse::<KeySk>().is_ok(),
            List::TenantKeys => parse_tenant_key(text).is_some(),
            List::Users => text.parse::<UserId>().is_ok(),
            List::FoundUsers => text.parse::<SearchSk>().is_ok(),
            List::Clusters => text.parse::<ClusterSk>().is_ok(),
            List::AuditTrail => Self::is_in_audit_trail(text),
        };
        is_valid.then(|| Self(text.to_owned()))
    }

    /// Returns the position after a key in the list of a user's keys.
    pub(crate) fn after_key(key: &KeyRecord) -> Self {
        let key = key.key_id;
        Self(KeySk { key }.to_string())
    }

    /// Returns the position after a key in the list of a tenant's keys.
    pub(crate) fn after_tenant_key(user: &UserId, key: KeyId) -> Self {
        Self(format!("{user}#{key}"))
    }

    /// Returns the position after a user in the list of a tenant's users.
    pub(crate) fn after_user(user: &UserId) -> Self {
        Self(user.to_string())
    }

    /// Returns the position after a user whom a search found by `word`.
    pub(crate) fn after_found(word: &str, user: &UserId) -> Self {
        let (word, user) = (word.to_owned(), user.clone());
        Self(SearchSk { word, user }.to_string())
    }

    /// Whether this is the position of a user who was found by a word that begins with `prefix`.
    pub(crate) fn is_found_by(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix)
    }

    /// Returns the position after a cluster in the list of a tenant's clusters.
    pub(crate) fn after_cluster(cluster: &Cluster) -> Self {
        let cluster = cluster.name.clone();
        Self(ClusterSk { cluster }.to_string())
    }

    /// Returns the key after which a query of a partition continues.
    pub(super) fn in_partition(&self, pk: &impl ToString) -> Item {
        PrimaryKey::new(pk, &self.0).0
    }

    /// Returns the key after which a query of the tenant's access keys continues, or `None` for a position in another
    /// list.
    pub(super) fn in_tenant_keys(&self, tenant: &TenantId) -> Option<Item> {
        let (user, key) = parse_tenant_key(&self.0)?;
        let partition = IndexedKeysPk {
            tenant: tenant.clone(),
        };
        let item = PrimaryKey::key(tenant, &user, key);
        Some(item.in_index("tenant", &partition, &key))
    }

    /// Returns the key after which a query of the tenant's users continues, or `None` for a position in another list.
    pub(super) fn in_tenant_users(&self, tenant: &TenantId) -> Option<Item> {
        let user: UserId = self.0.parse().ok()?;
        let partition = IndexedUsersPk {
            tenant: tenant.clone(),
        };
        Some(PrimaryKey::user(tenant, &user).in_index("tenant", &partition, &user))
    }
}

fn parse_tenant_key(text: &str) -> Option<(UserId, KeyId)> {
    let (user, key) = text.rsplit_once('#')?;
    Some((user.parse().ok()?, key.parse().ok()?))
}

impl Table {
    /// Returns the entries of one page of an index, without the damaged ones, and whether there are more entries. If
    /// there are more, the page contains at least one entry, so that the next page can continue after it.
    pub async fn entries<I, R>(&self, mut query: Query) -> Result<(Vec<R>, bool), StoreError>
    where
        I: DeserializeOwned,
        R: TryFrom<I>,
        BadItem: From<R::Error>,
    {
        loop {
            let (items, last) = self.query(query.clone()).await?;
            let entries: Vec<R> = readable::<I, R>(items).collect();
            if !entries.is_empty() || last.is_none() {
                return Ok((entries, last.is_some()));
            }
            query.after = last;
        }
    }

    /// Returns one page of a query's results, converted to records. Leaves out damaged items.
    pub async fn page<I, R>(&self, query: Query) -> Result<Page<R>, StoreError>
    where
        I: DeserializeOwned,
        R: TryFrom<I>,
        BadItem: From<R::Error>,
    {
        let (items, last) = self.query(query).await?;
        let next = last.map(|key| Position(sort_key(&key).to_owned()));
        let read = items.len();
        let items: Vec<R> = readable::<I, R>(items).collect();
        Ok(Page {
            skipped: read - items.len(),
            items,
            next,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        ClusterNumber, ClusterType, Role,
        fixtures::{self, NOW},
    };

    const LISTS: [List; 6] = [
        List::UserKeys,
        List::TenantKeys,
        List::Users,
        List::FoundUsers,
        List::Clusters,
        List::AuditTrail,
    ];

    #[test]
    fn a_position_that_a_list_returned_continues_that_list() {
        let user = fixtures::user("auth0|editor@acme.example", Role::Editor);
        let key = fixtures::key(&user, [7; 32].into());
        let cluster = Cluster {
            tenant_id: user.tenant_id.clone(),
            name: "prod".parse().unwrap(),
            number: ClusterNumber::generate().unwrap(),
            kind: ClusterType::K8s,
            key_id: key.key_id,
            holders: [key.key_id].into(),
            deleting: None,
            deleting_by: None,
            created_at: NOW,
            last_seen_at: NOW,
        };
        let positions = [
            Position::after_key(&key),
            Position::after_tenant_key(&key.user_id, key.key_id),
            Position::after_user(&user.user_id),
            Position::after_found("ann", &user.user_id),
            Position::after_cluster(&cluster),
            Position::before(NOW),
        ];
        for (position, list) in positions.iter().zip(LISTS) {
            for other in LISTS {
                // A user can have any id, and a word can be KEY or CLUSTER. In these cases, only the checksum of the
                // cursor tells the lists apart.
                let is_ambiguous = match other {
                    List::Users => true,
                    List::FoundUsers => [List::UserKeys, List::Clusters].contains(&list),
                    _ => (list, other) == (List::UserKeys, List::TenantKeys),
                };
                let is_accepted = Position::parse(&position.0, other).is_some();
                assert_eq!(is_accepted, other == list || is_ambiguous, "{position:?}");
            }
        }
    }

    #[test]
    fn a_position_that_no_item_can_have_is_refused() {
        const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
        for text in [
            String::new(),
            "KEY".into(),
            "KEY#".into(),
            "KEY#x".into(),
            format!("KEY#{}", KEY.to_uppercase()),
            format!("KEY#{KEY}#"),
            format!(" KEY#{KEY}"),
            format!("#{KEY}"),
            format!("editor#{KEY}\0"),
            " a".into(),
            "u".repeat(256),
            "CLUSTER#".into(),
            "CLUSTER#..".into(),
            "NODE#1".into(),
            format!("CLUSTER#{}", "c".repeat(254)),
        ] {
            for list in LISTS {
                let is_possible = match list {
                    List::Users => text.parse::<UserId>().is_ok(),
                    List::FoundUsers => {
                        ["KEY#", "CLUSTER#", "NODE#", "editor#"].iter().any(|word| {
                            let user = text.strip_prefix(word);
                            user.is_some_and(|user| user.parse::<UserId>().is_ok())
                        })
                    }
                    _ => false,
                };
                let position = Position::parse(&text, list);
                assert_eq!(position.is_some(), is_possible, "{text:?} in {list:?}");
            }
        }
    }
}
