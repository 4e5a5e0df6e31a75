//! A service behind a gateway.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::AbortHandle};

/// A service that responds to each request with that request's headers, as a list of pairs. Dropping this value stops
/// the service.
pub struct Upstream {
    pub port: u16,
    received: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::<AtomicUsize>::default();
        let router = Router::new()
            .fallback(respond)
            .with_state(Arc::clone(&received));
        let task = tokio::spawn(async { axum::serve(listener, router).await });
        Self {
            port,
            received,
            task: task.abort_handle(),
        }
    }

    /// Returns the number of requests that the service has received.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

async fn respond(
    State(received): State<Arc<AtomicUsize>>,
    headers: HeaderMap,
    _body: Bytes,
) -> Json<Value> {
    received.fetch_add(1, Ordering::SeqCst);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), text(value)]));
    Json(headers.collect())
}
