//! Access keys for a multi-tenant SaaS.
//!
//! A key is a JWT that AWS KMS signed and that nobody stores: the table keeps its SHA-256. A key is accepted only if its
//! signature verifies **and** its record is live, and it is never worth more than its owner is worth now.
//!
//! # Layers
//!
//! A layer uses the layers below it, and never one above.
//!
//! | Layer | What lives there |
//! | --- | --- |
//! | [`accuknox`] | AccuKnox's wire protocol: bodies, shapes, errors. Used by the functions `onboard` and `clusters` |
//! | [`http`] | requests and answers: callers, bodies, queries, views, problem JSON, the loop that serves them |
//! | [`service`] | the use cases, one file for each subject |
//! | [`policy`] | who may do what, and what a key is worth now |
//! | [`store`] | the DynamoDB table: its schema, and every request to it |
//! | [`token`] | the key as a token: format, public keys, KMS |
//! | [`process`] | settings, AWS clients, logs, metrics, clock |
//! | [`model`] | plain types |
//!
//! # One request
//!
//! `POST /v1/access-keys/validate` with a key:
//!
//! 1. `functions/validate` gets the event from [`http::serve()`], and reads it with [`http::requests::presented_key`].
//! 2. [`service::validate_key`] verifies the key with [`token::AccessKey::verify`], which needs no I/O.
//! 3. It reads the key's record and owner in one request, by `store/keys.rs`, whose items `store/schema.rs` declares.
//! 4. [`policy::evaluate`] decides what the key is worth now.
//! 5. [`http::views::ValidationView`] is the answer.
//!
//! # Invariants
//!
//! `tests/layers` checks them in the source:
//!
//! - Nothing below [`http`] names `lambda_http` or `serde_json::Value`.
//! - Nothing outside [`store`] contains a table key.
//! - [`policy`] uses only [`model`] and [`token`], and does no I/O.
//! - There is no import cycle.
//! - Functions use only [`http`], [`service`], [`accuknox`], [`model`] and [`process`].

pub mod accuknox;
pub mod http;
pub mod model;
pub mod policy;
pub mod process;
pub mod service;
pub mod store;
pub mod token;
