//! The main loop of a function behind the API: runs the handler with a time limit, logs the outcome, and renders
//! errors.

use std::{convert::Infallible, time::Duration};

use http::{HeaderValue, header};
use lambda_http::{
    Adapter, Body, LambdaEvent, Request, RequestExt, Response, Service,
    aws_lambda_events::apigw::ApiGatewayV2httpRequestContext,
    lambda_runtime::{Diagnostic, Runtime},
    request::RequestContext,
    service_fn,
};

use super::{body, error::Error, event::Event, problem::Problem, query};
use crate::process::clock;

/// Time reserved for writing the response.
const RESERVE: Duration = Duration::from_millis(400);
/// The time that is assumed to be left if the deadline is unknown.
const FALLBACK: Duration = Duration::from_secs(4);

/// Renders an error, given the route and the id of the request.
pub type Renderer = fn(&str, &str, &Problem) -> Response<Body>;

/// Serves requests with `handle` until Lambda ends the process.
///
/// # Errors
/// Fails if the Runtime API cannot be reached.
pub async fn serve<F, A>(handle: F, render: Renderer) -> Result<(), lambda_http::Error>
where
    F: Fn(Request) -> A + Send + Sync,
    A: Future<Output = Result<Response<Body>, Error>> + Send,
{
    let handle = &handle;
    let requests = Adapter::from(service_fn(move |request: Request| async move {
        Ok::<_, Infallible>(answer(request, handle, render).await)
    }));
    let events = service_fn(move |event: LambdaEvent<Event>| {
        let mut requests = requests.clone();
        async move {
            let (Event(request), context) = event.into_parts();
            let request = request.ok_or_else(not_a_request)?;
            let Ok(answer) = requests.call(LambdaEvent::new(request, context)).await;
            Ok::<_, Diagnostic>(answer)
        }
    });
    // Unlike `lambda_runtime::run`, this adds no span to a call, because no log line would show the span.
    Runtime::new(events).run().await
}

fn not_a_request() -> Diagnostic {
    let cause = "the event is not a request to an HTTP API: integrate the function with payload format version 2.0";
    tracing::error!(error.cause = cause, "could not read the event");
    Diagnostic {
        error_type: "NotARequest".into(),
        error_message: cause.into(),
    }
}

async fn answer<F, A>(request: Request, handle: F, render: Renderer) -> Response<Body>
where
    F: Fn(Request) -> A,
    A: Future<Output = Result<Response<Body>, Error>>,
{
    let call = Call::begin(&request);
    let result = if request.body().len() > body::LONGEST {
        Err(Error::BodyTooLarge)
    } else if let Err(error) = query::refuse_unknown(&request, &call.route) {
        Err(error)
    } else {
        let answer = tokio::time::timeout(call.budget, handle(request)).await;
        answer.unwrap_or(Err(Error::Deadline))
    };
    match result {
        Ok(mut response) => {
            call.log_success(&response);
            let no_store = HeaderValue::from_static("no-store");
            let headers = response.headers_mut();
            headers.entry(header::CACHE_CONTROL).or_insert(no_store);
            response
        }
        Err(error) => {
            let causes = error.causes();
            let problem = Problem::from(error);
            call.log_problem(&problem, &causes);
            render(&call.route, &call.request_id, &problem)
        }
    }
}

/// The log fields of a request, and the time limit of its handler.
struct Call {
    route: String,
    request_id: String,
    started_ms: i64,
    budget: Duration,
}

impl Call {
    fn begin(request: &Request) -> Self {
        let started_ms = clock::now().as_millis();
        let deadline = request
            .lambda_context_ref()
            .and_then(|context| i64::try_from(context.deadline).ok());
        let time_left = deadline.and_then(|deadline| u64::try_from(deadline - started_ms).ok());
        Self {
            route: route(request).to_owned(),
            request_id: request_id(request),
            started_ms,
            budget: time_left
                .map_or(FALLBACK, Duration::from_millis)
                .saturating_sub(RESERVE),
        }
    }

    fn duration_ms(&self) -> i64 {
        clock::now().as_millis().saturating_sub(self.started_ms)
    }

    /// Logs at `debug`, because API Gateway's access log contains the same data. A second log line would add
    /// considerably to the cost of a validation.
    fn log_success(&self, response: &Response<Body>) {
        tracing::debug!(
            request.id = self.request_id,
            http.route = self.route,
            http.status = response.status().as_u16(),
            duration_ms = self.duration_ms(),
            "handled the request"
        );
    }

    fn log_problem(&self, problem: &Problem, causes: &str) {
        let (status, code) = (problem.status.as_u16(), problem.code);
        if problem.status.is_server_error() {
            tracing::error!(
                request.id = self.request_id,
                http.route = self.route,
                http.status = status,
                error.code = code,
                error.cause = causes,
                duration_ms = self.duration_ms(),
                "could not handle the request"
            );
        } else {
            tracing::info!(
                request.id = self.request_id,
                http.route = self.route,
                http.status = status,
                error.code = code,
                duration_ms = self.duration_ms(),
                "refused the request"
            );
        }
    }
}

/// Returns the route key of the request, such as `GET /v1/users/{user_id}`.
#[must_use]
pub fn route(request: &Request) -> &str {
    let route_key = context(request).and_then(|context| context.route_key.as_deref());
    route_key.unwrap_or_default()
}

/// Returns the gateway's data about a request.
pub(super) fn context(request: &Request) -> Option<&ApiGatewayV2httpRequestContext> {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => Some(context),
        _ => None,
    }
}

/// Returns the id that the gateway gave the request or, if there is none, the id that Lambda gave it.
pub(super) fn request_id(request: &Request) -> String {
    let gateway = context(request).and_then(|context| context.request_id.clone());
    let lambda = || {
        let context = request.lambda_context_ref();
        context.map(|context| context.request_id.clone())
    };
    gateway.or_else(lambda).unwrap_or_default()
}
