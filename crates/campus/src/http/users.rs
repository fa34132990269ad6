//! People and instructors.

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
use super::extract::{AUTH_LIMIT, Conditions, Json, Label, Path};
use crate::app::App;
use crate::learning::accounts::InstructorEdit;
use crate::model::{Patch, ProfileEdit, Role};
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(get_user, edit_user, delete_user))
        .routes(routes!(change_password))
        .routes(routes!(change_role))
        .routes(routes!(get_instructor, edit_instructor))
}

/// A person's public profile; anonymous visitors see instructors only
#[utoipa::path(get, path = "/users/{id}", tag = "users", operation_id = "getUser",
    params(("id" = i64, Path)), security((), ("bearer" = [])),
    responses((status = 200, description = "The profile", body = wire::User), ReadProblems))]
async fn get_user(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let read = app.learning.profile(viewer.0, viewer.via(&conditions), id).await?;
    let profile = &read.value;
    let rendered = Rendered {
        body: &profile.body,
        version: Some(profile.version),
        origin: read.origin,
        audience: match profile.role {
            Role::Instructor => Audience::AnyViewer,
            Role::Student | Role::Admin => Audience::Permitted,
        },
    };
    Ok(rendered.answer(&conditions).await)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserEdit {
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, min_length = 3, max_length = 50,
        pattern = "^[A-Za-z0-9_.-]+$")]
    username: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, format = "email", max_length = 254)]
    email: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, max_length = 200, pattern = r"\S")]
    full_name: Patch<String>,
    /// `null` clears it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 5000)]
    bio: Patch<String>,
}

/// Change an account
#[utoipa::path(put, path = "/users/{id}", tag = "users", operation_id = "editUser",
    params(("id" = i64, Path)), security(("bearer" = [])), request_body = UserEdit,
    responses((status = 200, description = "The account", body = wire::Me), WriteProblems))]
async fn edit_user(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
    Json(edit): Json<UserEdit>,
) -> Result<Response, Problem> {
    let edit = ProfileEdit {
        username: edit.username,
        email: edit.email,
        full_name: edit.full_name,
        bio: edit.bio,
    };
    let user = app.learning.edit_user(by, id, edit).await?;
    Ok(personal(StatusCode::OK, &wire::Me::from(&user)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    current_password: String,
    #[schema(min_length = 8, max_length = 128)]
    new_password: String,
}

/// Change one's own password; every session ends
#[utoipa::path(put, path = "/users/me/password", tag = "users", operation_id = "changePassword",
    security(("bearer" = [])), request_body = PasswordChange,
    responses((status = 204, description = "Changed"), WriteProblems))]
async fn change_password(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Json(change): Json<PasswordChange, AUTH_LIMIT>,
) -> Result<StatusCode, Problem> {
    let (current, new) = (change.current_password, change.new_password);
    app.learning.change_password(by, current, new).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoleChange {
    role: Role,
}

/// Change somebody's role (admin); their sessions end
#[utoipa::path(patch, path = "/users/{id}/role", tag = "users", operation_id = "changeRole",
    params(("id" = i64, Path)), security(("bearer" = [])), request_body = RoleChange,
    responses((status = 200, description = "The user", body = wire::User), WriteProblems))]
async fn change_role(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
    Json(change): Json<RoleChange>,
) -> Result<Response, Problem> {
    let user = app.learning.change_role(by, id, change.role).await?;
    Ok(personal(StatusCode::OK, &wire::User::from(&user)))
}

/// Delete an account (admin): personal data is blanked, the e-mail is free again
#[utoipa::path(delete, path = "/users/{id}", tag = "users", operation_id = "deleteUser",
    params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 204, description = "Deleted"), WriteProblems))]
async fn delete_user(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    app.learning.delete_user(by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An instructor's profile
#[utoipa::path(get, path = "/instructors/{id}", tag = "users", operation_id = "getInstructor",
    params(("id" = i64, Path)), security((), ("bearer" = [])),
    responses((status = 200, description = "The profile", body = wire::Instructor), ReadProblems))]
async fn get_instructor(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let read = app.learning.instructor(viewer.via(&conditions), id).await?;
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
struct InstructorChange {
    /// `null` clears it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    headline: Patch<String>,
    /// `null` clears it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 5000)]
    bio: Patch<String>,
    /// `null` empties it.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Label>>, max_items = 50)]
    expertise: Patch<Vec<String>>,
}

/// Change an instructor's profile
#[utoipa::path(put, path = "/instructors/{id}", tag = "users", operation_id = "editInstructor",
    params(("id" = i64, Path)), security(("bearer" = [])), request_body = InstructorChange,
    responses((status = 200, description = "The profile", body = wire::Instructor), WriteProblems))]
async fn edit_instructor(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
    Json(change): Json<InstructorChange>,
) -> Result<Response, Problem> {
    let edit =
        InstructorEdit { headline: change.headline, bio: change.bio, expertise: change.expertise };
    let profile = app.learning.edit_instructor(by, id, edit).await?;
    let body = wire::Instructor::from(&profile);
    Ok(personal(StatusCode::OK, &body))
}
