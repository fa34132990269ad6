//! What the cache has done, for admins.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::personal;
use super::auth::Admin;
use super::error::ReadProblems;
use crate::app::App;
use crate::reads::{CacheReport, NamespaceReport, Percentiles, RedisReport, RedisState};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(cache_stats))
}

#[derive(Serialize, ToSchema)]
struct CacheStats {
    /// Bytes that L1 holds.
    memory_cache_size: u64,
    /// Keys in the database of Redis; absent without an answer from it.
    redis_keys: Option<u64>,
    #[schema(example = "1.20M")]
    redis_memory_used: Option<String>,
    /// Reads of this server that Redis answered.
    redis_hits: u64,
    redis_misses: u64,
    hits: BTreeMap<&'static str, u64>,
    misses: BTreeMap<&'static str, u64>,
    totals: Totals,
    namespaces: Vec<Namespace>,
    l1: L1,
    /// `off`, `up` or `down`.
    redis: &'static str,
    /// `closed`: Redis is asked; `open`: it is left alone until it answers a probe; or `off`.
    breaker: &'static str,
    backplane: Backplane,
    /// Committed writes that Redis has yet to be told of; absent if the database does not say.
    outbox_depth: Option<u64>,
    /// Invalidations that Redis has not acknowledged to this server yet.
    pending_invalidations: usize,
    warming: Warming,
}

#[derive(Serialize, ToSchema)]
struct Totals {
    hits: u64,
    misses: u64,
    /// In percent.
    hit_ratio: f64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceStats)]
struct Namespace {
    ns: &'static str,
    l1_hits: u64,
    l2_hits: u64,
    misses: u64,
    stale: u64,
    loads: u64,
    load_errors: u64,
    coalesced: u64,
    refused_fills: u64,
    l2_errors: u64,
    /// Half of the reads took no longer, in microseconds; absent before the first.
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    /// The same by who answered.
    latency: Latency,
}

#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceLatency)]
struct Latency {
    l1: Option<TierLatency>,
    l2: Option<TierLatency>,
    loader: Option<TierLatency>,
}

#[derive(Serialize, ToSchema)]
struct TierLatency {
    p50_us: f64,
    p99_us: f64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = L1Stats)]
struct L1 {
    bytes: u64,
    capacity: u64,
    entries: u64,
    /// Entries that had to make room.
    evictions: u64,
}

/// What is heard of other servers; absent without Redis.
#[derive(Serialize, ToSchema)]
#[schema(as = BackplaneStats)]
struct Backplane {
    /// Of the Redis data set: another one after a restart or failover.
    epoch: Option<String>,
    /// Of the last invalidation.
    seq: Option<u64>,
    /// For how long nothing has proved that none was missed.
    lag_ms: Option<u64>,
    messages: u64,
    /// How often L1 was given up because one may have been missed.
    flushes: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WarmingStats)]
struct Warming {
    runs: u64,
    reads: u64,
    failed: u64,
}

/// What the cache has done since the start, by namespace and tier (admin)
#[utoipa::path(get, path = "/cache/stats", tag = "operations", operation_id = "cacheStats",
    security(("bearer" = [])),
    responses((status = 200, description = "Counters since the start", body = CacheStats), ReadProblems))]
async fn cache_stats(_: Admin, State(app): State<Arc<App>>) -> Response {
    let redis = app.reads.redis_report().await.and_then(Result::ok);
    let outbox_depth = app.reads.outbox_depth().await.ok();
    personal(StatusCode::OK, &CacheStats::new(app.reads.stats(), redis, outbox_depth))
}

impl CacheStats {
    fn new(report: CacheReport, redis: Option<RedisReport>, outbox_depth: Option<u64>) -> Self {
        let namespaces: Vec<Namespace> = report.namespaces.iter().map(Namespace::from).collect();
        let hits: u64 = namespaces.iter().map(|n| n.l1_hits + n.l2_hits).sum();
        let misses: u64 = namespaces.iter().map(|n| n.misses).sum();
        let (state, breaker) = match report.redis {
            RedisState::Off => ("off", "off"),
            RedisState::Up => ("up", "closed"),
            RedisState::Down => ("down", "open"),
        };
        Self {
            memory_cache_size: report.l1_bytes,
            redis_keys: redis.as_ref().map(|redis| redis.keys),
            redis_memory_used: redis.map(|redis| redis.used_memory_human),
            redis_hits: namespaces.iter().map(|n| n.l2_hits).sum(),
            redis_misses: if report.redis == RedisState::Off { 0 } else { misses },
            hits: namespaces.iter().map(|n| (n.ns, n.l1_hits + n.l2_hits)).collect(),
            misses: namespaces.iter().map(|n| (n.ns, n.misses)).collect(),
            totals: Totals {
                hits,
                misses,
                hit_ratio: crate::model::percent(hits as i64, (hits + misses) as i64),
            },
            namespaces,
            l1: L1 {
                bytes: report.l1_bytes,
                capacity: report.l1_capacity,
                entries: report.l1_entries,
                evictions: report.l1_evictions,
            },
            redis: state,
            breaker,
            backplane: Backplane {
                epoch: report.backplane.epoch,
                seq: report.backplane.seq,
                lag_ms: report.backplane.lag.map(|lag| lag.as_millis() as u64),
                messages: report.backplane.messages,
                flushes: report.backplane.flushes,
            },
            outbox_depth,
            pending_invalidations: report.pending_invalidations,
            warming: Warming {
                runs: report.warming.runs,
                reads: report.warming.reads,
                failed: report.warming.failed,
            },
        }
    }
}

impl From<&NamespaceReport> for Namespace {
    fn from(stats: &NamespaceReport) -> Self {
        let latency = &stats.latency;
        Self {
            ns: stats.namespace,
            l1_hits: stats.l1_hits,
            l2_hits: stats.l2_hits,
            misses: stats.misses,
            stale: stats.stale,
            loads: stats.loads,
            load_errors: stats.load_errors,
            coalesced: stats.coalesced,
            refused_fills: stats.fills_refused,
            l2_errors: stats.l2_errors,
            p50_us: latency.all.map(|all| all.p50_us),
            p99_us: latency.all.map(|all| all.p99_us),
            latency: Latency {
                l1: latency.l1.map(TierLatency::from),
                l2: latency.l2.map(TierLatency::from),
                loader: latency.loader.map(TierLatency::from),
            },
        }
    }
}

impl From<Percentiles> for TierLatency {
    fn from(percentiles: Percentiles) -> Self {
        Self { p50_us: percentiles.p50_us, p99_us: percentiles.p99_us }
    }
}
