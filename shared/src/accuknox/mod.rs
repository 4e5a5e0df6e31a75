//! AccuKnox's wire protocol: three calls that the clients of the AccuKnox CNAPP make to onboard clusters and nodes.
//!
//! `process` onboards, `lists` has the two lists, and `errors` has the envelope for errors. The clients work unchanged, so
//! paths, bodies and errors here are theirs. Unknown fields are ignored, and errors are two strings that the clients print.

pub mod errors;
pub mod lists;
pub mod process;

pub use errors::render_error;
