//! What operators have done to the cache, for admins.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::personal;
use super::auth::Admin;
use super::error::{Problem, ReadProblems};
use super::extract::Query;
use super::page::{Page, PageParams, page_headers};
use crate::app::App;
use crate::model::{LoggedAction, Timestamp};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(audit))
}

#[derive(Serialize, ToSchema)]
struct AuditLog {
    items: Vec<AuditEntry>,
    total: i64,
    skip: i64,
    limit: i64,
}

#[derive(Serialize, ToSchema)]
struct AuditEntry {
    id: i64,
    at: Timestamp,
    /// `admin` or `command line`.
    by: &'static str,
    /// `null` for the command line.
    admin_id: Option<i64>,
    #[schema(example = "cache.clear")]
    action: String,
    /// What it was done to, and of a definition what was changed.
    #[schema(example = "course 42")]
    target: String,
}

impl From<LoggedAction> for AuditEntry {
    fn from(logged: LoggedAction) -> Self {
        let by = if logged.admin_id.is_some() { "admin" } else { "command line" };
        let LoggedAction { id, at, admin_id, action, target } = logged;
        Self { id, at, by, admin_id, action, target }
    }
}

/// What operators have done to the cache, the newest first (admin); 10,000 entries, a year long
#[utoipa::path(get, path = "/cache/audit", tag = "operations", operation_id = "auditLog",
    params(PageParams), security(("bearer" = [])),
    responses((status = 200, description = "A page of the log", body = AuditLog), ReadProblems))]
async fn audit(
    _: Admin,
    State(app): State<Arc<App>>,
    RawQuery(raw): RawQuery,
    Query(params): Query<PageParams>,
) -> Result<Response, Problem> {
    let window = params.window()?;
    let (logged, total) = app.learning.logged_actions(window).await?;
    let items = logged.into_iter().map(AuditEntry::from).collect();
    let log = AuditLog { items, total, skip: window.skip, limit: window.limit };
    let mut response = personal(StatusCode::OK, &log);
    let page = Page::of(window, total);
    page_headers(response.headers_mut(), "/cache/audit", raw.as_deref(), page);
    Ok(response)
}
