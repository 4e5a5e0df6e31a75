//! Access keys for a multi-tenant SaaS.
//!
//! A key is a JWT that AWS KMS signed and that nobody stores: the table keeps its SHA-256. To pass, a key needs a
//! valid signature *and* a live record, and it is never worth more than its owner is worth now.
//!
//! | Module | What lives there |
//! | --- | --- |
//! | [`id`], [`name`], [`role`] | the types that cannot be mixed up, and what a role may do |
//! | [`key`], [`keyring`], [`signer`] | the key: format and parser, public keys, KMS |
//! | [`record`], [`store`] | what the table keeps, and every request made to it |
//! | [`operations`] | one function per thing that can be asked |
//! | [`caller`], [`edge`], [`input`], [`error`] | the HTTP edge: who calls, what they sent, what they are told |
//! | [`config`], [`aws`], [`clock`], [`telemetry`], [`metrics`] | the process: settings, clients, time, logs, metrics |

#![warn(missing_docs)]

pub mod aws;
pub mod caller;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod cursor;
pub mod edge;
pub mod error;
pub mod id;
pub mod input;
pub mod join;
pub mod key;
pub mod keyring;
pub mod metrics;
pub mod name;
pub mod operations;
pub mod record;
pub mod role;
pub mod signer;
pub mod store;
pub mod telemetry;
