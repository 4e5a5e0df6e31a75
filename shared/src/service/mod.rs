//! The use cases, one file per subject. They do not depend on HTTP.
//!
//! A use case that a person calls takes the person's `&Actor` as its first argument. It loads what it needs, asks
//! [`crate::policy`] whether the actor may proceed, and then writes. Use cases for clusters take a [`Viewer`] instead,
//! which is a person or a key. Use cases that a key calls for itself, or that the system runs on its own, take neither
//! an actor nor a viewer.
//!
//! A use case fails with [`Error::NotFound`] or [`Error::Forbidden`] when the resource does not exist or the policy
//! denies the request, and with [`Error::Store`] or [`Error::Kms`] when a request to AWS fails. An `# Errors` section
//! lists only reasons other than these.

mod archive_expired_key;
mod audit;
mod clusters;
mod create_key;
mod error;
mod join_tokens;
mod key_service;
mod list_keys;
mod notices;
mod onboard_cluster;
mod page;
mod publish_entries;
mod repair;
mod republish;
mod revoke_key;
mod revoke_matching;
mod rotate_key;
mod update_key;
mod users;
mod validate_key;
mod validation_cache;

pub use archive_expired_key::archive_expired_key;
pub use audit::{AuditFilter, list_audit_trail};
pub use clusters::{
    ClusterFilter, MOST_CLUSTERS_READ, Viewer, all_clusters, delete_cluster, get_cluster,
    list_clusters, list_nodes,
};
pub use create_key::{Expiry, KeyRequest, create_key};
pub use error::{Error, FieldError};
pub use join_tokens::{RedeemRequest, redeem_join_token};
pub use key_service::{KeyService, PublishedKeys, table};
pub use list_keys::{Horizon, KeyFilter, KeySearch, get_key, list_tenant_keys, list_user_keys};
pub use notices::{NoticeReport, write_notices};
pub use onboard_cluster::{Joined, Joining, onboard_cluster};
pub use page::{Listing, PageRequest};
pub use publish_entries::{PublishError, publish_entries};
pub use repair::{RepairReport, RepairRequest, RepairStep, repair_tenant};
pub use republish::{Republication, RepublishReport, republish};
pub use revoke_key::{revoke_all_keys, revoke_key, revoke_presented_key};
pub use revoke_matching::{
    Matching, RevokeMatchingReport, RevokeMatchingRequest, revoke_matching_keys,
};
pub use rotate_key::{RotateRequest, rotate_key, rotate_presented_key};
pub use update_key::{KeyChange, change_key};
pub use users::{
    UserChange, UserFilter, change_user, delete_user, get_user, list_users, provision_user,
};
pub use validate_key::{
    ValidateRequest, Validation, count_validation, get_calling_key, validate_key,
};
pub use validation_cache::ValidationCache;

pub use crate::{
    bus::Bus,
    store::{List, Position, Store, StreamRecord},
};
