//! The HTTP layer turns requests into calls to [`crate::service`], and turns the results into responses. In this crate,
//! only this layer and [`crate::accuknox`] use `lambda_http`.

mod answer;
pub mod batch;
pub mod body;
mod caller;
mod cursor;
mod error;
mod event;
mod oidc;
pub mod path;
mod problem;
pub mod query;
pub mod requests;
mod serve;
pub mod views;

pub use answer::{allowed, json, no_body, no_content, public_json, public_options};
pub use caller::{
    actor, back_end, bearer_key, calling_key, key_or_person, origin, require_tenant,
    required_bearer_key, tenant, within_named_tenant,
};
pub use error::Error;
pub use event::AuthorizerEvent;
pub use oidc::IdentityProvider;
pub use problem::{Problem, problem_json};
pub use serve::{route, serve};
