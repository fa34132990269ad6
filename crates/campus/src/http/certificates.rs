//! Certificates. Never cached: an employer must not be shown yesterday's.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::personal;
use super::auth::SignedIn;
use super::error::{ListProblems, Problem, ReadProblems};
use super::extract::{Path, Query};
use super::page::{Page, PageParams, page_headers};
use crate::app::App;
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(my_certificates))
        .routes(routes!(get_certificate))
        .routes(routes!(verify_certificate))
}

/// One's own certificates, newest first
#[utoipa::path(get, path = "/certificates/me", tag = "learning", operation_id = "myCertificates",
    params(PageParams), security(("bearer" = [])),
    responses((status = 200, description = "A page of certificates", body = wire::CertificateList),
        ReadProblems))]
async fn my_certificates(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    RawQuery(raw): RawQuery,
    Query(params): Query<PageParams>,
) -> Result<Response, Problem> {
    let window = params.window()?;
    let (certificates, total) = app.learning.my_certificates(by, window).await?;
    let list = wire::CertificateList {
        items: certificates.iter().map(wire::Certificate::from).collect(),
        total,
        skip: window.skip,
        limit: window.limit,
    };
    let mut response = personal(StatusCode::OK, &list);
    page_headers(
        response.headers_mut(),
        "/certificates/me",
        raw.as_deref(),
        Page::of(window, total),
    );
    Ok(response)
}

/// A certificate (the student, the course's owner, admin)
#[utoipa::path(get, path = "/certificates/{id}", tag = "learning", operation_id = "getCertificate",
    params(("id" = i64, Path)), security(("bearer" = [])),
    responses((status = 200, description = "The certificate", body = wire::Certificate), ReadProblems))]
async fn get_certificate(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let certificate = app.learning.certificate(by, id).await?;
    Ok(personal(StatusCode::OK, &wire::Certificate::from(&certificate)))
}

/// Whether a code is that of a certificate: who completed what, and when; `valid: false` if not
#[utoipa::path(get, path = "/certificates/verify/{code}", tag = "learning",
    operation_id = "verifyCertificate", params(("code" = String, Path)), security(()),
    responses((status = 200, description = "Whether it is", body = wire::Verification), ListProblems))]
async fn verify_certificate(
    State(app): State<Arc<App>>,
    Path(code): Path<String>,
) -> Result<Response, Problem> {
    let certificate = app.learning.verify_certificate(&code).await?;
    Ok(personal(StatusCode::OK, &wire::Verification::from(certificate.as_ref())))
}
