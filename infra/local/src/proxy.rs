//! A proxy in front of DynamoDB and KMS: it identifies the calling function, checks its permissions, records every
//! request, and injects the faults that a test asks for.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    iam::{Permission, Permissions, Service},
    kms,
    web::{self, Answer, Closed, Server},
};

/// How many of the latest requests are remembered.
const REMEMBERED: usize = 20_000;
/// DynamoDB's message for a write that a transaction on the same item blocks.
const TRANSACTION_CONFLICT: &str = "Transaction is ongoing for the item";

/// A request that a function sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The binary's name, or whatever access key id another caller used.
    pub function: String,
    pub service: Service,
    /// For example `GetItem`.
    pub action: String,
    pub body: Value,
    /// The status that the caller saw; 0 if the connection was closed instead.
    pub status: u16,
}

/// What happens to a request instead of, or before, being answered.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Waits, then goes on to the next rule that matches.
    Latency(Duration),
    /// Closes the connection; the request has no effect.
    DropBefore,
    /// Lets the request take effect, then closes the connection without an answer.
    DropAfter,
    Throttle,
    /// A transaction or a write that lost against another one.
    TransactionConflict,
    /// A 500 of the service; the request has no effect.
    InternalError,
    /// Access denied, which no client retries.
    Refuse,
}

/// A fault, and the requests that meet it: all, until the methods narrow them down.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    function: Option<String>,
    service: Option<Service>,
    action: Option<String>,
    text: Option<String>,
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
            times: None,
        }
    }

    /// Only requests of this function, named by its binary.
    pub fn function(mut self, name: &str) -> Self {
        self.function = Some(name.to_owned());
        self
    }

    pub fn service(mut self, service: Service) -> Self {
        self.service = Some(service);
        self
    }

    /// Only this action, for example `GetItem`.
    pub fn action(mut self, action: &str) -> Self {
        self.action = Some(action.to_owned());
        self
    }

    /// Only requests whose body contains this text.
    pub fn containing(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// Only the first `times` requests that match.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, function: &str, service: Service, action: &str, body: &str) -> bool {
        let is = |wanted: &Option<String>, found| wanted.as_deref().is_none_or(|w| w == found);
        is(&self.function, function)
            && self.service.is_none_or(|wanted| wanted == service)
            && is(&self.action, action)
            && self.text.as_deref().is_none_or(|text| body.contains(text))
    }
}

/// The rules in force, and the requests seen.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Shared>);

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<(Rule, Arc<AtomicU32>)>>,
    requests: Mutex<VecDeque<Request>>,
}

/// Keeps a rule in force until it is dropped.
#[must_use = "the rule ends when this is dropped"]
pub struct RuleGuard {
    faults: Faults,
    hits: Arc<AtomicU32>,
}

impl RuleGuard {
    /// How many requests the rule has met.
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::SeqCst)
    }
}

impl Drop for RuleGuard {
    fn drop(&mut self) {
        lock(&self.faults.0.rules).retain(|(_, hits)| !Arc::ptr_eq(hits, &self.hits));
    }
}

impl Faults {
    pub(crate) fn add(&self, rule: Rule) -> RuleGuard {
        let hits = Arc::new(AtomicU32::new(0));
        lock(&self.0.rules).push((rule, hits.clone()));
        RuleGuard {
            faults: self.clone(),
            hits,
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

    /// The delay and the fault that this request meets; counts it.
    fn meet(
        &self,
        function: &str,
        service: Service,
        action: &str,
        body: &str,
    ) -> (Duration, Option<Fault>) {
        let mut delay = Duration::ZERO;
        for (rule, hits) in lock(&self.0.rules).iter() {
            let met = rule.matches(function, service, action, body)
                && rule
                    .times
                    .is_none_or(|times| hits.load(Ordering::SeqCst) < times);
            if met {
                hits.fetch_add(1, Ordering::SeqCst);
                match &rule.fault {
                    Fault::Latency(more) => delay += *more,
                    fault => return (delay, Some(fault.clone())),
                }
            }
        }
        (delay, None)
    }

    /// Serves one endpoint: what comes in goes to `upstream`, unless a policy or a rule is against it.
    pub(crate) async fn serve(
        &self,
        service: Service,
        upstream: &str,
        permissions: &Permissions,
    ) -> Result<Server> {
        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.context("cannot make an HTTP client")?;
        let (faults, upstream, permissions) =
            (self.clone(), upstream.to_owned(), permissions.clone());
        web::serve(web::bind(0).await?, move |parts, body| {
            let (faults, permissions) = (faults.clone(), permissions.clone());
            let proxied = Proxied {
                faults,
                permissions,
                client: client.clone(),
                service,
            };
            let upstream = upstream.clone();
            // A task of its own: a caller that goes away does not take back what it has sent.
            let task = tokio::spawn(async move { proxied.answer(&upstream, parts, body).await });
            async move { task.await.unwrap_or(Err(Closed)) }
        })
    }
}

struct Proxied {
    faults: Faults,
    permissions: Permissions,
    client: reqwest::Client,
    service: Service,
}

impl Proxied {
    async fn answer(self, upstream: &str, parts: Parts, body: Bytes) -> Answer {
        let function = caller(&parts.headers).to_owned();
        let action = web::operation(&parts).to_owned();
        let text = String::from_utf8_lossy(&body);
        let parsed = serde_json::from_str(&text).unwrap_or_default();
        if let Some(missing) = self
            .permissions
            .missing(&function, self.service, &action, &parsed)
        {
            let answer = denied(self.service, &function, &missing);
            let status = StatusCode::BAD_REQUEST.as_u16();
            self.faults.record(Request {
                function,
                service: self.service,
                action,
                body: parsed,
                status,
            });
            return Ok(answer);
        }
        let (delay, fault) = self.faults.meet(&function, self.service, &action, &text);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let answer = match fault {
            None => self.forward(upstream, parts, body.clone()).await,
            Some(Fault::DropAfter) => self
                .forward(upstream, parts, body.clone())
                .await
                .and(Err(Closed)),
            Some(fault) => match self.service {
                Service::Kms => kms_refusal(&fault),
                Service::DynamoDb => dynamodb_refusal(&fault, &action, &parsed),
            },
        };
        let status = answer
            .as_ref()
            .map_or(0, |response| response.status().as_u16());
        self.faults.record(Request {
            function,
            service: self.service,
            action,
            body: parsed,
            status,
        });
        answer
    }

    async fn forward(&self, upstream: &str, parts: Parts, body: Bytes) -> Answer {
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
            .request(parts.method, format!("{upstream}{path}"))
            .headers(headers)
            .body(body);
        let answer = request.send().await.map_err(|_| Closed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = Response::new(Full::from(answer.bytes().await.map_err(|_| Closed)?));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// The access key id of a SigV4 signature: each function is given its own name as one.
fn caller(headers: &HeaderMap) -> &str {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let credential = authorization.and_then(|value| value.split_once("Credential="));
    credential
        .and_then(|(_, credential)| credential.split('/').next())
        .unwrap_or_default()
}

/// The answer to a function whose role does not allow its request.
fn denied(service: Service, function: &str, missing: &Permission) -> Response<Full<Bytes>> {
    let Permission { action, resource } = missing;
    let message = format!("{function} is not authorized to perform {action} on {resource}");
    eprintln!("infra/template.yaml: {message}");
    match service {
        Service::Kms => kms::error(StatusCode::BAD_REQUEST, "AccessDeniedException", &message),
        Service::DynamoDb => {
            dynamodb_error(StatusCode::BAD_REQUEST, "AccessDeniedException", &message)
        }
    }
}

fn dynamodb_error(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
    web::json(status, &json!({ "__type": code, "message": message }))
}

/// The answer of KMS to a request that meets a fault.
fn kms_refusal(fault: &Fault) -> Answer {
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
        Fault::TransactionConflict | Fault::Latency(_) | Fault::DropBefore | Fault::DropAfter => {
            return Err(Closed);
        }
    };
    Ok(kms::error(status, code, message))
}

/// The answer of DynamoDB to a request that meets a fault.
fn dynamodb_refusal(fault: &Fault, action: &str, body: &Value) -> Answer {
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
        Fault::TransactionConflict if action == "TransactWriteItems" => {
            return Ok(transaction_canceled(body));
        }
        Fault::TransactionConflict => (
            StatusCode::BAD_REQUEST,
            "TransactionConflictException",
            TRANSACTION_CONFLICT,
        ),
        Fault::Latency(_) | Fault::DropBefore | Fault::DropAfter => return Err(Closed),
    };
    Ok(dynamodb_error(status, code, message))
}

/// Cancels a transaction: its first item conflicts with another transaction.
fn transaction_canceled(body: &Value) -> Response<Full<Bytes>> {
    let items = body["TransactItems"]
        .as_array()
        .map_or(1, |items| items.len().max(1));
    let mut reasons = vec![json!({ "Code": "None" }); items];
    reasons[0] = json!({ "Code": "TransactionConflict", "Message": TRANSACTION_CONFLICT });
    let codes: Vec<_> = reasons
        .iter()
        .filter_map(|reason| reason["Code"].as_str())
        .collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            codes.join(", ")
        ),
        "CancellationReasons": reasons,
    });
    web::json(StatusCode::BAD_REQUEST, &body)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
