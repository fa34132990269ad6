//! A client that speaks real HTTP, and answers that explain themselves when a test fails.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::{Listener, Person};

/// A server to ask.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

/// A request that is sent when it is awaited.
pub(crate) struct Asked {
    api: Api,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    asked: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Api {
    pub(crate) fn new(base: String) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), base }
    }

    pub(crate) fn get(&self, path: &str) -> Asked {
        self.ask(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Asked {
        self.ask(Method::POST, path)
    }

    pub(crate) fn put(&self, path: &str) -> Asked {
        self.ask(Method::PUT, path)
    }

    pub(crate) fn patch(&self, path: &str) -> Asked {
        self.ask(Method::PATCH, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Asked {
        self.ask(Method::DELETE, path)
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> Asked {
        let (headers, body) = (Vec::new(), Bytes::new());
        Asked { api: self.clone(), method, path: path.to_owned(), headers, body }
    }
}

impl Asked {
    pub(crate) fn by(self, person: &Person) -> Self {
        self.bearer(&person.token)
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn body(mut self, kind: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", kind)
    }

    pub(crate) async fn send(self) -> Answer {
        let asked = self.asked();
        self.attempt().await.unwrap_or_else(|problem| panic!("{asked}: {problem}"))
    }

    /// Waits for the beginning of a stream of events.
    pub(crate) async fn listen(self) -> Listener {
        let asked = self.asked();
        let response = self.response().await.unwrap_or_else(|problem| panic!("{asked}: {problem}"));
        Listener::begin(response).await
    }

    fn asked(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The answer, or how the connection ended without one.
    pub(crate) async fn attempt(self) -> Result<Answer, String> {
        let asked = self.asked();
        let (head, body) = self.response().await?.into_parts();
        let body = body.collect().await.map_err(|e| format!("{e:?}"))?.to_bytes();
        Ok(Answer { asked, status: head.status.as_u16(), headers: head.headers, body })
    }

    async fn response(self) -> Result<Response<Incoming>, String> {
        let mut request = axum::http::Request::builder()
            .method(self.method)
            .uri(format!("{}{}", self.api.base, self.path));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).expect("a well-formed request");
        self.api.client.request(request).await.map_err(|e| format!("{e:?}"))
    }
}

impl IntoFuture for Asked {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text());
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let json = serde_json::from_slice(&self.body);
        json.unwrap_or_else(|e| panic!("{}: {e}: {}", self.asked, self.text()))
    }

    #[track_caller]
    pub(crate) fn id(&self) -> i64 {
        self.json()["id"].as_i64().expect("an id")
    }

    /// A header's text, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// What `X-Cache` says.
    pub(crate) fn cache(&self) -> &str {
        self.header("x-cache")
    }

    pub(crate) fn etag(&self) -> String {
        self.header(header::ETAG.as_str()).to_owned()
    }

    /// Checks that this is a well-formed problem of that status, and answers its detail.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.asked);
        let problem = self.json();
        assert_eq!(problem["status"], status, "{}: {problem}", self.asked);
        for field in ["type", "title", "detail"] {
            let text = problem[field].as_str().unwrap_or("");
            assert!(!text.is_empty(), "{}: no {field} in {problem}", self.asked);
        }
        assert!(!self.header("x-request-id").is_empty(), "{}", self.asked);
        problem["detail"].as_str().unwrap_or("").to_owned()
    }
}
