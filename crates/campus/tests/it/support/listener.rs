//! A client that listens to a stream of events.

use std::time::Duration;

use axum::http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Listener {
    pub(crate) headers: HeaderMap,
    /// Whether it ended in the middle of something.
    pub(crate) is_broken: bool,
    /// The id that the stream began with, if it named one.
    pub(crate) began: Option<i64>,
    body: Incoming,
    unread: Vec<u8>,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) id: Option<i64>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

impl Listener {
    pub(crate) async fn begin(response: Response<Incoming>) -> Self {
        let (head, mut body) = response.into_parts();
        if head.status != 200 {
            let body = body.collect().await.expect("a body").to_bytes();
            panic!("{}: {}", head.status, String::from_utf8_lossy(&body));
        }
        let mut unread = Vec::new();
        let first = block(&mut body, &mut unread).await.expect("no break").expect("a beginning");
        let headers = head.headers;
        if field(&first, "event").is_some() {
            // It begins with a reset.
            let unread = [format!("{first}\n\n").as_bytes(), &unread].concat();
            return Self { headers, is_broken: false, began: None, body, unread };
        }
        assert_eq!(field(&first, "retry"), Some("2000"), "{first}");
        let began = field(&first, "id").map(|id| id.parse().expect("an id"));
        Self { headers, is_broken: false, began, body, unread }
    }

    /// The next event; nothing if the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        loop {
            let Ok(block) = block(&mut self.body, &mut self.unread).await else {
                self.is_broken = true;
                return None;
            };
            let block = block?;
            let Some(event) = field(&block, "event") else {
                assert!(block.starts_with(':'), "{block:?}");
                continue;
            };
            let data = field(&block, "data").expect("data");
            let data: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(data["event"], event);
            let id = field(&block, "id").map(|id| id.parse().expect("an id"));
            return Some(Heard { id, event: event.to_owned(), data });
        }
    }

    /// The next one, and so on until there is one of this kind.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Heard> {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last: &Heard| last.event != kind) {
            let next = self.next().await;
            heard.push(next.unwrap_or_else(|| panic!("no {kind} after {heard:?}")));
        }
        heard
    }
}

/// The text up to the next empty line; nothing at the end.
async fn block(body: &mut Incoming, unread: &mut Vec<u8>) -> Result<Option<String>, hyper::Error> {
    loop {
        if let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
            let block = unread.drain(..end + 2).collect();
            let text = String::from_utf8(block).expect("UTF-8");
            return Ok(Some(text.trim_end().to_owned()));
        }
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        match frame.expect("something is sent") {
            Some(Ok(frame)) => unread.extend(frame.into_data().unwrap_or_default()),
            Some(Err(error)) => return Err(error),
            None => return Ok(None),
        }
    }
}

fn field<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = block.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
