//! The read path: L1, a flight, and what its landing means to this caller.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use crate::{
    BoxFuture, Cache, CacheKey, Cached, KeyWriter, LoadError, Loaded, Source,
    cache::{Inner, Mode},
    clock::millis,
    error::Failure,
    flight::{Boarding, Company, Flight, Landing, Origin, Pilot},
    l1::{AnyValue, Entry},
    l2::L2,
    plan::Plan,
    protocol::{
        fetch::{Purpose, Step},
        join::Moment,
    },
    span::Reading,
    stats::{Count, NamespaceId},
    trip::{self, Trip},
};

/// How long hits on a stale entry leave its refresh alone once one has begun.
const NEXT_REFRESH: Duration = Duration::from_millis(100);

/// What a caller takes for an answer: a value, or also "there is no such thing".
pub(crate) trait Answer<V>: Sized + Send + 'static {
    /// `None` if it is no answer to this caller.
    fn of(value: Option<Arc<V>>) -> Option<Self>;
}

impl<V: Send + Sync + 'static> Answer<V> for Arc<V> {
    fn of(value: Option<Self>) -> Option<Self> {
        value
    }
}

impl<V: Send + Sync + 'static> Answer<V> for Option<Arc<V>> {
    fn of(value: Self) -> Option<Self> {
        Some(value)
    }
}

impl Cache {
    /// The whole read path: L1, then a flight, which [`Trip`] takes through L2, loader and fill.
    pub(crate) async fn read<K, A, F, L, E>(
        &self,
        scope: &K::Scope,
        key: &K,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Cached<A>, LoadError<E>>
    where
        K: CacheKey,
        A: Answer<K::Value>,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        let reading = Reading::begin::<K>();
        let missed = {
            let mut written = KeyWriter::new();
            written.write(key, scope);
            let servable = |bytes| self.inner.servable(bytes, self.mode);
            if let Some((entry, now)) = written.bytes().and_then(servable) {
                let (age_ms, ttl_ms) = (entry.age(now), entry.hard.saturating_sub(now));
                if let Some(value) = typed(entry.value) {
                    let is_stale = now >= entry.soft;
                    self.inner.count_hit(entry.namespace, is_stale);
                    reading.answered(Source::L1, is_stale);
                    if is_stale && now >= entry.refresh_after {
                        self.refresh(scope, key, &written, load);
                    }
                    // Made last and where it is returned: every step between would copy it.
                    return Ok(Cached { value, source: Source::L1, is_stale, age_ms, ttl_ms });
                }
            }
            self.boxed_miss(reading, Plan::new(&self.inner, key, scope, &written), load)
        };
        missed.await
    }

    /// The rest is large, and a hit should not pay for moving it; nor a read that nobody traces
    /// for its span.
    fn boxed_miss<'a, K, A, F, L, E>(
        &'a self,
        reading: Reading,
        plan: Result<Arc<Plan<K>>, NamespaceId>,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> BoxFuture<'a, Result<Cached<A>, LoadError<E>>>
    where
        K: CacheKey,
        A: Answer<K::Value>,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        if reading.is_traced() {
            Box::pin(reading.clone().within(self.miss(reading, plan, load)))
        } else {
            Box::pin(self.miss(reading, plan, load))
        }
    }

    /// Joins or begins a flight. A joiner overtaken by an invalidation boards once more, a flight
    /// born after that; its result is final.
    async fn miss<K, A, F, L, E>(
        &self,
        reading: Reading,
        plan: Result<Arc<Plan<K>>, NamespaceId>,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Cached<A>, LoadError<E>>
    where
        K: CacheKey,
        A: Answer<K::Value>,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        let inner = &self.inner;
        let plan = match plan {
            Ok(plan) => plan,
            Err(namespace) => {
                inner.namespaces.count(namespace, Count::Uncacheable);
                tracing::debug!(
                    namespace = K::NAMESPACE,
                    "a key cannot be cached; loading without"
                );
                return inner.load_alone::<K, _, _, _, _>(&reading, namespace, load).await;
            }
        };
        if inner.caches(K::NAMESPACE) {
            let mut was_overtaken = false;
            let mut company = match self.mode {
                Mode::Fresh => Company::Alone,
                Mode::Any | Mode::MaxAge { .. } => Company::Any,
            };
            loop {
                match inner.board(&plan, company) {
                    Boarding::Leads(flight, pilot) => {
                        // A flight may have landed since we looked. Who joined ours boards again.
                        if let Some(hit) = inner.hit(plan.key.as_bytes(), self.mode) {
                            return Ok(hit);
                        }
                        let born = flight.birth.born;
                        let trip = Trip::new::<A>(inner, &plan, born, Purpose::Read, self.mode);
                        let landing = lead(&reading, trip, flight, pilot, load).await;
                        let answer = inner.answer(&plan, landing, Source::Loader);
                        return answer.unwrap_or(Err(LoadError::shut_down()));
                    }
                    Boarding::Joined(flight) => {
                        let landing = flight.clone().land().await;
                        if matches!(landing, Landing::Abandoned) {
                            continue;
                        }
                        if !was_overtaken && !flight.birth.is_current(&inner.stamps) {
                            was_overtaken = true;
                            continue;
                        }
                        if !landing.is_for(self.mode, inner.clock.now()) {
                            company = Company::Alone;
                            continue;
                        }
                        match inner.answer(&plan, landing, Source::Joined) {
                            Some(answer) => return answer,
                            None => break,
                        }
                    }
                }
            }
        }
        // Caching is off, or the flight answered another question (a refresh that gave up, a call
        // with another error type).
        inner.load_alone::<K, _, _, _, _>(&reading, plan.namespace, load).await
    }

    /// Looks into both tiers and goes no further.
    pub(crate) async fn glance<K: CacheKey>(
        &self,
        scope: &K::Scope,
        key: &K,
    ) -> Option<Cached<Arc<K::Value>>> {
        let plan = {
            let mut written = KeyWriter::new();
            written.write(key, scope);
            let hit = written.bytes().and_then(|bytes| self.inner.hit(bytes, self.mode));
            if hit.is_some() {
                return hit;
            }
            Plan::new(&self.inner, key, scope, &written)
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(namespace) => {
                self.inner.namespaces.count(namespace, Count::Uncacheable);
                self.inner.namespaces.count(namespace, Count::Miss);
                return None;
            }
        };
        let seen = if self.inner.caches(K::NAMESPACE) && self.inner.may_ask_l2(&plan) {
            let born = self.inner.stamps.now();
            Trip::new::<Arc<K::Value>>(&self.inner, &plan, born, Purpose::Read, self.mode)
                .glance()
                .await
        } else {
            None
        };
        let found = seen.and_then(|entry| {
            let landing = Landing::Arrived(entry, Origin::L2);
            self.inner.answer::<K, _, Infallible>(&plan, landing, Source::L2)?.ok()
        });
        if found.is_none() {
            self.inner.namespaces.count(plan.namespace, Count::Miss);
        }
        found
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
        // Other hits need not find out for themselves that a refresh is under way.
        let entry = self.inner.l1.as_ref().zip(written.bytes()).and_then(|(l1, key)| l1.get(key));
        if let (Some(entry), Some(key)) = (entry, written.bytes()) {
            self.inner.postpone_refresh(key, entry, NEXT_REFRESH);
        }
        let Ok(plan) = Plan::new(&self.inner, key, scope, written) else { return };
        if let Boarding::Leads(flight, pilot) = self.inner.board(&plan, Company::Any) {
            if self.inner.is_fresh_in_l1(plan.key.as_bytes()) {
                return; // another hit's refresh has landed since
            }
            let (born, purpose) = (flight.birth.born, Purpose::Refresh);
            let mut trip =
                Trip::new::<Option<Arc<K::Value>>>(&self.inner, &plan, born, purpose, Mode::Any);
            tokio::spawn(async move {
                let step = trip.look_first().await;
                trip.fly(step, pilot, Reading::by_nobody().loading::<K, F>(load)).await;
                drop(permit);
            });
        }
    }
}

impl Inner {
    /// Keeps hits on a stale entry from beginning a refresh for a while.
    pub(crate) fn postpone_refresh(&self, key: &[u8], entry: Entry, pause: Duration) {
        let now = self.clock.now();
        if let Some(l1) = self.l1.as_ref().filter(|_| now >= entry.soft) {
            l1.insert(key, Entry { refresh_after: now + millis(pause), ..entry });
        }
    }

    #[inline(never)]
    fn is_fresh_in_l1(&self, key: &[u8]) -> bool {
        let entry = self.l1.as_ref().and_then(|l1| l1.get(key));
        entry.is_some_and(|entry| self.clock.now() < entry.soft)
    }

    /// What L1 has under this key for this reader, and when that was judged: the time is asked for
    /// after L1, window and stamps are looked at last.
    #[inline(always)]
    fn servable(&self, key: &[u8], mode: Mode) -> Option<(Entry, u64)> {
        let entry = self.l1.as_ref()?.get(key)?;
        let now = self.clock.now();
        let is_servable = now < entry.hard
            && self.window.is_open(self.clock.real_at(now))
            && self.stamps.is_valid(entry.born, entry.slots.counting(now >= entry.soft))
            && (mode == Mode::Any || mode.takes_from_l1(entry.age(now)));
        is_servable.then_some((entry, now))
    }

    #[inline(always)]
    fn count_hit(&self, namespace: NamespaceId, is_stale: bool) {
        self.namespaces.count(namespace, Count::L1Hit);
        if is_stale {
            self.namespaces.count(namespace, Count::Stale);
        }
    }

    /// Looks into L1 as a read begins to, for callers to whom a copy more is nothing.
    fn hit<V, A>(&self, key: &[u8], mode: Mode) -> Option<Cached<A>>
    where
        V: Send + Sync + 'static,
        A: Answer<V>,
    {
        let (entry, now) = self.servable(key, mode)?;
        let namespace = entry.namespace;
        let hit = cached(entry, Source::L1, now)?;
        self.count_hit(namespace, hit.is_stale);
        Some(hit)
    }

    /// Whether Redis may be asked about these names: it answers, and owes us no invalidation (I19).
    pub(crate) fn may_ask_l2<K: CacheKey>(&self, plan: &Plan<K>) -> bool {
        self.l2.as_ref().is_some_and(L2::is_up) && !self.stamps.is_dirty(plan.slots.counting(true))
    }

    fn board<K: CacheKey>(&self, plan: &Plan<K>, company: Company) -> Boarding {
        let moment = Moment { now: self.clock.real(), window: &self.window, stamps: &self.stamps };
        self.flights.board(&plan.key, plan.slots, !self.may_ask_l2(plan), company, moment)
    }

    /// Turns a landing into this caller's answer; `None` if it is no answer to this caller.
    fn answer<K, A, E>(
        &self,
        plan: &Plan<K>,
        landing: Landing,
        loaded_by: Source,
    ) -> Option<Result<Cached<A>, LoadError<E>>>
    where
        K: CacheKey,
        A: Answer<K::Value>,
        E: Send + Sync + 'static,
    {
        let (entry, origin) = match landing {
            Landing::Arrived(entry, origin) => (entry, origin),
            Landing::Failed(failure) => {
                let error = failure.into_error()?;
                self.namespaces.count(plan.namespace, Count::Miss);
                return Some(Err(error));
            }
            Landing::GaveUp | Landing::Abandoned => return None,
        };
        let source = match origin {
            Origin::L2 => Source::L2,
            Origin::Loader => loaded_by,
        };
        let answer = cached(entry, source, self.clock.now())?;
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

    /// Loads for one caller, in a task of its own like any load, and stores nothing.
    async fn load_alone<K, A, F, L, E>(
        self: &Arc<Self>,
        reading: &Reading,
        namespace: NamespaceId,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Cached<A>, LoadError<E>>
    where
        K: CacheKey,
        A: Answer<K::Value>,
        F: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<K::Value>> + 'static,
        E: Send + Sync + 'static,
    {
        self.namespaces.count(namespace, Count::Miss);
        let (inner, limit) = (Arc::clone(self), K::policy().load_timeout);
        let load = reading.clone().loading::<K, F>(load);
        let loading = tokio::spawn(async move { trip::run(&inner, namespace, load, limit).await });
        match loading.await.unwrap_or(Err(Failure::ShutDown)) {
            Ok(loaded) => {
                let value = A::of(loaded.map(|loaded: Loaded<K::Value>| Arc::new(loaded.value)));
                value.map(Cached::just_loaded).ok_or_else(LoadError::shut_down)
            }
            Err(failure) => {
                self.namespaces.count(namespace, Count::LoadError);
                Err(failure.into_error().unwrap_or_else(LoadError::shut_down))
            }
        }
    }
}

/// Leads a flight. Most end with the first look, which leaves nothing behind and is made here, in
/// the caller's task; whatever else there is to do goes on in a task of its own if the caller goes
/// away.
async fn lead<K, F, L, E>(
    reading: &Reading,
    mut trip: Trip<K>,
    flight: Flight,
    mut pilot: Pilot,
    load: impl FnOnce() -> F + Send + 'static,
) -> Landing
where
    K: CacheKey,
    F: Future<Output = Result<Option<L>, E>> + Send + 'static,
    L: Into<Loaded<K::Value>> + 'static,
    E: Send + Sync + 'static,
{
    let step = trip.look_first().await;
    if step != Step::Serve {
        tokio::spawn(trip.fly(step, pilot, reading.clone().loading::<K, F>(load)));
        return flight.land().await;
    }
    // Landing is cheap where nobody waits.
    drop(flight);
    let seen = trip.seen();
    if let Some(refresh) = trip.serve(&mut pilot) {
        tokio::spawn(trip.fly(refresh, pilot, Reading::by_nobody().loading::<K, F>(load)));
    }
    seen.unwrap_or(Landing::Abandoned)
}

/// A stored value as its reader gets it; `None` if it is not of the reader's type, or no answer to
/// this reader.
#[inline(always)]
fn typed<V: Send + Sync + 'static, A: Answer<V>>(value: Option<AnyValue>) -> Option<A> {
    match value {
        Some(value) => A::of(Some(value.downcast().ok()?)),
        None => A::of(None),
    }
}

/// An entry as its reader gets it; `None` as for [`typed`].
fn cached<V: Send + Sync + 'static, A: Answer<V>>(
    entry: Entry,
    source: Source,
    now: u64,
) -> Option<Cached<A>> {
    Some(Cached {
        source,
        is_stale: now >= entry.soft && source.is_hit(),
        age_ms: entry.age(now),
        ttl_ms: entry.hard.saturating_sub(now),
        value: typed(entry.value)?,
    })
}
