//! TLS in front of the local API. The server is as strict as API Gateway: it refuses clients that do not send the API's
//! name in both SNI and Host.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

pub const HOST: &str = "localhost";
const LONGEST_HEAD: usize = 16 << 10;
const REFUSAL: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A server that runs until it is dropped.
pub struct Front {
    pub port: u16,
    task: AbortHandle,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    /// Serves `upstream` (`http://host:port`) and writes the certificate to the file `certificate`.
    pub async fn start(upstream: &str, certificate: &Path) -> Result<Self> {
        let certified = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        std::fs::write(certificate, certified.cert.pem())?;
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let upstream = upstream
            .strip_prefix("http://")
            .context("not an http URL")?;
        let upstream = upstream.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            // The connection tasks end with this task, so that no connection outlives the front.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(acceptor.clone(), stream, upstream.clone()));
            }
        });
        let task = task.abort_handle();
        Ok(Self { port, task })
    }
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, upstream: String) -> Result<()> {
    let mut client = acceptor.accept(stream).await?;
    let is_named = client.get_ref().1.server_name() == Some(HOST);
    let head = head(&mut client).await?;
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let mut lines = text.lines();
    if !is_named || !lines.any(|line| line == format!("host: {HOST}")) {
        client.write_all(REFUSAL).await?;
        return Ok(client.shutdown().await?);
    }
    let mut api = TcpStream::connect(upstream).await?;
    api.write_all(&head).await?;
    copy_bidirectional(&mut client, &mut api).await?;
    Ok(())
}

/// Reads until the end of the first request's headers.
async fn head(client: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let read = client.read_buf(&mut head).await?;
        anyhow::ensure!(read > 0 && head.len() < LONGEST_HEAD, "no request");
    }
    Ok(head)
}
