//! `/v1/users`: the tenant's directory. A first sign-in creates a Viewer.

use access_keys::{
    aws::AwsSettings,
    caller::Caller,
    clock,
    config::{CallerSettings, Environment},
    edge,
    error::Error,
    input::{self, Fields, PageRequest},
    operations::directory::{self, Change},
    store::Store,
};
use lambda_http::{Body, Request, Response, http::StatusCode};

/// What the function works with.
pub struct App {
    /// The table.
    pub store: Store,
    callers: CallerSettings,
}

impl App {
    /// Reads the settings.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        Self {
            store: Store::read(environment, &aws),
            callers: CallerSettings::read(environment),
        }
    }
}

/// Answers with a user, a page of users, or nothing after a deletion.
///
/// # Errors
/// When there is no such user, or the caller may not know or do that.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let now = clock::now();
    let caller = Caller::of(&request, &app.callers)?;
    let me = directory::sign_in(&app.store, &caller, now).await?;
    if edge::route(&request) == "GET /v1/users" {
        let wanted = PageRequest::of(&request, format!("users of {}", me.tenant_id))?;
        return Ok(edge::json(
            StatusCode::OK,
            &directory::list(&app.store, &me, &wanted).await?,
        ));
    }
    let user_id = input::path_user(&request, &me.user_id)?;
    let (status, user) = match edge::route(&request) {
        "GET /v1/users/{user_id}" => (
            StatusCode::OK,
            directory::get(&app.store, &me, &user_id).await?,
        ),
        "PUT /v1/users/{user_id}" => {
            let change = Change::provision(Fields::of(&request)?)?;
            let (user, is_new) =
                directory::provision(&app.store, &me, &user_id, &change, now).await?;
            (
                if is_new {
                    StatusCode::CREATED
                } else {
                    StatusCode::OK
                },
                user,
            )
        }
        "PATCH /v1/users/{user_id}" => {
            let change = Change::patch(Fields::of(&request)?)?;
            (
                StatusCode::OK,
                directory::change(&app.store, &me, &user_id, &change).await?,
            )
        }
        "DELETE /v1/users/{user_id}" => {
            directory::delete(&app.store, &me, &user_id, now).await?;
            return Ok(edge::no_content());
        }
        _ => return Err(Error::NotFound),
    };
    Ok(edge::json(status, &user.to_json()))
}
