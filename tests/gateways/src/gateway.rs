//! Runs a gateway with its configuration from `infra/integrate`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result};
use harness::eventually;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use crate::front::HOST;

/// The ports that the gateway connects to, and the certificate of the API.
pub struct Places<'a> {
    pub api: u16,
    pub service: u16,
    pub certificate: &'a Path,
}

/// A running gateway. Dropping this value ends the process.
pub struct Gateway {
    pub name: &'static str,
    pub url: String,
    process: Child,
}

impl Gateway {
    pub async fn nginx(directory: &Path, places: &Places<'_>) -> Result<Self> {
        let port = free_port().await?;
        let server = configuration("nginx.conf", port, places)?;
        let whole = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n{server} }}\n"
        );
        let file = directory.join("nginx.conf");
        fs::write(&file, whole)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory).arg("-c").arg(&file);
        command.args(["-e", "stderr"]);
        Self::start("nginx", port, command).await
    }

    pub async fn caddy(directory: &Path, places: &Places<'_>) -> Result<Self> {
        let port = free_port().await?;
        let server = configuration("Caddyfile", port, places)?;
        let file = directory.join("Caddyfile");
        fs::write(
            &file,
            format!("{{\n\tadmin off\n\tauto_https off\n}}\n{server}"),
        )?;
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&file);
        command.env("SSL_CERT_FILE", places.certificate);
        command.env("HOME", directory);
        Self::start("caddy", port, command).await
    }

    async fn start(name: &'static str, port: u16, mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        if std::env::var_os("GATEWAY_LOGS").is_none() {
            command.stderr(Stdio::null());
        }
        let process = command.spawn().with_context(|| format!("install {name}"))?;
        let is_open = || async { TcpStream::connect(("127.0.0.1", port)).await.ok() };
        eventually("the gateway listens", is_open).await;
        let url = format!("http://127.0.0.1:{port}");
        Ok(Self { name, url, process })
    }

    pub async fn stop(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }
}

/// Returns the configuration from `infra/integrate`, with the example values replaced.
fn configuration(file: &str, port: u16, places: &Places<'_>) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/integrate");
    let file: PathBuf = folder.join(file);
    let mut text = fs::read_to_string(&file)?;
    for (example, actual) in [
        (
            "https://keys.example.com",
            format!("https://{HOST}:{}", places.api),
        ),
        ("keys.example.com", HOST.to_owned()),
        ("8080", port.to_string()),
        ("127.0.0.1:3000", format!("127.0.0.1:{}", places.service)),
        (
            "/etc/ssl/certs/ca-certificates.crt",
            places.certificate.display().to_string(),
        ),
    ] {
        anyhow::ensure!(
            text.contains(example) || example.starts_with("/etc/"),
            "{} does not contain {example}",
            file.display()
        );
        text = text.replace(example, &actual);
    }
    Ok(text)
}

async fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(listener.local_addr()?.port())
}
