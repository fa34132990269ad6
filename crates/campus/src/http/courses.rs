//! Courses.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Audience, Rendered, personal, written};
use super::auth::{SignedIn, Viewer};
use super::error::{ListProblems, Problem, ReadProblems, VersionProblems, WriteProblems};
use super::extract::{Conditions, IfMatch, IfMatchParam, Json, Path, Query};
use super::page::{Page, PageParams, page_headers};
use crate::app::App;
use crate::model::{
    CourseDraft, CourseEdit, CourseFilter, CourseSort, CourseStatus, Level, Money, Patch, slugify,
};
use crate::reads::{CourseAnswer, CourseQuery, Origin};
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list_courses, create_course))
        .routes(routes!(categories))
        .routes(routes!(my_courses))
        .routes(routes!(get_course, edit_course, delete_course))
        .routes(routes!(get_course_by_slug))
        .routes(routes!(change_status))
        .routes(routes!(rate_course))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct CourseListParams {
    /// How many courses to leave out at the beginning.
    #[param(minimum = 0, maximum = 1_000_000, default = 0)]
    skip: Option<i64>,
    /// How many courses to answer at most.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// The page, from 1 on; not together with `skip`.
    #[param(minimum = 1, maximum = 1_000_001)]
    page: Option<i64>,
    /// The same as `limit`, for clients that count pages.
    #[param(minimum = 1, maximum = 100)]
    page_size: Option<i64>,
    /// A text that title or description must contain; letter case does not matter.
    #[param(max_length = 200, example = "rust")]
    q: Option<String>,
    #[param(max_length = 100, example = "Programming")]
    category: Option<String>,
    level: Option<Level>,
    /// The least average rating, in stars.
    #[param(minimum = 0, maximum = 5)]
    min_rating: Option<f64>,
    /// `recent` unless given; `top_rated` weighs the average by the number of ratings.
    #[serde(default)]
    #[param(inline)]
    sort_by: CourseSort,
}

impl CourseListParams {
    /// A query string has no nested fields, so these stand among the others.
    fn paging(&self) -> PageParams {
        let Self { skip, limit, page, page_size, .. } = *self;
        PageParams { skip, limit, page, page_size }
    }

    fn query(&self) -> Result<CourseQuery, Problem> {
        let window = self.paging().window()?;
        check_text("q", self.q.as_deref(), 200)?;
        check_text("category", self.category.as_deref(), 100)?;
        let min_rating = self.min_rating.map(hundredths).transpose()?;
        let (q, category) = (self.q.as_deref(), self.category.as_deref());
        Ok(CourseQuery {
            filter: CourseFilter::canonical(q, category, self.level, min_rating),
            sort: self.sort_by,
            window,
        })
    }
}

fn hundredths(stars: f64) -> Result<i64, Problem> {
    if (0.0..=5.0).contains(&stars) {
        Ok((stars * 100.0).round() as i64)
    } else {
        Err(Problem::unprocessable("min_rating", "must be between 0 and 5"))
    }
}

fn check_text(field: &str, text: Option<&str>, max: usize) -> Result<(), Problem> {
    let text = text.unwrap_or("");
    if text.chars().count() > max {
        let message = format!("must have at most {max} characters");
        return Err(Problem::unprocessable(field, message));
    }
    if text.contains('\0') {
        return Err(Problem::unprocessable(field, "must not contain NUL characters"));
    }
    Ok(())
}

/// The public catalogue: search, filter, sort
///
/// A page over 640 KiB ends earlier than asked for; `Link` says where the next one begins.
#[utoipa::path(get, path = "/courses", tag = "courses", operation_id = "listCourses",
    params(CourseListParams), security((), ("bearer" = [])),
    responses((status = 200, description = "A page of published courses", body = wire::CourseList),
        ListProblems))]
async fn list_courses(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
    RawQuery(raw): RawQuery,
    Query(params): Query<CourseListParams>,
) -> Result<Response, Problem> {
    let query = params.query()?;
    let window = query.window;
    let read = app.reads.courses(viewer.via(&conditions), query).await?;
    let rendered = Rendered {
        body: &read.value.body,
        version: None,
        origin: read.origin,
        audience: Audience::Everyone,
    };
    let mut response = rendered.answer(&conditions).await;
    let page = Page::ending(window, read.value.count, read.value.total);
    page_headers(response.headers_mut(), "/courses", raw.as_deref(), page);
    Ok(response)
}

/// The categories of the public catalogue, each with its number of courses
#[utoipa::path(get, path = "/courses/categories", tag = "courses", operation_id = "listCategories",
    security((), ("bearer" = [])),
    responses((status = 200, description = "Every category", body = [wire::Category]), ListProblems))]
async fn categories(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let read = app.reads.categories(viewer.via(&conditions)).await?;
    let rendered = Rendered {
        body: &read.value.body,
        version: None,
        origin: read.origin,
        audience: Audience::Everyone,
    };
    Ok(rendered.answer(&conditions).await)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CourseCreate {
    #[schema(example = "Rust for Web Services", max_length = 200, pattern = r"\S")]
    title: String,
    /// Made from the title when absent.
    #[schema(
        example = "rust-for-web-services",
        max_length = 200,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
    )]
    slug: Option<String>,
    #[schema(example = "From the first handler to a service in production.", max_length = 20_000)]
    description: String,
    #[schema(example = "Programming", max_length = 100, pattern = r"\S")]
    category: String,
    level: Level,
    price: Money,
    /// `null` or absent: no limit.
    #[schema(minimum = 1, maximum = 1_000_000)]
    max_students: Option<i64>,
}

/// Create a draft (instructor)
#[utoipa::path(post, path = "/courses", tag = "courses", operation_id = "createCourse",
    security(("bearer" = [])), request_body = CourseCreate,
    responses((status = 201, description = "The draft", body = wire::Course), WriteProblems))]
async fn create_course(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Json(request): Json<CourseCreate>,
) -> Result<Response, Problem> {
    let draft = CourseDraft {
        slug: request.slug.unwrap_or_else(|| slugify(&request.title)),
        title: request.title,
        description: request.description,
        category: request.category,
        level: request.level,
        price: request.price,
        max_students: request.max_students,
        instructor_id: by.id,
    };
    let course = app.learning.create_course(by, draft).await?;
    let location = Some(format!("/courses/{}", course.id));
    let body = wire::Course::from(&course);
    Ok(written(StatusCode::CREATED, &body, course.version, location))
}

/// What one teaches, drafts included (instructor)
#[utoipa::path(get, path = "/courses/my-courses", tag = "courses", operation_id = "myCourses",
    params(PageParams), security(("bearer" = [])),
    responses((status = 200, description = "A page of courses", body = wire::CourseList), ReadProblems))]
async fn my_courses(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    RawQuery(raw): RawQuery,
    Query(params): Query<PageParams>,
) -> Result<Response, Problem> {
    let window = params.window()?;
    let (courses, total) = app.learning.my_courses(by, window).await?;
    let list = wire::CourseList {
        items: courses.iter().map(wire::Course::from).collect(),
        total,
        skip: window.skip,
        limit: window.limit,
    };
    let mut response = personal(StatusCode::OK, &list);
    let path = "/courses/my-courses";
    page_headers(response.headers_mut(), path, raw.as_deref(), Page::of(window, total));
    Ok(response)
}

fn rendered(course: &CourseAnswer, origin: Origin) -> Rendered<'_> {
    Rendered {
        body: &course.body,
        version: Some(course.version),
        origin,
        audience: Audience::AnyViewer,
    }
}

/// A course; unpublished ones only for those who have to do with them
#[utoipa::path(get, path = "/courses/{id}", tag = "courses", operation_id = "getCourse",
    params(("id" = i64, Path)), security((), ("bearer" = [])),
    responses((status = 200, description = "The course", body = wire::Course), ReadProblems))]
async fn get_course(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let via = viewer.via(&conditions);
    let read = app.learning.course(viewer.0, via, id).await?;
    Ok(rendered(&read.value, read.origin).answer(&conditions).await)
}

/// A course by its slug; never cached
#[utoipa::path(get, path = "/courses/slug/{slug}", tag = "courses", operation_id = "getCourseBySlug",
    params(("slug" = String, Path)), security((), ("bearer" = [])),
    responses((status = 200, description = "The course", body = wire::Course), ReadProblems))]
async fn get_course_by_slug(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
    Path(slug): Path<String>,
) -> Result<Response, Problem> {
    check_text("slug", Some(&slug), 200)?;
    let course = app.learning.course_by_slug(viewer.0, &slug).await?;
    Ok(rendered(&course, Origin::Database).answer(&conditions).await)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CourseUpdate {
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, max_length = 200, pattern = r"\S")]
    title: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, max_length = 200,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    slug: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, max_length = 20_000)]
    description: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, max_length = 100, pattern = r"\S")]
    category: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<Level>, nullable = false)]
    level: Patch<Level>,
    #[serde(default)]
    #[schema(value_type = Option<Money>, nullable = false)]
    price: Patch<Money>,
    /// `null` removes the limit.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000)]
    max_students: Patch<i64>,
}

/// Change any fields of a course (owner, admin)
#[utoipa::path(put, path = "/courses/{id}", tag = "courses", operation_id = "editCourse",
    params(("id" = i64, Path), IfMatchParam),
    security(("bearer" = [])), request_body = CourseUpdate,
    responses((status = 200, description = "The course", body = wire::Course), VersionProblems,
        WriteProblems))]
async fn edit_course(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    IfMatch(versions): IfMatch,
    Path(id): Path<i64>,
    Json(request): Json<CourseUpdate>,
) -> Result<Response, Problem> {
    let edit = CourseEdit {
        slug: request.slug,
        title: request.title,
        description: request.description,
        category: request.category,
        level: request.level,
        price: request.price,
        max_students: request.max_students,
    };
    let expected = versions.as_deref();
    let course = app.learning.edit_course(by, id, expected, edit).await?;
    let body = wire::Course::from(&course);
    Ok(written(StatusCode::OK, &body, course.version, None))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StatusChange {
    status: CourseStatus,
}

/// Publish, archive or take back a course (owner, admin)
#[utoipa::path(patch, path = "/courses/{id}/status", tag = "courses", operation_id = "changeStatus",
    params(("id" = i64, Path)), security(("bearer" = [])), request_body = StatusChange,
    responses((status = 200, description = "The course", body = wire::Course), WriteProblems))]
async fn change_status(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
    Json(request): Json<StatusChange>,
) -> Result<Response, Problem> {
    let course = app.learning.change_status(by, id, request.status).await?;
    let body = wire::Course::from(&course);
    Ok(written(StatusCode::OK, &body, course.version, None))
}

/// Delete a course (owner, admin); its slug is free again
#[utoipa::path(delete, path = "/courses/{id}", tag = "courses", operation_id = "deleteCourse",
    params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 204, description = "Deleted"), WriteProblems))]
async fn delete_course(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    app.learning.delete_course(by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RatingRequest {
    #[schema(minimum = 1, maximum = 5, example = 5)]
    stars: i16,
}

/// Rate a course one is enrolled in; a second rating replaces the first
#[utoipa::path(put, path = "/courses/{id}/rating", tag = "courses", operation_id = "rateCourse",
    params(("id" = i64, Path)), security(("bearer" = [])), request_body = RatingRequest,
    responses((status = 200, description = "The course", body = wire::Course), WriteProblems))]
async fn rate_course(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
    Json(request): Json<RatingRequest>,
) -> Result<Response, Problem> {
    let course = app.learning.rate_course(by, id, request.stars).await?;
    let body = wire::Course::from(&course);
    Ok(written(StatusCode::OK, &body, course.version, None))
}
