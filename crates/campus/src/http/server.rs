//! Connections: how many there may be, how long one may be quiet, and how they end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tower::Service as _;

use super::edge::Edge;

/// More clients wait in the listener's queue until another one goes.
const MOST_CONNECTIONS: usize = 10_000;

/// A connection without a request for one to two times this long is closed, whether
/// its client is idle or takes its time with the headers. Longer than proxies keep
/// theirs, so that they are the ones who close.
const QUIET: Duration = Duration::from_secs(75);

/// What is left to wait for when no more connections are accepted.
pub struct Draining {
    connections: GracefulShutdown,
    edge: Edge,
}

/// Accepts connections until `stop` ends.
pub async fn serve(listener: TcpListener, edge: Edge, stop: impl Future<Output = ()>) -> Draining {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Draining { connections, edge },
            (stream, from, place) = accept(&listener, &places) => {
                let served = connection(stream, from, edge.clone(), connections.watcher(), QUIET);
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
        }
    }
}

impl Draining {
    /// Waits for the answers under way, then for the writes whose clients went away.
    pub async fn finished(self) {
        self.connections.shutdown().await;
        self.edge.writes_finished().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // Never closed, so there is always a place sooner or later.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from, place),
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::error!(%error, "a connection cannot be accepted");
                // Too many open files, mostly: some will be closed.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    edge: Edge,
    watcher: Watcher,
    quiet: Duration,
) {
    // Small answers must not wait for more bytes to come.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::default());
    let requests = Requests { edge, from, activity: Arc::clone(&activity) };
    let builder = Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(stream), requests);
    let mut served = pin!(watcher.watch(served));
    let mut checks = interval_at(Instant::now() + quiet, quiet);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = 0;
    loop {
        tokio::select! {
            ended = &mut served => {
                if let Err(error) = ended {
                    tracing::trace!(error, "a connection broke");
                }
                return;
            }
            _ = checks.tick() => {
                if activity.is_quiet_since(&mut known) {
                    return;
                }
            }
        }
    }
}

/// What happens on one connection.
#[derive(Default)]
struct Activity {
    started: AtomicU64,
    running: AtomicUsize,
}

impl Activity {
    /// Whether nothing runs and nothing was started since the number that `known` holds.
    fn is_quiet_since(&self, known: &mut u64) -> bool {
        let started = self.started.load(Ordering::Relaxed);
        let before = std::mem::replace(known, started);
        before == started && self.running.load(Ordering::Relaxed) == 0
    }
}

/// Counts as running until it is dropped.
struct Running(Arc<Activity>);

impl Running {
    fn start(activity: &Arc<Activity>) -> Self {
        activity.started.fetch_add(1, Ordering::Relaxed);
        activity.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The requests of one connection.
struct Requests {
    edge: Edge,
    from: SocketAddr,
    activity: Arc<Activity>,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let running = Running::start(&self.activity);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.from));
        Answering { answer: self.edge.clone().call(request), running }
    }
}

struct Answering {
    answer: <Edge as tower::Service<axum::extract::Request>>::Future,
    running: Running,
}

/// On an answer whose body goes on for as long as its client listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streamed;

/// The body of such an answer: its connection is not quiet while the client takes what comes.
struct Stream {
    body: Body,
    activity: Arc<Activity>,
}

fn watched(response: Response, activity: &Arc<Activity>) -> Response {
    if response.extensions().get::<Streamed>().is_none() {
        return response;
    }
    let activity = Arc::clone(activity);
    response.map(|body| Body::new(Stream { body, activity }))
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.activity.started.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.as_mut().poll(context).map_ok(|response| watched(response, &self.running.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::post;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;

    use super::{Activity, Edge, GracefulShutdown, Running, Streamed, connection, serve, watched};

    #[test]
    fn a_connection_is_quiet_when_nothing_runs_and_nothing_was_started() {
        let activity = Arc::new(Activity::default());
        let mut known = 0;
        let running = Running::start(&activity);
        assert!(!activity.is_quiet_since(&mut known));
        assert!(!activity.is_quiet_since(&mut known), "it still runs");
        drop(running);
        assert!(activity.is_quiet_since(&mut known));
        drop(Running::start(&activity));
        assert!(!activity.is_quiet_since(&mut known), "there was one in between");
        assert!(activity.is_quiet_since(&mut known));
    }

    #[tokio::test]
    async fn a_stream_is_quiet_when_its_client_takes_nothing() {
        let activity = Arc::new(Activity::default());
        let mut answer = Response::new(Body::from("page"));
        assert!(watched(answer, &activity).into_body().frame().await.is_some());
        let mut known = 0;
        assert!(activity.is_quiet_since(&mut known), "what has an end is not watched");
        answer = Response::new(Body::from("event"));
        answer.extensions_mut().insert(Streamed);
        let mut stream = watched(answer, &activity).into_body();
        assert!(stream.frame().await.is_some());
        assert!(!activity.is_quiet_since(&mut known), "it took something");
        assert!(activity.is_quiet_since(&mut known));
    }

    #[tokio::test]
    async fn a_client_that_takes_its_time_with_the_headers_is_hung_up_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await.unwrap();
        let (stream, from) = listener.accept().await.unwrap();
        let (edge, watcher) = (Edge::new(Router::new()), GracefulShutdown::new().watcher());
        connection(stream, from, edge, watcher, Duration::from_millis(20)).await;
        assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0, "nothing comes any more");
    }

    #[tokio::test]
    async fn a_write_whose_client_went_away_is_waited_for() {
        let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&started), Arc::clone(&go_on));
        let write = post(move || async move {
            tell.notify_one();
            wait.notified().await;
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let edge = Edge::new(Router::new().route("/", write));
        let server = tokio::spawn(serve(listener, edge, async move { stopped.notified().await }));

        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        started.notified().await;
        drop(client);
        stop.notify_one();
        let mut finished = Box::pin(server.await.unwrap().finished());
        let early = tokio::time::timeout(Duration::from_millis(50), &mut finished).await;
        assert!(early.is_err(), "the write still runs");
        go_on.notify_one();
        finished.await;
        let mut refused = TcpStream::connect(address).await;
        if let Ok(stream) = &mut refused {
            assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        }
    }
}
