//! TLS in front of the local DynamoDB and KMS, with a certificate that only the measured process trusts.

use std::{
    fmt::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// The files that contain the trusted certificate authorities on Debian and on Amazon Linux 2023.
const BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Terminates TLS for `127.0.0.1`.
pub struct Front {
    config: Arc<ServerConfig>,
    connections: Arc<AtomicUsize>,
}

impl Front {
    /// Creates a certificate and writes a bundle with this certificate to the file `bundle`.
    ///
    /// If `has_system` is true, the bundle also contains the system's certificate authorities. A function reads the
    /// whole bundle when it starts, so a shorter bundle makes a cold start look cheaper.
    pub fn new(bundle: &Path, has_system: bool) -> Result<Self> {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let mut trusted = String::new();
        for system in BUNDLES.iter().filter(|_| has_system) {
            trusted.push_str(&std::fs::read_to_string(system).unwrap_or_default());
        }
        write!(trusted, "\n{}", certified.cert.pem())?;
        std::fs::write(bundle, trusted)?;
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())?;
        Ok(Self {
            config: Arc::new(config),
            connections: Arc::default(),
        })
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Serves `upstream` (`http://host:port`) over TLS. Returns the `https` URL.
    pub async fn serve(&self, upstream: &str) -> Result<String> {
        let upstream = upstream
            .strip_prefix("http://")
            .context("the upstream is not an http URL")?
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}", listener.local_addr()?);
        let acceptor = TlsAcceptor::from(self.config.clone());
        let connections = self.connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
                tokio::spawn(async move {
                    stream.set_nodelay(true)?;
                    let mut inner = TcpStream::connect(&upstream).await?;
                    inner.set_nodelay(true)?;
                    let mut outer = acceptor.accept(stream).await?;
                    copy_bidirectional(&mut outer, &mut inner).await
                });
            }
        });
        Ok(url)
    }
}
