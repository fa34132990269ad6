//! What admins are told of the parts that this server depends on.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::personal;
use super::auth::{Admin, SignedIn};
use super::error::{Problem, ProblemBody, ReadProblems, WriteProblems};
use super::health::{documents, healthy, overall};
use crate::app::App;
use crate::learning::Operator;
use crate::reads::{RedisReport, TestStep};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(detailed))
        .routes(routes!(redis_stats))
        .routes(routes!(redis_test))
}

/// What Redis says of itself.
#[derive(Serialize, ToSchema)]
pub(super) struct RedisStats {
    #[schema(example = "7.0.15")]
    version: String,
    uptime_s: u64,
    connected_clients: u64,
    /// Bytes.
    used_memory: u64,
    #[schema(example = "1.20M")]
    used_memory_human: String,
    commands_processed: u64,
    /// Lookups that found something, of all its users, in percent; absent before the first.
    hit_rate: Option<f64>,
}

impl From<&RedisReport> for RedisStats {
    fn from(redis: &RedisReport) -> Self {
        Self {
            version: redis.version.clone(),
            uptime_s: redis.uptime.as_secs(),
            connected_clients: redis.connected_clients,
            used_memory: redis.used_memory,
            used_memory_human: redis.used_memory_human.clone(),
            commands_processed: redis.commands_processed,
            hit_rate: hit_rate(redis),
        }
    }
}

fn hit_rate(redis: &RedisReport) -> Option<f64> {
    let lookups = redis.hits + redis.misses;
    (lookups > 0).then(|| crate::model::percent(redis.hits as i64, lookups as i64))
}

#[derive(Serialize, ToSchema)]
struct Detailed {
    /// `healthy`, `degraded` or `unhealthy`.
    status: &'static str,
    components: Components,
}

#[derive(Serialize, ToSchema)]
struct Components {
    database: Component,
    redis: RedisComponent,
    /// Where course content lives.
    documents: Component,
}

#[derive(Serialize, ToSchema)]
struct Component {
    /// `healthy`, `unhealthy` or `disabled`.
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
struct RedisComponent {
    status: &'static str,
    connected_clients: Option<u64>,
    #[schema(example = "1.20M")]
    used_memory: Option<String>,
    hit_rate: Option<f64>,
}

/// The health of every part (admin)
#[utoipa::path(get, path = "/api/v3/system/health/detailed", tag = "operations",
    operation_id = "detailedHealth", security(("bearer" = [])),
    responses((status = 200, description = "Healthy or degraded", body = Detailed),
        (status = 503, description = "The database is away", body = Detailed),
        (status = 401, description = "Not signed in", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = 403, description = "No admin", body = ProblemBody,
            content_type = "application/problem+json")))]
async fn detailed(_: Admin, State(app): State<Arc<App>>) -> Response {
    let health = app.health().await;
    let redis = app.reads.redis_report().await.and_then(Result::ok);
    let (code, status) = overall(&health);
    let report = Detailed {
        status,
        components: Components {
            database: Component { status: healthy(health.database) },
            redis: RedisComponent {
                status: healthy(health.redis),
                connected_clients: redis.as_ref().map(|redis| redis.connected_clients),
                used_memory: redis.as_ref().map(|redis| redis.used_memory_human.clone()),
                hit_rate: redis.as_ref().and_then(hit_rate),
            },
            documents: Component { status: healthy(documents(&health)) },
        },
    };
    personal(code, &report)
}

/// What Redis says of itself (admin)
#[utoipa::path(get, path = "/api/v3/system/redis/stats", tag = "operations",
    operation_id = "redisStats", security(("bearer" = [])),
    responses((status = 200, description = "Its figures", body = RedisStats), ReadProblems))]
async fn redis_stats(_: Admin, State(app): State<Arc<App>>) -> Result<Response, Problem> {
    match app.reads.redis_report().await {
        None => Err(Problem::new(StatusCode::NOT_FOUND, "This server has no Redis (REDIS_URL)")),
        Some(Ok(redis)) => Ok(personal(StatusCode::OK, &RedisStats::from(&redis))),
        Some(Err(why)) => Err(Problem::unavailable(&format!("Redis does not answer: {why}"))),
    }
}

/// A test, step by step, up to the first that fails.
#[derive(Serialize, ToSchema)]
pub(super) struct TestReport {
    ok: bool,
    steps: Vec<Step>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TestStep)]
struct Step {
    op: &'static str,
    ok: bool,
    ms: Option<f64>,
    /// What was wrong.
    error: Option<String>,
}

impl TestReport {
    pub(super) fn of(steps: Vec<TestStep>) -> Self {
        let steps: Vec<Step> = steps.into_iter().map(Step::from).collect();
        Self { ok: steps.iter().all(|step| step.ok), steps }
    }
}

impl From<TestStep> for Step {
    fn from(step: TestStep) -> Self {
        let ms = |took: Duration| took.as_micros() as f64 / 1000.0;
        Self {
            op: step.op,
            ok: step.outcome.is_ok(),
            ms: step.outcome.as_ref().ok().copied().map(ms),
            error: step.outcome.err(),
        }
    }
}

/// Set, get and delete a key of its own in Redis (admin)
#[utoipa::path(post, path = "/api/v3/system/redis/test", tag = "operations",
    operation_id = "testRedis", security(("bearer" = [])),
    responses((status = 200, description = "Each step", body = TestReport), WriteProblems))]
async fn redis_test(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
) -> Result<Response, Problem> {
    app.learning.log_operation(Operator::Admin(by), "redis.test", "").await?;
    match app.reads.test_redis().await {
        None => Err(Problem::new(StatusCode::NOT_FOUND, "This server has no Redis (REDIS_URL)")),
        Some(steps) => Ok(personal(StatusCode::OK, &TestReport::of(steps))),
    }
}
