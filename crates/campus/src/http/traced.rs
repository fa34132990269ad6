//! The span of a request: below the caller's, above those of the cache.
//!
//! It has the template of the route and never the path, for ids are people: no query, no header but
//! the request's id, which a client may choose, and nobody's name or token either.

use std::future::Future;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::metrics::method_label;
use crate::traces::REQUEST;

/// Of the headers only this: `tracestate` may hold anything.
const TRACEPARENT: &str = "traceparent";

/// Begins the span of a request, in the trace that its caller names or in a new one.
pub(super) fn begin(request: &Request, id: &HeaderValue) -> Span {
    let method = method_label(request.method());
    let span = tracing::debug_span!(
        target: REQUEST,
        parent: None,
        "request",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = Empty,
        http.response.status_code = Empty,
        request_id = id.to_str().unwrap_or(""),
    );
    if !span.is_disabled() {
        let caller = Caller(request.headers());
        let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &caller);
        // Fails for a span that nobody collects.
        let _ = span.set_parent(caller);
    }
    span
}

/// Makes the answer inside of its span.
pub(super) async fn inside(span: Span, answer: impl Future<Output = Response>) -> Response {
    let answer = answer.instrument(span.clone()).await;
    let status = answer.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "error");
    }
    answer
}

/// Names the span of the request in which this is called, now that its route is known.
pub(super) fn name(method: &str, route: &MatchedPath) {
    let span = Span::current();
    if !span.is_disabled() {
        span.record("http.route", route.as_str());
        span.context().span().update_name(format!("{method} {}", route.as_str()));
    }
}

/// Where the caller's trace is read from.
struct Caller<'a>(&'a HeaderMap);

impl Extractor for Caller<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let asked = (name == TRACEPARENT).then(|| self.0.get(TRACEPARENT))?;
        asked?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}
