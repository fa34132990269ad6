//! Enrollments.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{personal, written};
use super::auth::SignedIn;
use super::error::{Problem, ReadProblems, WriteProblems};
use super::extract::{Json, Path, Query};
use super::page::{Page, PageParams, page_headers};
use crate::app::App;
use crate::learning::EnrollRequest;
use crate::model::Money;
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(enroll))
        .routes(routes!(my_enrollments))
        .routes(routes!(get_enrollment, delete_enrollment))
        .routes(routes!(drop_enrollment))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EnrollmentCreate {
    #[schema(example = 42)]
    course_id: i64,
    /// Somebody else, for the owner of the course and admins.
    student_id: Option<i64>,
    payment_amount: Option<Money>,
    #[schema(example = "web", max_length = 50, pattern = r"\S")]
    enrollment_source: Option<String>,
}

/// Take a seat in a course
#[utoipa::path(post, path = "/enrollments", tag = "enrollments", operation_id = "enroll",
    security(("bearer" = [])), request_body = EnrollmentCreate,
    responses((status = 201, description = "The enrollment", body = wire::Enrollment), WriteProblems))]
async fn enroll(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Json(request): Json<EnrollmentCreate>,
) -> Result<Response, Problem> {
    let request = EnrollRequest {
        course_id: request.course_id,
        student_id: request.student_id,
        payment_amount: request.payment_amount,
        source: request.enrollment_source,
    };
    let detail = app.learning.enroll(by, request).await?;
    let (id, version) = (detail.enrollment.id, detail.enrollment.version);
    let body = wire::Enrollment::from(detail);
    let location = Some(format!("/enrollments/{id}"));
    Ok(written(StatusCode::CREATED, &body, version, location))
}

/// One's own enrollments, newest first; never cached
#[utoipa::path(get, path = "/enrollments/my-enrollments", tag = "enrollments",
    operation_id = "myEnrollments", params(PageParams), security(("bearer" = [])),
    responses((status = 200, description = "A page of enrollments", body = wire::EnrollmentList), ReadProblems))]
async fn my_enrollments(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    RawQuery(raw): RawQuery,
    Query(params): Query<PageParams>,
) -> Result<Response, Problem> {
    let window = params.window()?;
    let (enrollments, total) = app.learning.my_enrollments(by, window).await?;
    let list = wire::EnrollmentList {
        items: enrollments.into_iter().map(wire::Enrollment::from).collect(),
        total,
        skip: window.skip,
        limit: window.limit,
    };
    let mut response = personal(StatusCode::OK, &list);
    let path = "/enrollments/my-enrollments";
    page_headers(response.headers_mut(), path, raw.as_deref(), Page::of(window, total));
    Ok(response)
}

/// An enrollment (the student, the course's owner, admin); never cached
#[utoipa::path(get, path = "/enrollments/{id}", tag = "enrollments", operation_id = "getEnrollment",
    params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 200, description = "The enrollment", body = wire::Enrollment), ReadProblems))]
async fn get_enrollment(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let detail = app.learning.enrollment(by, id).await?;
    Ok(personal(StatusCode::OK, &wire::Enrollment::from(detail)))
}

/// Give a place up (the student, admin); the seat is free at once
#[utoipa::path(post, path = "/enrollments/{id}/drop", tag = "enrollments",
    operation_id = "dropEnrollment", params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 200, description = "The dropped enrollment", body = wire::Enrollment),
        WriteProblems))]
async fn drop_enrollment(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let detail = app.learning.drop_enrollment(by, id).await?;
    Ok(personal(StatusCode::OK, &wire::Enrollment::from(detail)))
}

/// The same as `POST /enrollments/{id}/drop`
#[utoipa::path(delete, path = "/enrollments/{id}", tag = "enrollments",
    operation_id = "deleteEnrollment", params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 200, description = "The dropped enrollment", body = wire::Enrollment),
        WriteProblems))]
async fn delete_enrollment(
    app: State<Arc<App>>,
    by: SignedIn,
    id: Path<i64>,
) -> Result<Response, Problem> {
    drop_enrollment(app, by, id).await
}
