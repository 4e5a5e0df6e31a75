//! AccuKnox's wire protocol: the three calls with which clients of AccuKnox CNAPP onboard clusters and nodes, and list
//! them.
//!
//! `process` onboards, `lists` has the two lists, and `errors` has the envelope for errors. The clients work unchanged,
//! so the paths, bodies and errors here follow their format. Unknown fields are ignored. An error consists of two strings,
//! which the clients print.

pub mod errors;
pub mod lists;
pub mod process;

pub use errors::render_error;
