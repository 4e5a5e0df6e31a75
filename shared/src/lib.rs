//! Access keys for a multi-tenant SaaS.
//!
//! A key is a JWT signed by AWS KMS. The key itself is never stored: the table contains only its SHA-256. A key is
//! accepted only if its signature verifies **and** its record is live, and a key never permits more than its owner may
//! currently do.
//!
//! # Layers
//!
//! A layer uses only the layers below it.
//!
//! | Layer | Contents |
//! | --- | --- |
//! | [`accuknox`] | AccuKnox's wire protocol: bodies, shapes, errors. Used by the functions `onboard` and `clusters` |
//! | [`http`] | requests and responses: callers, bodies, queries, views, problem JSON, and the loop that serves them |
//! | [`service`] | the use cases, one file for each subject |
//! | [`policy`] | authorization: what users and keys may do |
//! | [`store`] | the DynamoDB table: its schema, and every request to it |
//! | [`token`] | access keys as tokens: format, public keys, KMS |
//! | [`bus`] | the event bus: every request to EventBridge |
//! | [`process`] | settings, AWS clients, logs, metrics, clock |
//! | [`model`] | domain types |
//!
//! # One request
//!
//! `POST /v1/access-keys/validate` with a key:
//!
//! 1. `functions/validate` receives the request from [`http::serve()`] and parses it with
//!    [`http::requests::validate_key`].
//! 2. [`service::validate_key`] verifies the key with [`token::AccessKey::verify`], without I/O.
//! 3. The service reads the records of the key and of its owner in one request through `store/keys.rs`.
//!    `store/schema.rs` declares the items.
//! 4. [`policy::evaluate`] decides what the key permits now.
//! 5. [`http::views::ValidationView`] renders the response.
//!
//! # Invariants
//!
//! `tests/layers` checks these rules in the source:
//!
//! - No layer below [`http`] uses `lambda_http` or, outside tests, `serde_json::Value`.
//! - Only [`store`] contains table keys.
//! - Only [`store`] uses DynamoDB, only [`token`] uses KMS, and only [`bus`] uses EventBridge.
//! - [`policy`] uses only [`model`] and [`token`], and does no I/O.
//! - Imports have no cycles.
//! - Functions use only [`http`], [`service`], [`model`] and [`process`]; `onboard` and `clusters` also use
//!   [`accuknox`].

pub mod accuknox;
pub mod bus;
pub mod http;
pub mod model;
pub mod policy;
pub mod process;
pub mod service;
pub mod store;
pub mod token;
