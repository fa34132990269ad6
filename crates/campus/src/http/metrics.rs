//! `/metrics`: who may read it, and the clock that every request passes.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::{Layer, Service};

use super::answer::X_CACHE;
use super::auth::{ClientAddress, unauthorized};
use super::edge::Edge;
use super::error::Problem;
use crate::app::App;
use crate::config::Secret;
use crate::meters::{self, Meters};

/// Behind a proxy everybody comes from this machine: what proxies add.
const FORWARDED: [&str; 3] = ["forwarded", "via", "x-real-ip"];
const FORWARDED_ALL: &str = "x-forwarded-";

/// On the main listener.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(guarded))
}

/// On a listener of its own, which is nobody's who may not read them.
pub fn metrics_service(app: Arc<App>) -> Edge {
    Edge::new(Router::new().route("/metrics", get(alone)).with_state(app))
}

async fn guarded(
    State(app): State<Arc<App>>,
    ClientAddress(client): ClientAddress,
    version: Version,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Proxies that say nothing of themselves often speak HTTP/1.0, or ask for their public name.
    let is_direct = !is_forwarded(&headers)
        && version >= Version::HTTP_11
        && host(&uri, &headers).is_some_and(is_this_machine);
    match (&app.metrics.addr, &app.metrics.token) {
        (Some(_), _) => Err(Problem::new(StatusCode::NOT_FOUND, "There is no such path")),
        (None, Some(token)) => authorized(token, &headers)?.rendered(&app).await,
        (None, None) if client.is_loopback() && is_direct => Allowed.rendered(&app).await,
        (None, None) => {
            let detail = "Metrics are for this machine only; see METRICS_TOKEN and METRICS_ADDR";
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
    }
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    let mut names = headers.keys().map(HeaderName::as_str);
    names.any(|name| FORWARDED.contains(&name) || name.starts_with(FORWARDED_ALL))
}

/// Whom the client asks, with the port if it names one.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = || headers.get(header::HOST)?.to_str().ok();
    uri.authority().map(Authority::as_str).or_else(named)
}

/// Whether it is asked by a name that only this machine has for itself.
fn is_this_machine(host: &str) -> bool {
    let Ok(host) = host.parse::<Authority>() else {
        return false;
    };
    let name = host.host();
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

async fn alone(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    match &app.metrics.token {
        Some(token) => authorized(token, &headers)?.rendered(&app).await,
        None => Allowed.rendered(&app).await,
    }
}

/// Somebody who may read the metrics.
struct Allowed;

fn authorized(token: &Secret, headers: &HeaderMap) -> Result<Allowed, Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("").trim();
    // Hashes are compared in constant time.
    if blake3::hash(given.as_bytes()) == blake3::hash(token.expose().as_bytes()) {
        Ok(Allowed)
    } else {
        Err(unauthorized("Metrics need the token of METRICS_TOKEN"))
    }
}

impl Allowed {
    async fn rendered(self, app: &App) -> Result<Response, Problem> {
        let outbox_depth = app.reads.outbox_depth().await.ok();
        let text = app.meters.render(&app.reads.stats(), outbox_depth, app.store().statements());
        let text = text.map_err(|_| Problem::internal())?;
        let mut response = text.into_response();
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        Ok(response)
    }
}

/// Measures every request that the router sees.
#[derive(Clone)]
pub(super) struct Timing(pub(super) Arc<Meters>);

impl<S> Layer<S> for Timing {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner, meters: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
pub(super) struct Timed<S> {
    inner: S,
    meters: Arc<Meters>,
}

impl<S> Service<Request> for Timed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let began = Instant::now();
        let method = method_label(request.method());
        let path = request.extensions().get::<MatchedPath>().cloned();
        let meters = Arc::clone(&self.meters);
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            #[cfg(feature = "otel")]
            if let Some(route) = &path {
                super::traced::name(method, route);
            }
            let path = path.as_ref().map_or("none", MatchedPath::as_str);
            let cache_status = cache_label(response.headers());
            meters.record(meters::Request { method, path, cache_status }, began.elapsed());
            Ok(response)
        })
    }
}

/// Clients make methods up; each would be a series of its own.
pub(super) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn cache_label(headers: &HeaderMap) -> &'static str {
    match headers.get(X_CACHE).map(HeaderValue::as_bytes) {
        Some(b"HIT") => "hit",
        Some(b"MISS") => "miss",
        Some(b"STALE") => "stale",
        Some(b"BYPASS") => "bypass",
        Some(b"OFF") => "off",
        _ => "none",
    }
}
