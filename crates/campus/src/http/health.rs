//! Whether this process, its database and its Redis are well.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::personal;
use super::auth::Viewer;
use super::error::ProblemBody;
use super::system::RedisStats;
use crate::app::{App, Health, State as Probe};
use crate::model::Timestamp;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(redis))
}

/// One answer for the clients of four health endpoints: each finds the field it knows.
#[derive(Serialize, ToSchema)]
struct HealthReport {
    /// `healthy`, `degraded` (Redis or MongoDB is away) or `unhealthy` (the database is away).
    #[schema(example = "healthy")]
    status: &'static str,
    #[schema(example = "campus")]
    service: &'static str,
    version: &'static str,
    timestamp: Timestamp,
    uptime_s: u64,
    /// `healthy`, `unhealthy` or `disabled`.
    checks: Dependencies,
    /// `connected`, `disconnected` or `disabled`.
    dependencies: Dependencies,
    /// The same as `dependencies`.
    services: Dependencies,
}

#[derive(Serialize, ToSchema)]
struct Dependencies {
    database: &'static str,
    redis: &'static str,
    /// Course content: in MongoDB, or in the database.
    documents: &'static str,
    mongodb: &'static str,
}

impl Dependencies {
    fn of(health: &Health, word: fn(Probe) -> &'static str) -> Self {
        Self {
            database: word(health.database),
            redis: word(health.redis),
            documents: word(documents(health)),
            mongodb: word(health.mongodb),
        }
    }
}

fn connected(state: Probe) -> &'static str {
    match state {
        Probe::Up => "connected",
        Probe::Down => "disconnected",
        Probe::Off => "disabled",
    }
}

pub(super) fn healthy(state: Probe) -> &'static str {
    match state {
        Probe::Up => "healthy",
        Probe::Down => "unhealthy",
        Probe::Off => "disabled",
    }
}

/// Without MongoDB, course content is in the database.
pub(super) fn documents(health: &Health) -> Probe {
    match health.mongodb {
        Probe::Off => health.database,
        state @ (Probe::Up | Probe::Down) => state,
    }
}

/// Without Redis everything works, slower; without MongoDB, what content the cache has is served.
pub(super) fn overall(health: &Health) -> (StatusCode, &'static str) {
    match (health.database, health.redis, health.mongodb) {
        (Probe::Down, _, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (_, Probe::Down, _) | (_, _, Probe::Down) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::OK, "healthy"),
    }
}

/// Health: 200 while the database answers, with or without Redis
#[utoipa::path(get, path = "/health", tag = "operations", operation_id = "health",
    responses((status = 200, description = "Healthy or degraded", body = HealthReport),
        (status = 503, description = "The database is away", body = HealthReport)))]
async fn health(State(app): State<Arc<App>>) -> Response {
    let health = app.health().await;
    let (code, status) = overall(&health);
    let report = HealthReport {
        status,
        service: "campus",
        version: env!("CARGO_PKG_VERSION"),
        timestamp: app.clock.now(),
        uptime_s: app.uptime().as_secs(),
        checks: Dependencies::of(&health, healthy),
        dependencies: Dependencies::of(&health, connected),
        services: Dependencies::of(&health, connected),
    };
    personal(code, &report)
}

#[derive(Serialize, ToSchema)]
struct Status {
    status: &'static str,
}

/// What a command of this installation asks before it says more than that.
pub(crate) const CHALLENGE: &str = "x-campus-challenge";
pub(crate) const PROOF: &str = "x-campus-proof";

/// Whether the process runs
#[utoipa::path(get, path = "/health/live", tag = "operations", operation_id = "live",
    responses((status = 200, description = "It runs", body = Status)))]
async fn live(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut response = personal(StatusCode::OK, &Status { status: "alive" });
    let challenge = headers.get(CHALLENGE).and_then(|challenge| challenge.to_str().ok());
    let challenge = challenge.filter(|challenge| (16..=64).contains(&challenge.len()));
    if let Some(Ok(proof)) = challenge.map(|text| HeaderValue::try_from(app.learning.prove(text))) {
        response.headers_mut().insert(HeaderName::from_static(PROOF), proof);
    }
    response
}

/// Whether requests can be served
#[utoipa::path(get, path = "/health/ready", tag = "operations", operation_id = "ready",
    responses((status = 200, description = "Ready", body = Status),
        (status = 503, description = "Not yet, or not now", body = Status)))]
async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.leaving.has_begun() {
        return personal(StatusCode::SERVICE_UNAVAILABLE, &Status { status: "stopping" });
    }
    // The schema is brought up to date before the port is opened.
    match app.health().await.database {
        Probe::Up | Probe::Off => personal(StatusCode::OK, &Status { status: "ready" }),
        Probe::Down => {
            let status = "not ready";
            personal(StatusCode::SERVICE_UNAVAILABLE, &Status { status })
        }
    }
}

#[derive(Serialize, ToSchema)]
struct RedisHealth {
    /// `connected`, `disconnected` or `disabled`.
    status: &'static str,
    latency_ms: Option<f64>,
    /// For admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<RedisStats>,
}

/// Whether Redis answers; without it everything works, slower
#[utoipa::path(get, path = "/health/redis", tag = "operations", operation_id = "redisHealth",
    security((), ("bearer" = [])),
    responses((status = 200, description = "What was found", body = RedisHealth),
        (status = 401, description = "The token is not valid", body = ProblemBody,
            content_type = "application/problem+json")))]
async fn redis(Viewer(viewer): Viewer, State(app): State<Arc<App>>) -> Response {
    let health = app.health().await;
    let stats = match viewer {
        Some(viewer) if viewer.is_admin() => app.reads.redis_report().await,
        Some(_) | None => None,
    };
    let micros = health.redis_latency.map(|latency| latency.as_micros());
    let body = RedisHealth {
        status: connected(health.redis),
        latency_ms: micros.map(|micros| micros as f64 / 1000.0),
        stats: stats.and_then(Result::ok).as_ref().map(RedisStats::from),
    };
    personal(StatusCode::OK, &body)
}
