//! One flight from boarding to fill: carries out the steps of [`Fetch`].

mod fill;
mod run;

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::OwnedSemaphorePermit, time};

use fill::{Moment, Unstorable};
pub(crate) use run::run;

use crate::{
    CacheKey, Loaded, Policy,
    cache::{Inner, Mode},
    clock::millis,
    entry::{Envelope, Head, Lifetime, Nonce, Origin as Written, nonce},
    explain::Verdict,
    flight::{Landing, Origin, Pilot},
    l1::{AnyValue, Entry},
    l2::{Ask, Budget, Fault, L2, Place},
    plan::Plan,
    protocol::{
        bugs::{Bug, is_seeded},
        fetch::{Event, Fetch, Lease, Purpose, Step},
        sight::{Look, Sight},
    },
    read::Answer,
    stats::Count,
};

/// A TTL beyond this is cut to it: a hundred years, so that sums of times cannot overflow.
const LONGEST_LIFE_MS: u64 = 100 * 365 * 24 * 3_600_000;
/// A longer load timeout is cut to this, so that the lease that covers it has a sane length.
const LONGEST_LOAD: Duration = Duration::from_secs(24 * 3_600);
/// Generations outlive the entries that record them by this factor.
const GENERATION_LIVES: u32 = 2;
/// A refresh that failed is not tried again before this.
const RETRY_FAILED: Duration = Duration::from_secs(1);
/// A refresh that another process makes is looked at again after this.
const RETRY_CLAIMED: Duration = Duration::from_millis(100);

pub(crate) struct Trip<K> {
    pub(crate) inner: Arc<Inner>,
    pub(crate) plan: Arc<Plan<K>>,
    born: u64,
    /// Asked for after the birth: an override gives up what was born before it.
    policy: Policy,
    pub(crate) purpose: Purpose,
    /// Whether "there is no such thing" answers the caller.
    takes_nothing: bool,
    /// What its leader takes from Redis.
    pub(crate) mode: Mode,
    fetch: Fetch,
    /// Random; names the lease, the claim and the generations that this trip asks for.
    id: Option<Nonce>,
    budget: Budget,
    epoch: u64,
    generations: Vec<Option<Nonce>>,
    /// What the last look found servable, and its head.
    seen: Option<(Entry, Head)>,
    /// What the last look amounted to.
    pub(crate) verdict: Option<Verdict<usize>>,
    /// When this trip first saw another process's lease.
    leased_since: Option<time::Instant>,
    /// Held while refreshing after a stale value was served from L2.
    refreshing: Option<OwnedSemaphorePermit>,
}

impl<K: CacheKey> Trip<K> {
    pub(crate) fn new<A: Answer<K::Value>>(
        inner: &Arc<Inner>,
        plan: &Arc<Plan<K>>,
        born: u64,
        purpose: Purpose,
        mode: Mode,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            plan: Arc::clone(plan),
            born,
            policy: inner.policy::<K>(),
            purpose,
            takes_nothing: A::of(None).is_some(),
            mode,
            fetch: Fetch::new(purpose, millis(inner.wait_max)),
            id: None,
            budget: Budget::new(inner.op_timeout),
            epoch: 0,
            generations: Vec::new(),
            seen: None,
            verdict: None,
            leased_since: None,
            refreshing: None,
        }
    }

    /// Makes the first look, and says what follows. It leaves nothing behind if it is dropped, so
    /// the caller's own task may make it; the rest must [`fly`](Self::fly) in a task of its own.
    pub(crate) async fn look_first(&mut self) -> Step {
        match self.fetch.first(self.inner.may_ask_l2(&self.plan)) {
            Step::Look => {
                let event = self.look().await;
                self.fetch.next(event)
            }
            step => step,
        }
    }

    /// Flies from `step` until the value has landed and, where a lease allows, is stored.
    pub(crate) async fn fly<F, L, E>(
        mut self,
        mut step: Step,
        mut pilot: Pilot,
        load: impl FnOnce() -> F + Send,
    ) where
        F: Future<Output = Result<Option<L>, E>> + Send,
        L: Into<Loaded<K::Value>>,
        E: Send + Sync + 'static,
    {
        #[cfg(larder_bugs)]
        let load = {
            let is_early = is_seeded(Bug::I);
            let (early, load) = if is_early {
                (Some(load().await.map(|loaded| loaded.map(Into::into))), None)
            } else {
                (None, Some(load))
            };
            move || async move {
                match (early, load) {
                    (Some(loaded), _) => loaded,
                    (None, Some(load)) => load().await.map(|loaded| loaded.map(Into::into)),
                    (None, None) => std::future::pending().await,
                }
            }
        };
        loop {
            let event = match step {
                Step::Look => self.look().await,
                Step::Acquire(seen) => self.acquire(seen).await,
                Step::Claim(seen) => {
                    self.land_seen(&mut pilot);
                    self.claim(seen).await
                }
                Step::Wait(pause) => self.wait(pause).await,
                Step::Serve => match self.serve(&mut pilot) {
                    Some(refresh) => {
                        step = refresh;
                        continue;
                    }
                    None => return,
                },
                Step::GiveUp => {
                    pilot.land(Landing::GaveUp);
                    return self.postpone_refresh(RETRY_CLAIMED);
                }
                Step::Load(lease) => return self.load(lease, &mut pilot, load).await,
            };
            step = self.fetch.next(event);
        }
    }

    /// Looks into Redis once, and keeps in L1 what it finds.
    pub(crate) async fn glance(mut self) -> Option<Entry> {
        self.look().await;
        let (entry, _) = self.seen.take()?;
        self.keep_in_l1(&entry);
        Some(entry)
    }

    /// Looks into Redis once, and keeps nothing of what it finds.
    pub(crate) async fn sight(mut self) -> (Verdict<usize>, Option<Entry>) {
        self.look().await;
        let verdict = self.verdict.unwrap_or(Verdict::Unreachable);
        (verdict, self.seen.take().map(|(entry, _)| entry))
    }

    async fn look(&mut self) -> Event {
        self.verdict = None;
        let Some((l2, place)) = l2(&self.inner, &self.plan) else { return Event::Unavailable };
        let raw = match l2.look(place, &mut self.budget).await {
            Ok(raw) => raw,
            Err(fault) => {
                self.verdict = Some(Verdict::Unreachable);
                return self.unavailable(&fault);
            }
        };
        self.epoch = raw.epoch;
        self.generations = raw.generations;
        let look = Look { stored: &raw.stored, generations: &self.generations };
        let origin = Written { epoch: raw.epoch, schema: Plan::<K>::SCHEMA, key: &place.value };
        let (names, now) = (self.plan.names(), self.inner.clock.unix());
        let sight = Sight::judge(look, origin, names, now);
        let (verdict, event) = match sight {
            Sight::Absent => (Verdict::Absent, Event::Absent),
            Sight::Leased => (Verdict::Loading, leased(&mut self.leased_since)),
            Sight::Dead(head) => (Verdict::of_dead(look, origin, names, now), Event::Dead(head)),
            Sight::Foreign(head) => (Verdict::Foreign, self.corrupt(head)),
            Sight::Servable { mut envelope, head, is_outdated, .. } => {
                self.shorten(&mut envelope.life);
                if is_outdated {
                    envelope.life.hard = envelope.life.hard.min(envelope.life.soft);
                }
                match self.taken(&envelope, now) {
                    (verdict, Some(entry)) => {
                        self.seen = Some((entry, head));
                        let is_stale = verdict == Verdict::Stale;
                        (verdict, if is_stale { Event::Stale(head) } else { Event::Fresh })
                    }
                    (Verdict::Foreign, None) => (Verdict::Foreign, self.corrupt(head)),
                    (verdict, None) => (verdict, Event::Dead(head)),
                }
            }
        };
        self.verdict = Some(verdict);
        event
    }

    /// What this reader takes of a servable envelope, and what there is to say of it.
    fn taken(&self, envelope: &Envelope<'_>, now: u64) -> (Verdict<usize>, Option<Entry>) {
        let Lifetime { written, soft, hard } = envelope.life;
        if now >= hard {
            return (Verdict::Expired, None);
        }
        let is_stale = now >= soft;
        let verdict = if is_stale { Verdict::Stale } else { Verdict::Fresh };
        if !self.mode.takes(now.saturating_sub(written), is_stale) {
            return (verdict, None);
        }
        match self.unpack(envelope, now) {
            Ok(entry) => (verdict, Some(entry)),
            Err(Unusable::Corrupt) => (Verdict::Foreign, None),
            Err(Unusable::Nothing) => (Verdict::Absent, None),
        }
    }

    /// Gives what is stored no longer a life than an operator now allows.
    fn shorten(&self, life: &mut Lifetime) {
        let (soft, hard) = self.policy.longest_stored();
        let written = life.written;
        let end =
            |most: Option<Duration>| most.map_or(u64::MAX, |m| written.saturating_add(millis(m)));
        life.soft = life.soft.min(end(soft));
        life.hard = life.hard.min(end(hard));
    }

    /// The entry that an envelope makes in L1.
    fn unpack(&self, envelope: &Envelope<'_>, now: u64) -> Result<Entry, Unusable> {
        let value = match envelope.payload {
            Some(payload) => {
                // A `Deserialize` that panics must not take the flight with it.
                let most = self.inner.max_entry_bytes;
                let decode = || rmp_serde::from_slice::<K::Value>(&payload.plain(most)?).ok();
                match catch_unwind(AssertUnwindSafe(decode)) {
                    Ok(Some(value)) => Some(Arc::new(value)),
                    Ok(None) | Err(_) => return Err(Unusable::Corrupt),
                }
            }
            None if self.takes_nothing => None,
            None => return Err(Unusable::Nothing),
        };
        let Lifetime { written, soft, hard } = envelope.life;
        let local = self.inner.clock.now();
        Ok(Entry {
            weight: weight::<K>(value.as_deref()),
            written: local as i64 - (now as i64).saturating_sub(written as i64),
            soft: local.saturating_add(soft.saturating_sub(now)),
            hard: local.saturating_add(hard.saturating_sub(now)),
            ..self.entry(value)
        })
    }

    /// An entry of this trip, without its times and weight.
    fn entry(&self, value: Option<Arc<K::Value>>) -> Entry {
        Entry {
            value: value.map(|value| value as AnyValue),
            born: self.born,
            slots: self.plan.slots,
            namespace: self.plan.namespace,
            written: 0,
            soft: 0,
            hard: 0,
            refresh_after: 0,
            weight: 0,
        }
    }

    fn corrupt(&self, head: Head) -> Event {
        self.inner.namespaces.count(self.plan.namespace, Count::Corrupt);
        Event::Dead(head)
    }

    fn unavailable(&self, fault: &Fault) -> Event {
        self.inner.namespaces.count(self.plan.namespace, Count::L2Error);
        tracing::debug!(%fault, "L2 gave no answer; loading without it");
        Event::Unavailable
    }

    async fn acquire(&mut self, seen: Head) -> Event {
        self.id = nonce();
        let Some((l2, ask)) = self.id.and_then(|id| ask(&self.inner, &self.plan, &self.policy, id))
        else {
            return self.refused();
        };
        match l2.acquire(&ask, seen, &mut self.generations, &mut self.budget).await {
            Ok(grant) => {
                self.epoch = grant.epoch;
                if grant.event == Event::Refused { self.refused() } else { grant.event }
            }
            Err(fault) => self.unavailable(&fault),
        }
    }

    async fn claim(&mut self, seen: Head) -> Event {
        self.id = nonce();
        let Some((l2, ask)) = self.id.and_then(|id| ask(&self.inner, &self.plan, &self.policy, id))
        else {
            return self.refused();
        };
        match l2.claim(&ask, seen, &mut self.generations, &mut self.budget).await {
            Ok(grant) if grant.epoch == self.epoch => grant.event,
            // Reconnected to other data meanwhile: the head that we would replace is not there.
            Ok(_) => Event::Unavailable,
            Err(fault) => self.unavailable(&fault),
        }
    }

    fn refused(&self) -> Event {
        self.inner.namespaces.count(self.plan.namespace, Count::FillRefused);
        Event::Refused
    }

    /// Lands what the look found, and ends the flight for callers: whoever comes during the refresh
    /// looks for themselves. The refresh's first step is returned if it is ours to make now.
    pub(crate) fn serve(&mut self, pilot: &mut Pilot) -> Option<Step> {
        let (entry, head) = self.seen.as_ref()?;
        self.keep_in_l1(entry);
        self.land_seen(pilot);
        if self.inner.clock.now() < entry.soft {
            return None;
        }
        self.refreshing = Some(Arc::clone(&self.inner.refreshes).try_acquire_owned().ok()?);
        (self.fetch, self.purpose) = (Fetch::new(Purpose::Refresh, 0), Purpose::Refresh);
        Some(self.fetch.next(Event::Stale(*head)))
    }

    fn land_seen(&self, pilot: &mut Pilot) {
        if let Some(landing) = self.seen() {
            pilot.land(landing);
        }
    }

    /// What the last look found servable.
    pub(crate) fn seen(&self) -> Option<Landing> {
        self.seen.as_ref().map(|(entry, _)| Landing::Arrived(entry.clone(), Origin::L2))
    }

    /// Stores an entry in L1, under L1's own limit of life. One that an invalidation overtakes later
    /// does no harm there: its birth makes it invalid when it is read. One that was overtaken
    /// already must not push a younger one out.
    fn keep_in_l1(&self, entry: &Entry) {
        let life = millis(self.policy.l1_life());
        let is_current = self.inner.stamps.is_current(self.born, self.plan.slots.counting(false))
            || is_seeded(Bug::X1);
        if let Some(l1) = self.inner.l1.as_ref().filter(|_| life > 0 && is_current) {
            let hard = entry.hard.min(self.inner.clock.now().saturating_add(life));
            let is_late = is_seeded(Bug::X1);
            let born = if is_late { self.inner.stamps.now() } else { entry.born };
            l1.insert(self.plan.key.as_bytes(), Entry { hard, born, ..entry.clone() });
        }
    }

    /// Loads, lands, and only then fills: nobody waits for Redis to store.
    async fn load<F, L, E>(
        mut self,
        lease: Lease,
        pilot: &mut Pilot,
        load: impl FnOnce() -> F + Send,
    ) where
        F: Future<Output = Result<Option<L>, E>> + Send,
        L: Into<Loaded<K::Value>>,
        E: Send + Sync + 'static,
    {
        let began = Moment { unix: self.inner.clock.unix(), local: self.inner.clock.now() };
        self.note_miss();
        let limit = self.policy.load_timeout;
        match run(&self.inner, self.plan.namespace, load, limit).await {
            Ok(loaded) => {
                if is_seeded(Bug::T4) {
                    self.look().await;
                }
                let (cargo, is_kept) = self.stow(loaded, began);
                let entry = Entry {
                    weight: weight::<K>(cargo.value.as_deref()),
                    written: cargo.began.local as i64,
                    soft: cargo.began.local + cargo.soft,
                    hard: cargo.began.local + cargo.hard,
                    ..self.entry(cargo.value.clone())
                };
                let fits = entry.weight as usize <= self.inner.max_entry_bytes;
                if !fits {
                    self.refuse(&Unstorable::TooLarge);
                }
                if is_kept && fits {
                    self.keep_in_l1(&entry);
                    pilot.announce(Landing::Arrived(entry, Origin::Loader));
                    // No yield here: whoever came in between would join what was loaded before them,
                    // also where a name in doubt says that everybody loads.
                    if !self.fill(lease, &cargo).await {
                        self.release(lease).await;
                    }
                } else {
                    pilot.land(Landing::Arrived(entry, Origin::Loader));
                    self.forget(lease).await;
                }
            }
            Err(failure) => {
                self.inner.namespaces.count(self.plan.namespace, Count::LoadError);
                pilot.land(Landing::Failed(failure));
                self.postpone_refresh(RETRY_FAILED);
                self.release(lease).await;
            }
        }
    }

    /// Keeps hits on the stale value from trying again at once.
    fn postpone_refresh(&self, pause: Duration) {
        let key = self.plan.key.as_bytes();
        let entry = self.inner.l1.as_ref().and_then(|l1| l1.get(key));
        if let Some(entry) = entry.filter(|entry| self.is_ours(Some(entry))) {
            self.inner.postpone_refresh(key, entry, pause);
        }
    }

    /// Whether an L1 entry is none of a younger flight.
    fn is_ours(&self, entry: Option<&Entry>) -> bool {
        entry.is_some_and(|entry| entry.born <= self.born)
    }

    /// Waits for another process's load, and may then look again with a whole budget: the waits are
    /// bounded by themselves.
    async fn wait(&mut self, pause_ms: u64) -> Event {
        time::sleep(life(pause_ms).mul_f64(1.0 - fastrand::f64() / 2.0)).await;
        self.budget = Budget::new(self.inner.op_timeout);
        Event::Waited
    }
}

/// Why a well-formed envelope is of no use to this reader.
enum Unusable {
    Corrupt,
    /// It says "there is no such thing", and the reader will not take that for an answer.
    Nothing,
}

fn weight<K: CacheKey>(value: Option<&K::Value>) -> u32 {
    // A `weigh` that panics makes the value too heavy to keep.
    let weigh = || value.map_or(0, K::weigh);
    catch_unwind(AssertUnwindSafe(weigh)).unwrap_or(usize::MAX).try_into().unwrap_or(u32::MAX)
}

fn leased(since: &mut Option<time::Instant>) -> Event {
    let since = *since.get_or_insert_with(time::Instant::now);
    Event::Leased { waited_ms: millis(since.elapsed()) }
}

fn life(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn l2<'a, K>(inner: &'a Inner, plan: &'a Plan<K>) -> Option<(&'a L2, &'a Place)> {
    inner.l2.as_ref().zip(plan.place.as_ref())
}

/// What to ask Redis for in the name of `id`.
fn ask<'a, K>(
    inner: &'a Inner,
    plan: &'a Plan<K>,
    policy: &Policy,
    id: Nonce,
) -> Option<(&'a L2, Ask<'a>)> {
    let (l2, place) = l2(inner, plan)?;
    let ask = Ask {
        place,
        id,
        // It outlives everything that its holder may still do.
        lease: policy.load_timeout.min(LONGEST_LOAD) + inner.op_timeout * 2,
        generation_ttl: life(millis(policy.hard.max(policy.negative)).min(LONGEST_LIFE_MS))
            * GENERATION_LIVES,
    };
    Some((l2, ask))
}
