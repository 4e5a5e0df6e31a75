//! The domain types, which do no I/O and do not depend on HTTP, DynamoDB or KMS.

mod access_key;
mod actor;
mod audit;
mod cluster;
#[cfg(test)]
pub(crate) mod fixtures;
mod id;
mod join_token;
mod labels;
mod name;
mod origin;
mod principal;
mod revocation;
mod role;
mod search;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod user;

pub use access_key::{
    KeyHash, KeyRecord, KeySnapshot, KeyStatus, MOST_CLUSTERS, PreviousSecret, Secret, TokenIssuer,
};
pub use actor::{Actor, Caller, Identity};
pub use audit::{
    Action, AuditEntry, Change, EntryId, FieldValue, Happening, SupersededUse, Target, TargetKind,
};
pub use cluster::{Cluster, ClusterType, Liveness, Node, NodeQuota};
pub use id::{
    ClusterName, ClusterNumber, InvalidId, KeyId, NodeName, NodeNumber, Redemption, TenantId,
    UserId,
};
pub use join_token::{JoinToken, JoinTokenRecord};
pub use labels::Labels;
pub use name::{InvalidName, Name};
pub use origin::Origin;
pub use principal::{Principal, PrincipalKind};
pub use revocation::Revocation;
pub use role::{Permission, Permissions, Required, Role, UnknownName};
pub use search::{LONGEST_WORD, begin_words, words};
pub use text::is_plain;
pub use time::Timestamp;
pub use user::{Epoch, EpochEnd, Person, User, UserStatus, is_email};
