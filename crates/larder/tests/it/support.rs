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
    Public, Tag, Tags,
};
use private_servers::free_port;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub(crate) use private_servers::Redis;

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

    pub(crate) fn builder(self, redis: &Redis) -> Builder {
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

/// Waits for a condition, for at most 10 s.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn counted(cache: &Cache) -> NamespaceStats {
    cache.stats().namespaces.into_iter().find(|row| row.namespace == "docs").unwrap_or_default()
}

pub(crate) fn failed<T: std::fmt::Debug, E>(result: Result<T, LoadError<E>>) -> LoadError<E> {
    result.map(|value| panic!("unexpectedly loaded {value:?}")).unwrap_err()
}
