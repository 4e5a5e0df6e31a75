//! AccuKnox's wire protocol: three calls that the clients of the AccuKnox CNAPP make to onboard clusters and nodes.
//!
//! Those clients work unchanged, so paths, bodies and errors here are theirs. Unknown fields are ignored, and errors are
//! two strings that the clients print.

pub mod errors;
pub mod lists;
pub mod process;

pub use errors::render_error;
