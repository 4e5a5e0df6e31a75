//! A secret in AWS Secrets Manager, and the staging labels of its versions.

use std::{collections::HashMap, error::Error as StdError, time::Duration};

use access_keys::process::config::Environment;
use aws_credential_types::Credentials;
use aws_sdk_secretsmanager::{
    Client,
    config::{BehaviorVersion, Config, Region, StalledStreamProtectionConfig},
    operation::{get_secret_value::GetSecretValueError, put_secret_value::PutSecretValueError},
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};

use crate::{Error, key::Key};

pub(crate) const CURRENT: &str = "AWSCURRENT";
pub(crate) const PENDING: &str = "AWSPENDING";
/// The label of the version that contains the key's newest secret. This label is attached together with `AWSPENDING`,
/// but cancelling a rotation removes only `AWSPENDING`. The next rotation can therefore find the secret by this label.
pub(crate) const NEWEST: &str = "ACCESSKEYNEWEST";

/// Builds the client from the environment variables that Lambda sets, and from `AWS_ENDPOINT_URL_SECRETS_MANAGER` or
/// `AWS_ENDPOINT_URL`, which are set only if another service stands in for AWS.
pub(crate) fn client(environment: &mut Environment<'_>) -> Client {
    let credentials = Credentials::new(
        environment.required("AWS_ACCESS_KEY_ID"),
        environment.required("AWS_SECRET_ACCESS_KEY"),
        environment.optional("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    let endpoint = environment
        .optional("AWS_ENDPOINT_URL_SECRETS_MANAGER")
        .or_else(|| environment.optional("AWS_ENDPOINT_URL"));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(5));
    let retries = RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(100));
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(environment.required("AWS_REGION")))
        .credentials_provider(credentials)
        .http_client(http)
        .timeout_config(timeouts.build())
        .retry_config(retries)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    config.set_endpoint_url(endpoint);
    Client::from_conf(config.build())
}

/// The part of the response to `DescribeSecret` that a rotation needs.
pub(crate) struct Description {
    pub is_rotation_enabled: bool,
    stages: HashMap<String, Vec<String>>,
}

impl Description {
    pub(crate) fn has(&self, version: &str, stage: &str) -> bool {
        let stages = self.stages.get(version);
        stages.is_some_and(|stages| stages.iter().any(|found| found == stage))
    }

    pub(crate) fn version_with(&self, stage: &str) -> Option<&str> {
        let mut versions = self.stages.keys().map(String::as_str);
        versions.find(|version| self.has(version, stage))
    }
}

/// A key, and the version that contains it.
pub(crate) struct Stored {
    pub key: Key,
    pub version: String,
}

#[derive(Clone, Copy)]
pub(crate) struct Secret<'a> {
    pub client: &'a Client,
    pub id: &'a str,
}

impl Secret<'_> {
    pub(crate) async fn describe(self) -> Result<Description, Error> {
        let request = self.client.describe_secret().secret_id(self.id);
        let secret = request.send().await.map_err(failed("DescribeSecret"))?;
        Ok(Description {
            is_rotation_enabled: secret.rotation_enabled.unwrap_or_default(),
            stages: secret.version_ids_to_stages.unwrap_or_default(),
        })
    }

    /// Returns the key in the version with the label `stage`, or `None` if there is no such version or it has no value.
    /// Fails if `version` is given but a different version has the label.
    pub(crate) async fn find(
        self,
        stage: &'static str,
        version: Option<&str>,
    ) -> Result<Option<Stored>, Error> {
        let request = self.client.get_secret_value().secret_id(self.id);
        let request = request.set_version_id(version.map(str::to_owned));
        let value = match request.version_stage(stage).send().await {
            Ok(value) => value,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed("GetSecretValue")(error)),
        };
        let key = value.secret_string.as_deref().and_then(Key::parse);
        let key = key.ok_or(Error::NotAKey(stage))?;
        let version = value.version_id.unwrap_or_default();
        Ok(Some(Stored { key, version }))
    }

    /// Like [`Self::find`], but returns only the key, and fails if there is none.
    pub(crate) async fn key(
        self,
        stage: &'static str,
        version: Option<&str>,
    ) -> Result<Key, Error> {
        let stored = self.find(stage, version).await?;
        Ok(stored.ok_or(Error::NoValue(stage))?.key)
    }

    /// Stores a key in the given version, or in a new version if `version` is `None`, and returns the version's id.
    /// The value of a version never changes. If the version already has a different value, stores nothing and returns
    /// `None`.
    pub(crate) async fn put(
        self,
        version: Option<&str>,
        key: &Key,
        stages: &[&str],
    ) -> Result<Option<String>, Error> {
        let stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
        let request = self.client.put_secret_value().secret_id(self.id);
        let request = request
            .set_client_request_token(version.map(str::to_owned))
            .secret_string(key.reveal())
            .set_version_stages(Some(stages));
        match request.send().await {
            Ok(stored) => Ok(stored.version_id),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutSecretValueError::is_resource_exists_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(failed("PutSecretValue")(error)),
        }
    }

    /// Moves a label from one version to another, or removes the label if `to` is `None`.
    pub(crate) async fn move_label(
        self,
        stage: &str,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(), Error> {
        let request = self.client.update_secret_version_stage();
        let request = request
            .secret_id(self.id)
            .version_stage(stage)
            .set_remove_from_version_id(from.map(str::to_owned))
            .set_move_to_version_id(to.map(str::to_owned));
        let moved = request.send().await;
        moved.map_err(failed("UpdateSecretVersionStage")).map(drop)
    }
}

fn failed<E: StdError + Send + Sync + 'static>(operation: &'static str) -> impl FnOnce(E) -> Error {
    // The SDK's errors contain no secret: `SecretString` is redacted, and `Display` does not render responses.
    move |error| Error::SecretsManager(operation, Box::new(error))
}
