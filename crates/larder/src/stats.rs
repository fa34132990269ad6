//! Counters: local atomics, spread over a few cache lines so that threads do not fight over one.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::protocol::window::Window;

/// What the cache has done since it was built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// One row for each namespace that was read, in order of first use.
    pub namespaces: Vec<NamespaceStats>,
    /// What L1 holds.
    pub l1: L1Stats,
    /// Whether Redis is used.
    pub l2: L2State,
    /// What is heard of other processes.
    pub backplane: BackplaneStats,
    /// Invalidations that this process was asked for, those in doubt among them.
    pub invalidations: u64,
    /// Invalidations that Redis has not acknowledged yet.
    pub pending_invalidations: usize,
}

/// What is heard of other processes' invalidations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackplaneStats {
    /// Whether L1 may answer: without Redis always; with Redis while a heartbeat of the last
    /// second has proven that no invalidation was missed.
    pub is_fresh: bool,
    /// Invalidations heard, our own among them.
    pub messages: u64,
    /// Messages that no cache has sent.
    pub foreign: u64,
    /// How often all of L1 was given up because an invalidation may have been missed.
    pub flushes: u64,
    /// Identity of the data set that was heard of last; another one after a restart or failover.
    pub epoch: Option<u64>,
    /// The number of the last invalidation, as the last heartbeat said.
    pub sequence: Option<u64>,
    /// How long ago the heartbeat was sent that proved last that nothing was missed.
    pub lag: Option<Duration>,
}

/// What a heartbeat has proved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    /// When it was sent.
    pub(crate) at: u64,
}

/// Where the backplane counts.
#[derive(Debug, Default)]
pub(crate) struct BackplaneCounts {
    pub(crate) messages: AtomicU64,
    pub(crate) foreign: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) proof: Mutex<Option<Proof>>,
}

impl BackplaneCounts {
    pub(crate) fn stats(&self, window: &Window, now: u64) -> BackplaneStats {
        let proof = *self.proof.lock();
        BackplaneStats {
            is_fresh: window.is_open(now),
            epoch: proof.map(|proof| proof.epoch),
            sequence: proof.map(|proof| proof.sequence),
            lag: proof.map(|proof| Duration::from_millis(now.saturating_sub(proof.at))),
            messages: self.messages.load(Ordering::Relaxed),
            foreign: self.foreign.load(Ordering::Relaxed),
            flushes: self.flushes.load(Ordering::Relaxed),
        }
    }
}

/// Counters of one namespace. Every read adds to exactly one of `l1_hits`, `l2_hits` and `misses`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceStats {
    /// The label of [`crate::CacheKey::NAMESPACE`].
    pub namespace: &'static str,
    /// Reads answered by this process.
    pub l1_hits: u64,
    /// Reads answered by Redis.
    pub l2_hits: u64,
    /// Reads that neither tier answered.
    pub misses: u64,
    /// Hits that were past their soft TTL.
    pub stale: u64,
    /// Misses that waited for a load that somebody else had begun.
    pub coalesced: u64,
    /// Loader runs.
    pub loads: u64,
    /// Loader runs that failed, panicked or took too long.
    pub load_errors: u64,
    /// Loaded values that were not stored in Redis: overtaken by an invalidation, too large, or
    /// Redis had no memory.
    pub fills_refused: u64,
    /// Redis reads and fills that got no answer.
    pub l2_errors: u64,
    /// Entries in Redis that could not be decoded.
    pub corrupt: u64,
    /// Reads whose key may not be cached (too long, control characters, too many tags).
    pub uncacheable: u64,
}

/// What L1 holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct L1Stats {
    /// Bytes charged; never above `capacity`.
    pub bytes: u64,
    /// The byte bound.
    pub capacity: u64,
    /// Entries, dead ones included until they are replaced.
    pub entries: u64,
    /// Entries that had to make room for others, or had none.
    pub evictions: u64,
}

/// Whether Redis is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2State {
    /// No Redis is configured.
    Off,
    /// Redis answers.
    Up,
    /// Redis is configured and does not answer; reads load.
    Down,
}

/// The index of a namespace in the registry; small, since every L1 entry carries one.
pub(crate) type NamespaceId = u8;

const MOST_NAMESPACES: usize = 64;
/// One for each of the first threads that count, and a last one that all others share.
const SHARDS: usize = 16;
const SHARED: usize = SHARDS - 1;

/// Where one namespace counts.
struct Namespace {
    name: &'static str,
    /// Limits the loads that run at a time.
    loads: Semaphore,
    shards: [Shard; SHARDS],
}

/// One counter of [`NamespaceStats`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    L1Hit,
    L2Hit,
    Miss,
    Stale,
    Coalesced,
    Load,
    LoadError,
    FillRefused,
    L2Error,
    Corrupt,
    Uncacheable,
}

const COUNTS: usize = Count::Uncacheable as usize + 1;

/// Two cache lines, so that neighbouring shards do not share one.
#[derive(Default)]
#[repr(align(128))]
struct Shard([AtomicU64; COUNTS]);

/// All namespaces that were read so far.
pub(crate) struct Namespaces {
    places: Box<[OnceLock<Namespace>]>,
    most_loads: usize,
}

impl Namespaces {
    pub(crate) fn new(most_loads: usize) -> Self {
        let places = (0..MOST_NAMESPACES).map(|_| OnceLock::new()).collect();
        // With none every read would end in its load timeout.
        Self { places, most_loads: most_loads.clamp(1, Semaphore::MAX_PERMITS) }
    }

    /// The id of a namespace; the 65th and later share the last one.
    pub(crate) fn id(&self, name: &'static str) -> NamespaceId {
        for (id, place) in self.places.iter().enumerate() {
            let here = place.get_or_init(|| Namespace {
                name,
                loads: Semaphore::new(self.most_loads),
                shards: Default::default(),
            });
            if here.name == name || id + 1 == MOST_NAMESPACES {
                return id as NamespaceId;
            }
        }
        0
    }

    #[inline(always)]
    pub(crate) fn count(&self, id: NamespaceId, count: Count) {
        if let Some(namespace) = self.places.get(usize::from(id)).and_then(OnceLock::get) {
            let mine = my_shard();
            let counter = &namespace.shards[mine].0[count as usize];
            if mine == SHARED {
                counter.fetch_add(1, Ordering::Relaxed);
            } else {
                // Only this thread writes it: a hit need not pay for a locked instruction.
                counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
        }
    }

    /// Waits for leave to load; holding the permit is that leave.
    pub(crate) async fn may_load(&self, id: NamespaceId) -> Option<SemaphorePermit<'_>> {
        let namespace = self.places.get(usize::from(id)).and_then(OnceLock::get)?;
        namespace.loads.acquire().await.ok()
    }

    pub(crate) fn stats(&self) -> Vec<NamespaceStats> {
        self.places.iter().map_while(OnceLock::get).map(Namespace::stats).collect()
    }
}

impl Namespace {
    fn stats(&self) -> NamespaceStats {
        let sum = |count: Count| {
            self.shards.iter().map(|shard| shard.0[count as usize].load(Ordering::Relaxed)).sum()
        };
        NamespaceStats {
            namespace: self.name,
            l1_hits: sum(Count::L1Hit),
            l2_hits: sum(Count::L2Hit),
            misses: sum(Count::Miss),
            stale: sum(Count::Stale),
            coalesced: sum(Count::Coalesced),
            loads: sum(Count::Load),
            load_errors: sum(Count::LoadError),
            fills_refused: sum(Count::FillRefused),
            l2_errors: sum(Count::L2Error),
            corrupt: sum(Count::Corrupt),
            uncacheable: sum(Count::Uncacheable),
        }
    }
}

/// This thread's shard. A shard other than [`SHARED`] is never given to a second thread.
#[inline]
fn my_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed).min(SHARED));
        }
        mine.get()
    })
}
