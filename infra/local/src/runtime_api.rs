//! The Lambda Runtime API of one process.

use std::{mem, sync::Arc, time::Duration};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use uuid::Uuid;

use crate::{
    clock,
    web::{self, Server},
};

/// The maximum size of an event or a response, in bytes, as in Lambda.
pub(crate) const LARGEST_PAYLOAD: usize = 6 << 20;

/// Why an invocation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function reported an error, or its response was too large or not JSON.
    #[error("{error_type}: {message}")]
    Function { error_type: String, message: String },
    /// The process ended before it responded.
    #[error("the process ended before it answered")]
    Crashed,
    /// The function did not respond within its time limit.
    #[error("timed out")]
    TimedOut,
}

impl InvokeError {
    pub(crate) fn function(error_type: &str, message: impl Into<String>) -> Self {
        Self::Function {
            error_type: error_type.to_owned(),
            message: message.into(),
        }
    }
}

pub(crate) type Outcome = Result<Value, InvokeError>;

/// Serves the Runtime API to one process. Dropping a `RuntimeApi` stops its server.
pub struct RuntimeApi {
    server: Server,
    events: mpsc::Sender<Invocation>,
    shared: Arc<Shared>,
}

/// The state that the handlers share with [`RuntimeApi`].
struct Shared {
    function_arn: String,
    events: Mutex<mpsc::Receiver<Invocation>>,
    process: watch::Sender<Process>,
}

struct Invocation {
    id: String,
    deadline: Duration,
    event: Bytes,
    outcome: oneshot::Sender<Outcome>,
}

/// The state of the process, inferred from its requests.
enum Process {
    /// The process is starting, or it has responded but has not yet requested the next invocation.
    Preparing,
    /// The process has requested the next invocation.
    Waiting,
    Running {
        id: String,
        outcome: oneshot::Sender<Outcome>,
    },
    /// The process has reported that it cannot start.
    Failed(InvokeError),
}

impl RuntimeApi {
    /// Starts the server on a free loopback port.
    ///
    /// # Errors
    ///
    /// Fails if no port is free.
    pub async fn start(function_arn: &str) -> Result<Self> {
        let (events, receiver) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            function_arn: function_arn.to_owned(),
            events: Mutex::new(receiver),
            process: watch::Sender::new(Process::Preparing),
        });
        let calls = Router::new()
            .route("/invocation/next", get(next))
            .route("/invocation/{id}/response", post(response))
            .route("/invocation/{id}/error", post(error))
            .route("/init/error", post(init_error))
            .with_state(shared.clone());
        let router = Router::new().nest("/2018-06-01/runtime", calls);
        let server = web::serve(web::bind(0).await?, router)?;
        Ok(Self {
            server,
            events,
            shared,
        })
    }

    /// Returns the process's `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> &str {
        self.server.url.trim_start_matches("http://")
    }

    /// Waits until the process has requested its next invocation.
    ///
    /// # Errors
    ///
    /// Returns the error that the process reported when it failed to start.
    pub async fn next_requested(&self) -> Result<(), InvokeError> {
        let mut process = self.shared.process.subscribe();
        let asked = process.wait_for(|p| matches!(p, Process::Waiting | Process::Failed(_)));
        match asked.await.as_deref() {
            Ok(Process::Failed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(InvokeError::Crashed),
        }
    }

    /// Sends an event to the process and waits for its response. The deadline that the process receives is the time at
    /// which `time_limit` expires.
    ///
    /// This method does not detect that the process has ended, so the caller must also wait for the end of the process.
    ///
    /// # Errors
    ///
    /// Returns the error that the function reported, or [`InvokeError::TimedOut`].
    pub async fn invoke(&self, event: Bytes, time_limit: Duration) -> Result<Value, InvokeError> {
        let (outcome, finished) = oneshot::channel();
        let invocation = Invocation {
            id: Uuid::new_v4().to_string(),
            deadline: clock::now() + time_limit,
            event,
            outcome,
        };
        let run = async {
            let sent = self.events.send(invocation).await;
            sent.map_err(|_| InvokeError::Crashed)?;
            finished.await.unwrap_or(Err(InvokeError::Crashed))
        };
        tokio::time::timeout(time_limit, run)
            .await
            .unwrap_or(Err(InvokeError::TimedOut))
    }

    /// Whether the process has received an event but has not responded yet.
    pub(crate) fn is_running(&self) -> bool {
        matches!(*self.shared.process.borrow(), Process::Running { .. })
    }
}

async fn next(State(api): State<Arc<Shared>>) -> Response {
    api.process.send_replace(Process::Waiting);
    let Some(invocation) = api.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let Invocation {
        id,
        deadline,
        event,
        outcome,
    } = invocation;
    let deadline_ms = deadline.as_millis().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("lambda-runtime-aws-request-id", &id),
        ("lambda-runtime-deadline-ms", &deadline_ms),
        ("lambda-runtime-invoked-function-arn", &api.function_arn),
        ("lambda-runtime-trace-id", &trace_id()),
    ];
    let response = (headers, event).into_response();
    api.process.send_replace(Process::Running { id, outcome });
    response
}

async fn response(State(api): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    api.finish(&id, parse_response(&body))
}

async fn error(State(api): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    api.finish(&id, Err(parse_error(&body)))
}

async fn init_error(State(api): State<Arc<Shared>>, body: Bytes) -> Response {
    let error = parse_error(&body);
    api.process.send_replace(Process::Failed(error));
    accepted()
}

impl Shared {
    /// Ends the invocation `id` if the process is running it.
    fn finish(&self, id: &str, outcome: Outcome) -> Response {
        let mut finished = None;
        self.process.send_if_modified(|process| {
            let is_running =
                matches!(process, Process::Running { id: running, .. } if running == id);
            if is_running {
                finished = Some(mem::replace(process, Process::Preparing));
            }
            is_running
        });
        let Some(Process::Running {
            outcome: sender, ..
        }) = finished
        else {
            let body =
                json!({ "errorType": "InvalidRequestID", "errorMessage": "Invalid request ID" });
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        };
        let _ = sender.send(outcome);
        accepted()
    }
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" }))).into_response()
}

fn trace_id() -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("Root=1-{:08x}-{}", clock::now().as_secs(), &random[..24])
}

fn parse_response(body: &[u8]) -> Outcome {
    if body.len() > LARGEST_PAYLOAD {
        let message = format!(
            "Response payload size exceeded maximum allowed payload size ({LARGEST_PAYLOAD} bytes)."
        );
        return Err(InvokeError::function(
            "Function.ResponseSizeTooLarge",
            message,
        ));
    }
    serde_json::from_slice(body)
        .map_err(|error| InvokeError::function("Runtime.MalformedResponse", error.to_string()))
}

/// An error, in the form in which a process reports it to the Runtime API.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reported {
    error_type: String,
    error_message: String,
}

fn parse_error(body: &[u8]) -> InvokeError {
    let reported: Reported = serde_json::from_slice(body).unwrap_or_default();
    InvokeError::function(&reported.error_type, reported.error_message)
}
