//! The source of truth: documents with a version each, when each version was acknowledged, and
//! how stale a read was.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::{Ack, Cache, Cached, LoadError, Names};
use parking_lot::Mutex;

use crate::{
    outbox_table::Table,
    support::{Doc, DocKey, doc},
};

/// How long a load takes.
pub(crate) const LOAD: Duration = Duration::from_millis(3);

/// An in-memory database with an outbox. Clones share it.
#[derive(Clone)]
pub(crate) struct Truth {
    docs: Arc<Vec<Versions>>,
    loads: Arc<AtomicUsize>,
    loaders: Arc<Loaders>,
    pub(crate) outbox: Table,
}

/// Loads under way, and how many there ever were at once.
#[derive(Default)]
struct Loaders {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A load under way. It may end by being dropped.
struct Loading(Arc<Loaders>);

impl Loading {
    fn begin(loaders: &Arc<Loaders>) -> Self {
        let now = loaders.now.fetch_add(1, SeqCst) + 1;
        loaders.most.fetch_max(now, SeqCst);
        Self(Arc::clone(loaders))
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

#[derive(Default)]
struct Versions {
    newest: AtomicU64,
    /// When version 1, 2, … was acknowledged, and how.
    acks: Mutex<Vec<(Instant, Ack)>>,
}

/// How long before a read an overtaking write had been acknowledged; nothing if none had.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Staleness {
    pub(crate) applied: Duration,
    pub(crate) queued: Duration,
}

impl Truth {
    pub(crate) fn of(docs: usize) -> Self {
        let docs = Arc::new((0..docs).map(|_| Versions::default()).collect());
        Self { docs, loads: Arc::default(), loaders: Arc::default(), outbox: Table::default() }
    }

    pub(crate) fn any_id(&self) -> i64 {
        fastrand::i64(0..self.docs.len() as i64)
    }

    pub(crate) fn ids(&self) -> std::ops::Range<i64> {
        0..self.docs.len() as i64
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(SeqCst)
    }

    /// The most loads that ever ran at once, over all processes.
    pub(crate) fn most_loaders(&self) -> usize {
        self.loaders.most.load(SeqCst)
    }

    pub(crate) async fn read(
        &self,
        cache: &Cache,
        id: i64,
    ) -> Result<Cached<Arc<Doc>>, LoadError<Infallible>> {
        let truth = self.clone();
        cache.get_or_load(&DocKey(id), move || truth.load(id)).await
    }

    /// The version first, the answer later: the window in which a write makes it old.
    async fn load(self, id: i64) -> Result<Doc, Infallible> {
        self.loads.fetch_add(1, SeqCst);
        let _loading = Loading::begin(&self.loaders);
        let version = self.docs.get(id as usize).map_or(0, |doc| doc.newest.load(SeqCst));
        tokio::time::sleep(LOAD).await;
        Ok(Doc { id, version })
    }

    /// Commits a version with its row in the outbox, and dies.
    pub(crate) fn commit(&self, id: i64) -> i64 {
        self.docs[id as usize].newest.fetch_add(1, SeqCst);
        self.outbox.insert(&Names::from(doc(id)).encode())
    }

    /// One write of this document at a time, or the acknowledgements lose their order.
    pub(crate) async fn write(&self, cache: &Cache, id: i64) -> Ack {
        let row = self.commit(id);
        let ack = cache.invalidate(Names::from(doc(id)).row(row)).await;
        self.acknowledge(id, ack);
        ack
    }

    pub(crate) fn acknowledge(&self, id: i64, ack: Ack) {
        self.docs[id as usize].acks.lock().push((Instant::now(), ack));
    }

    pub(crate) fn newest(&self, id: i64) -> u64 {
        self.docs[id as usize].newest.load(SeqCst)
    }

    /// How stale a read of this version was that began then.
    pub(crate) fn staleness(&self, seen: &Doc, began: Instant) -> Staleness {
        let acks = self.docs[seen.id as usize].acks.lock();
        let mut stale = Staleness::default();
        for (at, ack) in acks.iter().skip(seen.version as usize) {
            let age = began.saturating_duration_since(*at);
            match ack {
                Ack::Applied => stale.applied = stale.applied.max(age),
                Ack::Queued => stale.queued = stale.queued.max(age),
            }
        }
        stale
    }
}
