//! The DynamoDB table. Only this module knows its keys and attributes, and sends requests to it.
//!
//! - `schema` declares every kind of item.
//! - `table` sends the requests, and retries those that conflict with others.
//! - The other files contain the reads and writes, one file for each kind of resource.
//!
//! A key's own claims name its partition, so validations and the list of a user's keys need no index. The sparse index
//! `tenant` (`tenant_pk`, `tenant_sk`) tells the administrators' lists which keys and users there are. It may lag
//! slightly behind the table; all other reads are strongly consistent.

mod clusters;
mod handle;
mod join_tokens;
mod keys;
mod onboarding;
mod page;
mod repair;
mod schema;
mod stream;
mod table;
mod users;

pub(crate) use clusters::Deletion;
pub use handle::Store;
pub(crate) use join_tokens::Redeemed;
pub(crate) use keys::{Archived, IDEMPOTENCY_LIFETIME, Idempotency, Issued, Revoked};
pub(crate) use onboarding::{Onboarding, OnboardingState, Slot};
pub(crate) use page::Page;
pub use page::{List, Position};
pub(crate) use repair::FalseHolders;
pub(crate) use schema::EarlierRequest;
pub use stream::StreamRecord;
pub(crate) use table::Attempts;
pub use table::StoreError;
pub(crate) use users::UserWritten;
