//! An integration that forwards requests to a service over HTTP.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use serde_json::Value;

use super::refusal::Refusal;
use crate::template;

/// The headers that apply to a single connection (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 4] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

#[derive(Clone)]
pub(super) struct HttpProxy {
    client: reqwest::Client,
    /// The URL, with path parameters in braces.
    uri: String,
    /// The headers that the gateway sets.
    headers: Vec<(HeaderName, Content)>,
}

/// The value of a header.
#[derive(Clone)]
enum Content {
    Static(String),
    /// A field of the authorizer's context.
    Context(String),
}

impl HttpProxy {
    pub(super) fn new(properties: template::Integration, timeout: Duration) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().timeout(timeout);
        let client = client.redirect(reqwest::redirect::Policy::none());
        let parameters = properties.request_parameters.iter();
        Ok(Self {
            client: client.build().context("cannot create an HTTP client")?,
            uri: properties.integration_uri,
            headers: parameters
                .map(|(name, value)| overwritten_header(name, value))
                .collect::<Result<_>>()?,
        })
    }

    pub(super) async fn forward(
        &self,
        parts: &Parts,
        body: &Bytes,
        event: &Value,
    ) -> Result<Response, Refusal> {
        let request = self.client.request(parts.method.clone(), self.url(event));
        let request = request.headers(self.headers(&parts.headers, event));
        let answer = request.body(body.clone()).send().await;
        let answer = answer.map_err(|error| refusal(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(|error| refusal(&error))?;
        Ok((status, without_hop_by_hop(headers), body).into_response())
    }

    fn url(&self, event: &Value) -> String {
        let mut url = self.uri.clone();
        for (name, value) in event["pathParameters"].as_object().into_iter().flatten() {
            url = url.replace(&format!("{{{name}}}"), value.as_str().unwrap_or_default());
        }
        match event["rawQueryString"].as_str() {
            Some(query) if !query.is_empty() => format!("{url}?{query}"),
            _ => url,
        }
    }

    fn headers(&self, received: &HeaderMap, event: &Value) -> HeaderMap {
        let mut headers = without_hop_by_hop(received.clone());
        headers.remove(header::HOST);
        headers.remove(header::CONTENT_LENGTH);
        let context = &event["requestContext"]["authorizer"]["lambda"];
        for (name, content) in &self.headers {
            headers.remove(name);
            let value = match content {
                Content::Static(value) => Some(value.as_str()),
                Content::Context(field) => context[field].as_str(),
            };
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

fn refusal(error: &reqwest::Error) -> Refusal {
    if error.is_timeout() {
        Refusal::IntegrationTimedOut
    } else {
        Refusal::IntegrationFailed
    }
}

fn overwritten_header(name: &str, value: &str) -> Result<(HeaderName, Content)> {
    let header = name.strip_prefix("overwrite:header.");
    let content = match value.strip_prefix("$context.authorizer.") {
        Some(field) => Some(Content::Context(field.to_owned())),
        None => Some(Content::Static(value.to_owned())).filter(|_| !value.contains('$')),
    };
    match (header, content) {
        (Some(header), Some(content)) => Ok((header.parse()?, content)),
        _ => bail!("the local stack does not support the request parameter {name}"),
    }
}

fn without_hop_by_hop(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .collect();
    for name in named.into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
    headers
}
