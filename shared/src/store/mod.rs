//! The DynamoDB table. Only this module names the table's keys and attributes and sends requests to the table.
//!
//! - `schema` declares every kind of item.
//! - `table` sends the requests and retries those that conflict with others.
//! - The other files contain the reads and writes, one file per kind of resource.
//!
//! A key is stored in its owner's partition, and its claims contain the tenant and the owner. Validations and the list
//! of a user's keys therefore need no index. For administrators, the sparse index `tenant` (`tenant_pk`, `tenant_sk`)
//! lists the keys and users of a tenant. The index `target` lists the audit entries about a key, user or cluster. The
//! index `due` lists the keys that `notify` must check. The indexes may lag slightly behind the table. All reads that
//! do not use an index are strongly consistent.

mod audit;
mod clusters;
mod handle;
mod join_tokens;
mod keys;
mod node_quota;
mod notices;
mod onboarding;
mod page;
mod repair;
mod schema;
mod stream;
mod table;
mod users;

pub(crate) use audit::PendingEntry;
pub(crate) use clusters::Deletion;
pub use handle::Store;
pub(crate) use join_tokens::Redeemed;
pub(crate) use keys::{Archived, IDEMPOTENCY_LIFETIME, Idempotency, Issued, Quota, Revoked};
pub(crate) use onboarding::{Onboarded, Onboarding, OnboardingState, Slot};
pub(crate) use page::Page;
pub use page::{List, Position};
pub(crate) use repair::FalseHolders;
pub(crate) use schema::{DueKey, EarlierRequest};
pub(crate) use stream::Outgoing;
pub use stream::StreamRecord;
pub(crate) use table::Attempts;
pub use table::StoreError;
pub(crate) use users::UserWritten;
