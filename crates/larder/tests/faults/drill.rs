//! Reads and writes by two processes while something breaks, and what becomes of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::{Ack, Builder, Cache, Source};
use parking_lot::Mutex;
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    memory::Memory,
    report::{Fault, Line, Spread},
    support::{Stopwatch, built},
    truth::{Staleness, Truth},
};

/// Δ: no read in another process is staler than this once a write was acknowledged as applied.
pub(crate) const DELTA: Duration = Duration::from_secs(1);
/// Where Redis did not take the invalidation: Δ, and what it takes another process to apply it (the
/// outbox's grace and poll, 0.4 s) or to find out that Redis takes no writes (1 s).
pub(crate) const QUEUED: Duration = Duration::from_secs(2);
/// The longest that a read may wait: for another's load (2 s), for Redis (100 ms), and for its own
/// load on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_millis(3_100);
/// Within this Redis and L1 must be used again.
const RECOVERY: Duration = Duration::from_secs(10);
/// How long traffic runs before the fault and after the recovery.
const CALM: Duration = Duration::from_millis(300);
/// How many loads each of the two processes may run at once: fewer than it has readers, so that the
/// cap counts whenever Redis is away.
const LOADERS: usize = 3;
/// What the test process may need more at the worst moment of a fault; both caches, readers, notes
/// and proxy are in it.
const MOST_GROWTH: u64 = 8 << 20;
/// Never written; read to find out which tier answers.
const PROBE: i64 = 1_000_000;

/// Two processes: one writes and reads, the other reads.
pub(crate) struct Setup {
    pub(crate) writer: Builder,
    pub(crate) reader: Builder,
    pub(crate) truth: Truth,
    pub(crate) writes: bool,
}

pub(crate) fn process(url: &str) -> Builder {
    Cache::builder().prefix("t:").l1_bytes(16 << 20).redis(url).expect("a valid URL")
}

/// One that is patient: on a busy machine a read that waits 100 ms for Redis loads by itself, as it
/// should, and so does one that waits 2 s for another process; nobody could count on one load.
pub(crate) fn patient_process(url: &str) -> Builder {
    process(url).op_timeout(Duration::from_secs(3)).wait_max(Duration::from_secs(10))
}

impl Setup {
    /// Both on the same Redis.
    pub(crate) fn on(url: &str) -> Self {
        Self::with(process(url), process(url))
    }

    pub(crate) fn with(writer: Builder, reader: Builder) -> Self {
        Self { writer, reader, truth: Truth::of(16), writes: true }
    }

    /// Builds both, warms them, and lets traffic run.
    pub(crate) async fn begin(self) -> Drill {
        let truth = self.truth;
        let capped = |process: Builder| process.most_loads(LOADERS).outbox(truth.outbox.clone());
        let writer = built(capped(self.writer)).await;
        let reader = built(capped(self.reader)).await;
        for id in truth.ids() {
            truth.read(&writer, id).await.expect("loads");
            truth.read(&reader, id).await.expect("loads");
        }
        let traffic =
            Traffic { truth: truth.clone(), is_over: Arc::default(), seen: Arc::default() };
        let mut tasks: Vec<_> = (0..3).map(|_| traffic.read(&writer, Who::Writer)).collect();
        tasks.extend((0..4).map(|_| traffic.read(&reader, Who::Reader)));
        tasks.extend((0..2).map(|_| traffic.read(&reader.fresh(), Who::FreshReader)));
        if self.writes {
            tasks.push(traffic.write(&writer));
        }
        sleep(CALM).await;
        let memory = Memory::now();
        Drill { writer, reader, truth, traffic, tasks, memory, began: Instant::now() }
    }
}

/// A fault under traffic.
pub(crate) struct Drill {
    pub(crate) writer: Cache,
    pub(crate) reader: Cache,
    pub(crate) truth: Truth,
    traffic: Traffic,
    tasks: Vec<JoinHandle<()>>,
    memory: Memory,
    began: Instant,
}

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Writer,
    Reader,
    FreshReader,
}

#[derive(Clone)]
struct Traffic {
    truth: Truth,
    is_over: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

/// What all reads saw.
#[derive(Default)]
struct Seen {
    reads: Vec<Read>,
    failed: usize,
    stalest: Staleness,
    broken_promises: Vec<String>,
    longest_write: Duration,
    writes: usize,
    queued: usize,
}

impl Seen {
    fn wrote(&mut self, ack: Ack, took: Duration) {
        self.longest_write = self.longest_write.max(took);
        self.writes += 1;
        self.queued += usize::from(ack == Ack::Queued);
    }
}

struct Read {
    began: Instant,
    took: Duration,
    /// The same without what the machine took for others.
    waited: Duration,
    source: Source,
}

impl Drill {
    pub(crate) fn fault_begins(&mut self) {
        self.began = Instant::now();
    }

    /// Reads so far of the fault that this source answered.
    pub(crate) fn answered_by(&self, source: Source) -> usize {
        let seen = self.traffic.seen.lock();
        let during = seen.reads.iter().filter(|read| read.began >= self.began);
        during.filter(|read| read.source == source).count()
    }

    /// Waits until both tiers are used again, ends the traffic, and checks what every fault must
    /// keep: no failed read, none stale beyond its bound, none slower than its bound.
    pub(crate) async fn fault_ends(self, fault: Fault) -> Line {
        let ended = Instant::now();
        let l2 = self.back(ended, Source::L2).await;
        let l1 = self.back(ended, Source::L1).await;
        sleep(CALM).await;
        self.traffic.is_over.store(true, SeqCst);
        for task in self.tasks {
            task.await.expect("traffic does not panic");
        }
        let seen = std::mem::take(&mut *self.traffic.seen.lock());
        assert_eq!(seen.failed, 0, "failed reads");
        assert!(seen.broken_promises.is_empty(), "{:#?}", seen.broken_promises);
        let during = |read: &&Read| read.began >= self.began && read.began <= ended;
        let spread = Spread::of(seen.reads.iter().filter(during).map(|read| read.took).collect());
        let longest = seen.reads.iter().map(|read| read.took).max().unwrap_or_default();
        let waited = seen.reads.iter().map(|read| read.waited).max().unwrap_or_default();
        assert!(waited < PATIENCE, "a read waited for {waited:?} and took {longest:?} at most");
        let loaders = (self.truth.most_loaders(), 2 * LOADERS);
        assert!(loaders.0 <= loaders.1, "{} loads at once, {} are allowed", loaders.0, loaders.1);
        let grown = self.memory.peak_growth();
        assert!(grown <= MOST_GROWTH, "{grown} bytes more were needed");
        Line {
            reads: seen.reads.len(),
            spread: Some(spread),
            longest: Some(longest),
            stalest: Some(seen.stalest),
            writes: seen.writes,
            queued_writes: seen.queued,
            longest_write: Some(seen.longest_write),
            loads: Some(self.truth.loads()),
            loaders: Some(loaders),
            grown: Some(grown),
            l2_back: Some(l2),
            l1_back: Some(l1),
            ..Line::of(fault)
        }
    }

    /// How long after the end of the fault this tier answers both processes again.
    async fn back(&self, ended: Instant, tier: Source) -> Duration {
        for cache in [&self.writer, &self.reader] {
            let cache = if tier == Source::L2 { cache.fresh() } else { cache.clone() };
            loop {
                let read = self.truth.read(&cache, PROBE).await.expect("loads");
                if read.source == tier {
                    break;
                }
                assert!(ended.elapsed() < RECOVERY, "{tier:?} is not used again within 10 s");
                sleep(Duration::from_millis(5)).await;
            }
        }
        ended.elapsed()
    }
}

impl Traffic {
    fn read(&self, cache: &Cache, who: Who) -> JoinHandle<()> {
        let (traffic, cache) = (self.clone(), cache.clone());
        tokio::spawn(async move {
            while !traffic.is_over.load(SeqCst) {
                traffic.read_once(&cache, who).await;
                sleep(Duration::from_millis(2)).await;
            }
        })
    }

    async fn read_once(&self, cache: &Cache, who: Who) {
        let (id, began, watch) = (self.truth.any_id(), Instant::now(), Stopwatch::start());
        let read = self.truth.read(cache, id).await;
        let (took, waited) = (began.elapsed(), watch.elapsed());
        let mut seen = self.seen.lock();
        let Ok(read) = read else {
            seen.failed += 1;
            return;
        };
        seen.reads.push(Read { began, took, waited, source: read.source });
        let doc = &*read.value;
        let stale = self.truth.staleness(doc, began);
        seen.stalest.applied = seen.stalest.applied.max(stale.applied);
        seen.stalest.queued = seen.stalest.queued.max(stale.queued);
        let (applied, queued) = match who {
            Who::Writer => (Duration::ZERO, Duration::ZERO),
            Who::FreshReader => (Duration::ZERO, QUEUED),
            Who::Reader => (DELTA, QUEUED),
        };
        let is_bounded = stale.applied <= applied && stale.queued <= queued;
        if doc.id != id || doc.version > self.truth.newest(id) || !is_bounded {
            let name = ["writer", "reader", "fresh reader"][who as usize];
            let source = read.source;
            seen.broken_promises.push(format!("{name}: {doc:?} for {id} by {source:?}, {stale:?}"));
        }
    }

    fn write(&self, cache: &Cache) -> JoinHandle<()> {
        let (traffic, cache) = (self.clone(), cache.clone());
        tokio::spawn(async move {
            while !traffic.is_over.load(SeqCst) {
                let began = Instant::now();
                let ack = traffic.truth.write(&cache, traffic.truth.any_id()).await;
                traffic.seen.lock().wrote(ack, began.elapsed());
                sleep(Duration::from_millis(20)).await;
            }
        })
    }
}
