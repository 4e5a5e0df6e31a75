//! `/v1/users`: the tenant's user directory. A person's first sign-in creates a user with the role Viewer. A person
//! named in `BootstrapAdmins` becomes an Admin when they first call this function.

use access_keys::{
    http::{
        self, Error, path, query, requests,
        views::{MeView, PageView, UserView},
    },
    process::{
        clock,
        config::{CallerSettings, Environment, KeyLimits},
    },
    service::{self, Store, change_user, delete_user, get_user, list_users, provision_user},
};
use lambda_http::{Body, Request, Response, http::StatusCode};

pub struct App {
    pub store: Store,
    callers: CallerSettings,
    limits: KeyLimits,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            store: service::table(environment),
            callers: CallerSettings::read(environment),
            limits: KeyLimits::read(environment),
        }
    }
}

/// Returns a user, a page of users, or 204 after a deletion.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let (store, now) = (&app.store, clock::now());
    let first_sign_ins = app.limits.first_sign_ins;
    let actor = http::actor(&request, &app.callers)?;
    if http::route(&request) == "GET /v1/users" {
        let name = format!("users of {}", actor.tenant_id);
        let (filter, query) = query::user_list(&request, &name)?;
        let users = list_users(&actor, store, &filter, &query.page, first_sign_ins, now).await?;
        let view = PageView::new(users, &query, UserView::from);
        return Ok(http::json(StatusCode::OK, &view));
    }
    let user_id = path::user(&request, &actor)?;
    let (status, user) = match http::route(&request) {
        "GET /v1/users/{user_id}" => {
            let user = get_user(&actor, store, &user_id, first_sign_ins, now).await?;
            if path::is_me(&request) {
                let view = MeView::new(user, &app.limits);
                return Ok(http::json(StatusCode::OK, &view));
            }
            (StatusCode::OK, user)
        }
        "PUT /v1/users/{user_id}" => {
            let change = requests::provision_user(&request)?;
            match provision_user(&actor, store, &user_id, &change, first_sign_ins, now).await? {
                (user, true) => (StatusCode::CREATED, user),
                (user, false) => (StatusCode::OK, user),
            }
        }
        "PATCH /v1/users/{user_id}" => {
            let change = requests::change_user(&request)?;
            let user = change_user(&actor, store, &user_id, &change, first_sign_ins, now).await?;
            (StatusCode::OK, user)
        }
        "DELETE /v1/users/{user_id}" => {
            delete_user(&actor, store, &user_id, first_sign_ins, now).await?;
            return Ok(http::no_content());
        }
        _ => return Err(Error::NOT_FOUND),
    };
    Ok(http::json(status, &UserView::from(user)))
}
