//! The outermost layer: one small service instead of a stack of five.
//!
//! In this order: a request id, whether a browser may ask, the path without its trailing slash,
//! its span where traces are sent, the route, a panic caught, the common headers set. It must wrap the whole router, because
//! a path has to be changed before it is matched.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::cors::Origins;
use super::error::{Cause, Problem};
use super::protection::protect;
#[cfg(feature = "otel")]
use super::traced;
use crate::app::Leaving;

const CLOSE: HeaderValue = HeaderValue::from_static("close");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The whole HTTP service.
#[derive(Clone)]
pub struct Edge {
    router: Router,
    ids: Arc<RequestIds>,
    writes: TaskTracker,
    origins: Origins,
    leaving: Leaving,
}

/// Random per process, then counted: unique without asking for randomness every time.
struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl Edge {
    pub fn new(router: Router) -> Self {
        let mut bytes = [0u8; 8];
        // Without randomness ids are only unique within the process.
        let _ = getrandom::fill(&mut bytes);
        let ids = RequestIds { process: u64::from_le_bytes(bytes), next: AtomicU64::new(1) };
        let (ids, writes) = (Arc::new(ids), TaskTracker::new());
        let (origins, leaving) = (Origins::default(), Leaving::default());
        Self { router, ids, writes, origins, leaving }
    }

    /// Asks clients to close their connections once the server is about to stop: whoever closes
    /// first knows of no request on its way.
    pub(super) fn until(self, leaving: Leaving) -> Self {
        Self { leaving, ..self }
    }

    /// Lets the scripts of these web sites read the answers.
    pub(super) fn open_to(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }

    /// Waits for the writes that run, also for those whose clients went away.
    pub async fn writes_finished(&self) {
        self.writes.close();
        self.writes.wait().await;
    }
}

impl Service<Request> for Edge {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = self.ids.of(request.headers());
        trim_trailing_slash(request.uri_mut());
        let seen = Seen::of(&request);
        let asked = self.origins.asked(&request);
        if let Some(answer) = asked.preflight() {
            return Box::pin(async move { Ok(finished(answer, id)) });
        }
        let writes = seen.is_write().then(|| self.writes.clone());
        let leaving = self.leaving.clone();
        #[cfg(feature = "otel")]
        let span = traced::begin(&request, &id);
        let answer = guarded(self.router.call(request));
        #[cfg(feature = "otel")]
        let answer = traced::inside(span, answer);
        Box::pin(async move {
            let mut response = match writes {
                None => answer.await,
                // A write goes on when its client goes away: between its commit and
                // its invalidation it must not be dropped.
                Some(writes) => writes
                    .spawn(answer)
                    .await
                    .unwrap_or_else(|_| Problem::internal().into_response()),
            };
            seen.log(&id, &response);
            asked.allow(response.headers_mut());
            if leaving.has_begun() && seen.has_one_request_at_a_time {
                response.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            Ok(finished(response, id))
        })
    }
}

/// What every answer carries.
fn finished(mut response: Response, id: HeaderValue) -> Response {
    response.headers_mut().insert(REQUEST_ID, id);
    protect(&mut response);
    response
}

/// Turns a panic into an answer; the panic hook has logged it.
async fn guarded(response: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match AssertUnwindSafe(response).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => Problem::internal().into_response(),
    }
}

/// What the log says about a request: never its query, its headers or its body.
struct Seen {
    method: Method,
    uri: Uri,
    /// HTTP/2 has a way of its own to end a connection.
    has_one_request_at_a_time: bool,
    /// Only when every request is logged.
    started: Option<Instant>,
}

impl Seen {
    fn of(request: &Request) -> Self {
        let wanted = tracing::enabled!(target: "campus::http", tracing::Level::DEBUG);
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            has_one_request_at_a_time: request.version() <= Version::HTTP_11,
            started: wanted.then(Instant::now),
        }
    }

    fn is_write(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    fn log(&self, id: &HeaderValue, response: &Response) {
        let status = response.status();
        if status.is_server_error() {
            let cause = response.extensions().get::<Cause>();
            tracing::error!(
                target: "campus::http",
                method = %self.method,
                path = self.uri.path(),
                status = status.as_u16(),
                request_id = id.to_str().unwrap_or(""),
                error = cause.map_or("", |Cause(text)| text.as_str()),
                "a request failed"
            );
        }
        let Some(started) = self.started else {
            return;
        };
        tracing::debug!(
            target: "campus::http",
            method = %self.method,
            path = self.uri.path(),
            status = status.as_u16(),
            micros = started.elapsed().as_micros() as u64,
            request_id = id.to_str().unwrap_or(""),
            "request"
        );
    }
}

impl RequestIds {
    /// The client's own id, if it is harmless to repeat, or a new one.
    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if let Some(given) = headers.get(REQUEST_ID) {
            let bytes = given.as_bytes();
            if (1..=64).contains(&bytes.len()) && bytes.iter().all(allowed) {
                return given.clone();
            }
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{number:x}", self.process);
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// `/courses/` and `/courses` are one resource. The documentation's own files are left alone.
fn trim_trailing_slash(uri: &mut Uri) {
    let path = uri.path();
    if path.len() <= 1 || !path.ends_with('/') || path.starts_with("/docs/") {
        return;
    }
    let trimmed = path.trim_end_matches('/');
    let trimmed = if trimmed.is_empty() { "/" } else { trimmed };
    let target = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    if let Ok(changed) = target.parse() {
        *uri = changed;
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::trim_trailing_slash;

    #[test]
    fn a_trailing_slash_goes_and_the_query_stays() {
        for (before, after) in [
            ("/courses/?skip=0", "/courses?skip=0"),
            ("/courses//", "/courses"),
            ("/", "/"),
            ("/docs/", "/docs/"),
            ("/docsx/", "/docsx"),
        ] {
            let mut uri: Uri = before.parse().unwrap();
            trim_trailing_slash(&mut uri);
            assert_eq!(uri, after);
        }
    }
}
