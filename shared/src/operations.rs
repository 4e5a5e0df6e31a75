//! One function per thing that can be asked. Each reads top to bottom: the rules first, then the table.

pub mod cleanup;
pub mod clusters;
pub mod create;
pub mod directory;
pub mod list;
pub mod onboard;
pub mod revoke;
pub mod validate;
