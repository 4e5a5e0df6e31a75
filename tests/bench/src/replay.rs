//! A service that records its response to each request and repeats the response when the request is repeated.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
};
use bytes::Bytes;
use tokio::net::TcpListener;

/// The largest accepted request, in bytes.
const LIMIT: usize = 1 << 20;
/// Headers that apply to one connection and are not forwarded.
const HOP_BY_HOP: [HeaderName; 3] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

type Response = (StatusCode, HeaderMap, Bytes);

struct Recorder {
    upstream: String,
    client: reqwest::Client,
    /// The recorded responses, by request body.
    recorded: Mutex<HashMap<Bytes, Response>>,
}

/// Starts a recording service in front of `upstream` (`http://host:port`). Returns its URL.
pub async fn serve(upstream: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let recorder = Recorder {
        upstream,
        client: reqwest::Client::builder().no_proxy().build()?,
        recorded: Mutex::default(),
    };
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::new(recorder));
    tokio::spawn(async { axum::serve(listener, router).await });
    Ok(url)
}

async fn answer(State(recorder): State<Arc<Recorder>>, request: Request) -> Response {
    let failed = |error: String| (StatusCode::BAD_GATEWAY, HeaderMap::new(), error.into());
    recorder
        .answer(request)
        .await
        .unwrap_or_else(|error| failed(format!("{error:#}")))
}

impl Recorder {
    async fn answer(&self, request: Request) -> Result<Response> {
        let (mut parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, LIMIT).await?;
        let recorded = self.recorded.lock().ok();
        let recorded = recorded.and_then(|recorded| recorded.get(&body).cloned());
        if let Some(response) = recorded {
            return Ok(response);
        }
        HOP_BY_HOP
            .iter()
            .for_each(|name| drop(parts.headers.remove(name)));
        let request = self.client.post(&self.upstream).headers(parts.headers);
        let response = request.body(body.clone()).send().await?;
        let (status, mut headers) = (response.status(), response.headers().clone());
        HOP_BY_HOP
            .iter()
            .for_each(|name| drop(headers.remove(name)));
        let response = (status, headers, response.bytes().await?);
        if status.is_success()
            && let Ok(mut recorded) = self.recorded.lock()
        {
            recorded.insert(body, response.clone());
        }
        Ok(response)
    }
}
