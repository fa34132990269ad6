//! Who is enrolled in a course, for those who teach it.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{personal, personal_csv};
use super::auth::SignedIn;
use super::csv::{Format, table};
use super::error::{Problem, ReadProblems};
use super::extract::{Path, Query};
use super::page::{Page, PageParams, page_headers};
use crate::app::App;
use crate::model::Timestamp;
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(get_roster))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RosterParams {
    /// How many enrollments to leave out at the beginning.
    #[param(minimum = 0, maximum = 1_000_000, default = 0)]
    skip: Option<i64>,
    /// How many enrollments to answer at most.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// The page, from 1 on; not together with `skip`.
    #[param(minimum = 1, maximum = 1_000_001)]
    page: Option<i64>,
    /// The same as `limit`, for clients that count pages.
    #[param(minimum = 1, maximum = 100)]
    page_size: Option<i64>,
    /// How it is written; what `Accept` asks for when absent.
    #[param(inline)]
    format: Option<Format>,
}

/// The enrollments in a course, the oldest first (owner, admin); never cached
#[utoipa::path(get, path = "/courses/{id}/enrollments", tag = "enrollments",
    operation_id = "getRoster", params(("id" = i64, Path), RosterParams),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of enrollments", content(
        (wire::Roster = "application/json"), (String = "text/csv"))), ReadProblems))]
async fn get_roster(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    headers: HeaderMap,
    Path(id): Path<i64>,
    RawQuery(raw): RawQuery,
    Query(params): Query<RosterParams>,
) -> Result<Response, Problem> {
    let RosterParams { skip, limit, page, page_size, format } = params;
    let window = PageParams { skip, limit, page, page_size }.window()?;
    let (entries, total) = app.learning.roster(by, id, window).await?;
    let items: Vec<wire::RosterEntry> = entries.into_iter().map(wire::RosterEntry::from).collect();
    let mut response = match Format::wanted(format, &headers) {
        Format::Csv => personal_csv(table(HEAD, items.iter().map(row))?),
        Format::Json => {
            let roster = wire::Roster { items, total, skip: window.skip, limit: window.limit };
            personal(StatusCode::OK, &roster)
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Authorization"));
    let path = format!("/courses/{id}/enrollments");
    page_headers(headers, &path, raw.as_deref(), Page::of(window, total));
    Ok(response)
}

const HEAD: [&str; 15] = [
    "enrollment_id",
    "student_id",
    "student_name",
    "status",
    "enrolled_at",
    "started_at",
    "completed_at",
    "dropped_at",
    "last_accessed_at",
    "completed_lessons",
    "total_lessons",
    "completion_percentage",
    "time_spent_minutes",
    "payment_amount",
    "enrollment_source",
];

fn row(entry: &wire::RosterEntry) -> [String; 15] {
    let enrollment = &entry.enrollment;
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let amount = enrollment.payment_amount.map(|amount| amount.to_string());
    [
        enrollment.id.to_string(),
        entry.student.id.to_string(),
        entry.student.full_name.clone(),
        enrollment.status.as_str().to_owned(),
        enrollment.enrolled_at.to_string(),
        time(enrollment.started_at),
        time(enrollment.completed_at),
        time(enrollment.dropped_at),
        time(enrollment.last_accessed_at),
        enrollment.completed_lessons.len().to_string(),
        enrollment.total_lessons.to_string(),
        enrollment.completion_percentage.to_string(),
        enrollment.time_spent_minutes.to_string(),
        amount.unwrap_or_default(),
        enrollment.enrollment_source.clone(),
    ]
}
