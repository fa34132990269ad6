//! Figures for those who teach, learn or run the platform.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Audience, Rendered};
use super::auth::{Admin, SignedIn, Viewer};
use super::csv::{Format, table};
use super::error::{Problem, ReadProblems};
use super::extract::{Conditions, Path, Query};
use crate::app::App;
use crate::model::{PlatformFigures, Totals};
use crate::reads::{Body, Origin, PlainAnswer, Read};
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(get_course_analytics))
        .routes(routes!(get_student_analytics))
        .routes(routes!(get_platform_analytics))
        .routes(routes!(get_system_stats))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct FormatParams {
    /// How it is written; what `Accept` asks for when absent.
    #[param(inline)]
    format: Option<Format>,
}

/// What the students of a course have done in it (owner, admin)
#[utoipa::path(get, path = "/api/v3/analytics/courses/{id}", tag = "analytics",
    operation_id = "getCourseAnalytics", params(("id" = i64, Path), FormatParams),
    security(("bearer" = [])),
    responses((status = 200, description = "The figures", content(
        (wire::CourseAnalytics = "application/json"), (String = "text/csv"))), ReadProblems))]
async fn get_course_analytics(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    conditions: Conditions,
    headers: HeaderMap,
    Path(id): Path<i64>,
    Query(params): Query<FormatParams>,
) -> Result<Response, Problem> {
    let Read { value, origin } =
        app.learning.course_figures(by, Viewer(Some(by)).via(&conditions), id).await?;
    let mut response = match Format::wanted(params.format, &headers) {
        Format::Json => permitted(&value.body, origin, &conditions).await,
        Format::Csv => {
            let body = Body::of(course_table(&value)?.into());
            as_csv(permitted(&body, origin, &conditions).await)
        }
    };
    let vary = HeaderValue::from_static("Accept, Authorization, Accept-Encoding");
    response.headers_mut().insert(header::VARY, vary);
    Ok(response)
}

/// What a student has done and how likely it looks that they give up (oneself, admin; for an
/// instructor what concerns their own courses)
#[utoipa::path(get, path = "/api/v3/analytics/students/{id}", tag = "analytics",
    operation_id = "getStudentAnalytics", params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 200, description = "The figures", body = wire::StudentAnalytics),
        ReadProblems))]
async fn get_student_analytics(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    conditions: Conditions,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let via = Viewer(Some(by)).via(&conditions);
    let Read { value, origin } = app.learning.student_figures(by, via, id).await?;
    let audience = Audience::OneViewer;
    let rendered = Rendered { body: &value.body, version: None, origin, audience };
    Ok(rendered.answer(&conditions).await)
}

/// The whole platform at a glance (admin)
#[utoipa::path(get, path = "/api/v3/analytics/platform", tag = "analytics",
    operation_id = "getPlatformAnalytics", security(("bearer" = [])),
    responses((status = 200, description = "The figures", body = PlatformFigures), ReadProblems))]
async fn get_platform_analytics(
    State(app): State<Arc<App>>,
    _: Admin,
    viewer: Viewer,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let read = app.reads.platform(viewer.via(&conditions), app.clock.now()).await?;
    Ok(permitted(&read.value.body, read.origin, &conditions).await)
}

/// How much there is of everything (admin)
#[utoipa::path(get, path = "/api/v3/system/stats", tag = "operations",
    operation_id = "getSystemStats", security(("bearer" = [])),
    responses((status = 200, description = "The counts", body = Totals), ReadProblems))]
async fn get_system_stats(
    State(app): State<Arc<App>>,
    _: Admin,
    viewer: Viewer,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let read = app.reads.system_stats(viewer.via(&conditions), app.clock.now()).await?;
    Ok(permitted(&read.value.body, read.origin, &conditions).await)
}

async fn permitted(body: &Body, origin: Origin, conditions: &Conditions) -> Response {
    let rendered = Rendered { body, version: None, origin, audience: Audience::Permitted };
    rendered.answer(conditions).await
}

fn as_csv(mut response: Response) -> Response {
    let headers = response.headers_mut();
    // A 304 has none.
    if headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, super::answer::CSV);
    }
    response
}

const HEAD: [&str; 3] = ["figure", "lesson_id", "value"];

/// The bands of [`wire::CourseAnalytics::distribution`].
const BANDS: [&str; 6] = [
    "progress_0",
    "progress_1_25",
    "progress_26_50",
    "progress_51_75",
    "progress_76_99",
    "progress_100",
];

fn course_table(answer: &PlainAnswer) -> Result<Vec<u8>, Problem> {
    let figures: wire::CourseAnalytics =
        serde_json::from_slice(&answer.body.bytes).map_err(|_| Problem::internal())?;
    let average = figures.rating.average.map(|average| average.to_string());
    let row = |figure: &str, value: String| [figure.to_owned(), String::new(), value];
    let single = [
        row("course_id", figures.course_id.to_string()),
        row("title", figures.title),
        row("enrolled", figures.enrolled.to_string()),
        row("active_7d", figures.active_7d.to_string()),
        row("completed", figures.completed.to_string()),
        row("dropped", figures.dropped.to_string()),
        row("completion_rate", figures.completion_rate.to_string()),
        row("average_progress", figures.average_progress.to_string()),
        row("average_time", figures.average_time.to_string()),
        row("rating_average", average.unwrap_or_default()),
        row("rating_count", figures.rating.count.to_string()),
        row("generated_at", figures.generated_at.to_string()),
    ];
    let bands = BANDS.into_iter().zip(figures.distribution);
    let bands = bands.map(|(band, places)| row(band, places.to_string()));
    let lessons = figures.lesson_completions.iter().map(|lesson| {
        let (id, completions) = (lesson.lesson_id.to_string(), lesson.completions.to_string());
        ["lesson_completions".to_owned(), id, completions]
    });
    table(HEAD, single.into_iter().chain(bands).chain(lessons))
}
