//! A private Redis, a database that counts its loads, and caches in every set-up.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::{
    Builder, Cache, CacheKey, Cached, Clock, KeyWriter, L2State, LoadError, NamespaceStats, Policy,
    Public, Tag, Tags, Verdict,
};
use private_servers::free_port;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub(crate) use private_servers::{Redis, Stopwatch};

/// A server that also speaks TLS, with a certificate nobody trusts, and where it does.
pub(crate) async fn redis_with_untrusted_tls() -> (Redis, String) {
    let folder = TempDir::new().expect("a temporary folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let file = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).expect("writable");
        path.display().to_string()
    };
    let certificate = file("cert.pem", made.cert.pem());
    let key = file("key.pem", made.signing_key.serialize_pem());
    let port = free_port();
    let tls = [
        ["--tls-port", &port.to_string()],
        ["--tls-auth-clients", "no"],
        ["--tls-cert-file", &certificate],
        ["--tls-ca-cert-file", &certificate],
        ["--tls-key-file", &key],
    ];
    // It has read the files when it answers.
    let redis = Redis::start_with(tls.as_flattened()).await;
    (redis, format!("rediss://localhost:{port}/"))
}

/// A cached value whose version says how old it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Doc {
    pub(crate) id: i64,
    pub(crate) version: u64,
}

pub(crate) struct DocKey(pub(crate) i64);

impl CacheKey for DocKey {
    type Value = Doc;
    type Scope = Public;
    const NAMESPACE: &'static str = "docs";
    const NAME: &'static str = "doc:detail";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(Duration::from_secs(60), Duration::from_secs(120))
            .negative(Duration::from_secs(30))
            .load_timeout(Duration::from_secs(5))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }
    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(doc(self.0));
        tags.add(Tag::named("docs"));
        tags.lazy(Tag::new("summary", self.0));
    }
}

pub(crate) fn doc(id: i64) -> Tag {
    Tag::new("doc", id)
}

/// The source of truth: one version for all documents, and a count of the loads.
#[derive(Clone, Default)]
pub(crate) struct Database {
    pub(crate) version: Arc<AtomicU64>,
    pub(crate) loads: Arc<AtomicUsize>,
    pub(crate) delay: Duration,
}

impl Database {
    pub(crate) fn slow(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Reads the version first and answers later: the window in which a write makes it old.
    pub(crate) async fn load(self, id: i64) -> Result<Doc, Infallible> {
        self.loads.fetch_add(1, SeqCst);
        let version = self.version.load(SeqCst);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        Ok(Doc { id, version })
    }

    pub(crate) fn write(&self) -> u64 {
        self.version.fetch_add(1, SeqCst) + 1
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(SeqCst)
    }

    pub(crate) async fn read(&self, cache: &Cache, id: i64) -> Cached<Arc<Doc>> {
        let database = self.clone();
        let read = cache.get_or_load(&DocKey(id), move || database.load(id)).await;
        read.expect("this database never fails")
    }
}

/// Which tiers a cache has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tiers {
    L1,
    L2,
    Both,
}

impl Tiers {
    pub(crate) const ALL: [Self; 3] = [Self::L1, Self::L2, Self::Both];

    /// One that waits for Redis and for other processes however long the machine pauses: who gives
    /// up sooner loads by itself, as it should, and no test could count on one load or on a fill.
    pub(crate) fn builder(self, redis: &Redis) -> Builder {
        let patience = Duration::from_secs(20);
        self.hasty_builder(redis).op_timeout(patience).wait_max(patience)
    }

    /// One with the default timeouts, for tests in which Redis hangs.
    pub(crate) fn hasty_builder(self, redis: &Redis) -> Builder {
        let builder = Cache::builder().prefix("t:").clock(Clock::system()).l1_bytes(16 << 20);
        match self {
            Self::L1 => builder,
            Self::L2 => builder.redis(&redis.url()).expect("a valid URL").without_l1(),
            Self::Both => builder.redis(&redis.url()).expect("a valid URL"),
        }
    }

    pub(crate) async fn cache(self, redis: &Redis) -> Cache {
        built(self.builder(redis)).await
    }
}

/// Builds, and waits until Redis is used, and L1 proven current, if Redis is configured. Which names
/// share a stamp is the same in every run: a hit that one costs would look like a hit lost.
pub(crate) async fn built(builder: Builder) -> Cache {
    fastrand::seed(1);
    let cache = builder.build().expect("a valid configuration");
    if cache.stats().l2 != L2State::Off {
        until("redis is used", || cache.stats().l2 == L2State::Up).await;
        until("the window is open", || cache.stats().backplane.is_fresh).await;
    }
    cache
}

/// Waits for a condition, for at most 20 s.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    eventually(what, async || condition()).await;
}

/// The same for a condition that has to be asked for.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a value is in Redis, if the cache has one: nobody else waits for a fill.
pub(crate) async fn filled<K: CacheKey<Scope = Public>>(cache: &Cache, key: &K) {
    if cache.stats().l2 == L2State::Off {
        return;
    }
    let is_there =
        async || matches!(cache.explain(key).await.l2.verdict, Verdict::Fresh | Verdict::Stale);
    eventually("the value is in Redis", is_there).await;
}

/// The same for a document.
pub(crate) async fn stored(cache: &Cache, id: i64) {
    filled(cache, &DocKey(id)).await;
}

/// Waits until L1 answers for a document. It does not while the window is closed, as after a pause
/// of the machine; an entry that is gone does not come back by being waited for.
pub(crate) async fn in_l1(cache: &Cache, id: i64) {
    let is_there = async || {
        let verdict = cache.explain(&DocKey(id)).await.l1.verdict;
        let is_kept = matches!(verdict, Verdict::Fresh | Verdict::Stale | Verdict::Unproven);
        assert!(is_kept, "L1 has lost document {id}: {verdict:?}");
        verdict != Verdict::Unproven
    };
    eventually("L1 answers", is_there).await;
}

/// What came of a scenario in which heartbeats were answered throughout. A pause of the machine
/// closes the window and may flush L1, as it should; the scenario is then played again.
pub(crate) async fn in_one_window<T>(caches: &[&Cache], mut play: impl AsyncFnMut() -> T) -> T {
    let backplane = |cache: &&Cache| cache.stats().backplane;
    let lag = |cache: &&Cache| backplane(cache).lag.unwrap_or(Duration::MAX);
    for _ in 0..50 {
        let quiet = Duration::from_millis(300);
        until("heartbeats are answered", || caches.iter().all(|cache| lag(cache) < quiet)).await;
        let flushes = || caches.iter().map(|cache| backplane(cache).flushes).sum::<u64>();
        let (before, began) = (flushes(), Instant::now());
        let outcome = play().await;
        if began.elapsed() < Duration::from_millis(600) && flushes() == before {
            return outcome;
        }
    }
    panic!("the machine pauses all the time");
}

/// What came of a scenario during which the machine did not pause for so long that an attempt was
/// given up and made again.
pub(crate) async fn without_a_pause<T>(mut play: impl AsyncFnMut() -> T) -> T {
    for _ in 0..50 {
        let began = Instant::now();
        let outcome = play().await;
        if began.elapsed() < Duration::from_millis(200) {
            return outcome;
        }
    }
    panic!("the machine pauses all the time");
}

pub(crate) fn counted(cache: &Cache) -> NamespaceStats {
    cache.stats().namespaces.into_iter().find(|row| row.namespace == "docs").unwrap_or_default()
}

pub(crate) fn failed<T: std::fmt::Debug, E>(result: Result<T, LoadError<E>>) -> LoadError<E> {
    result.map(|value| panic!("unexpectedly loaded {value:?}")).unwrap_err()
}
