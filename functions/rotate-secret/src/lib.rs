//! Rotates an access key that is stored in AWS Secrets Manager. The access key must have `self_rotate`, because the
//! function has no other credential for access-keys.
//!
//! Secrets Manager invokes the function for each step of a rotation, always with the same `ClientRequestToken`. If a
//! step fails, Secrets Manager starts again with the first step, so every step must be safe to repeat. These are the
//! steps:
//!
//! 1. `createSecret` rotates the key in `AWSCURRENT` and stores the new secret in the version whose id is
//!    `ClientRequestToken`, with the label `AWSPENDING`. The token is also the `Idempotency-Key` of the request. If the
//!    new secret is lost before it is stored, nobody has used it, so the service replaces it when the request is
//!    repeated.
//! 2. `setSecret` does nothing, because the service itself created the new secret and already accepts it.
//! 3. `testSecret` validates the pending secret. If overlapping runs of `createSecret` have stored a secret that the
//!    service has since replaced, this step makes the newest secret `AWSCURRENT` and ends the rotation.
//! 4. `finishSecret` moves the label `AWSCURRENT` to the pending version.
//!
//! Until the overlap ends, the service also accepts the replaced secret.

mod api;
mod key;
mod secret;

use std::error::Error as StdError;

use access_keys::process::{config::Environment, telemetry};
use aws_sdk_secretsmanager::Client;
use http::StatusCode;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    api::{Api, Overlap},
    key::Key,
    secret::{CURRENT, NEWEST, PENDING, Secret, Stored},
};

pub struct App {
    api: Api,
    client: Client,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            api: Api::read(environment),
            client: secret::client(environment),
        }
    }
}

/// The refusal code for a secret that the service does not recognize.
const INVALID: &str = "invalid";

const RUNBOOK: &str = "see \"Keys in Secrets Manager\" in the runbook";

/// Why a step failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("this is not an event of a rotation: let Secrets Manager invoke the function")]
    InvalidEvent,
    #[error("the secret has no rotation: turn it on")]
    RotationDisabled,
    #[error("the version of this rotation is not {PENDING}: {RUNBOOK}")]
    NotPending,
    #[error("{0} of Secrets Manager fails: check the permissions of the function")]
    SecretsManager(&'static str, #[source] Box<dyn StdError + Send + Sync>),
    #[error("the secret has no value with the label {0}: {RUNBOOK}")]
    NoValue(&'static str),
    #[error(
        "the value of {0} is not an access key: store the access key as plain text, without JSON"
    )]
    NotAKey(&'static str),
    #[error("SERVICE_URL cannot be reached: check the URL, and that access-keys is available")]
    Unreachable(#[source] Box<dyn StdError + Send + Sync>),
    #[error("SERVICE_URL responds with {0}: check the URL, and that access-keys is available")]
    Response(StatusCode),
    #[error(
        "the key was rotated at {}, so wait until {}, because another rotation would end the replaced secret, which \
         agents may still use. If the key has leaked, revoke it instead", .0.since, .0.until
    )]
    TooEarly(Overlap),
    #[error("the key cannot rotate itself ({0}): {RUNBOOK}")]
    Refused(String),
    #[error("the new secret of the key is refused ({0}): {RUNBOOK}")]
    Inactive(String),
    #[error(
        "two runs of createSecret have overlapped. {CURRENT} is now the newest secret of the key, and the next \
         rotation is possible after the overlap"
    )]
    Overlapped,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Step {
    #[serde(rename = "createSecret")]
    Create,
    #[serde(rename = "setSecret")]
    Set,
    #[serde(rename = "testSecret")]
    Test,
    #[serde(rename = "finishSecret")]
    Finish,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    step: Step,
    secret_id: String,
    /// The id of the secret version that the rotation creates.
    client_request_token: String,
}

/// Runs one step of a rotation.
///
/// # Errors
/// Fails if the step fails. Secrets Manager then starts again with `createSecret`.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<(), Diagnostic> {
    // The error from serde is dropped, because its message would quote the event.
    let Ok(event) = Event::deserialize(&event.payload) else {
        return Err(failure(&Error::InvalidEvent, None));
    };
    let done = app.run(&event).await;
    done.map_err(|error| failure(&error, Some(&event)))?;
    let Event {
        step,
        secret_id,
        client_request_token: version,
    } = event;
    tracing::info!(
        secret.id = secret_id,
        secret.version = version,
        rotation.step = format!("{step:?}"),
        "finished a step of a rotation"
    );
    Ok(())
}

/// Logs an error with its cause, and returns the error without the cause.
fn failure(error: &Error, event: Option<&Event>) -> Diagnostic {
    tracing::error!(
        secret.id = event.map(|event| event.secret_id.as_str()),
        secret.version = event.map(|event| event.client_request_token.as_str()),
        rotation.step = event.map(|event| format!("{:?}", event.step)),
        error.cause = telemetry::chain(error),
        "a step of a rotation failed"
    );
    Diagnostic {
        error_type: "RotationFailed".into(),
        error_message: error.to_string(),
    }
}

impl App {
    async fn run(&self, event: &Event) -> Result<(), Error> {
        let secret = Secret {
            client: &self.client,
            id: &event.secret_id,
        };
        let version = &event.client_request_token;
        let description = secret.describe().await?;
        if !description.is_rotation_enabled {
            return Err(Error::RotationDisabled);
        }
        if description.has(version, CURRENT) {
            return Ok(());
        }
        if !description.has(version, PENDING) {
            return Err(Error::NotPending);
        }
        match event.step {
            Step::Create => self.create(secret, version).await,
            Step::Set => Ok(()),
            Step::Test => self.test(secret, version).await,
            Step::Finish => {
                secret.key(PENDING, Some(version)).await?;
                let current = description.version_with(CURRENT);
                secret.move_label(CURRENT, current, Some(version)).await
            }
        }
    }

    /// Rotates the key and stores the new secret, unless an earlier run has already stored it.
    async fn create(&self, secret: Secret<'_>, version: &str) -> Result<(), Error> {
        if secret.find(PENDING, Some(version)).await?.is_some() {
            return Ok(());
        }
        let current = secret.key(CURRENT, None).await?;
        if let Some(overlap) = self.api.overlap(&current).await? {
            return Err(Error::TooEarly(overlap));
        }
        let new = match self.api.rotate(&current, version).await? {
            Ok(new) => new,
            Err(code) => {
                let newest = self.newest(secret, &current).await?;
                newest.ok_or(Error::Refused(code))?.key
            }
        };
        let stored = secret.put(Some(version), &new, &[PENDING, NEWEST]).await?;
        match stored {
            Some(_) => Ok(()),
            None => self.save_beside(secret, version, &new).await,
        }
    }

    /// Saves this run's secret if an overlapping run has already stored a different secret and the service has since
    /// replaced that secret. `testSecret` then finds this run's secret by the label [`NEWEST`].
    async fn save_beside(&self, secret: Secret<'_>, version: &str, new: &Key) -> Result<(), Error> {
        let stored = secret.key(PENDING, Some(version)).await?;
        match self.api.validate(&stored).await? {
            Err(code) if code == INVALID => secret.put(None, new, &[NEWEST]).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Returns the secret that an earlier run rotated to, if that secret is still the newest.
    async fn newest(&self, secret: Secret<'_>, current: &Key) -> Result<Option<Stored>, Error> {
        let newest = secret.find(NEWEST, None).await?;
        let Some(newest) = newest.filter(|newest| newest.key.replaces(current)) else {
            return Ok(None);
        };
        let validated = self.api.validate(&newest.key).await?;
        Ok(validated.is_ok().then_some(newest))
    }

    /// Validates the pending secret or, if there is none, the current secret. When the rotation schedule is changed
    /// without an immediate rotation, Secrets Manager runs only this step, with a version that may have no value.
    async fn test(&self, secret: Secret<'_>, version: &str) -> Result<(), Error> {
        let Some(pending) = secret.find(PENDING, Some(version)).await? else {
            let current = secret.key(CURRENT, None).await?;
            let validated = self.api.validate(&current).await?;
            return validated.map_err(Error::Inactive);
        };
        match self.api.validate(&pending.key).await? {
            Ok(()) => Ok(()),
            Err(code) if code == INVALID => self.replace(secret, version).await,
            Err(code) => Err(Error::Inactive(code)),
        }
    }

    /// Ends a rotation whose pending secret the service does not recognize. This happens if two runs of `createSecret`
    /// overlap: the second run makes the service replace the first run's secret, and only then does the first run store
    /// that secret. The value of a version never changes, so the pending version cannot receive the newest secret.
    /// Instead, another version, which contains the newest secret, becomes current.
    async fn replace(&self, secret: Secret<'_>, version: &str) -> Result<(), Error> {
        let current = secret.find(CURRENT, None).await?;
        let current = current.ok_or(Error::NoValue(CURRENT))?;
        // An earlier run may have moved `AWSCURRENT` and then failed before it removed `AWSPENDING`.
        if self.api.validate(&current.key).await?.is_err() {
            let newest = match self.newest(secret, &current.key).await? {
                Some(newest) => newest.version,
                None => self.reissue(secret, &current.key, version).await?,
            };
            let current = Some(&*current.version);
            secret.move_label(CURRENT, current, Some(&newest)).await?;
        }
        secret.move_label(PENDING, Some(version), None).await?;
        Err(Error::Overlapped)
    }

    /// Repeats the rotation, stores the new secret in a new version, and returns the id of that version. The secret is
    /// stored before it is validated, because validating it counts as a use, and the service does not replace a secret
    /// that has been used.
    async fn reissue(
        &self,
        secret: Secret<'_>,
        current: &Key,
        version: &str,
    ) -> Result<String, Error> {
        let rotated = self.api.rotate(current, version).await?;
        let new = rotated.map_err(Error::Inactive)?;
        let stored = secret.put(None, &new, &[NEWEST]).await?;
        let validated = self.api.validate(&new).await?;
        validated.map_err(Error::Inactive)?;
        stored.ok_or(Error::NoValue(NEWEST))
    }
}
