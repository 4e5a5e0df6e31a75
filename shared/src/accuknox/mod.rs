//! AccuKnox's wire protocol: the three calls that clients of AccuKnox CNAPP use to onboard clusters and nodes, and to
//! list them.
//!
//! `process` contains the request and response for onboarding, and `lists` contains those for the two lists. `errors`
//! contains the error format: two strings that the clients print. The paths and bodies follow AccuKnox's format, so
//! that its clients work unchanged. Unknown fields in requests are ignored.

pub mod errors;
pub mod lists;
pub mod process;

pub use errors::render_error;
