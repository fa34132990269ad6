//! What admins do to the cache: clear, warm and test it. Their role is read from the database.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::personal;
use super::auth::OperatedBy;
use super::error::{Problem, WriteProblems};
use super::extract::{Path, Query};
use super::system::TestReport;
use crate::app::App;
use crate::config::Namespace;
use crate::learning::Clearing;
use crate::model::Refusal;
use crate::reads::Warmed;

pub(super) const NO_NAMESPACE: Refusal = Refusal::NotFound("There is no such namespace");

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(clear_course))
        .routes(routes!(clear_namespace))
        .routes(routes!(clear_tag))
        .routes(routes!(clear_everything))
        .routes(routes!(warm_cache))
        .routes(routes!(test_cache))
}

#[derive(Serialize, ToSchema)]
struct Cleared {
    #[schema(example = "Cache cleared for course 42")]
    message: String,
}

async fn clear(
    app: &App,
    OperatedBy(by): OperatedBy,
    what: &Clearing,
    named: String,
) -> Result<Response, Problem> {
    app.learning.clear_cache(by, what).await?;
    Ok(personal(StatusCode::OK, &Cleared { message: format!("Cache cleared for {named}") }))
}

/// Forget everything about a course, on every server (admin)
#[utoipa::path(delete, path = "/cache/courses/{id}", tag = "operations",
    operation_id = "clearCourse", params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 200, description = "Forgotten", body = Cleared), WriteProblems))]
async fn clear_course(
    State(app): State<Arc<App>>,
    by: OperatedBy,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    clear(&app, by, &Clearing::Course(id), format!("course {id}")).await
}

/// Forget every entry of a namespace, on every server (admin)
#[utoipa::path(delete, path = "/cache/namespaces/{ns}", tag = "operations",
    operation_id = "clearNamespace", params(("ns" = String, Path)), security(("bearer" = [])),
    responses((status = 200, description = "Forgotten", body = Cleared), WriteProblems))]
async fn clear_namespace(
    State(app): State<Arc<App>>,
    by: OperatedBy,
    Path(ns): Path<String>,
) -> Result<Response, Problem> {
    let namespace = Namespace::named(&ns).ok_or(NO_NAMESPACE)?;
    clear(&app, by, &Clearing::Namespace(namespace), format!("namespace {ns}")).await
}

/// Forget every entry with a tag, on every server (admin)
#[utoipa::path(delete, path = "/cache/tags/{tag}", tag = "operations", operation_id = "clearTag",
    params(("tag" = String, Path, pattern = "^[!-~]+$",
        max_length = 256, example = "course:42")), security(("bearer" = [])),
    responses((status = 200, description = "Forgotten", body = Cleared), WriteProblems))]
async fn clear_tag(
    State(app): State<Arc<App>>,
    by: OperatedBy,
    Path(tag): Path<String>,
) -> Result<Response, Problem> {
    let named = format!("tag {tag}");
    clear(&app, by, &Clearing::Tag(tag), named).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    /// Must be `all`: nobody empties the cache by leaving a part of the path out.
    #[param(required = true, pattern = "^all$", example = "all")]
    confirm: Option<String>,
}

/// Forget everything, on every server (admin)
#[utoipa::path(delete, path = "/cache", tag = "operations", operation_id = "clearCache",
    params(Confirmation), security(("bearer" = [])),
    responses((status = 200, description = "Forgotten", body = Cleared), WriteProblems))]
async fn clear_everything(
    State(app): State<Arc<App>>,
    by: OperatedBy,
    Query(confirmation): Query<Confirmation>,
) -> Result<Response, Problem> {
    if confirmation.confirm.as_deref() != Some("all") {
        return Err(Problem::unprocessable("confirm", "must be 'all' to clear the whole cache"));
    }
    clear(&app, by, &Clearing::Everything, "everything".to_owned()).await
}

#[derive(Serialize, ToSchema)]
#[schema(as = Warmed)]
struct WarmReport {
    /// Reads that were made.
    warmed: u64,
    /// Those that were not in the cache yet.
    loaded: u64,
    failed: u64,
    took_ms: u64,
}

/// Make the most common reads now (admin); they are of courses, and the user service has none
#[utoipa::path(post, path = "/cache/warm", tag = "operations", operation_id = "warmCache",
    security(("bearer" = [])),
    responses((status = 200, description = "What was read", body = WarmReport), WriteProblems))]
async fn warm_cache(
    State(app): State<Arc<App>>,
    OperatedBy(by): OperatedBy,
) -> Result<Response, Problem> {
    app.learning.log_operation(by, "cache.warm", "").await?;
    let warmed = match app.warming {
        Some(what) => app.reads.warm(what, &app.clock).await,
        None => Warmed::default(),
    };
    let report = WarmReport {
        warmed: warmed.reads,
        loaded: warmed.loaded,
        failed: warmed.failed,
        took_ms: warmed.took.as_millis() as u64,
    };
    Ok(personal(StatusCode::OK, &report))
}

/// Load, find, invalidate and load a value of its own through the cache (admin)
#[utoipa::path(post, path = "/cache/test", tag = "operations", operation_id = "testCache",
    security(("bearer" = [])),
    responses((status = 200, description = "Each step", body = TestReport), WriteProblems))]
async fn test_cache(
    State(app): State<Arc<App>>,
    OperatedBy(by): OperatedBy,
) -> Result<Response, Problem> {
    app.learning.log_operation(by, "cache.test", "").await?;
    let report = TestReport::of(app.reads.test_cache().await);
    Ok(personal(StatusCode::OK, &report))
}
