//! HTTP requests to services other than AWS, sent with the SDK's HTTP client.

use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{http::HttpConnector, orchestrator::HttpRequest},
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};

/// Sends a request over a new connection. Sets no time limit.
///
/// # Errors
/// Fails if the service sends no response, or a body longer than `longest` bytes.
pub async fn send(
    request: http::Request<Bytes>,
    longest: usize,
) -> Result<http::Response<Bytes>, BoxError> {
    let connector = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build();
    let request = HttpRequest::try_from(request.map(SdkBody::from))?;
    let response = connector.call(request).await?.try_into_http1x()?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, longest).collect().await?;
    Ok(http::Response::from_parts(head, body.to_bytes()))
}
