//! `GET …/access-keys`: returns a user's keys, one key, or the tenant's keys. `GET /v1/audit`: returns the audit trail.

use std::time::Duration;

use access_keys::{
    http::{
        self, Error, path, query,
        views::{AuditEntryView, KeyView, PageView},
    },
    process::{
        clock,
        config::{self, CallerSettings, Environment},
    },
    service::{
        self, Horizon, List, Store, get_key, list_audit_trail, list_tenant_keys, list_user_keys,
    },
};
use lambda_http::{Body, Request, Response, http::StatusCode};

pub struct App {
    pub store: Store,
    callers: CallerSettings,
    history: Duration,
}

impl App {
    pub fn read(environment: &mut Environment<'_>) -> Self {
        Self {
            store: service::table(environment),
            callers: CallerSettings::read(environment),
            history: config::history(environment),
        }
    }
}

/// Returns 200 with the record of a key, or with a page of records or audit entries.
pub async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let (store, history, now) = (&app.store, app.history, clock::now());
    let horizon = Horizon { history, now };
    let actor = http::actor(&request, &app.callers)?;
    match http::route(&request) {
        "GET /v1/access-keys" => {
            let name = format!("keys of {}", actor.tenant_id);
            let (filter, query) = query::key_list(&request, List::TenantKeys, &name)?;
            let keys = list_tenant_keys(&actor, store, &filter, &query.page, horizon).await?;
            let view = PageView::new(keys, &query, KeyView::from);
            Ok(http::json(StatusCode::OK, &view))
        }
        "GET /v1/users/{user_id}/access-keys" => {
            let owner_id = path::user(&request, &actor)?;
            let name = format!("keys of {}/{owner_id}", actor.tenant_id);
            let (filter, query) = query::key_list(&request, List::UserKeys, &name)?;
            let keys =
                list_user_keys(&actor, store, &owner_id, &filter, &query.page, horizon).await?;
            let view = PageView::new(keys, &query, KeyView::from);
            Ok(http::json(StatusCode::OK, &view))
        }
        "GET /v1/users/{user_id}/access-keys/{key_id}" => {
            let owner_id = path::user(&request, &actor)?;
            let key_id = path::key(&request)?;
            let key = get_key(&actor, store, &owner_id, key_id, horizon).await?;
            Ok(http::json(StatusCode::OK, &KeyView::from(key)))
        }
        "GET /v1/audit" => {
            let name = format!("audit trail of {}", actor.tenant_id);
            let (filter, query) = query::audit_trail(&request, &name)?;
            let entries = list_audit_trail(&actor, store, &filter, &query.page, now).await?;
            let view = PageView::new(entries, &query, AuditEntryView::from);
            Ok(http::json(StatusCode::OK, &view))
        }
        _ => Err(Error::NOT_FOUND),
    }
}
