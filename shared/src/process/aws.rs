//! The AWS clients, built once per process from the Lambda environment.
//!
//! The timeouts and retries of one operation leave enough of a function's five seconds to return a 503.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_runtime::{
    retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS},
    user_agent::UserAgentInterceptor,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{HttpClient, SharedHttpClient, http_client_fn},
        interceptors::{
            Intercept,
            context::{
                BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
            },
            disable_interceptor, dyn_dispatch_hint,
        },
        orchestrator::HttpResponse,
        result::SdkError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{
    config_bag::ConfigBag, error::metadata::ProvideErrorMetadata, retry::RetryConfig,
    timeout::TimeoutConfig,
};

use super::config::Environment;

/// The settings that all clients share.
pub struct AwsSettings {
    region: String,
    credentials: Credentials,
    dynamodb_endpoint: Option<String>,
    kms_endpoint: Option<String>,
    event_bridge_endpoint: Option<String>,
    http: SharedHttpClient,
}

/// Builds a client from one of the SDK's crates. The builders in these crates have the same methods but different
/// types.
macro_rules! client {
    ($sdk:ident, $settings:expr, $endpoint:expr) => {{
        use $sdk::config::{BehaviorVersion, Config, Region, StalledStreamProtectionConfig};
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new($settings.region.clone()))
            .credentials_provider($settings.credentials.clone())
            .http_client($settings.http.clone())
            .interceptor(ConstantUserAgent)
            .timeout_config(timeouts())
            .retry_config(retries())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url($endpoint.clone());
        $sdk::Client::from_conf(config.build())
    }};
}

impl AwsSettings {
    /// Reads the variables that Lambda sets, and `AWS_ENDPOINT_URL*`, which are set only in environments where another
    /// service stands in for AWS.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let credentials = Credentials::new(
            environment.required("AWS_ACCESS_KEY_ID"),
            environment.required("AWS_SECRET_ACCESS_KEY"),
            environment.optional("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        let endpoint = |name: &str| {
            environment
                .optional(name)
                .or_else(|| environment.optional("AWS_ENDPOINT_URL"))
        };
        let dynamodb_endpoint = endpoint("AWS_ENDPOINT_URL_DYNAMODB");
        let kms_endpoint = endpoint("AWS_ENDPOINT_URL_KMS");
        let event_bridge_endpoint = endpoint("AWS_ENDPOINT_URL_EVENTBRIDGE");
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        Self {
            region: environment.required("AWS_REGION"),
            credentials,
            dynamodb_endpoint,
            kms_endpoint,
            event_bridge_endpoint,
            http: connecting_on_demand(http),
        }
    }

    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        client!(aws_sdk_dynamodb, self, self.dynamodb_endpoint)
    }

    #[must_use]
    pub fn kms(&self) -> aws_sdk_kms::Client {
        client!(aws_sdk_kms, self, self.kms_endpoint)
    }

    #[must_use]
    pub fn event_bridge(&self) -> aws_sdk_eventbridge::Client {
        client!(aws_sdk_eventbridge, self, self.event_bridge_endpoint)
    }
}

/// Returns a client that builds no connector until the first request. Otherwise, the SDK would build an additional
/// connector for each client, with all certificate authorities, and then drop it.
fn connecting_on_demand(http: SharedHttpClient) -> SharedHttpClient {
    http_client_fn(move |settings, components| http.http_connector(settings, components))
}

/// Sends the same `User-Agent` with every request. By default, each request has two headers that describe the SDK.
/// Composing them took 41,000 instructions per validation. `dyn_dispatch_hint` lets the SDK skip the hooks that this
/// type does not implement.
#[derive(Debug)]
struct ConstantUserAgent;

#[dyn_dispatch_hint]
impl Intercept for ConstantUserAgent {
    fn name(&self) -> &'static str {
        "ConstantUserAgent"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let disabled = disable_interceptor::<UserAgentInterceptor>("the user agent is constant");
        config.interceptor_state().store_put(disabled);
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let agent = concat!("access-keys/", env!("CARGO_PKG_VERSION"));
        context
            .request_mut()
            .headers_mut()
            .insert("user-agent", agent);
        Ok(())
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(800))
        .operation_attempt_timeout(Duration::from_secs(1))
        .operation_timeout(Duration::from_millis(2500))
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(100))
}

/// Whether repeating a request is pointless, for example because access is denied or the request is invalid.
/// Throttling, timeouts, failed connections and errors of the service itself are temporary.
pub(crate) fn is_permanent<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::ServiceError(context) => {
            let code = context.err().code().unwrap_or_default();
            let is_temporary =
                THROTTLING_ERRORS.contains(&code) || TRANSIENT_ERRORS.contains(&code);
            context.raw().status().is_client_error() && !is_temporary
        }
        _ => false,
    }
}

/// Waits for a connection in the init phase, for at most one of the ten seconds that Lambda allows for that phase.
pub(crate) async fn warmed_up(service: &'static str, connect: impl Future<Output = bool>) {
    if !matches!(
        tokio::time::timeout(Duration::from_secs(1), connect).await,
        Ok(true)
    ) {
        tracing::warn!(service, "could not connect during init");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use aws_smithy_runtime_api::{
        client::{
            http::{HttpConnectorSettings, SharedHttpConnector},
            result::ConnectorError,
            runtime_components::RuntimeComponentsBuilder,
        },
        http::StatusCode,
    };
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;
    use crate::process::config;

    #[tokio::test]
    async fn every_request_has_the_same_user_agent() {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", service.local_addr().unwrap());
        let lookup = |name: &str| {
            let is_endpoint = name == "AWS_ENDPOINT_URL_DYNAMODB";
            Some(if is_endpoint { &endpoint } else { "x" }.to_owned())
        };
        let settings = config::read_from(&lookup, AwsSettings::read).unwrap();
        let dynamodb = settings.dynamodb();
        let read = async {
            loop {
                let (mut stream, _) = service.accept().await.unwrap();
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
                if head.contains("\r\n\r\n") {
                    break head;
                }
            }
        };
        let head = tokio::select! {
            answer = dynamodb.list_tables().send() => panic!("{answer:?}"),
            head = read => head,
        };
        let agents: Vec<_> = head
            .lines()
            .filter(|line| line.contains("user-agent"))
            .collect();
        let expected = concat!("user-agent: access-keys/", env!("CARGO_PKG_VERSION"));
        assert_eq!(agents, [expected], "{head}");
    }

    fn service_error(status: u16, code: &str) -> SdkError<ErrorMetadata, HttpResponse> {
        let error = ErrorMetadata::builder().code(code).build();
        let status = StatusCode::try_from(status).unwrap();
        SdkError::service_error(error, HttpResponse::new(status, SdkBody::empty()))
    }

    #[test]
    fn a_request_that_aws_refuses_is_not_worth_repeating() {
        for code in [
            "AccessDeniedException",
            "DisabledException",
            "ItemCollectionSizeLimitExceededException",
            "KMSInvalidStateException",
            "NotFoundException",
            "ResourceNotFoundException",
            "TransactionCanceledException",
            "UnrecognizedClientException",
            "ValidationException",
        ] {
            assert!(is_permanent(&service_error(400, code)), "{code}");
        }
    }

    #[test]
    fn throttling_and_failures_of_the_service_are_worth_repeating() {
        for (status, code) in [
            (400, "ProvisionedThroughputExceededException"),
            (400, "RequestLimitExceeded"),
            (400, "ThrottlingException"),
            (400, "TransactionInProgressException"),
            (500, "InternalServerError"),
            (500, "KMSInternalException"),
            (500, "KeyUnavailableException"),
            (503, "DependencyTimeoutException"),
        ] {
            assert!(!is_permanent(&service_error(status, code)), "{code}");
        }
        let dispatch = ConnectorError::io("reset".into());
        let dispatch = SdkError::<ErrorMetadata, _>::dispatch_failure(dispatch);
        assert!(!is_permanent(&dispatch));
        let timeout = SdkError::<ErrorMetadata, _>::timeout_error("too slow");
        assert!(!is_permanent(&timeout));
    }

    /// An HTTP client that records whether it was used while an SDK client was being built.
    #[derive(Debug)]
    struct Unused(&'static AtomicBool);

    impl HttpClient for Unused {
        fn http_connector(
            &self,
            _: &HttpConnectorSettings,
            _: &RuntimeComponents,
        ) -> SharedHttpConnector {
            unreachable!("no request is sent")
        }

        fn validate_base_client_config(
            &self,
            _: &RuntimeComponentsBuilder,
            _: &ConfigBag,
        ) -> Result<(), BoxError> {
            self.0.store(true, Ordering::SeqCst);
            Ok(())
        }
    }

    #[test]
    fn building_an_sdk_client_builds_no_connector() {
        static IS_USED: AtomicBool = AtomicBool::new(false);
        let http = SharedHttpClient::new(Unused(&IS_USED));
        let settings = |http| AwsSettings {
            region: "us-east-1".into(),
            credentials: Credentials::new("id", "secret", None, None, "test"),
            dynamodb_endpoint: None,
            kms_endpoint: None,
            event_bridge_endpoint: None,
            http,
        };
        drop(settings(connecting_on_demand(http.clone())).dynamodb());
        assert!(!IS_USED.load(Ordering::SeqCst));
        drop(settings(http).dynamodb());
        assert!(IS_USED.load(Ordering::SeqCst));
    }
}
