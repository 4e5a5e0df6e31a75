//! A proxy in front of DynamoDB, KMS and EventBridge. It identifies the calling function, checks its permissions,
//! records every request, and injects the faults that a test requests.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    iam::{Access, Permissions, Service},
    kms,
    web::{self, Closed, Server},
};

/// How many of the latest requests are remembered.
const REMEMBERED: usize = 20_000;
/// DynamoDB's error message for a write that is blocked by a transaction on the same item.
const TRANSACTION_CONFLICT: &str = "Transaction is ongoing for the item";

/// A response, or a closed connection.
type Answer = Result<Response, Closed>;

/// A request that a function sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The name of the function's binary or, if the caller is not a function, the caller's access key id.
    pub function: String,
    pub service: Service,
    /// The AWS action, for example `GetItem`.
    pub action: String,
    pub body: Value,
    /// The status of the response, or 0 if the connection was closed.
    pub status: u16,
}

/// A fault that the proxy injects into a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Waits, then applies the next rule that matches.
    Latency(Duration),
    /// Waits until the rule's guard is dropped, then applies the next rule that matches.
    Hold,
    /// Closes the connection. The request has no effect.
    DropBefore,
    /// Lets the request take effect, then closes the connection without a response.
    DropAfter,
    Throttle,
    /// Responds as if the transaction or write conflicted with another transaction.
    TransactionConflict,
    /// Responds with 500. The request has no effect.
    InternalError,
    /// Denies access. Clients do not retry after this error.
    Refuse,
    /// EventBridge refuses the first entry of the request and accepts the others.
    RefuseFirstEntry,
}

/// A fault and the requests that it affects. A new rule affects all requests. The methods of the rule restrict it to
/// some of the requests.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    function: Option<String>,
    service: Option<Service>,
    action: Option<String>,
    text: Option<String>,
    other_text: Option<String>,
    times: Option<u32>,
}

impl Rule {
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            function: None,
            service: None,
            action: None,
            text: None,
            other_text: None,
            times: None,
        }
    }

    /// Restricts the rule to requests from this function. `name` is the name of the function's binary.
    pub fn function(mut self, name: &str) -> Self {
        self.function = Some(name.to_owned());
        self
    }

    pub fn service(mut self, service: Service) -> Self {
        self.service = Some(service);
        self
    }

    /// Restricts the rule to requests with this action, for example `GetItem`.
    pub fn action(mut self, action: &str) -> Self {
        self.action = Some(action.to_owned());
        self
    }

    /// Restricts the rule to requests whose body contains this text.
    pub fn containing(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// Restricts the rule to requests whose body does not contain this text.
    pub fn without(mut self, text: &str) -> Self {
        self.other_text = Some(text.to_owned());
        self
    }

    /// Restricts the rule to the first `times` requests that match.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, request: &Request, body: &str) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&self.function, &request.function)
            && self.service.is_none_or(|wanted| wanted == request.service)
            && is(&self.action, &request.action)
            && self.text.as_deref().is_none_or(|text| body.contains(text))
            && !self
                .other_text
                .as_deref()
                .is_some_and(|text| body.contains(text))
    }
}

/// The active rules and the latest requests.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Shared>);

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<ActiveRule>>,
    requests: Mutex<VecDeque<Request>>,
}

struct ActiveRule {
    rule: Rule,
    hits: Arc<AtomicU32>,
    /// A channel that is closed when the guard is dropped.
    end: watch::Receiver<()>,
}

/// The combined effects of the rules on a request.
#[derive(Default)]
struct Effects {
    delay: Duration,
    /// One receiver for each [`Fault::Hold`] rule that applies to the request. A receiver is closed when the rule's
    /// guard is dropped.
    held_until: Vec<watch::Receiver<()>>,
    fault: Option<Fault>,
}

/// Keeps a rule active. Dropping the guard removes the rule.
#[must_use = "dropping the guard removes the rule"]
pub struct RuleGuard {
    faults: Faults,
    hits: Arc<AtomicU32>,
    _end: watch::Sender<()>,
}

impl RuleGuard {
    /// Returns how many requests the rule has affected.
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::SeqCst)
    }
}

impl Drop for RuleGuard {
    fn drop(&mut self) {
        lock(&self.faults.0.rules).retain(|active| !Arc::ptr_eq(&active.hits, &self.hits));
    }
}

impl Faults {
    pub(crate) fn add(&self, rule: Rule) -> RuleGuard {
        let hits = Arc::new(AtomicU32::new(0));
        let (guard, end) = watch::channel(());
        lock(&self.0.rules).push(ActiveRule {
            rule,
            hits: hits.clone(),
            end,
        });
        RuleGuard {
            faults: self.clone(),
            hits,
            _end: guard,
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.0.requests).iter().cloned().collect()
    }

    pub(crate) fn count(&self, matches: impl Fn(&Request) -> bool) -> usize {
        lock(&self.0.requests)
            .iter()
            .filter(|request| matches(request))
            .count()
    }

    fn record(&self, request: Request) {
        let mut requests = lock(&self.0.requests);
        if requests.len() == REMEMBERED {
            requests.pop_front();
        }
        requests.push_back(request);
    }

    /// Determines the effects of the rules on a request and counts a hit for each rule that applies.
    fn meet(&self, request: &Request, body: &str) -> Effects {
        let mut effects = Effects::default();
        for ActiveRule { rule, hits, end } in lock(&self.0.rules).iter() {
            let is_spent = rule
                .times
                .is_some_and(|times| hits.load(Ordering::SeqCst) >= times);
            if is_spent || !rule.matches(request, body) {
                continue;
            }
            hits.fetch_add(1, Ordering::SeqCst);
            match &rule.fault {
                Fault::Latency(more) => effects.delay += *more,
                Fault::Hold => effects.held_until.push(end.clone()),
                fault => {
                    effects.fault = Some(fault.clone());
                    break;
                }
            }
        }
        effects
    }

    /// Starts a proxy in front of the service at `upstream`.
    pub(crate) async fn serve(
        &self,
        service: Service,
        upstream: &str,
        permissions: &Permissions,
    ) -> Result<Server> {
        let client = reqwest::Client::builder().no_proxy().build();
        let proxy = Proxy {
            faults: self.clone(),
            permissions: permissions.clone(),
            client: client.context("cannot create an HTTP client")?,
            service,
            upstream: upstream.to_owned(),
        };
        let router = Router::new().fallback(answer).with_state(Arc::new(proxy));
        web::serve(web::bind(0).await?, router)
    }
}

struct Proxy {
    faults: Faults,
    permissions: Permissions,
    client: reqwest::Client,
    service: Service,
    upstream: String,
}

/// Handles the request in a separate task, so that a request takes effect even if its client disconnects.
async fn answer(State(proxy): State<Arc<Proxy>>, parts: Parts, body: Bytes) -> Answer {
    let task = tokio::spawn(async move { proxy.answer(parts, body).await });
    task.await.unwrap_or(Err(Closed))
}

impl Proxy {
    async fn answer(&self, parts: Parts, body: Bytes) -> Answer {
        let mut request = Request {
            function: caller(&parts.headers).to_owned(),
            service: self.service,
            action: web::operation(&parts.headers).to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            status: 0,
        };
        let answer = self.respond(&request, parts, body).await;
        if let Ok(response) = &answer {
            request.status = response.status().as_u16();
        }
        self.faults.record(request);
        answer
    }

    /// Checks the permission for a request, applies the rules and, if no fault prevents it, forwards the request.
    async fn respond(&self, request: &Request, parts: Parts, body: Bytes) -> Answer {
        let Request {
            function,
            service,
            action,
            body: json,
            ..
        } = request;
        if let Some(missing) = self.permissions.missing(function, *service, action, json) {
            return Ok(denied(request, &missing));
        }
        let effects = self.faults.meet(request, &String::from_utf8_lossy(&body));
        if !effects.delay.is_zero() {
            tokio::time::sleep(effects.delay).await;
        }
        for mut end in effects.held_until {
            // No value is ever sent, so this call waits until the guard is dropped and then returns an error.
            let _ = end.changed().await;
        }
        match (effects.fault, self.service) {
            (None, _) => self.forward(parts, body).await,
            (Some(Fault::RefuseFirstEntry), Service::EventBridge) => {
                self.forward_rest(parts, json).await
            }
            (Some(Fault::DropAfter), _) => self.forward(parts, body).await.and(Err(Closed)),
            (Some(fault), Service::Kms | Service::EventBridge) => json_1_1_refusal(&fault),
            (Some(fault), Service::DynamoDb) => dynamodb_refusal(&fault, request),
        }
    }

    /// Forwards a request to EventBridge without the first entry. Adds an error for the first entry to the response.
    async fn forward_rest(&self, parts: Parts, request: &Value) -> Answer {
        let refused = json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "injected" });
        let (mut failed, mut results) = (1, vec![refused]);
        let entries = request["Entries"].as_array().map_or(&[][..], Vec::as_slice);
        if let [_, rest @ ..] = entries
            && !rest.is_empty()
        {
            let rest = json!({ "Entries": rest }).to_string();
            let answer = self.forward(parts, rest.into()).await?;
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            let answer: Value =
                serde_json::from_slice(&body.map_err(|_| Closed)?).unwrap_or_default();
            failed += answer["FailedEntryCount"].as_u64().unwrap_or_default();
            results.extend(answer["Entries"].as_array().cloned().unwrap_or_default());
        }
        let body = json!({ "FailedEntryCount": failed, "Entries": results });
        Ok(kms::json_1_1(StatusCode::OK, body))
    }

    async fn forward(&self, parts: Parts, body: Bytes) -> Answer {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = parts.headers;
        for hop_by_hop in [
            header::HOST,
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
        ] {
            headers.remove(hop_by_hop);
        }
        let request = self
            .client
            .request(parts.method, format!("{}{path}", self.upstream))
            .headers(headers)
            .body(body);
        let answer = request.send().await.map_err(|_| Closed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(|_| Closed)?;
        Ok((status, headers, Body::from(body)).into_response())
    }
}

/// Returns the access key id of a SigV4 signature. Every function uses its name as its access key id.
fn caller(headers: &HeaderMap) -> &str {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let credential = authorization.and_then(|value| value.split_once("Credential="));
    credential
        .and_then(|(_, credential)| credential.split('/').next())
        .unwrap_or_default()
}

/// Returns the response to a request that the function's role does not allow.
fn denied(request: &Request, missing: &Access) -> Response {
    let Access {
        action, resource, ..
    } = missing;
    let function = &request.function;
    let message = format!("{function} is not authorized to perform {action} on {resource}");
    eprintln!("infra/template.yaml: {message}{}", missing.details());
    let error = match request.service {
        Service::Kms | Service::EventBridge => kms::error,
        Service::DynamoDb => dynamodb_error,
    };
    error(StatusCode::BAD_REQUEST, "AccessDeniedException", &message)
}

fn dynamodb_error(status: StatusCode, code: &str, message: &str) -> Response {
    let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
    (status, Json(json!({ "__type": code, "message": message }))).into_response()
}

/// Returns the response of KMS or EventBridge to a request affected by a fault.
fn json_1_1_refusal(fault: &Fault) -> Answer {
    let (status, code, message) = match fault {
        Fault::Throttle => (
            StatusCode::BAD_REQUEST,
            "ThrottlingException",
            "Rate exceeded",
        ),
        Fault::Refuse => (
            StatusCode::BAD_REQUEST,
            "AccessDeniedException",
            "injected: access denied",
        ),
        Fault::InternalError => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "KMSInternalException",
            "injected: internal error",
        ),
        Fault::TransactionConflict
        | Fault::RefuseFirstEntry
        | Fault::Latency(_)
        | Fault::Hold
        | Fault::DropBefore
        | Fault::DropAfter => {
            return Err(Closed);
        }
    };
    Ok(kms::error(status, code, message))
}

/// Returns the response of DynamoDB to a request affected by a fault.
fn dynamodb_refusal(fault: &Fault, request: &Request) -> Answer {
    let (status, code, message) = match fault {
        Fault::Throttle => (
            StatusCode::BAD_REQUEST,
            "ProvisionedThroughputExceededException",
            "The level of configured throughput was exceeded",
        ),
        Fault::Refuse => (
            StatusCode::BAD_REQUEST,
            "AccessDeniedException",
            "injected: access denied",
        ),
        Fault::InternalError => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "injected: internal error",
        ),
        Fault::TransactionConflict if request.action == "TransactWriteItems" => {
            return Ok(transaction_canceled(&request.body));
        }
        Fault::TransactionConflict => (
            StatusCode::BAD_REQUEST,
            "TransactionConflictException",
            TRANSACTION_CONFLICT,
        ),
        Fault::RefuseFirstEntry
        | Fault::Latency(_)
        | Fault::Hold
        | Fault::DropBefore
        | Fault::DropAfter => {
            return Err(Closed);
        }
    };
    Ok(dynamodb_error(status, code, message))
}

/// Returns the response to a transaction whose first item conflicts with another transaction.
fn transaction_canceled(body: &Value) -> Response {
    let items = body["TransactItems"].as_array().map_or(0, Vec::len);
    let others = items.saturating_sub(1);
    let mut codes = vec!["TransactionConflict"];
    let mut reasons =
        vec![json!({ "Code": "TransactionConflict", "Message": TRANSACTION_CONFLICT })];
    codes.extend(vec!["None"; others]);
    reasons.extend(vec![json!({ "Code": "None" }); others]);
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            codes.join(", ")
        ),
        "CancellationReasons": reasons,
    });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
