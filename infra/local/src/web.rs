//! The one way in which everything here serves HTTP: whole requests in, whole answers out, or a closed connection.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};

/// API Gateway takes no more; the DynamoDB and KMS limits lie below or are theirs to check.
pub(crate) const LARGEST_BODY: usize = 20 << 20;
/// What is read of a larger body before it is refused, so that the sender gets to see the refusal.
const DRAINED: usize = 64 << 20;

/// An answer, or `Err` to close the connection without one.
pub(crate) type Answer = Result<Response<Full<Bytes>>, Closed>;

/// Closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed on purpose")]
pub(crate) struct Closed;

/// A server; it and its connections end when this is dropped.
pub(crate) struct Server {
    pub url: String,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds a loopback port; 0 takes a free one.
pub(crate) async fn bind(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))
}

/// The base URL under which a bound listener is reached.
pub(crate) fn url(listener: &TcpListener) -> Result<String> {
    let address = listener.local_addr().context("a listener has no address")?;
    Ok(format!("http://{address}"))
}

/// Serves until the result is dropped. A handler's future is dropped when its client goes away.
pub(crate) fn serve<H, F>(listener: TcpListener, handler: H) -> Result<Server>
where
    H: Fn(Parts, Bytes) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let url = url(&listener)?;
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // A failed accept (the client left, no file descriptor) concerns that connection alone.
                    let Ok((stream, _)) = accepted else { continue };
                    let _ = stream.set_nodelay(true);
                    let handler = handler.clone();
                    connections.spawn(async move {
                        let service = service_fn(move |request| answer(handler.clone(), request));
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok(Server {
        url,
        task: task.abort_handle(),
    })
}

async fn answer<H, F>(handler: H, request: Request<Incoming>) -> Answer
where
    H: Fn(Parts, Bytes) -> F,
    F: Future<Output = Answer>,
{
    let (parts, mut incoming) = request.into_parts();
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
    if received > LARGEST_BODY {
        let mut refusal = message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        refusal
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        return Ok(refusal);
    }
    handler(parts, body.into()).await
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// An answer of the form `{"message": …}`, which is how API Gateway speaks for itself.
pub(crate) fn message(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    json(status, &json!({ "message": message }))
}

/// The operation that an AWS JSON request names: `Sign` of `X-Amz-Target: TrentService.Sign`.
pub(crate) fn operation(parts: &Parts) -> &str {
    let target = parts
        .headers
        .get("x-amz-target")
        .filter(|_| parts.method == Method::POST);
    let target = target
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default()
}
