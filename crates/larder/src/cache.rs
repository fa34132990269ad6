//! The cache as its users see it.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::TryFutureExt;
use tokio::sync::Semaphore;

use crate::{
    Builder, CacheKey, Cached, Clock, ConfigError, L2State, LoadError, Loaded, Policy,
    PolicyOverride, Public, RedisUnavailable, Scope, Stats,
    clock::millis,
    entry::nonce,
    explain::Misses,
    flight::Flights,
    invalidate::Invalidations,
    l1::L1,
    l2::{Ears, L2, Opening, Patience},
    outbox::Relay,
    protocol::{stamps::Stamps, window::Window},
    stats::{BackplaneCounts, Namespaces},
};

/// A two-tier cache. Cheap to clone; clones are the same cache.
///
/// Two caches on one Redis are two nodes, also within one process.
#[derive(Clone)]
pub struct Cache {
    pub(crate) inner: Arc<Inner>,
    pub(crate) mode: Mode,
}

/// What a reader takes from the tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Whatever they may serve.
    Any,
    /// Nothing older than this.
    MaxAge { ms: u64 },
    /// Nothing that another process may have overtaken, and nothing soft-expired.
    Fresh,
}

/// A cache as one tenant or user may see it; see [`Cache::scoped`].
pub struct Scoped<'a, S> {
    pub(crate) cache: &'a Cache,
    pub(crate) scope: S,
}

pub(crate) struct Inner {
    pub(crate) l1: Option<L1>,
    pub(crate) l2: Option<L2>,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) window: Arc<Window>,
    backplane: Arc<BackplaneCounts>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) refreshes: Arc<Semaphore>,
    pub(crate) invalidations: Invalidations,
    pub(crate) relay: Relay,
    pub(crate) namespaces: Namespaces,
    pub(crate) clock: Clock,
    pub(crate) enabled: bool,
    pub(crate) max_entry_bytes: usize,
    pub(crate) compress_above: usize,
    pub(crate) op_timeout: Duration,
    pub(crate) wait_max: Duration,
    l1_max_life: Duration,
    pub(crate) overrides: ArcSwap<HashMap<String, PolicyOverride>>,
    pub(crate) misses: Misses,
}

impl Cache {
    /// Reads a public value, loading it if neither tier has it.
    ///
    /// An entry is served until its hard TTL, unless it was invalidated; past its soft TTL it is
    /// served at once and refreshed once in the background. Concurrent callers of one cold key
    /// share one run of `load`, also (while Redis is up) over processes. `load` runs in a task of
    /// its own and after the lease is granted: start the query inside of the returned future, on
    /// the primary database. A call that starts after [`invalidate`](Self::invalidate) returned
    /// never gets what a load begun before it read.
    ///
    /// # Errors
    /// The loader's error unchanged (it is not cached), its panic, or its timeout. Never an error
    /// of Redis: that is a miss.
    ///
    /// # Panics
    /// On a miss, or on a hit that is to be refreshed, outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a load that has begun running, for the others and for the cache.
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct Answer; impl CacheKey for Answer { type Value = u32; type Scope = Public;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "answer"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
    /// # fn segments(&self, _: &mut KeyWriter) {} }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::builder().build()?;
    /// let first = cache.get_or_load(&Answer, || async { Ok::<_, std::io::Error>(42) }).await?;
    /// let second = cache.get_or_load(&Answer, || async { Ok::<_, std::io::Error>(0) }).await?;
    /// assert_eq!((*first.value, first.source), (42, Source::Loader));
    /// assert_eq!((*second.value, second.source), (42, Source::L1));
    /// # Ok(()) }
    /// ```
    pub fn get_or_load<K, F, L, E>(
        &self,
        key: &K,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> impl Future<Output = Result<Cached<Arc<K::Value>>, LoadError<E>>> + Send
    where
        K: CacheKey<Scope = Public>,
        F: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        self.read(&Public, key, move || load().map_ok(Some))
    }

    /// Reads a public value that may not exist. "There is no such thing" (`Ok(None)` from `load`)
    /// is cached for [`Policy::negative`], and is then a hit; anything else is as in
    /// [`get_or_load`](Self::get_or_load).
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// # Panics
    /// On a miss, or on a hit that is to be refreshed, outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct User(i64); impl CacheKey for User { type Value = String; type Scope = Public;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "user"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)).negative(Duration::from_secs(30)) }
    /// # fn segments(&self, key: &mut KeyWriter) { key.push(self.0); } }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = Cache::builder().build()?;
    /// let nobody = || async { Ok::<_, std::io::Error>(None::<String>) };
    /// assert_eq!(cache.find_or_load(&User(7), nobody).await?.source, Source::Loader);
    /// let again = cache.find_or_load(&User(7), nobody).await?;
    /// assert_eq!((again.value, again.source), (None, Source::L1));
    /// # Ok(()) }
    /// ```
    #[expect(clippy::type_complexity, reason = "spelled out: it is what users read")]
    pub fn find_or_load<K, F, L, E>(
        &self,
        key: &K,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> impl Future<Output = Result<Cached<Option<Arc<K::Value>>>, LoadError<E>>> + Send
    where
        K: CacheKey<Scope = Public>,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        self.read(&Public, key, load)
    }

    /// Reads a public value only if a tier has it. Nothing is loaded, stored in Redis or waited for;
    /// a value found in Redis is kept in L1. A stale value is returned as such and not refreshed.
    ///
    /// # Cancel safety
    /// Safe.
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct Answer; impl CacheKey for Answer { type Value = u32; type Scope = Public;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "answer"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
    /// # fn segments(&self, _: &mut KeyWriter) {} }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::builder().build()?;
    /// assert_eq!(cache.get(&Answer).await, None);
    /// cache.get_or_load(&Answer, || async { Ok::<_, std::io::Error>(42) }).await?;
    /// assert_eq!(cache.get(&Answer).await.map(|read| *read.value), Some(42));
    /// # Ok(()) }
    /// ```
    pub async fn get<K: CacheKey<Scope = Public>>(&self, key: &K) -> Option<Cached<Arc<K::Value>>> {
        self.glance(&Public, key).await
    }

    /// The cache as `scope` may see it: only keys of that scope can be read through it, and the
    /// scope's id is part of every key.
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct Progress { course: i64 } impl CacheKey for Progress { type Value = u8; type Scope = User<i64>;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "progress"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
    /// # fn segments(&self, key: &mut KeyWriter) { key.push(self.course); } }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = Cache::builder().build()?;
    /// let read = cache.scoped(User(7)).get_or_load(&Progress { course: 42 }, || async { Ok::<_, std::io::Error>(55) }).await?;
    /// assert_eq!(*read.value, 55);
    /// # Ok(()) }
    /// ```
    pub fn scoped<S: Scope>(&self, scope: S) -> Scoped<'_, S> {
        Scoped { cache: self, scope }
    }

    /// The same cache for readers who must see every write that was acknowledged anywhere: L1 does
    /// not answer them, they join nobody's older load, and a soft-expired value is loaded anew
    /// instead of being served. Costs a round trip to Redis per read.
    ///
    /// What the default mode gives elsewhere is: no older than a second while Redis or the
    /// backplane is away, else no older than a message takes.
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct Answer; impl CacheKey for Answer { type Value = u32; type Scope = Public;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "answer"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
    /// # fn segments(&self, _: &mut KeyWriter) {} }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::builder().build()?; // without Redis there is only the loader to ask
    /// cache.get_or_load(&Answer, || async { Ok::<_, std::io::Error>(41) }).await?;
    /// let fresh = cache.fresh().get_or_load(&Answer, || async { Ok::<_, std::io::Error>(42) }).await?;
    /// assert_eq!((*fresh.value, fresh.source), (42, Source::Loader));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), mode: Mode::Fresh }
    }

    /// The same cache for readers who take nothing older than `age` (whole milliseconds, counted
    /// from when the load began). What is older is loaded anew, for everybody.
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct Answer; impl CacheKey for Answer { type Value = u32; type Scope = Public;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "answer"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
    /// # fn segments(&self, _: &mut KeyWriter) {} }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = Clock::manual();
    /// let cache = Cache::builder().clock(clock.clone()).build()?;
    /// cache.get_or_load(&Answer, || async { Ok::<_, std::io::Error>(41) }).await?;
    /// clock.advance(Duration::from_secs(10));
    /// let young = cache.max_age(Duration::from_secs(5));
    /// let read = young.get_or_load(&Answer, || async { Ok::<_, std::io::Error>(42) }).await?;
    /// assert_eq!(*read.value, 42);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_age(&self, age: Duration) -> Self {
        Self { inner: Arc::clone(&self.inner), mode: Mode::MaxAge { ms: millis(age) } }
    }

    /// What the cache has done and holds. Counters only grow; each is read on its own, so that a
    /// sum taken while reads go on may be off by those reads.
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct Answer; impl CacheKey for Answer { type Value = u32; type Scope = Public;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "answer"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
    /// # fn segments(&self, _: &mut KeyWriter) {} }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = Cache::builder().build()?;
    /// for _ in 0..3 {
    ///     cache.get_or_load(&Answer, || async { Ok::<_, std::io::Error>(42) }).await?;
    /// }
    /// let counts = &cache.stats().namespaces[0];
    /// assert_eq!((counts.loads, counts.misses, counts.l1_hits), (1, 1, 2));
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> Stats {
        let inner = &self.inner;
        Stats {
            namespaces: inner.namespaces.stats(),
            l1: inner.l1.as_ref().map(L1::stats).unwrap_or_default(),
            l2: match &inner.l2 {
                None => L2State::Off,
                Some(l2) if l2.is_up() => L2State::Up,
                Some(_) => L2State::Down,
            },
            backplane: inner.backplane.stats(&inner.window, inner.clock.real()),
            invalidations: inner.invalidations.count(),
            pending_invalidations: inner.invalidations.pending(),
        }
    }

    /// Asks Redis for a PING and returns its round-trip time; `None` if no Redis is configured.
    ///
    /// # Errors
    /// If Redis is not connected or does not answer within the operation timeout.
    ///
    /// # Cancel safety
    /// Safe.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::ConfigError> {
    /// let in_process = larder::Cache::builder().build()?;
    /// assert!(in_process.ping_redis().await.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn ping_redis(&self) -> Option<Result<Duration, RedisUnavailable>> {
        let l2 = self.inner.l2.as_ref()?;
        Some(
            l2.ping(self.inner.op_timeout)
                .await
                .map_err(|fault| RedisUnavailable(fault.to_string())),
        )
    }
}

impl<S: Scope> Scoped<'_, S> {
    /// [`Cache::get_or_load`] for a key of this scope.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub fn get_or_load<K, F, L, E>(
        &self,
        key: &K,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> impl Future<Output = Result<Cached<Arc<K::Value>>, LoadError<E>>> + Send
    where
        K: CacheKey<Scope = S>,
        F: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        self.cache.read(&self.scope, key, move || load().map_ok(Some))
    }

    /// [`Cache::get`] for a key of this scope.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn get<K: CacheKey<Scope = S>>(&self, key: &K) -> Option<Cached<Arc<K::Value>>> {
        self.cache.glance(&self.scope, key).await
    }

    /// [`Cache::find_or_load`] for a key of this scope.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    #[expect(clippy::type_complexity, reason = "spelled out: it is what users read")]
    pub fn find_or_load<K, F, L, E>(
        &self,
        key: &K,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> impl Future<Output = Result<Cached<Option<Arc<K::Value>>>, LoadError<E>>> + Send
    where
        K: CacheKey<Scope = S>,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        self.cache.read(&self.scope, key, load)
    }
}

impl Mode {
    /// Whether something of this age from Redis or from a joined flight answers.
    pub(crate) fn takes(self, age_ms: u64, is_stale: bool) -> bool {
        match self {
            Self::Any => true,
            Self::MaxAge { ms } => age_ms <= ms,
            Self::Fresh => !is_stale,
        }
    }

    /// Whether an L1 entry of this age answers.
    pub(crate) fn takes_from_l1(self, age_ms: u64) -> bool {
        self != Self::Fresh && self.takes(age_ms, false)
    }
}

impl Inner {
    pub(crate) fn new(builder: Builder) -> Result<Arc<Self>, ConfigError> {
        let largest = builder.max_entry_bytes as u64;
        let l1 = builder.l1_bytes.map(|bytes| L1::new(bytes, largest)).transpose()?;
        let instance =
            nonce().ok_or_else(|| ConfigError::new("the system has no random numbers"))?;
        // Not the instance's: that one is told to everybody on the channel.
        let stamps = Arc::new(Stamps::new(fastrand::u128(..)));
        let window = match builder.redis {
            Some(_) => Arc::new(Window::closed()),
            None => Arc::new(Window::always_open()),
        };
        let backplane = Arc::new(BackplaneCounts::default());
        let l2 = builder.redis.map(|info| {
            let ears = Ears {
                instance,
                stamps: Arc::clone(&stamps),
                window: Arc::clone(&window),
                clock: builder.clock.clone(),
                counts: Arc::clone(&backplane),
                degraded_life: builder.degraded_l1_life,
            };
            L2::start(
                info,
                builder.prefix,
                builder.max_entry_bytes,
                Patience { connect: builder.connect_timeout, read: builder.op_timeout },
                match builder.outbox {
                    Some(_) => Opening::AfterDrain,
                    None => Opening::AtOnce,
                },
                ears,
            )
        });
        let inner = Arc::new(Self {
            l1,
            l2: l2.transpose()?,
            stamps,
            window,
            backplane,
            flights: Arc::default(),
            refreshes: Arc::new(Semaphore::new(builder.most_refreshes.min(Semaphore::MAX_PERMITS))),
            invalidations: Invalidations::new(instance),
            relay: Relay::default(),
            namespaces: Namespaces::new(builder.most_loads),
            clock: builder.clock,
            enabled: builder.enabled,
            max_entry_bytes: builder.max_entry_bytes,
            compress_above: builder.compress_above,
            op_timeout: builder.op_timeout,
            wait_max: builder.wait_max,
            l1_max_life: builder.l1_max_life,
            overrides: ArcSwap::from_pointee(builder.overrides),
            misses: Misses::default(),
        });
        if inner.l2.is_some() {
            Invalidations::retry_in_background(&inner);
        }
        if let Some(outbox) = builder.outbox {
            Relay::start(&inner, outbox);
        }
        Ok(inner)
    }

    pub(crate) fn caches(&self, namespace: &str) -> bool {
        self.enabled
            && self
                .overrides
                .load()
                .get(namespace)
                .and_then(|change| change.enabled)
                .unwrap_or(true)
    }

    pub(crate) fn policy<K: CacheKey>(&self) -> Policy {
        let policy = match self.overrides.load().get(K::NAMESPACE) {
            Some(change) => K::policy().overridden_by(change),
            None => K::policy(),
        };
        policy.at_most_in_l1(self.l1_max_life)
    }
}
