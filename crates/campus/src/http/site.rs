//! The embedded pages: the catalogue, the API description and its reader.

use std::sync::Arc;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::answer::Sent;
use super::extract::Conditions;
use crate::app::App;
use crate::config::Service;
use crate::reads::Body;

/// What browsers ask for by themselves: a shelf with three books.
const ICON: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\">\
    <path fill=\"#1f6f5c\" d=\"M2 2h3v10H2zM6 4h3v8H6z\"/>\
    <path fill=\"#d9822b\" d=\"M10.2 3.6l2.9-.8 2 8.6-2.9.8z\"/>\
    <path fill=\"#333\" d=\"M1 13h14v1.5H1z\"/></svg>";

/// The catalogue page belongs to the courses; the description is each service's own.
pub(super) fn routes(api: &OpenApi, service: Service) -> Router<Arc<App>> {
    let description = api.to_json().unwrap_or_default();
    let pages = if service.has_courses() { catalogue() } else { Router::new() };
    pages
        .route("/openapi.json", file("application/json", description.into()))
        .merge(SwaggerUi::new("/docs").config(Config::from("/openapi.json")))
}

fn catalogue() -> Router<Arc<App>> {
    Router::new()
        .route("/", page("text/html; charset=utf-8", include_bytes!("../../web/index.html")))
        .route(
            "/app.js",
            page("text/javascript; charset=utf-8", include_bytes!("../../web/app.js")),
        )
        .route("/style.css", page("text/css; charset=utf-8", include_bytes!("../../web/style.css")))
        .route("/favicon.ico", page("image/svg+xml", ICON))
}

fn page(kind: &'static str, bytes: &'static [u8]) -> axum::routing::MethodRouter<Arc<App>> {
    file(kind, Bytes::from_static(bytes))
}

/// A file that is the same for as long as the process runs, compressed once.
fn file(kind: &'static str, bytes: Bytes) -> axum::routing::MethodRouter<Arc<App>> {
    let body = Arc::new(Body::of(bytes));
    get(move |conditions: Conditions| async move { serve(kind, &body, &conditions).await })
}

async fn serve(kind: &'static str, body: &Body, conditions: &Conditions) -> Response {
    let mut response = Response::new(HttpBody::empty());
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let sent = Sent { body, version: None };
    if sent.is_unchanged(headers, conditions) {
        *response.status_mut() = axum::http::StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let bytes = sent.bytes(headers, conditions).await;
    *response.body_mut() = HttpBody::from(bytes);
    response
}
