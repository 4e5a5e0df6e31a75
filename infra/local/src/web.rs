//! Serves axum routers on loopback ports. A handler can also close its connection without a response.

use std::{net::Ipv4Addr, pin::pin, sync::Arc, time::Duration};

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
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tower::ServiceExt;

/// The maximum size, in bytes, of a body that reaches a handler. The limits of API Gateway (10 MB), DynamoDB and KMS
/// are lower.
const LARGEST_BODY: usize = 20 << 20;
/// How much of a body that exceeds [`LARGEST_BODY`] is read before the request is refused. The body must be read,
/// because a client that is still sending does not see the refusal.
const DRAINED: usize = 64 << 20;

/// A handler returns this error to close the connection without a response.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection was closed on purpose")]
pub(crate) struct Closed;

impl IntoResponse for Closed {
    fn into_response(self) -> Response {
        Extension(self).into_response()
    }
}

/// How long a client may take to send a request. After that, the server closes the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimits {
    /// The maximum time from the beginning of the connection to the end of the first headers.
    pub headers: Duration,
    /// The maximum time from a response to the end of the next request's headers. This limit is longer than the time
    /// for which clients keep idle connections, so that clients close them first: a request that is sent while the
    /// server closes the connection is lost.
    pub next_headers: Duration,
    /// The maximum time from the headers to the end of the body.
    pub body: Duration,
}

/// A running server. Dropping a `Server` stops it and closes its connections.
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
        .with_context(|| {
            format!("cannot listen on 127.0.0.1:{port}: choose another port with --port")
        })
}

pub(crate) fn port(listener: &TcpListener) -> Result<u16> {
    let address = listener.local_addr().context("a listener has no address")?;
    Ok(address.port())
}

/// Returns the base URL of a bound listener.
pub(crate) fn url(listener: &TcpListener) -> Result<String> {
    let port = port(listener)?;
    Ok(format!("http://{}:{port}", Ipv4Addr::LOCALHOST))
}

/// Serves a router until the returned server is dropped. The future of a handler is dropped when its client
/// disconnects.
///
/// There are no time limits, because the clients are parts of the stack, and they keep idle connections open.
pub(crate) fn serve(listener: TcpListener, router: Router) -> Result<Server> {
    start(listener, router, None)
}

/// Like [`serve`], but with time limits, for clients that may be slow on purpose.
pub(crate) fn serve_within(
    limits: TimeLimits,
    listener: TcpListener,
    router: Router,
) -> Result<Server> {
    start(listener, router, Some(limits))
}

fn start(listener: TcpListener, router: Router, limits: Option<TimeLimits>) -> Result<Server> {
    let url = url(&listener)?;
    let router = router.layer(DefaultBodyLimit::disable());
    let task = tokio::spawn(accept(listener, router, limits)).abort_handle();
    Ok(Server { url, task })
}

async fn accept(listener: TcpListener, router: Router, limits: Option<TimeLimits>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // If a connection cannot be accepted (the client left, or no file descriptor is free), only that
                // connection is affected.
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                connections.spawn(converse(stream, router.clone(), limits));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves a connection until one side closes it or a time limit expires.
async fn converse(stream: TcpStream, router: Router, limits: Option<TimeLimits>) {
    let first = Arc::new(Notify::new());
    let begun = first.clone();
    let body_time = limits.map_or(Duration::MAX, |limits| limits.body);
    let service = service_fn(move |request| {
        begun.notify_one();
        respond(router.clone(), request, body_time)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.map(|limits| limits.next_headers));
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = &mut connection => return,
        () = first.notified() => {}
        () = sleep(limits.map_or(Duration::MAX, |limits| limits.headers)) => return,
    }
    let _ = connection.await;
}

async fn respond(
    router: Router,
    request: Request<Incoming>,
    body_time: Duration,
) -> Result<Response, Closed> {
    let (parts, body) = request.into_parts();
    let body = timeout(body_time, read(body)).await;
    let Some(body) = body.map_err(|_| Closed)?? else {
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

/// Reads a whole body. Returns `None` if the body is larger than [`LARGEST_BODY`].
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

/// Returns a response with the body `{"message": …}`, the form in which API Gateway reports errors.
pub(crate) fn message(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

/// Returns the operation that an AWS JSON request names, for example `Sign` for `X-Amz-Target: TrentService.Sign`.
pub(crate) fn operation(headers: &HeaderMap) -> &str {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    target
        .and_then(|target| target.rsplit('.').next())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::routing::any;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);
    const LIMITS: TimeLimits = TimeLimits {
        headers: LONG,
        next_headers: LONG,
        body: LONG,
    };
    const BEGINNING: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nX: ";

    /// Starts a server that returns the body of each request.
    async fn echo(limits: TimeLimits) -> Server {
        let router = Router::new().route("/", any(async |body: Bytes| body));
        serve_within(limits, bind(0).await.unwrap(), router).unwrap()
    }

    async fn connect(server: &Server) -> TcpStream {
        let address = server.url.trim_start_matches("http://");
        TcpStream::connect(address).await.unwrap()
    }

    /// Returns everything that the server sends on a connection before closing it.
    async fn received(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    }

    /// Sends the beginning of a request. Returns everything that the server sends before it closes the connection.
    async fn send_beginning(server: &Server, beginning: &str) -> String {
        let mut stream = connect(server).await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let closed = tokio::time::timeout(LONG / 2, received(stream)).await;
        closed.expect("the server closes the connection")
    }

    #[tokio::test]
    async fn a_connection_whose_headers_do_not_end_is_closed() {
        let headers = SHORT;
        let server = echo(TimeLimits { headers, ..LIMITS }).await;
        for beginning in ["", BEGINNING] {
            assert_eq!(send_beginning(&server, beginning).await, "");
        }
    }

    #[tokio::test]
    async fn a_connection_whose_next_headers_do_not_end_is_closed() {
        let next_headers = SHORT;
        let limits = TimeLimits {
            next_headers,
            ..LIMITS
        };
        let server = echo(limits).await;
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for next in ["", BEGINNING] {
            let response = send_beginning(&server, &format!("{request}{next}")).await;
            assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
            assert_eq!(response.matches("HTTP/").count(), 1, "{response}");
        }
    }

    #[tokio::test]
    async fn a_connection_whose_body_does_not_end_is_closed_and_others_are_served() {
        let body = SHORT;
        let server = echo(TimeLimits { body, ..LIMITS }).await;
        let mut other = connect(&server).await;
        let beginning = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nbeginn";
        assert_eq!(send_beginning(&server, beginning).await, "");
        let request = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
        other.write_all(request).await.unwrap();
        let response = received(other).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        assert!(response.ends_with("\r\n\r\nok"), "{response}");
    }
}
