//! AccuKnox's wire protocol: the three calls with which clients of AccuKnox CNAPP onboard clusters and nodes, and list
//! them.
//!
//! `process` has the request and response of onboarding, `lists` those of the two lists, and `errors` the envelope for
//! errors: two strings, which the clients print. The clients work unchanged, so the paths and bodies here follow their
//! format. Unknown fields are ignored.

pub mod errors;
pub mod lists;
pub mod process;

pub use errors::render_error;
