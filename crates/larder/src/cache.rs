//! The cache: the read path from L1 to the loader.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    Builder, CacheKey, Cached, Clock, ConfigError, KeyWriter, L2State, LoadError, Loaded, Policy,
    PolicyOverride, Public, RedisUnavailable, Scope, Source, Stats,
    flight::{Boarding, Flights, Landing, Origin},
    invalidate::Invalidations,
    key::write_key,
    l1::{Entry, L1},
    l2::L2,
    plan::Plan,
    protocol::{fetch::Purpose, stamps::Stamps},
    stats::{Count, NamespaceId, Namespaces},
    trip::{self, Trip},
};

/// A two-tier cache. Cheap to clone; clones are the same cache.
///
/// Two caches on one Redis are two nodes, also within one process.
#[derive(Clone)]
pub struct Cache {
    pub(crate) inner: Arc<Inner>,
}

/// A cache as one tenant or user may see it; see [`Cache::scoped`].
pub struct Scoped<'a, S> {
    cache: &'a Cache,
    scope: S,
}

pub(crate) struct Inner {
    pub(crate) l1: Option<L1>,
    pub(crate) l2: Option<L2>,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) refreshes: Arc<Semaphore>,
    pub(crate) invalidations: Invalidations,
    pub(crate) namespaces: Namespaces,
    pub(crate) clock: Clock,
    pub(crate) enabled: bool,
    pub(crate) max_entry_bytes: usize,
    pub(crate) op_timeout: Duration,
    pub(crate) wait_max: Duration,
    overrides: HashMap<String, PolicyOverride>,
}

/// What a caller takes for an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    /// Only a value: "there is no such thing", cached by another call, is a miss.
    Value,
    /// Also "there is no such thing".
    ValueOrNothing,
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
    /// On a miss outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the load running for the others and for the cache.
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
    pub async fn get_or_load<K, F, L, E>(
        &self,
        key: &K,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Cached<Arc<K::Value>>, LoadError<E>>
    where
        K: CacheKey<Scope = Public>,
        F: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        self.scoped(Public).get_or_load(key, load).await
    }

    /// Reads a public value that may not exist. "There is no such thing" (`Ok(None)` from `load`)
    /// is cached for [`Policy::negative`], and is then a hit; anything else is as in
    /// [`get_or_load`](Self::get_or_load).
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// # Panics
    /// On a miss outside of a tokio runtime.
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
    pub async fn find_or_load<K, F, L, E>(
        &self,
        key: &K,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Cached<Option<Arc<K::Value>>>, LoadError<E>>
    where
        K: CacheKey<Scope = Public>,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        self.scoped(Public).find_or_load(key, load).await
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

    /// The whole read path: L1, then a flight, which [`Trip`] takes through L2, loader and fill.
    async fn read<K, F, L, E>(
        &self,
        scope: &K::Scope,
        key: &K,
        accept: Accept,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Cached<Option<Arc<K::Value>>>, LoadError<E>>
    where
        K: CacheKey,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        let written = write_key(key, scope);
        if let Some((hit, refresh_after)) =
            written.rendered().and_then(|key| self.inner.hit(key, accept))
        {
            if hit.is_stale && self.inner.clock.now() >= refresh_after {
                self.refresh(scope, key, &written, load);
            }
            return Ok(hit);
        }
        let plan = Plan::new(&self.inner, key, scope, &written);
        // Boxed: the rest is large, and a hit should not pay for moving it.
        Box::pin(self.miss(plan, accept, load)).await
    }

    /// Joins or begins a flight. A joiner overtaken by an invalidation boards once more, a flight
    /// born after that; its result is final.
    async fn miss<K, F, L, E>(
        &self,
        plan: Result<Plan<K>, NamespaceId>,
        accept: Accept,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Cached<Option<Arc<K::Value>>>, LoadError<E>>
    where
        K: CacheKey,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        let inner = &self.inner;
        let plan = match plan {
            Ok(plan) => Arc::new(plan),
            Err(namespace) => {
                inner.namespaces.count(namespace, Count::Uncacheable);
                return inner.load_alone(namespace, K::policy().load_timeout, load).await;
            }
        };
        if inner.caches(K::NAMESPACE) {
            for is_last in [false, true] {
                match inner.board(&plan) {
                    Boarding::Leads(flight, pilot) => {
                        let trip = Trip::new(inner, &plan, &flight, accept);
                        tokio::spawn(trip.fly(Purpose::Read, pilot, load));
                        let landing = flight.land().await;
                        let answer = inner.answer(&plan, landing, Source::Loader, accept);
                        return answer.unwrap_or(Err(LoadError::shut_down()));
                    }
                    Boarding::Joined(flight) => {
                        let landing = flight.clone().land().await;
                        if !is_last && !flight.is_joinable(&inner.stamps) {
                            continue;
                        }
                        if let Some(answer) = inner.answer(&plan, landing, Source::Joined, accept) {
                            return answer;
                        }
                    }
                }
            }
        }
        // Caching is off, or the flight answered another question (a refresh that gave up, a call
        // with another error type).
        inner.load_alone(plan.namespace, plan.policy.load_timeout, load).await
    }

    /// Refreshes a stale entry in the background, unless that is going on already.
    fn refresh<K, F, L, E>(
        &self,
        scope: &K::Scope,
        key: &K,
        written: &KeyWriter,
        load: impl FnOnce() -> F + Send + 'static,
    ) where
        K: CacheKey,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        let Ok(permit) = Arc::clone(&self.inner.refreshes).try_acquire_owned() else { return };
        let Ok(plan) = Plan::new(&self.inner, key, scope, written) else { return };
        let plan = Arc::new(plan);
        if let Boarding::Leads(flight, pilot) = self.inner.board(&plan) {
            let trip = Trip::new(&self.inner, &plan, &flight, Accept::ValueOrNothing);
            tokio::spawn(async move {
                trip.fly(Purpose::Refresh, pilot, load).await;
                drop(permit);
            });
        }
    }

    /// What the cache has done and holds.
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
    pub async fn get_or_load<K, F, L, E>(
        &self,
        key: &K,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Cached<Arc<K::Value>>, LoadError<E>>
    where
        K: CacheKey<Scope = S>,
        F: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        let load = move || async move { load().await.map(Some) };
        let read = self.cache.read(&self.scope, key, Accept::Value, load).await?;
        read.found().ok_or_else(LoadError::shut_down)
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
    pub async fn find_or_load<K, F, L, E>(
        &self,
        key: &K,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Cached<Option<Arc<K::Value>>>, LoadError<E>>
    where
        K: CacheKey<Scope = S>,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        self.cache.read(&self.scope, key, Accept::ValueOrNothing, load).await
    }
}

impl Inner {
    pub(crate) fn new(builder: Builder) -> Result<Arc<Self>, ConfigError> {
        let largest = builder.max_entry_bytes as u64;
        let l1 = builder.l1_bytes.map(|bytes| L1::new(bytes, largest)).transpose()?;
        let stamps = Arc::new(Stamps::new());
        let l2 = builder.redis.map(|info| {
            let flush_on_new_epoch = flusher(&stamps);
            L2::start(
                info,
                builder.prefix,
                builder.max_entry_bytes,
                builder.op_timeout,
                flush_on_new_epoch,
            )
        });
        let inner = Arc::new(Self {
            l1,
            l2: l2.transpose()?,
            stamps,
            flights: Arc::default(),
            refreshes: Arc::new(Semaphore::new(builder.most_refreshes)),
            invalidations: Invalidations::new()?,
            namespaces: Namespaces::new(),
            clock: builder.clock,
            enabled: builder.enabled,
            max_entry_bytes: builder.max_entry_bytes,
            op_timeout: builder.op_timeout,
            wait_max: builder.wait_max,
            overrides: builder.overrides,
        });
        if inner.l2.is_some() {
            Invalidations::retry_in_background(&inner);
        }
        Ok(inner)
    }

    fn caches(&self, namespace: &str) -> bool {
        self.enabled
            && self.overrides.get(namespace).and_then(|change| change.enabled).unwrap_or(true)
    }

    pub(crate) fn policy<K: CacheKey>(&self) -> Policy {
        match self.overrides.get(K::NAMESPACE) {
            Some(change) => K::policy().overridden_by(change),
            None => K::policy(),
        }
    }

    /// Whether Redis may be asked about these names: it answers, and owes us no invalidation (I19).
    pub(crate) fn may_ask_l2<K: CacheKey>(&self, plan: &Plan<K>) -> bool {
        self.l2.as_ref().is_some_and(L2::is_up) && !self.stamps.is_dirty(plan.slots.counting(true))
    }

    fn board<K: CacheKey>(&self, plan: &Plan<K>) -> Boarding {
        self.flights.board(&plan.key, plan.slots, !self.may_ask_l2(plan), &self.stamps)
    }

    /// What L1 has, and from when on a stale value may be refreshed.
    #[inline]
    #[allow(clippy::type_complexity, reason = "one call site, taken apart there")]
    fn hit<V: Send + Sync + 'static>(
        &self,
        key: &str,
        accept: Accept,
    ) -> Option<(Cached<Option<Arc<V>>>, u64)> {
        let entry = self.l1.as_ref()?.get(key)?;
        let now = self.clock.now();
        let is_stale = now >= entry.soft;
        if now >= entry.hard || !self.stamps.is_valid(entry.born, entry.slots.counting(is_stale)) {
            return None;
        }
        let namespace = entry.namespace;
        let refresh_after = entry.refresh_after;
        let hit = cached(entry, Source::L1, now, accept)?;
        self.namespaces.count(namespace, Count::L1Hit);
        if is_stale {
            self.namespaces.count(namespace, Count::Stale);
        }
        Some((hit, refresh_after))
    }

    /// Turns a landing into this caller's answer; `None` if it is no answer to this caller.
    #[allow(clippy::type_complexity, reason = "the read's own result type")]
    fn answer<K: CacheKey, E: Send + Sync + 'static>(
        &self,
        plan: &Plan<K>,
        landing: Landing,
        loaded_by: Source,
        accept: Accept,
    ) -> Option<Result<Cached<Option<Arc<K::Value>>>, LoadError<E>>> {
        let (entry, origin) = match landing {
            Landing::Arrived(entry, origin) => (entry, origin),
            Landing::Failed(failure) => {
                self.namespaces.count(plan.namespace, Count::Miss);
                return failure.into_error().map(Err);
            }
            Landing::GaveUp => return None,
        };
        let source = match origin {
            Origin::L2 => Source::L2,
            Origin::Loader => loaded_by,
        };
        let answer = cached(entry, source, self.clock.now(), accept)?;
        let count = if source == Source::L2 { Count::L2Hit } else { Count::Miss };
        self.namespaces.count(plan.namespace, count);
        if source == Source::Joined {
            self.namespaces.count(plan.namespace, Count::Coalesced);
        }
        if answer.is_stale {
            self.namespaces.count(plan.namespace, Count::Stale);
        }
        Some(Ok(answer))
    }

    /// Loads for one caller, storing nothing.
    async fn load_alone<V, F, L, E>(
        &self,
        namespace: NamespaceId,
        limit: Duration,
        load: impl FnOnce() -> F + Send,
    ) -> Result<Cached<Option<Arc<V>>>, LoadError<E>>
    where
        F: Future<Output = Result<Option<L>, E>> + Send,
        L: Into<Loaded<V>>,
        E: Send + Sync + 'static,
    {
        self.namespaces.count(namespace, Count::Miss);
        self.namespaces.count(namespace, Count::Load);
        match trip::run(load, limit).await {
            Ok(loaded) => Ok(Cached {
                value: loaded.map(|loaded: Loaded<V>| Arc::new(loaded.value)),
                source: Source::Loader,
                is_stale: false,
                age: Duration::ZERO,
                ttl: Duration::ZERO,
            }),
            Err(failure) => {
                self.namespaces.count(namespace, Count::LoadError);
                Err(failure.into_error().unwrap_or_else(LoadError::shut_down))
            }
        }
    }
}

/// An entry as its reader gets it; `None` if it is not of the reader's type.
fn cached<V: Send + Sync + 'static>(
    entry: Entry,
    source: Source,
    now: u64,
    accept: Accept,
) -> Option<Cached<Option<Arc<V>>>> {
    let value = match entry.value {
        Some(value) => Some(value.downcast().ok()?),
        None if accept == Accept::ValueOrNothing => None,
        None => return None,
    };
    Some(Cached {
        value,
        source,
        is_stale: now >= entry.soft && source.is_hit(),
        age: Duration::from_millis(now.saturating_add_signed(entry.written.saturating_neg())),
        ttl: Duration::from_millis(entry.hard.saturating_sub(now)),
    })
}

/// Flushes L1 when Redis comes back as another data set: what it forgot, L1 must not remember.
fn flusher(stamps: &Arc<Stamps>) -> impl Fn(u64) + Send + 'static {
    let stamps = Arc::clone(stamps);
    let last = AtomicU64::new(0);
    move |epoch| {
        let before = last.swap(epoch, Ordering::AcqRel);
        if before != 0 && before != epoch {
            stamps.flush();
            tracing::warn!("redis is another data set than before; L1 is flushed");
        }
    }
}
