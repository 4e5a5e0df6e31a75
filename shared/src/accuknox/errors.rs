//! AccuKnox's error format.

use lambda_http::{Body, Response};
use serde::Serialize;

use crate::http::{Problem, problem_json};

#[derive(Serialize)]
struct ErrorBody<'a> {
    error_code: &'a str,
    error_message: &'a str,
}

/// Renders an error for functions that serve both AccuKnox's routes and our own. Errors on AccuKnox's routes have
/// AccuKnox's format, and errors on our routes are problem JSON. If a field is invalid, the error code in AccuKnox's
/// format names that field, as in `invalid_cluster_name`.
#[must_use]
pub fn render_error(route: &str, request_id: &str, problem: &Problem) -> Response<Body> {
    if !is_accuknox(route) {
        return problem_json(route, request_id, problem);
    }
    let of_field = problem
        .errors
        .first()
        .map(|error| format!("invalid_{}", error.field));
    problem.answer(&ErrorBody {
        error_code: of_field.as_deref().unwrap_or(problem.code),
        error_message: &problem.detail,
    })
}

fn is_accuknox(route: &str) -> bool {
    let (_, path) = route.split_once(' ').unwrap_or(("", route));
    ["/access-token/", "/cluster-onboarding/", "/cm/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}
