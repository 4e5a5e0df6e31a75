//! The DynamoDB table. Only this module knows its keys and attributes, and sends it requests.
//!
//! - `schema` declares every kind of item.
//! - `table` sends the requests, and repeats those that meet others.
//! - The other files hold the reads and writes, one file for each noun.
//!
//! A key's own claims name its partition, so validations and a user's list are strongly consistent without an index.
//! The sparse index `tenant` (`tenant_pk`, `tenant_sk`) serves the administrators' lists.

mod clusters;
mod handle;
mod join_tokens;
mod keys;
mod onboarding;
mod page;
mod schema;
mod stream;
mod table;
mod users;

pub(crate) use clusters::Deletion;
pub use handle::Store;
pub(crate) use keys::{Archived, Idempotency, Issued, Revoked};
pub(crate) use onboarding::{Onboarding, OnboardingState, Slot};
pub(crate) use page::Page;
pub use page::Position;
pub(crate) use schema::EarlierRequest;
pub use stream::StreamRecord;
pub(crate) use table::Attempts;
pub use table::StoreError;
pub(crate) use users::UserWritten;
