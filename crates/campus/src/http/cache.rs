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
use crate::reads::{CacheReport, RedisState};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(cache_stats))
}

#[derive(Serialize, ToSchema)]
struct CacheStats {
    /// Bytes that L1 holds.
    memory_cache_size: u64,
    redis_hits: u64,
    redis_misses: u64,
    hits: BTreeMap<&'static str, u64>,
    misses: BTreeMap<&'static str, u64>,
    totals: Totals,
    namespaces: Vec<Namespace>,
    l1: L1,
    /// `off`, `up` or `down`.
    redis: &'static str,
    /// Invalidations that Redis has not acknowledged yet.
    pending_invalidations: usize,
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
}

#[derive(Serialize, ToSchema)]
#[schema(as = L1Stats)]
struct L1 {
    bytes: u64,
    capacity: u64,
    entries: u64,
}

/// Hits and misses by namespace, and what L1 holds (admin)
#[utoipa::path(get, path = "/cache/stats", tag = "operations", operation_id = "cacheStats",
    security(("bearer" = [])),
    responses((status = 200, description = "Counters since the start", body = CacheStats), ReadProblems))]
async fn cache_stats(_: Admin, State(app): State<Arc<App>>) -> Response {
    personal(StatusCode::OK, &CacheStats::from(app.reads.stats()))
}

impl From<CacheReport> for CacheStats {
    fn from(report: CacheReport) -> Self {
        let namespaces: Vec<Namespace> = report.namespaces.iter().map(Namespace::from).collect();
        let hits: u64 = namespaces.iter().map(|n| n.l1_hits + n.l2_hits).sum();
        let misses: u64 = namespaces.iter().map(|n| n.misses).sum();
        Self {
            memory_cache_size: report.l1_bytes,
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
            },
            redis: match report.redis {
                RedisState::Off => "off",
                RedisState::Up => "up",
                RedisState::Down => "down",
            },
            pending_invalidations: report.pending_invalidations,
        }
    }
}

impl From<&crate::reads::NamespaceReport> for Namespace {
    fn from(stats: &crate::reads::NamespaceReport) -> Self {
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
        }
    }
}
