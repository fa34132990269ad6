//! Signing up, in and out.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{personal, written};
use super::auth::{ClientAddress, SignedIn};
use super::error::{Problem, ProblemBody, ReadProblems, WriteProblems};
use super::extract::{AUTH_LIMIT, Json};
use crate::app::App;
use crate::learning::accounts::{Registration, Session};
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(me))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterRequest {
    #[schema(example = "ada", min_length = 3, max_length = 50, pattern = "^[A-Za-z0-9_.-]+$")]
    username: String,
    #[schema(example = "ada@example.org", format = "email", max_length = 254)]
    email: String,
    #[schema(example = "correct horse battery", min_length = 8, max_length = 128)]
    password: String,
    #[schema(example = "Ada Lovelace", max_length = 200, pattern = r"\S")]
    full_name: String,
}

/// Sign up as a student
#[utoipa::path(post, path = "/auth/register", tag = "accounts", operation_id = "register",
    request_body = RegisterRequest,
    responses(
        (status = 201, description = "The new account", body = wire::User),
        (status = 429, description = "Too many from one address; see Retry-After", body = ProblemBody,
            content_type = "application/problem+json"), WriteProblems))]
async fn register(
    State(app): State<Arc<App>>,
    ClientAddress(from): ClientAddress,
    Json(request): Json<RegisterRequest, AUTH_LIMIT>,
) -> Result<Response, Problem> {
    let who = Registration {
        username: request.username,
        email: request.email,
        password: request.password,
        full_name: request.full_name,
    };
    let user = app.learning.register(who, from).await?;
    let location = Some(format!("/users/{}", user.id));
    let body = wire::User::from(&user);
    Ok(written(StatusCode::CREATED, &body, user.version, location))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    #[schema(example = "ada@example.org")]
    email: String,
    #[schema(example = "correct horse battery")]
    password: String,
}

/// Log in with e-mail and password
#[utoipa::path(post, path = "/auth/login", tag = "accounts", operation_id = "login",
    request_body = LoginRequest,
    responses(
        (status = 200, description = "Tokens", body = wire::TokenPair),
        (status = 429, description = "Too many failures; see Retry-After", body = ProblemBody,
            content_type = "application/problem+json"), WriteProblems))]
async fn login(
    State(app): State<Arc<App>>,
    ClientAddress(from): ClientAddress,
    Json(request): Json<LoginRequest, AUTH_LIMIT>,
) -> Result<Response, Problem> {
    let session = app.learning.login(&request.email, request.password, from);
    Ok(tokens(session.await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefreshRequest {
    refresh_token: String,
}

/// Trade a refresh token for new tokens; the old one is used up
#[utoipa::path(post, path = "/auth/refresh", tag = "accounts", operation_id = "refresh",
    request_body = RefreshRequest,
    responses((status = 200, description = "Tokens", body = wire::TokenPair), WriteProblems))]
async fn refresh(
    State(app): State<Arc<App>>,
    Json(request): Json<RefreshRequest, AUTH_LIMIT>,
) -> Result<Response, Problem> {
    Ok(tokens(app.learning.refresh(&request.refresh_token).await?))
}

/// End the session of a refresh token
#[utoipa::path(post, path = "/auth/logout", tag = "accounts", operation_id = "logout",
    request_body = RefreshRequest,
    responses((status = 204, description = "The session has ended"), WriteProblems))]
async fn logout(
    State(app): State<Arc<App>>,
    Json(request): Json<RefreshRequest, AUTH_LIMIT>,
) -> Result<StatusCode, Problem> {
    app.learning.logout(&request.refresh_token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One's own account
#[utoipa::path(get, path = "/auth/me", tag = "accounts", operation_id = "me",
    security(("bearer" = [])),
    responses((status = 200, description = "The account", body = wire::Me), ReadProblems))]
async fn me(
    State(app): State<Arc<App>>,
    SignedIn(principal): SignedIn,
) -> Result<Response, Problem> {
    let user = app.learning.me(principal).await?;
    Ok(personal(StatusCode::OK, &wire::Me::from(&user)))
}

fn tokens(session: Session) -> Response {
    let pair = wire::TokenPair {
        access_token: session.access_token,
        refresh_token: session.refresh_token,
        token_type: "bearer",
        expires_in: session.expires_in.as_secs(),
    };
    personal(StatusCode::OK, &pair)
}
