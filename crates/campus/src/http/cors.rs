//! Which web sites' scripts may call the API: none, unless `CORS_ORIGINS` names them.
//!
//! The answer names the one origin that asked, never `*`, and never lets credentials through:
//! tokens travel in a header that scripts set themselves, so no cookie has to.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const ASKED_WITH: &str = "authorization, content-type, if-match, if-none-match, last-event-id, \
     cache-control, x-request-id";
const SHOWN: &str = "etag, age, link, location, retry-after, cache-status, x-cache, \
     x-request-id, x-total-count";

/// How many seconds a browser may remember what it may ask.
const REMEMBERED: &str = "600";

#[derive(Clone, Default)]
pub(super) struct Origins(Arc<[HeaderValue]>);

/// What one request asks of them.
pub(super) enum Asked {
    /// Nobody may, or nobody asked from another site.
    Nothing,
    /// Others may: caches must keep the answers apart.
    Refused,
    Allowed(HeaderValue),
    /// Whether it may ask, before it does.
    Preflight(HeaderValue),
}

impl Origins {
    pub(super) fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
    }

    pub(super) fn asked(&self, request: &Request) -> Asked {
        if self.0.is_empty() {
            return Asked::Nothing;
        }
        let headers = request.headers();
        let Some(origin) = headers.get(header::ORIGIN).filter(|origin| self.0.contains(origin))
        else {
            return Asked::Refused;
        };
        let announces = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if request.method() == Method::OPTIONS && announces {
            Asked::Preflight(origin.clone())
        } else {
            Asked::Allowed(origin.clone())
        }
    }
}

impl Asked {
    /// The whole answer to a preflight.
    pub(super) fn preflight(&self) -> Option<Response> {
        let Self::Preflight(_) = self else {
            return None;
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, ASKED_WITH),
            (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        self.allow(headers);
        Some(response)
    }

    pub(super) fn allow(&self, headers: &mut HeaderMap) {
        let (Self::Allowed(origin) | Self::Preflight(origin)) = self else {
            if matches!(self, Self::Refused) {
                headers.append(header::VARY, HeaderValue::from_static("Origin"));
            }
            return;
        };
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SHOWN));
    }
}
