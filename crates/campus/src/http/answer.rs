//! Successful answers: bodies that are rendered already, and the headers that say where from.

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use super::extract::Conditions;
use crate::reads::{Body, Encoding, Freshness, Origin, Tier};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8");
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Who may keep the answer, and whether it differs from one viewer to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The same for everybody.
    Everyone,
    /// Public, but some viewers see what others do not.
    AnyViewer,
    /// The same body for all who may see it, and not all may.
    Permitted,
    /// One person's own.
    OneViewer,
}

/// A rendered body on its way to a client.
pub(super) struct Rendered<'a> {
    pub(super) body: &'a Body,
    /// Part of the entity tag of a single resource.
    pub(super) version: Option<i64>,
    pub(super) origin: Origin,
    pub(super) audience: Audience,
}

impl Rendered<'_> {
    /// The answer to a GET: 304 when the client has it, compressed when it asks for that.
    pub(super) async fn answer(self, conditions: &Conditions) -> Response {
        let mut response = Response::new(HttpBody::empty());
        let headers = response.headers_mut();
        headers.reserve(10);
        origin_headers(headers, self.origin);
        let (cache_control, vary) = self.policy();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
        headers.insert(header::VARY, HeaderValue::from_static(vary));
        let sent = Sent { body: self.body, version: self.version };
        if sent.is_unchanged(headers, conditions) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, JSON);
        let bytes = sent.bytes(headers, conditions).await;
        *response.body_mut() = HttpBody::from(bytes);
        response
    }

    fn policy(&self) -> (&'static str, &'static str) {
        let public = "public, max-age=0, must-revalidate";
        let vary = "Authorization, Accept-Encoding";
        match (self.origin, self.audience) {
            // Read past the cache for this viewer, or theirs alone: nobody else's business.
            (Origin::Database, _) | (_, Audience::OneViewer) => ("private, no-store", vary),
            (_, Audience::Everyone) => (public, "Accept-Encoding"),
            (_, Audience::AnyViewer) => (public, vary),
            (_, Audience::Permitted) => ("private, max-age=0, must-revalidate", vary),
        }
    }
}

/// A body and its entity tag, in the encoding that the client takes.
pub(super) struct Sent<'a> {
    pub(super) body: &'a Body,
    pub(super) version: Option<i64>,
}

impl Sent<'_> {
    /// Sets the tag, and says whether the client has the body already.
    pub(super) fn is_unchanged(&self, headers: &mut HeaderMap, conditions: &Conditions) -> bool {
        let encoding = self.body.encoding(conditions.accepts_gzip);
        let tag = self.body.tag(self.version, encoding);
        insert_tag(headers, tag);
        conditions.has(tag)
    }

    /// Names the encoding, if there is one, and answers the bytes in it.
    pub(super) async fn bytes(&self, headers: &mut HeaderMap, conditions: &Conditions) -> Bytes {
        let encoding = self.body.encoding(conditions.accepts_gzip);
        if encoding == Encoding::Gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        self.body.encoded(encoding).await.clone()
    }
}

/// Shares the tag's bytes.
fn insert_tag(headers: &mut HeaderMap, tag: &Bytes) {
    if let Ok(tag) = HeaderValue::from_maybe_shared(tag.clone()) {
        headers.insert(header::ETAG, tag);
    }
}

/// For a 404: where it is known from, but no times, by which a hidden thing could be told
/// from one that does not exist.
pub(super) fn absence_headers(headers: &mut HeaderMap, origin: Origin) {
    origin_headers(headers, origin);
    if headers.remove(header::AGE).is_some() {
        headers.insert(CACHE_STATUS, HeaderValue::from_static("campus; hit"));
    }
}

fn origin_headers(headers: &mut HeaderMap, origin: Origin) {
    let (x_cache, status) = match origin {
        Origin::Loaded { stored: true } => {
            ("MISS", HeaderValue::from_static("campus; fwd=miss; stored"))
        }
        Origin::Loaded { stored: false } => ("MISS", HeaderValue::from_static("campus; fwd=miss")),
        Origin::Off => ("OFF", HeaderValue::from_static("campus; fwd=bypass; detail=OFF")),
        Origin::Database => ("BYPASS", HeaderValue::from_static("campus; fwd=bypass")),
        Origin::Cache { tier, freshness, age, ttl } => {
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
            let x_cache = match freshness {
                Freshness::Fresh => "HIT",
                Freshness::Stale => "STALE",
            };
            let tier = match tier {
                Tier::L1 => "L1",
                Tier::L2 => "L2",
            };
            let status = format!("campus; hit; ttl={}; detail={tier}", ttl.as_secs());
            let status = HeaderValue::try_from(status);
            (x_cache, status.unwrap_or_else(|_| HeaderValue::from_static("campus; hit")))
        }
    };
    headers.insert(X_CACHE, HeaderValue::from_static(x_cache));
    headers.insert(CACHE_STATUS, status);
}

/// A personal answer or that of a write: no cache may keep it.
pub(super) fn personal(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(json) => personal_bytes(status, json.into()),
        Err(_) => super::error::Problem::internal().into_response(),
    }
}

/// The same as a table.
pub(super) fn personal_csv(table: Vec<u8>) -> Response {
    let mut response = personal_bytes(StatusCode::OK, table.into());
    response.headers_mut().insert(header::CONTENT_TYPE, CSV);
    response
}

fn personal_bytes(status: StatusCode, bytes: Bytes) -> Response {
    let mut response = Response::new(HttpBody::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}

/// The answer of a write to one resource, with the entity tag its next GET will have.
pub(super) fn written(
    status: StatusCode,
    body: &impl Serialize,
    version: i64,
    location: Option<String>,
) -> Response {
    let Ok(body) = Body::render(body) else {
        return super::error::Problem::internal().into_response();
    };
    let mut response = written_body(status, &body, version);
    if let Some(Ok(location)) = location.map(HeaderValue::try_from) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The same for a body that is rendered already.
pub(super) fn written_body(status: StatusCode, body: &Body, version: i64) -> Response {
    let mut response = personal_bytes(status, body.bytes.clone());
    insert_tag(response.headers_mut(), body.tag(Some(version), Encoding::Identity));
    response
}
