//! The way to the collector: one batch at a time, and an end to the patience with each.

use std::error::Error;
use std::iter::successors;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// For one batch.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// No collector has more to say.
const LONGEST_ANSWER: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Post {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
    is_away: AtomicBool,
}

impl Post {
    pub(super) fn by(runtime: Handle) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, runtime, is_away: AtomicBool::new(false) }
    }

    /// Says once that the collector went away, and once that it is back.
    fn tell(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let problem = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(cause(&**error)),
        };
        let was_away = self.is_away.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !was_away => {
                tracing::warn!(
                    problem,
                    "the collector takes no traces; until it does they are lost"
                );
            }
            None if was_away => tracing::info!("the collector takes traces again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Post {
    /// The caller is the exporter's own thread, where the runtime's timers and sockets are not.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = async move { timeout(PATIENCE, send(client, request)).await };
        let sent = match self.runtime.spawn(sending).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(late)) => Err(late.into()),
            Err(ended) => Err(ended.into()),
        };
        self.tell(&sent);
        sent
    }
}

async fn send(
    client: Client<HttpConnector, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// What lies at the bottom of an error.
fn cause(error: &(dyn Error + 'static)) -> String {
    successors(Some(error), |&error| error.source()).last().unwrap_or(error).to_string()
}
