//! Serves axum routers on loopback ports. A handler can also close its connection without a response.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};
use tower::ServiceExt;

/// The largest body that reaches a handler. API Gateway accepts 10 MB; the limits of DynamoDB and KMS are lower.
const LARGEST_BODY: usize = 20 << 20;
/// How much of a larger body is read before the request is refused. A client that is still sending does not see the
/// refusal.
const DRAINED: usize = 64 << 20;

/// A response that closes the connection instead of answering.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection was closed on purpose")]
pub(crate) struct Closed;

impl IntoResponse for Closed {
    fn into_response(self) -> Response {
        Extension(self).into_response()
    }
}

/// A running server. Dropping it ends the server and its connections.
pub(crate) struct Server {
    pub url: String,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds a loopback port. Port 0 selects a free one.
pub(crate) async fn bind(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))
}

/// The base URL of a bound listener.
pub(crate) fn url(listener: &TcpListener) -> Result<String> {
    let address = listener.local_addr().context("a listener has no address")?;
    Ok(format!("http://{address}"))
}

/// Serves a router until the result is dropped. The future of a handler is dropped when its client disconnects.
pub(crate) fn serve(listener: TcpListener, router: Router) -> Result<Server> {
    let url = url(&listener)?;
    let router = router.layer(DefaultBodyLimit::disable());
    let task = tokio::spawn(accept(listener, router)).abort_handle();
    Ok(Server { url, task })
}

async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept (the client left, or no file descriptor is free) affects only that connection.
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let router = router.clone();
                let service = service_fn(move |request| respond(router.clone(), request));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn respond(router: Router, request: Request<Incoming>) -> Result<Response, Closed> {
    let (parts, body) = request.into_parts();
    let Some(body) = read(body).await? else {
        let refusal = message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        return Ok(([(header::CONNECTION, "close")], refusal).into_response());
    };
    let request = Request::from_parts(parts, Body::from(body));
    let Ok(response) = router.oneshot(request).await;
    match response.extensions().get::<Closed>() {
        Some(closed) => Err(*closed),
        None => Ok(response),
    }
}

/// Reads a whole body. `None` if it is larger than [`LARGEST_BODY`].
async fn read(mut incoming: Incoming) -> Result<Option<Bytes>, Closed> {
    let (mut body, mut received) = (Vec::new(), 0);
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(|_| Closed)?.into_data() else {
            continue;
        };
        received += data.len();
        if received <= LARGEST_BODY {
            body.extend_from_slice(&data);
        } else if received > DRAINED {
            break;
        }
    }
    Ok((received <= LARGEST_BODY).then(|| body.into()))
}

/// A response with the body `{"message": …}`, the form in which API Gateway reports errors.
pub(crate) fn message(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

/// The operation that an AWS JSON request names: `Sign` for `X-Amz-Target: TrentService.Sign`.
pub(crate) fn operation(headers: &HeaderMap) -> &str {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    target
        .and_then(|target| target.rsplit('.').next())
        .unwrap_or_default()
}
