//! Live events, as Server-Sent Events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{ClientAddress, SignedInUntil};
use super::error::{Problem, ReadProblems, StreamProblems};
use super::extract::Query;
use super::server::Streamed;
use crate::app::App;
use crate::learning::{ListenRequest, Told};
use crate::model::{Timestamp, Topic};
use crate::wire;

/// Often enough for proxies, and to notice clients that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When a client comes again whose stream has ended.
const RETRY: Duration = Duration::from_secs(2);

const MOST_TOPICS: usize = 16;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(listen))
}

/// A token has no place here: addresses are logged and kept.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventParams {
    /// What to listen to, with commas: `course:{id}`, `me`, `platform`; at most 16.
    #[param(example = "course:42,me")]
    topics: String,
}

/// What happens, as it happens: of a course, of oneself, of the platform
///
/// `course:{id}`: all of it for the owner and admins, what concerns the course and its content
/// for the enrolled. `me`: one's own learning. `platform`: for admins. After the event `reset`
/// events are missing, and what was learned from earlier ones has to be read again. An event may
/// come twice, with the same id. The stream ends with the token, and within 6 seconds after a
/// topic may no longer be heard.
#[utoipa::path(get, path = "/events", tag = "events", operation_id = "listen",
    params(EventParams, ("Last-Event-ID" = Option<i64>, Header,
        description = "The last event that has come; what came after it is repeated")),
    security(("bearer" = [])),
    responses((status = 200, description = "A stream of events, whose data are these",
        body = wire::Event, content_type = "text/event-stream"), ReadProblems, StreamProblems))]
async fn listen(
    State(app): State<Arc<App>>,
    SignedInUntil(access): SignedInUntil,
    ClientAddress(from): ClientAddress,
    headers: HeaderMap,
    Query(params): Query<EventParams>,
) -> Result<Response, Problem> {
    let topics = topics(&params.topics)?;
    let last_id = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty());
    let last_id = last_id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    let request = ListenRequest { topics, last_id, from };
    let subscription = app.learning.listen(access, request).await?;
    let clock = app.clock.clone();
    let told = stream::unfold(subscription, move |mut subscription| {
        let clock = clock.clone();
        async move {
            let told = subscription.next().await?;
            Some((Ok::<_, Infallible>(event(&told, clock.now())), subscription))
        }
    });
    let kept = Sse::new(told).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = kept.into_response();
    response.extensions_mut().insert(Streamed);
    let headers = response.headers_mut();
    // Events that a proxy holds back or compresses come in heaps.
    let policy = HeaderValue::from_static("private, no-store, no-transform");
    headers.insert(header::CACHE_CONTROL, policy);
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    headers.insert(unbuffered, HeaderValue::from_static("no"));
    Ok(response)
}

fn topics(text: &str) -> Result<Vec<Topic>, Problem> {
    let mut topics = Vec::new();
    for part in text.split(',').map(str::trim) {
        let unknown = || Problem::unprocessable("topics", "must be course:{id}, me or platform");
        let topic = Topic::parse(part).ok_or_else(unknown)?;
        if !topics.contains(&topic) {
            topics.push(topic);
        }
        if topics.len() > MOST_TOPICS {
            let message = format!("must be at most {MOST_TOPICS}");
            return Err(Problem::unprocessable("topics", message));
        }
    }
    Ok(topics)
}

/// The data of `reset`.
#[derive(Serialize)]
struct Reset {
    event: &'static str,
    generated_at: Timestamp,
}

fn event(told: &Told, now: Timestamp) -> Event {
    match told {
        Told::Begin { id } => with_id(Event::default().retry(RETRY), *id),
        Told::Event(happened) => {
            let event = Event::default().event(happened.event.kind.as_str());
            with_id(with_data(event, &wire::Event::from(&**happened)), Some(happened.id))
        }
        Told::Reset { id } => {
            let reset = Reset { event: "reset", generated_at: now };
            with_id(with_data(Event::default().event("reset"), &reset), *id)
        }
    }
}

fn with_id(event: Event, id: Option<i64>) -> Event {
    match id {
        Some(id) => event.id(id.to_string()),
        None => event,
    }
}

/// Plain structs always have a JSON form; without one the event would say only its name.
fn with_data(event: Event, data: &impl Serialize) -> Event {
    event.data(serde_json::to_string(data).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::topics;
    use crate::model::Topic;

    #[test]
    fn topics_are_counted_once_and_limited() {
        let two = topics("me, course:1,me,course:1").ok().unwrap();
        assert_eq!(two, [Topic::Me, Topic::Course(1)]);
        let many: Vec<String> = (0..17).map(|id| format!("course:{id}")).collect();
        assert!(topics(&many.join(",")).is_err());
        assert!(topics(&many[..16].join(",")).is_ok());
        for unknown in ["", ",", "me,", "users", "course:1;me"] {
            assert!(topics(unknown).is_err(), "{unknown}");
        }
    }
}
