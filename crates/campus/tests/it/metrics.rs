//! `/metrics`: what it says, to whom, and in words that Prometheus takes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use campus::config::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Redis, Server, TestApp, free_port, on_redis};

/// The value of one series.
fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

async fn busy(app: &TestApp) -> String {
    let ada = app.instructor("ada").await;
    let course = app.published(&ada, "Mine").await;
    for path in [format!("/courses/{course}"), "/courses".into(), "/courses/999999".into()] {
        for _ in 0..3 {
            app.get(&path).await;
        }
    }
    app.get("/no/such/path").await.refused(404);
    app.ask("BREW".parse().expect("a method"), "/courses").await.refused(405);
    app.get("/metrics").await.expect(200).text()
}

#[tokio::test]
async fn the_figures_of_the_seeds_are_there_and_count_what_happened() {
    let redis = Redis::start().await;
    let app = TestApp::with(on_redis(&redis)).await.connected().await;
    let metrics = busy(&app).await;
    assert_eq!(value(&metrics, "cache_misses_total{key_prefix=\"courses\"}"), Some(2.0));
    let hits = ["l1", "l2"].map(|tier| {
        let name = format!("cache_hits_total{{key_prefix=\"courses\",tier=\"{tier}\"}}");
        value(&metrics, &name).unwrap_or(0.0)
    });
    assert!(hits.iter().sum::<f64>() >= 4.0, "{metrics}");
    let requests = "http_request_duration_seconds_count{cache_status=\"hit\",method=\"GET\",\
                    path=\"/courses/{id}\"}";
    assert!(value(&metrics, requests) >= Some(2.0), "{metrics}");
    for name in [
        "cache_loads_total",
        "cache_coalesced_total",
        "cache_fills_refused_total",
        "cache_invalidations_total",
        "cache_backplane_lag_seconds",
        "cache_breaker_state",
        "cache_outbox_depth",
        "cache_l1_bytes",
        "cache_l1_evictions_total",
        "database_statements_total",
    ] {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_to_complain_about() {
    let redis = Redis::start().await;
    let app = TestApp::with(on_redis(&redis)).await.connected().await;
    for metrics in [busy(&app).await, TestApp::start().await.get("/metrics").await.text()] {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is not installed: `make setup` installs it");
        let mut input = promtool.stdin.take().expect("a pipe");
        input.write_all(metrics.as_bytes()).expect("it reads");
        drop(input);
        let said = promtool.wait_with_output().expect("it ends");
        let text = [said.stdout, said.stderr].concat();
        assert!(said.status.success() && text.is_empty(), "{}", String::from_utf8_lossy(&text));
    }
}

#[tokio::test]
async fn labels_are_bounded_whatever_clients_ask_for() {
    let app = TestApp::start().await;
    for id in 0..200 {
        app.get(&format!("/courses/{id}")).await.refused(404);
        app.get(&format!("/elsewhere/{id}")).await.refused(404);
        let method = format!("BREW{id}").parse().expect("a method");
        app.ask(method, "/courses").await.refused(405);
    }
    let metrics = app.get("/metrics").await.expect(200).text();
    let counts = metrics.lines().filter(|line| line.contains("_duration_seconds_count"));
    let series: BTreeSet<&str> = counts.filter_map(|line| line.split(' ').next()).collect();
    assert!(series.len() <= 5, "{series:#?}");
    assert!(!metrics.contains("BREW") && !metrics.contains("elsewhere"), "{metrics}");
}

#[tokio::test]
async fn without_a_token_only_this_machine_may_read_them_and_no_proxy_for_others() {
    let app = TestApp::start().await;
    app.get("/metrics").await.expect(200);
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=192.0.2.1"),
        ("via", "1.1 proxy"),
        ("x-real-ip", "192.0.2.1"),
        ("host", "campus.example.org"),
        ("host", "127.0.0.1.example.org:8000"),
        ("host", "192.0.2.1"),
    ] {
        let refused = app.get("/metrics").header(name, value).await.refused(403);
        assert!(refused.contains("METRICS_ADDR"), "{refused}");
    }
    for host in ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "127.8.8.8"] {
        app.get("/metrics").header("host", host).await.expect(200);
    }
    let trusted = Some("127.0.0.0/8".to_owned());
    let behind = Settings { trusted_proxies: trusted, ..Settings::default() };
    let behind = TestApp::with(behind).await;
    behind.get("/metrics").header("x-forwarded-for", "192.0.2.1").await.refused(403);
}

#[tokio::test]
async fn with_a_token_they_are_for_who_has_it() {
    let token = "a token of the tests";
    let settings = Settings { metrics_token: Some(token.to_owned()), ..Settings::default() };
    let app = TestApp::with(settings).await;
    app.get("/metrics").await.refused(401);
    app.get("/metrics").bearer("another token of tests").await.refused(401);
    app.get("/metrics").bearer(token).header("x-forwarded-for", "192.0.2.1").await.expect(200);
}

#[tokio::test]
async fn on_an_address_of_their_own_they_are_nowhere_else_and_nothing_else_is_there() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let addr = format!("127.0.0.1:{}", free_port());
    let variables = [("METRICS_ADDR", addr.as_str()), ("CAMPUS_SEED", "none")];
    let server = Server::start(folder.path(), &variables).await;
    server.api.get("/metrics").await.refused(404);
    let own = crate::support::Api::new(format!("http://{addr}"));
    let metrics = own.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert_eq!(own.get("/courses").await.status, 404);
}

#[tokio::test]
async fn a_proxy_that_says_nothing_of_itself_and_speaks_the_old_protocol_is_refused() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let server = Server::start(folder.path(), &[("CAMPUS_SEED", "none")]).await;
    let mut proxy = TcpStream::connect(&server.address).await.expect("a connection");
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n", server.address);
    proxy.write_all(request.as_bytes()).await.expect("it listens");
    let mut answer = String::new();
    proxy.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.contains(" 403 ") && answer.contains("METRICS_ADDR"), "{answer}");
}
