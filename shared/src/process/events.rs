//! The values of the log field `event.name`. Each value consists of a kind of entity and what happened to such an
//! entity.
//!
//! Log queries filter by these names rather than by log messages, which may change. `tests/contract` checks that the
//! queries in `infra` use only names from this list, and that each name is logged somewhere.

/// A key was created.
pub const ACCESS_KEY_CREATED: &str = "access-key.created";
/// The unused secret of a key was replaced, because a request was repeated with the same `Idempotency-Key`.
pub const ACCESS_KEY_REISSUED: &str = "access-key.reissued";
/// A key was rotated by a user or by its holder.
pub const ACCESS_KEY_ROTATED: &str = "access-key.rotated";
/// A secret that a rotation had replaced was refused.
pub const ACCESS_KEY_SUPERSEDED: &str = "access-key.superseded-refused";
/// A key was revoked by a user, by its holder or by the system.
pub const ACCESS_KEY_REVOKED: &str = "access-key.revoked";
/// The authorizer refused a key.
pub const ACCESS_KEY_REFUSED: &str = "access-key.refused";
/// A key's name, labels, expiry or cluster limit was changed.
pub const ACCESS_KEY_CHANGED: &str = "access-key.changed";
/// TTL removed an expired key, and the key's history is now in the table.
pub const ACCESS_KEY_ARCHIVED: &str = "access-key.archived";
/// All of a user's keys were revoked with one write.
pub const USER_KEYS_REVOKED: &str = "user.keys-revoked";
/// A user was provisioned, changed or deleted.
pub const USER_CHANGED: &str = "user.changed";
/// A key onboarded a cluster or a node, for the first time or again.
pub const CLUSTER_ONBOARDED: &str = "cluster.onboarded";
pub const CLUSTER_DELETED: &str = "cluster.deleted";
/// A join token that had already been redeemed was presented again.
pub const JOIN_TOKEN_REPLAYED: &str = "join-token.replayed";
/// An audit entry is waiting in another item, because it could not be written together with the change that it records.
pub const AUDIT_ENTRY_PENDING: &str = "audit-entry.pending";
/// A list left out an item that cannot be read.
pub const ITEM_UNREADABLE: &str = "item.unreadable";
/// A tenant's events of a given period were sent again.
pub const EVENTS_REPUBLISHED: &str = "events.republished";
/// A repair checked a tenant's items.
pub const TENANT_REPAIRED: &str = "tenant.repaired";
