//! What the cache has done and what its Redis says, for the operators' endpoints.

use std::time::Duration;

use larder::{L2State, RedisInfo, RedisKeys};

use super::meters::Latency;
use super::{Reads, WarmReport};

/// What the cache has done since the start.
#[derive(Debug, Clone)]
pub struct CacheReport {
    pub namespaces: Vec<NamespaceReport>,
    pub l1_bytes: u64,
    pub l1_capacity: u64,
    pub l1_entries: u64,
    pub l1_evictions: u64,
    pub redis: RedisState,
    pub backplane: Backplane,
    /// Invalidations that this process was asked for.
    pub invalidations: u64,
    pub pending_invalidations: usize,
    pub warming: WarmReport,
}

/// Keys in Redis behind the prefix.
#[derive(Debug, Clone)]
pub struct FoundKeys {
    pub keys: Vec<String>,
    /// There are, or may be, more.
    pub is_cut: bool,
}

impl From<RedisKeys> for FoundKeys {
    fn from(found: RedisKeys) -> Self {
        Self { keys: found.keys, is_cut: found.is_cut }
    }
}

/// What is heard of other servers.
#[derive(Debug, Clone)]
pub struct Backplane {
    /// Of the Redis data set: another one after a restart or failover.
    pub epoch: Option<String>,
    pub seq: Option<u64>,
    pub lag: Option<Duration>,
    pub messages: u64,
    pub flushes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisState {
    /// Not configured.
    Off,
    Up,
    Down,
}

#[derive(Debug, Clone)]
pub struct NamespaceReport {
    pub namespace: &'static str,
    pub l1_hits: u64,
    pub l2_hits: u64,
    pub misses: u64,
    pub stale: u64,
    pub loads: u64,
    pub load_errors: u64,
    pub coalesced: u64,
    pub fills_refused: u64,
    pub l2_errors: u64,
    pub latency: Latency,
}

/// What Redis says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisReport {
    pub version: String,
    pub uptime: Duration,
    pub connected_clients: u64,
    pub used_memory: u64,
    pub used_memory_human: String,
    pub commands_processed: u64,
    pub keys: u64,
    pub hits: u64,
    pub misses: u64,
}

impl From<RedisInfo> for RedisReport {
    fn from(info: RedisInfo) -> Self {
        Self {
            version: info.version,
            uptime: info.uptime,
            connected_clients: info.connected_clients,
            used_memory: info.used_memory,
            used_memory_human: info.used_memory_human,
            commands_processed: info.commands_processed,
            keys: info.keys,
            hits: info.keyspace_hits,
            misses: info.keyspace_misses,
        }
    }
}

impl Reads {
    pub fn stats(&self) -> CacheReport {
        let stats = self.cache.stats();
        let namespace = |n: &larder::NamespaceStats| NamespaceReport {
            namespace: n.namespace,
            l1_hits: n.l1_hits,
            l2_hits: n.l2_hits,
            misses: n.misses,
            stale: n.stale,
            loads: n.loads,
            load_errors: n.load_errors,
            coalesced: n.coalesced,
            fills_refused: n.fills_refused,
            l2_errors: n.l2_errors,
            latency: self.latencies.of(n.namespace),
        };
        CacheReport {
            namespaces: stats.namespaces.iter().map(namespace).collect(),
            l1_bytes: stats.l1.bytes,
            l1_capacity: stats.l1.capacity,
            l1_entries: stats.l1.entries,
            l1_evictions: stats.l1.evictions,
            redis: match stats.l2 {
                L2State::Off => RedisState::Off,
                L2State::Up => RedisState::Up,
                L2State::Down => RedisState::Down,
            },
            backplane: Backplane {
                epoch: stats.backplane.epoch.map(|epoch| format!("{epoch:016x}")),
                seq: stats.backplane.sequence,
                lag: stats.backplane.lag,
                messages: stats.backplane.messages,
                flushes: stats.backplane.flushes,
            },
            invalidations: stats.invalidations,
            pending_invalidations: stats.pending_invalidations,
            warming: self.warming.report(),
        }
    }

    /// What Redis says of itself; `None` without Redis, an error text when it does not answer.
    pub async fn redis_report(&self) -> Option<Result<RedisReport, String>> {
        let info = self.cache.redis_info().await?;
        Some(info.map(RedisReport::from).map_err(|error| error.to_string()))
    }

    /// Keys in Redis, at most `most`; `None` without Redis, an error text when it does not answer.
    pub async fn redis_keys(&self, most: usize) -> Option<Result<FoundKeys, String>> {
        let keys = self.cache.redis_keys(most).await?;
        Some(keys.map(FoundKeys::from).map_err(|error| error.to_string()))
    }

    /// Rows of the outbox that Redis has yet to be told of. Without Redis there is nobody to tell.
    pub async fn outbox_depth(&self) -> super::Result<u64> {
        match self.cache.stats().l2 {
            L2State::Off => Ok(0),
            L2State::Up | L2State::Down => Ok(self.store.outbox_depth().await?),
        }
    }

    /// Waits until Redis has been told of every write, for at most `limit`, and answers how many
    /// invalidations it still does not know. They are in the outbox: the next server to start,
    /// or another one that runs, tells Redis before it reads from it.
    pub async fn invalidations_told(&self, limit: Duration) -> usize {
        let told = async {
            while self.cache.stats().pending_invalidations > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(limit, told).await {
            Ok(()) => 0,
            Err(_) => self.cache.stats().pending_invalidations,
        }
    }
}
