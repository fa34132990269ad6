//! The cache's counters, for the operators' endpoints.

use std::time::Duration;

use larder::L2State;

use super::Reads;

/// What the cache has done since the start.
#[derive(Debug, Clone)]
pub struct CacheReport {
    pub namespaces: Vec<NamespaceReport>,
    pub l1_bytes: u64,
    pub l1_capacity: u64,
    pub l1_entries: u64,
    pub redis: RedisState,
    pub pending_invalidations: usize,
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
        };
        CacheReport {
            namespaces: stats.namespaces.iter().map(namespace).collect(),
            l1_bytes: stats.l1.bytes,
            l1_capacity: stats.l1.capacity,
            l1_entries: stats.l1.entries,
            redis: match stats.l2 {
                L2State::Off => RedisState::Off,
                L2State::Up => RedisState::Up,
                L2State::Down => RedisState::Down,
            },
            pending_invalidations: stats.pending_invalidations,
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
