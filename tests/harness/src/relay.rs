//! A relay for HTTP services. It can drop requests and responses.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use local_stack::Fault;
use reqwest::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// Forwards requests with an `X-Amz-Target` header to one service and all other requests to another service. Dropping
/// this value stops the relay.
pub struct Relay {
    pub url: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    client: reqwest::Client,
    api: String,
    aws: String,
    fault: Mutex<Option<(String, Fault)>>,
    interruption: Mutex<Option<(usize, Fault)>>,
    calls: Mutex<Vec<String>>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    pub async fn start(api: &str, aws: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            api: api.to_owned(),
            aws: aws.to_owned(),
            fault: Mutex::default(),
            interruption: Mutex::default(),
            calls: Mutex::default(),
        });
        let accepting = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = accepting.clone();
                connections.spawn(async move { shared.converse(stream).await });
            }
        });
        Self {
            url: format!("http://127.0.0.1:{port}"),
            shared,
            task: task.abort_handle(),
        }
    }

    /// Applies a fault to all later occurrences of a call. The fault can be [`Fault::DropBefore`],
    /// [`Fault::DropAfter`], [`Fault::InternalError`] or [`Fault::Hold`]. A held call never receives a response. `None`
    /// removes the fault.
    pub fn set_fault(&self, fault: Option<(&str, Fault)>) {
        let fault = fault.map(|(call, fault)| (call.to_owned(), fault));
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Applies a fault to the call with this number and drops all later calls, as if the caller had stopped. The next
    /// call is number 1. `None` removes the fault.
    pub fn interrupt(&self, interruption: Option<(usize, Fault)>) {
        self.take_calls();
        *self.shared.interruption.lock().unwrap() = interruption;
    }

    /// Returns the calls that the relay has received since this method was last used. Each is represented by its path
    /// or, for a call to AWS, by its action and staging label.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.calls.lock().unwrap())
    }
}

/// The response that a gateway returns if the service behind it fails.
const FAILURE: &[u8] =
    b"HTTP/1.1 500 x\r\nconnection: close\r\ncontent-length: 15\r\n\r\n<html>no</html>";

struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    async fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let (mut headers, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            match (name.to_ascii_lowercase(), value.trim()) {
                (name, value) if name == "content-length" => length = value.parse().ok()?,
                (name, value) if name != "host" && name != "connection" => {
                    headers.push((name, value.to_owned()));
                }
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        Some(Self {
            method,
            path,
            headers,
            body,
        })
    }

    fn action(&self) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, target) = headers.find(|(name, _)| name == "x-amz-target")?;
        target.split('.').nth(1)
    }

    fn call(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let action = self.action().unwrap_or(&self.path);
        match body["VersionStage"].as_str() {
            Some(stage) => format!("{action} {stage}"),
            None => action.to_owned(),
        }
    }
}

impl Shared {
    /// Responds to one request, or closes the connection without a response.
    async fn converse(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let request = Request::read(&mut stream).await?;
        let call = request.call();
        let fault = self.fault_of(call);
        match fault {
            Some(Fault::DropBefore) => return None,
            Some(Fault::Hold) => pending::<()>().await,
            Some(Fault::InternalError) => return stream.write_all(FAILURE).await.ok(),
            _ => {}
        }
        let answer = self.forward(request).await?;
        match fault {
            None => stream.write_all(&answer).await.ok(),
            Some(_) => None,
        }
    }

    /// Records a call and returns its fault, if any.
    fn fault_of(&self, call: String) -> Option<Fault> {
        let fault = self.fault.lock().unwrap().clone();
        let fault = fault.filter(|(affected, _)| *affected == call);
        let mut calls = self.calls.lock().unwrap();
        calls.push(call);
        match self.interruption.lock().unwrap().clone() {
            Some((number, fault)) if calls.len() == number => Some(fault),
            Some((number, _)) if calls.len() > number => Some(Fault::DropBefore),
            _ => fault.map(|(_, fault)| fault),
        }
    }

    async fn forward(&self, request: Request) -> Option<Vec<u8>> {
        let upstream = match request.action() {
            Some(_) => &self.aws,
            None => &self.api,
        };
        let url = format!("{upstream}{}", request.path);
        let mut forwarded = self.client.request(request.method, url);
        for (name, value) in request.headers {
            forwarded = forwarded.header(name, value);
        }
        let answer = forwarded.body(request.body).send().await.ok()?;
        let status = answer.status();
        let kind = answer.headers().get("content-type");
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n");
        let body = answer.bytes().await.ok()?;
        let head = format!("{head}content-length: {}\r\n\r\n", body.len());
        Some([head.as_bytes(), &body].concat())
    }
}
