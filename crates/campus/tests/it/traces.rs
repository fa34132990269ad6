//! Traces, as a collector gets them, and what a server does whose collector fails.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message as _;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::{Api, Server, free_port, run, until};

/// In the paths and queries of requests.
const PRIVATE: [&str; 4] = ["987654321", "nina.private", "own-secret", "of-a-vendor"];

/// A collector of the test's own.
struct Collector {
    url: String,
    taken: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a free port")).await
    }

    async fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().expect("a bound socket"));
        let taken: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let kept = Arc::clone(&taken);
        let take = move |body: Bytes| async move { kept.lock().expect("unharmed").push(body) };
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, taken }
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let taken = self.taken.lock().expect("unharmed");
        let decode = |body: &Bytes| ExportTraceServiceRequest::decode(body.clone());
        taken.iter().map(decode).map(|request| request.expect("protobuf")).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// The spans of a trace by their names; waits until the request itself is among them.
    async fn trace(&self, id: u128) -> Trace {
        let mut spans = Vec::new();
        until("the trace has arrived", async || {
            spans = self.spans();
            spans.retain(|span| span.trace_id == id.to_be_bytes());
            spans.iter().any(|span| span.kind() == SpanKind::Server)
        })
        .await;
        Trace(spans)
    }
}

struct Trace(Vec<Span>);

impl Trace {
    /// The only one of that name.
    fn only(&self, name: &str) -> &Span {
        let mut named = self.0.iter().filter(|span| span.name == name);
        match (named.next(), named.next()) {
            (Some(span), None) => span,
            _ => panic!("not one {name}: {:#?}", self.0),
        }
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> Json {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => json!(text),
        Some(Value::BoolValue(is)) => json!(is),
        Some(Value::IntValue(number)) => json!(number),
        _ => Json::Null,
    }
}

/// Tier, hit and graced.
fn outcome(read: &Span) -> [Json; 3] {
    ["tier", "hit", "graced"].map(|name| attribute(&read.attributes, name))
}

/// A server without anything that reads by itself, and batches that do not wait.
async fn server(folder: &TempDir, collector: &str) -> Server {
    let variables = [
        ("CAMPUS_SEED", "none"),
        ("CAMPUS_ADMIN_PASSWORD", "admins-own-secret"),
        ("WARM_INTERVAL_SECS", "0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
        ("OTEL_SERVICE_NAME", "campus-of-the-tests"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    Server::start(folder.path(), &variables).await
}

const CALLER: u64 = 0x00f0_67aa_0ba9_02b7;

/// Asks as a part of somebody's trace; answers what `X-Cache` says.
async fn get(api: &Api, path: &str, trace: u128, flags: &str, status: u16) -> String {
    let traceparent = format!("00-{trace:032x}-{CALLER:016x}-{flags}");
    let asked = api.get(path).header("traceparent", traceparent);
    let answer = asked.header("tracestate", "vendor=of-a-vendor").await.expect(status);
    answer.cache().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_read_is_a_span_below_its_request_in_the_trace_of_the_caller() {
    let (collector, folder) = (Collector::start().await, TempDir::new().expect("a folder"));
    let server = server(&folder, &collector.url).await;
    let list = "/courses?limit=7";
    for (trace, cache, tier) in [(0xa1, "MISS", "loader"), (0xa2, "HIT", "l1")] {
        assert_eq!(get(&server.api, list, trace, "01", 200).await, cache);
        let trace = collector.trace(trace).await;
        let request = trace.only("GET /courses");
        assert_eq!(request.parent_span_id, CALLER.to_be_bytes());
        let said = ["http.request.method", "http.route", "http.response.status_code"]
            .map(|name| attribute(&request.attributes, name));
        assert_eq!(said, [json!("GET"), json!("/courses"), json!(200)]);
        assert!(attribute(&request.attributes, "request_id").is_string());
        let read = trace.only("cache.read");
        assert_eq!(read.parent_span_id, request.span_id);
        assert_eq!(outcome(read), [json!(tier), json!(cache == "HIT"), json!(false)]);
        assert_eq!(attribute(&read.attributes, "namespace"), "courses_list");
        if cache == "MISS" {
            assert_eq!(trace.only("cache.load").parent_span_id, read.span_id);
        }
    }
    let service = &collector.requests()[0].resource_spans[0];
    let resource = service.resource.as_ref().expect("a resource");
    assert_eq!(attribute(&resource.attributes, "service.name"), "campus-of-the-tests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_its_caller_does_not_keep_is_not_sent() {
    let (collector, folder) = (Collector::start().await, TempDir::new().expect("a folder"));
    let server = server(&folder, &collector.url).await;
    get(&server.api, "/courses", 0xb1, "00", 200).await;
    get(&server.api, "/courses", 0xb2, "01", 200).await;
    collector.trace(0xb2).await;
    let unwanted = 0xb1_u128.to_be_bytes();
    assert!(collector.spans().iter().all(|span| span.trace_id != unwanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_address_token_or_id_is_in_a_trace() {
    let (collector, folder) = (Collector::start().await, TempDir::new().expect("a folder"));
    let server = server(&folder, &collector.url).await;
    let api = &server.api;
    let new = json!({"username": "nina", "email": "nina.private@example.org",
        "password": "ninas-own-secret", "full_name": "Nina"});
    api.post("/auth/register").json(new).await.expect(201);
    let login = json!({"email": "nina.private@example.org", "password": "ninas-own-secret"});
    let session = api.post("/auth/login").json(login).await.expect(200).json();
    let token = session["access_token"].as_str().expect("a token").to_owned();
    for path in ["/users/me/dashboard", "/auth/me"] {
        api.get(path).bearer(&token).await.expect(200);
    }
    get(api, "/courses/987654321", 0xc1, "01", 404).await;
    get(api, "/articles/987654321", 0xc2, "01", 404).await;
    get(api, "/elsewhere/nina.private", 0xc3, "01", 404).await;
    get(api, "/courses?q=nina.private@example.org", 0xc4, "01", 200).await;
    assert_eq!(collector.trace(0xc1).await.only("cache.read").name, "cache.read");
    collector.trace(0xc2).await.only("GET /articles/{id}");
    collector.trace(0xc3).await.only("GET");
    collector.trace(0xc4).await.only("GET /courses");
    assert!(collector.spans().iter().any(|span| span.name == "POST /auth/login"));
    assert!(collector.spans().iter().all(|span| span.events.is_empty()), "lines of the log");
    for body in collector.taken.lock().expect("unharmed").iter() {
        let text = String::from_utf8_lossy(body);
        for private in PRIVATE.into_iter().chain([token.as_str()]) {
            assert!(!text.contains(private), "{private}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_delays_neither_requests_nor_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("a bound socket"));
    let folder = TempDir::new().expect("a folder");
    let server = server(&folder, &url).await;
    get(&server.api, "/courses", 0xd1, "01", 200).await;
    let asked = async {
        let (mut stream, _) = silent.accept().await.expect("the exporter connects");
        let mut begin = [0; 15];
        stream.read_exact(&mut begin).await.expect("the exporter sends");
        (stream, begin)
    };
    let asked = timeout(Duration::from_secs(10), asked).await;
    let (_stream, begin) = asked.expect("the exporter sends what there is");
    assert_eq!(&begin, b"POST /v1/traces");
    // More than the queue has room for.
    for trace in 1..1500 {
        get(&server.api, "/courses", trace, "01", 200).await;
    }
    let began = Instant::now();
    let ended = server.stop();
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{log}");
    assert!(log.contains("the last traces could not be sent"), "{log}");
    // What .env.example promises of every server.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_told_of_once_and_used_when_it_comes() {
    let (port, folder) = (free_port(), TempDir::new().expect("a folder"));
    let server = server(&folder, &format!("http://127.0.0.1:{port}")).await;
    let lost = || server.complaints().matches("the collector takes no traces").count();
    until("it is missed", async || {
        get(&server.api, "/courses", 0xe1, "01", 200).await;
        lost() > 0
    })
    .await;
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("still free");
    let collector = Collector::on(listener).await;
    until("it is used", async || {
        get(&server.api, "/courses", 0xe2, "01", 200).await;
        !collector.spans().is_empty()
    })
    .await;
    let back = "the collector takes traces again";
    until("it is said", async || server.complaints().contains(back)).await;
    assert_eq!(lost(), 1, "{}", server.complaints());
}

#[test]
fn where_traces_go_is_checked_and_shown_before_a_server_starts() {
    let folder = TempDir::new().expect("a folder");
    let check = |url: &str, arguments: &[&str]| {
        run(folder.path(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", url)], arguments)
    };
    let refused = check("https://nina:own-secret@collector", &["config", "check"]);
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(problem.contains("OTEL_EXPORTER_OTLP_ENDPOINT must start with http://"), "{problem}");
    assert!(!problem.contains("own-secret"), "{problem}");
    let shown = check("http://127.0.0.1:4318", &["config", "check", "--json"]);
    let shown: Json = serde_json::from_slice(&shown.stdout).expect("JSON");
    let settings = shown["settings"].as_array().expect("settings").iter();
    let mut named = settings.filter(|setting| setting["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT");
    let expected = json!({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://127.0.0.1:4318",
        "from": "environment"});
    assert_eq!(named.next(), Some(&expected));
}
