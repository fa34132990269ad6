//! What students do in their courses, and what they see of it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Audience, Rendered, personal};
use super::auth::{SignedIn, Viewer};
use super::error::{Problem, ReadProblems, WriteProblems};
use super::extract::{Conditions, Json, Path};
use crate::app::App;
use crate::learning::ProgressReport;
use crate::reads::{PlainAnswer, Read};
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(get_progress))
        .routes(routes!(complete_lesson, uncomplete_lesson))
        .routes(routes!(report_progress))
        .routes(routes!(get_dashboard))
        .routes(routes!(get_session))
}

async fn own(read: &Read<Arc<PlainAnswer>>, conditions: &Conditions) -> Response {
    let rendered = Rendered {
        body: &read.value.body,
        version: None,
        origin: read.origin,
        audience: Audience::OneViewer,
    };
    rendered.answer(conditions).await
}

/// How far one is in a course (enrolled)
#[utoipa::path(get, path = "/courses/{id}/progress", tag = "learning", operation_id = "getProgress",
    params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 200, description = "The progress", body = wire::Progress), ReadProblems))]
async fn get_progress(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    conditions: Conditions,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let via = Viewer(Some(by)).via(&conditions);
    let read = app.learning.progress(by, via, id).await?;
    Ok(own(&read, &conditions).await)
}

/// Note a lesson as done (enrolled); the last one completes the course
#[utoipa::path(post, path = "/courses/{id}/lessons/{lesson_id}/complete", tag = "learning",
    operation_id = "completeLesson", params(("id" = i64, Path), ("lesson_id" = i64, Path)),
    security(("bearer" = [])),
    responses((status = 200, description = "The progress", body = wire::Progress), WriteProblems))]
async fn complete_lesson(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path((id, lesson_id)): Path<(i64, i64)>,
) -> Result<Response, Problem> {
    let detail = app.learning.complete_lesson(by, id, lesson_id).await?;
    Ok(personal(StatusCode::OK, &wire::Progress::from(&detail)))
}

/// Note a lesson as not done (enrolled); a certificate that was given stays
#[utoipa::path(delete, path = "/courses/{id}/lessons/{lesson_id}/complete", tag = "learning",
    operation_id = "uncompleteLesson", params(("id" = i64, Path), ("lesson_id" = i64, Path)),
    security(("bearer" = [])),
    responses((status = 200, description = "The progress", body = wire::Progress), WriteProblems))]
async fn uncomplete_lesson(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path((id, lesson_id)): Path<(i64, i64)>,
) -> Result<Response, Problem> {
    let detail = app.learning.uncomplete_lesson(by, id, lesson_id).await?;
    Ok(personal(StatusCode::OK, &wire::Progress::from(&detail)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProgressUpdate {
    /// This lesson is done, and the one to go on from.
    lesson_id: Option<i64>,
    /// All lessons of this module are done.
    module_id: Option<i64>,
    /// To be added to the time spent so far.
    #[schema(minimum = 0, maximum = 1440, example = 25)]
    time_spent_minutes: Option<i64>,
}

/// Report what was done in a visit (the student)
#[utoipa::path(patch, path = "/enrollments/{id}/progress", tag = "learning",
    operation_id = "reportProgress", params(("id" = i64, Path)), security(("bearer" = [])),
    request_body = ProgressUpdate,
    responses((status = 200, description = "The enrollment", body = wire::Enrollment), WriteProblems))]
async fn report_progress(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
    Json(update): Json<ProgressUpdate>,
) -> Result<Response, Problem> {
    let ProgressUpdate { lesson_id, module_id, time_spent_minutes } = update;
    let report = ProgressReport { lesson_id, module_id, time_spent_minutes };
    let detail = app.learning.report_progress(by, id, report).await?;
    Ok(personal(StatusCode::OK, &wire::Enrollment::from(detail)))
}

/// One's courses, totals and certificates
#[utoipa::path(get, path = "/users/me/dashboard", tag = "learning", operation_id = "getDashboard",
    security(("bearer" = [])),
    responses((status = 200, description = "The dashboard", body = wire::Dashboard), ReadProblems))]
async fn get_dashboard(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let read = app.learning.my_dashboard(by, Viewer(Some(by)).via(&conditions)).await?;
    Ok(own(&read, &conditions).await)
}

/// Where one is enrolled, and how far
#[utoipa::path(get, path = "/users/me/session", tag = "learning", operation_id = "getSession",
    security(("bearer" = [])),
    responses((status = 200, description = "The session", body = wire::Session), ReadProblems))]
async fn get_session(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let read = app.learning.my_session(by, Viewer(Some(by)).via(&conditions)).await?;
    Ok(own(&read, &conditions).await)
}
