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

use super::answer::{compressed, etag};
use super::extract::Conditions;
use crate::app::App;
use crate::reads::Body;

/// Nothing from elsewhere, and no inline script: the pages need neither.
const PAGE_POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
     object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn routes(api: &OpenApi) -> Router<Arc<App>> {
    let description = api.to_json().unwrap_or_default();
    Router::new()
        .route("/", page("text/html; charset=utf-8", include_bytes!("../../web/index.html")))
        .route(
            "/app.js",
            page("text/javascript; charset=utf-8", include_bytes!("../../web/app.js")),
        )
        .route("/style.css", page("text/css; charset=utf-8", include_bytes!("../../web/style.css")))
        .route("/openapi.json", file("application/json", description.into()))
        .merge(SwaggerUi::new("/docs").config(Config::from("/openapi.json")))
}

fn page(kind: &'static str, bytes: &'static [u8]) -> axum::routing::MethodRouter<Arc<App>> {
    file(kind, Bytes::from_static(bytes))
}

/// A file that is the same for as long as the process runs, compressed once.
fn file(kind: &'static str, bytes: Bytes) -> axum::routing::MethodRouter<Arc<App>> {
    let packed = compressed(&bytes);
    let plain = Body::of(bytes);
    get(move |conditions: Conditions| async move { serve(kind, &plain, &packed, &conditions) })
}

fn serve(kind: &'static str, plain: &Body, packed: &Bytes, conditions: &Conditions) -> Response {
    let gzip = conditions.accepts_gzip;
    let etag = etag(None, plain.hash, if gzip { "-gzip" } else { "" });
    let mut response = Response::new(HttpBody::empty());
    let unchanged = conditions.has(&etag);
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if unchanged {
        *response.status_mut() = axum::http::StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if kind.starts_with("text/html") {
        let policy = HeaderValue::from_static(PAGE_POLICY);
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let bytes = if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        packed.clone()
    } else {
        plain.bytes.clone()
    };
    *response.body_mut() = HttpBody::from(bytes);
    response
}
