//! Course content and seats.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Audience, Rendered, written_body};
use super::auth::{SignedIn, Viewer};
use super::error::{Problem, ProblemBody, ReadProblems, WriteProblems};
use super::extract::{
    CONTENT_LIMIT, Conditions, IfMatch, Json, Label, Path, object_or_none, objects,
};
use crate::app::App;
use crate::model::{ContentDraft, LessonDraft, ModuleDraft, Refusal};
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(get_content, replace_content, delete_content))
        .routes(routes!(get_lesson))
        .routes(routes!(add_module))
        .routes(routes!(delete_module))
        .routes(routes!(add_lesson))
        .routes(routes!(delete_lesson))
        .routes(routes!(get_seats))
}

/// The whole content of a course (enrolled, owner, admin)
#[utoipa::path(get, path = "/courses/{id}/content", tag = "content", operation_id = "getContent",
    params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 200, description = "The content", body = wire::Content), ReadProblems))]
async fn get_content(
    State(app): State<Arc<App>>,
    SignedIn(viewer): SignedIn,
    conditions: Conditions,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let via = Viewer(Some(viewer)).via(&conditions);
    let read = app.learning.content(viewer, via, id).await?;
    let rendered = Rendered {
        body: &read.value.body,
        version: Some(read.value.version),
        origin: read.origin,
        audience: Audience::Permitted,
    };
    Ok(rendered.answer(&conditions).await)
}

/// One lesson, cut from the same document (enrolled, owner, admin)
#[utoipa::path(get, path = "/courses/{id}/content/lessons/{lesson_id}", tag = "content",
    operation_id = "getLesson", params(("id" = i64, Path), ("lesson_id" = i64, Path)),
    security(("bearer" = [])),
    responses((status = 200, description = "The lesson", body = wire::Lesson), ReadProblems))]
async fn get_lesson(
    State(app): State<Arc<App>>,
    SignedIn(viewer): SignedIn,
    conditions: Conditions,
    Path((id, lesson_id)): Path<(i64, i64)>,
) -> Result<Response, Problem> {
    let via = Viewer(Some(viewer)).via(&conditions);
    let read = app.learning.content(viewer, via, id).await?;
    let lesson = read.value.lesson(lesson_id);
    let rendered = Rendered {
        body: lesson.ok_or(Refusal::NotFound("Lesson not found"))?,
        version: Some(read.value.version),
        origin: read.origin,
        audience: Audience::Permitted,
    };
    Ok(rendered.answer(&conditions).await)
}

/// A whole document.
#[derive(Deserialize, ToSchema)]
#[schema(as = ContentDraft)]
#[serde(deny_unknown_fields)]
struct ContentRequest {
    #[serde(deserialize_with = "objects")]
    modules: Vec<ModuleRequest>,
    #[serde(default, deserialize_with = "object_or_none")]
    metadata: Option<MetadataRequest>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ModuleDraft)]
#[serde(deny_unknown_fields)]
struct ModuleRequest {
    /// Keeps the identity of an existing module; given by the server when absent.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    id: Option<i64>,
    #[schema(max_length = 300, pattern = r"\S")]
    title: String,
    /// Where the module goes; the order of the list when absent.
    position: Option<i64>,
    #[serde(default, deserialize_with = "objects")]
    lessons: Vec<LessonRequest>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = LessonDraft)]
#[serde(deny_unknown_fields)]
struct LessonRequest {
    /// Keeps the identity of an existing lesson; given by the server when absent.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    id: Option<i64>,
    #[schema(max_length = 300, pattern = r"\S")]
    title: String,
    #[serde(default = "text_kind")]
    #[schema(max_length = 50, pattern = r"\S")]
    kind: String,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100_000)]
    duration_minutes: i64,
    #[serde(default)]
    #[schema(max_length = 2_000_000)]
    body: String,
}

/// A client may send the totals back that it was given, but only the tags are taken.
#[derive(Deserialize, ToSchema)]
#[schema(as = MetadataDraft)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "totals are accepted, checked for their kind, and computed anew")]
struct MetadataRequest {
    total_modules: Option<i64>,
    total_lessons: Option<i64>,
    total_duration_hours: Option<f64>,
    #[serde(default)]
    #[schema(value_type = Vec<Label>)]
    tags: Vec<String>,
}

fn text_kind() -> String {
    "text".to_owned()
}

impl From<ContentRequest> for ContentDraft {
    fn from(request: ContentRequest) -> Self {
        Self {
            modules: request.modules.into_iter().map(ModuleDraft::from).collect(),
            tags: request.metadata.map(|metadata| metadata.tags),
        }
    }
}

impl From<ModuleRequest> for ModuleDraft {
    fn from(request: ModuleRequest) -> Self {
        Self {
            id: request.id,
            title: request.title,
            position: request.position,
            lessons: request.lessons.into_iter().map(LessonDraft::from).collect(),
            external_id: None,
        }
    }
}

impl From<LessonRequest> for LessonDraft {
    fn from(request: LessonRequest) -> Self {
        Self {
            id: request.id,
            title: request.title,
            kind: request.kind,
            duration_minutes: request.duration_minutes,
            body: request.body,
            external_id: None,
        }
    }
}

/// Create or replace the content (owner, admin)
#[utoipa::path(put, path = "/courses/{id}/content", tag = "content", operation_id = "replaceContent",
    params(("id" = i64, Path), ("If-Match" = Option<String>, Header, description = "Only this version")),
    security(("bearer" = [])), request_body = ContentRequest,
    responses((status = 200, description = "The content", body = wire::Content),
        (status = 412, description = "The content is at another version", body = ProblemBody,
            content_type = "application/problem+json"), WriteProblems))]
async fn replace_content(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    IfMatch(versions): IfMatch,
    Path(id): Path<i64>,
    Json(request): Json<ContentRequest, CONTENT_LIMIT>,
) -> Result<Response, Problem> {
    let expected = versions.as_deref();
    let edited = app.learning.replace_content(by, id, expected, request.into()).await?;
    Ok(written_body(StatusCode::OK, &edited.body, edited.version))
}

/// Delete the content (owner, admin)
#[utoipa::path(delete, path = "/courses/{id}/content", tag = "content", operation_id = "deleteContent",
    params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 204, description = "Deleted"), WriteProblems))]
async fn delete_content(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    app.learning.delete_content(by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Add a module (owner, admin)
#[utoipa::path(post, path = "/courses/{id}/content/modules", tag = "content", operation_id = "addModule",
    params(("id" = i64, Path)), security(("bearer" = [])), request_body = ModuleRequest,
    responses((status = 201, description = "The content", body = wire::Content), WriteProblems))]
async fn add_module(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
    Json(request): Json<ModuleRequest, CONTENT_LIMIT>,
) -> Result<Response, Problem> {
    let edited = app.learning.add_module(by, id, request.into()).await?;
    Ok(written_body(StatusCode::CREATED, &edited.body, edited.version))
}

/// Delete a module with its lessons (owner, admin)
#[utoipa::path(delete, path = "/courses/{id}/content/modules/{module_id}", tag = "content",
    operation_id = "deleteModule", params(("id" = i64, Path), ("module_id" = i64, Path)),
    security(("bearer" = [])), responses((status = 204, description = "Deleted"), WriteProblems))]
async fn delete_module(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path((id, module_id)): Path<(i64, i64)>,
) -> Result<StatusCode, Problem> {
    app.learning.remove_module(by, id, module_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Add a lesson to a module (owner, admin)
#[utoipa::path(post, path = "/courses/{id}/content/modules/{module_id}/lessons", tag = "content",
    operation_id = "addLesson", params(("id" = i64, Path), ("module_id" = i64, Path)),
    security(("bearer" = [])), request_body = LessonRequest,
    responses((status = 201, description = "The content", body = wire::Content), WriteProblems))]
async fn add_lesson(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path((id, module_id)): Path<(i64, i64)>,
    Json(request): Json<LessonRequest, CONTENT_LIMIT>,
) -> Result<Response, Problem> {
    let edited = app.learning.add_lesson(by, id, module_id, request.into()).await?;
    Ok(written_body(StatusCode::CREATED, &edited.body, edited.version))
}

/// Delete a lesson (owner, admin)
#[utoipa::path(delete, path = "/courses/{id}/content/modules/{module_id}/lessons/{lesson_id}",
    tag = "content", operation_id = "deleteLesson",
    params(("id" = i64, Path), ("module_id" = i64, Path), ("lesson_id" = i64, Path)),
    security(("bearer" = [])), responses((status = 204, description = "Deleted"), WriteProblems))]
async fn delete_lesson(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path((id, module_id, lesson_id)): Path<(i64, i64, i64)>,
) -> Result<StatusCode, Problem> {
    app.learning.remove_lesson(by, id, module_id, lesson_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How full a course is
#[utoipa::path(get, path = "/courses/{id}/seats", tag = "courses", operation_id = "getSeats",
    params(("id" = i64, Path)), security((), ("bearer" = [])),
    responses((status = 200, description = "Taken and available seats", body = wire::Seats), ReadProblems))]
async fn get_seats(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let read = app.learning.seats(viewer.via(&conditions), id).await?;
    let rendered = Rendered {
        body: &read.value.body,
        version: None,
        origin: read.origin,
        audience: Audience::Everyone,
    };
    Ok(rendered.answer(&conditions).await)
}
