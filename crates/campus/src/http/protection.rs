//! What browsers are told not to do with any answer.
//!
//! No `Strict-Transport-Security`: Campus speaks plain HTTP, so only the proxy that has the
//! certificate can promise that there will be one.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

/// Nothing from elsewhere, and no inline script: the pages need neither.
const PAGE: &str = "default-src 'self'; img-src 'self' data:; style-src 'self'; \
     object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Of what is no page nothing is run, whoever is made to open it as one.
const DATA: &str = "default-src 'none'; frame-ancestors 'none'";

pub(super) fn protect(response: &mut Response) {
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A 304 would put its policy in the place of the stored one, and says not of what kind it is.
    if status != StatusCode::NOT_MODIFIED {
        let policy = if is_page(headers) { PAGE } else { DATA };
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    }
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"text/html"))
}
