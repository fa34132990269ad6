//! Successful answers: bodies that are rendered already, and the headers that say where from.

use std::fmt::Write as _;
use std::io::Write as _;

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::extract::Conditions;
use crate::reads::{Body, Freshness, Origin, Tier};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Smaller bodies fit in a packet or two anyway.
const COMPRESS_FROM: usize = 1024;

/// Who may keep the answer, and whether it differs from one viewer to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The same for everybody.
    Everyone,
    /// Public, but some viewers see what others do not.
    AnyViewer,
    /// The same body for all who may see it, and not all may.
    Permitted,
}

/// A rendered body on its way to a client.
pub(super) struct Rendered {
    pub(super) body: Body,
    /// Part of the entity tag of a single resource.
    pub(super) version: Option<i64>,
    pub(super) origin: Origin,
    pub(super) audience: Audience,
}

impl Rendered {
    /// The answer to a GET: 304 when the client has it, compressed when it asks for that.
    pub(super) fn answer(self, conditions: &Conditions) -> Response {
        let mut response = Response::new(HttpBody::empty());
        let headers = response.headers_mut();
        headers.reserve(10);
        origin_headers(headers, self.origin);
        let (cache_control, vary) = self.policy();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
        headers.insert(header::VARY, HeaderValue::from_static(vary));
        let gzip = conditions.accepts_gzip && self.body.bytes.len() >= COMPRESS_FROM;
        let etag = etag(self.version, self.body.hash, if gzip { "-gzip" } else { "" });
        let unchanged = conditions.has(&etag);
        if let Ok(etag) = HeaderValue::try_from(etag) {
            headers.insert(header::ETAG, etag);
        }
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, JSON);
        let bytes = if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            compressed(&self.body.bytes)
        } else {
            self.body.bytes
        };
        *response.body_mut() = HttpBody::from(bytes);
        response
    }

    fn policy(&self) -> (&'static str, &'static str) {
        let public = "public, max-age=0, must-revalidate";
        let vary = "Authorization, Accept-Encoding";
        match (self.origin, self.audience) {
            // Read past the cache for this viewer: nobody else's business.
            (Origin::Database, _) => ("private, no-store", vary),
            (_, Audience::Everyone) => (public, "Accept-Encoding"),
            (_, Audience::AnyViewer) => (public, vary),
            (_, Audience::Permitted) => ("private, max-age=0, must-revalidate", vary),
        }
    }
}

/// `"{version}-{hash}"`, or `"{hash}"` for lists; each encoding has its own.
pub(super) fn etag(version: Option<i64>, hash: u64, encoding: &str) -> String {
    let mut etag = String::with_capacity(48);
    let _ = match version {
        Some(version) => write!(etag, "\"{version}-{hash:016x}{encoding}\""),
        None => write!(etag, "\"{hash:016x}{encoding}\""),
    };
    etag
}

fn origin_headers(headers: &mut HeaderMap, origin: Origin) {
    let (x_cache, status) = match origin {
        Origin::Loaded => ("MISS", HeaderValue::from_static("campus; fwd=miss; stored")),
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

/// Fast rather than small: it is done for every answer anew.
pub(super) fn compressed(bytes: &Bytes) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    #[expect(clippy::expect_used, reason = "writing to a vector cannot fail")]
    let compressed = gzip
        .write_all(bytes)
        .and_then(|()| gzip.finish())
        .expect("writing to a vector cannot fail");
    Bytes::from(compressed)
}

/// A personal answer or that of a write: no cache may keep it.
pub(super) fn personal(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(json) => personal_bytes(status, json.into()),
        Err(_) => super::error::Problem::internal().into_response(),
    }
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
    let mut response = written_body(status, body, version);
    if let Some(Ok(location)) = location.map(HeaderValue::try_from) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The same for a body that is rendered already.
pub(super) fn written_body(status: StatusCode, body: Body, version: i64) -> Response {
    let tag = HeaderValue::try_from(etag(Some(version), body.hash, ""));
    let mut response = personal_bytes(status, body.bytes);
    if let Ok(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
