//! Redis away: slower, never wrong, never an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use campus::config::Settings;
use campus::reads::RedisState;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Person, Redis, Stopwatch, TestApp, on_redis, on_redis_alone, until};

/// What a read may take at most: the wait for somebody else's load, the Redis budget, its own load.
const WAIT_MAX: Duration = Duration::from_secs(2);
const BUDGET: Duration = Duration::from_millis(100);
const LOAD: Duration = Duration::from_millis(900);

const COURSES: i64 = 20;

/// Clients that read courses and lists until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Duration>>,
}

impl Load {
    fn on(app: &TestApp) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let client = |number: i64| {
            let (api, stop, answered) = ((**app).clone(), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut slowest = Duration::ZERO;
                let mut turn = number;
                while !stop.load(Ordering::Relaxed) {
                    turn += 7;
                    let path = match turn % 5 {
                        0 => format!("/courses?limit={}", turn % 50 + 1),
                        1 => format!("/courses/{}/seats", turn % COURSES + 1),
                        _ => format!("/courses/{}", turn % COURSES + 1),
                    };
                    let asked = Stopwatch::start();
                    api.get(&path).await.expect(200);
                    slowest = slowest.max(asked.elapsed());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                slowest
            })
        };
        let clients = (0..12).map(client).collect();
        Self { stop, answered, clients }
    }

    async fn answers(&self, more: u64) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        let answered = async || self.answered.load(Ordering::Relaxed) >= wanted;
        until("the clients are answered", answered).await;
    }

    /// No client got anything but 200, and none waited longer than it may.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            let slowest = client.await.expect("every answer is a 200");
            assert!(slowest < WAIT_MAX + BUDGET + LOAD, "a request took {slowest:?}");
        }
    }
}

/// With a server's own patience for Redis, which these tests are about.
fn as_served(settings: Settings) -> Settings {
    Settings { redis_op_timeout_ms: None, ..settings }
}

/// Twenty courses, and an admin who may see the counters.
async fn school(settings: Settings) -> (TestApp, Person) {
    let app = TestApp::with(settings).await;
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    for number in 1..=COURSES {
        app.published(&ada, &format!("Course {number}")).await;
    }
    (app, root)
}

async fn l2_hits(app: &TestApp, admin: &Person) -> i64 {
    app.counters(admin, "courses").await["l2_hits"].as_i64().unwrap_or(0)
}

/// Only for an application without L1: with it, Redis would hardly be asked.
async fn is_used_again(app: &TestApp, admin: &Person) {
    let before = l2_hits(app, admin).await;
    until("Redis answers reads again", async || {
        app.get("/courses/1").await.expect(200);
        app.app.reads.stats().redis == RedisState::Up && l2_hits(app, admin).await > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_redis_under_load_fails_no_request() {
    let mut redis = Redis::start().await;
    let (app, root) = school(as_served(on_redis_alone(&redis))).await;
    let app = app.connected().await;
    let load = Load::on(&app);
    load.answers(200).await;
    assert!(l2_hits(&app, &root).await > 0);
    redis.kill();
    load.answers(300).await;
    until("the outage is noticed", async || app.app.reads.stats().redis == RedisState::Down).await;
    redis.restart().await;
    is_used_again(&app, &root).await;
    load.answers(100).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_under_load_fails_no_request() {
    let redis = Redis::start().await;
    let (app, root) = school(as_served(on_redis_alone(&redis))).await;
    let app = app.connected().await;
    let load = Load::on(&app);
    load.answers(200).await;
    redis.hang();
    load.answers(300).await;
    until("the outage is noticed", async || app.app.reads.stats().redis == RedisState::Down).await;
    redis.resume();
    is_used_again(&app, &root).await;
    load.answers(100).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_redis_under_load_with_l1_fails_no_request() {
    let mut redis = Redis::start().await;
    let (app, _) = school(as_served(on_redis(&redis))).await;
    let app = app.connected().await;
    let load = Load::on(&app);
    load.answers(200).await;
    redis.hang();
    load.answers(300).await;
    redis.resume();
    load.answers(100).await;
    redis.kill();
    load.answers(300).await;
    redis.restart().await;
    until("Redis is used again", async || app.app.reads.stats().redis == RedisState::Up).await;
    load.answers(100).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_while_redis_hangs_is_in_every_read_then_and_after_it_returns() {
    for l1 in ["true", "false"] {
        let redis = Redis::start().await;
        let settings =
            Settings { cache_l1_enabled: Some(l1.to_owned()), ..as_served(on_redis(&redis)) };
        let app = TestApp::with(settings).await.connected().await;
        let ada = app.instructor("ada").await;
        let id = app.published(&ada, "Before").await;
        let path = format!("/courses/{id}");
        let key = format!("skillup:course:detail@1:{id}");
        until("the old state is in Redis", async || {
            app.get(&path).await.expect(200);
            redis.get(&key).await.len() > 18
        })
        .await;
        redis.hang();
        app.put(&path).by(&ada).json(json!({"title": "After"})).await.expect(200);
        let pending = app.app.reads.stats().pending_invalidations;
        assert!(pending > 0, "Redis has not heard of it");
        for _ in 0..5 {
            assert_eq!(app.get(&path).await.expect(200).json()["title"], "After", "L1 {l1}");
        }
        redis.resume();
        until("Redis has heard of it", async || {
            assert_eq!(app.get(&path).await.expect(200).json()["title"], "After", "L1 {l1}");
            app.app.reads.stats().pending_invalidations == 0
        })
        .await;
        let late = app.twin(as_served(on_redis(&redis))).await.connected().await;
        assert_eq!(late.get(&path).await.expect(200).json()["title"], "After", "L1 {l1}");
    }
}

#[tokio::test]
async fn a_server_that_starts_without_redis_serves_and_uses_it_when_it_comes() {
    let mut redis = Redis::down().await;
    let (app, root) = school(as_served(on_redis_alone(&redis))).await;
    app.get("/courses").await.expect(200);
    app.get("/courses/1").await.expect(200);
    app.get("/health/ready").await.expect(200);
    let health = app.get("/health").await.expect(200).json();
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(health["dependencies"]["redis"], "disconnected", "{health}");
    assert_eq!(app.get("/health/redis").await.expect(200).json()["status"], "disconnected");
    redis.restart().await;
    is_used_again(&app, &root).await;
    let healthy = async || app.get("/health").await.expect(200).json()["status"] == "healthy";
    until("the health says so", healthy).await;
    let redis = app.get("/health/redis").await.expect(200).json();
    assert_eq!(redis["status"], "connected", "{redis}");
    assert!(redis["latency_ms"].as_f64().is_some(), "{redis}");
}

#[tokio::test]
async fn without_redis_the_health_says_that_it_is_not_configured() {
    let app = TestApp::start().await;
    let health = app.get("/health").await.expect(200).json();
    assert_eq!(health["status"], "healthy", "{health}");
    assert_eq!(health["checks"]["redis"], "disabled", "{health}");
    assert_eq!(health["checks"]["database"], "healthy", "{health}");
    assert_eq!(app.get("/health/live").await.expect(200).json()["status"], "alive");
    assert_eq!(app.get("/health/ready").await.expect(200).json()["status"], "ready");
}
