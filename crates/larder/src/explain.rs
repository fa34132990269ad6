//! What the tiers hold under one key and why they would not answer: for operators, not for reads.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    Cache, CacheKey, Scope, Scoped,
    cache::{Inner, Mode},
    entry::{Origin, Stored},
    key::{KeyWriter, Name, NameKind},
    l1::Entry,
    plan::{Plan, names_of},
    protocol::{
        fetch::Purpose,
        sight::{Look, Names},
        stamps::Slots,
    },
    trip::Trip,
};

/// Misses that are remembered; two keys may share a place, and the younger has it.
const REMEMBERED: usize = 1024;

/// What the cache knows of one key; see [`Cache::explain`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation<V> {
    /// As it stands in Redis behind the prefix; `None` if it may not be cached.
    pub key: Option<String>,
    /// What invalidates it.
    pub tags: Vec<String>,
    /// What invalidates it once it is past its soft TTL.
    pub lazy_tags: Vec<String>,
    /// What this process has.
    pub l1: Sighting,
    /// What Redis has.
    pub l2: Sighting,
    /// What a read would be answered with now, without loading; `Some(None)` if that is "there is
    /// no such thing".
    pub value: Option<Option<Arc<V>>>,
    /// Why a read in the default mode last had to load here. About a thousand are remembered, and a
    /// younger one may take the place of any.
    pub last_miss: Option<LastMiss>,
}

/// One tier's entry. The times are there if there is an entry that may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// What the tier would say to a read.
    pub verdict: Verdict,
    /// Time since the load began.
    pub age: Option<Duration>,
    /// Time until it is refreshed.
    pub soft_left: Option<Duration>,
    /// Time until it may not be served any more.
    pub hard_left: Option<Duration>,
}

/// A read that ran the loader, and what either tier had said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastMiss {
    /// How long ago.
    pub ago: Duration,
    /// What this process had.
    pub l1: Verdict,
    /// What Redis had.
    pub l2: Verdict,
}

/// What a tier says to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict<By = String> {
    /// There is no such tier, or caching is off.
    Off,
    /// Redis does not answer.
    Unreachable,
    /// Nothing is there: never stored, expired and removed, or evicted.
    Absent,
    /// Served.
    Fresh,
    /// Served, and refreshed.
    Stale,
    /// Past its hard TTL.
    Expired,
    /// Invalidated since it was stored.
    Invalidated {
        /// By which of its names: `tag course:42`, `namespace courses`, `key` or `everything`.
        by: By,
    },
    /// All of L1 was given up since: an invalidation may have been missed.
    GivenUp,
    /// One of its names is invalidated, and Redis does not know it yet.
    Pending,
    /// Nothing proves that L1 has heard of every invalidation of the last second.
    Unproven,
    /// Stored before Redis restarted or failed over.
    OtherEpoch,
    /// Not written by this version for this key.
    Foreign,
    /// Somebody is loading it.
    Loading,
}

impl<By> Verdict<By> {
    fn map<To>(self, name: impl FnOnce(By) -> To) -> Verdict<To> {
        match self {
            Self::Invalidated { by } => Verdict::Invalidated { by: name(by) },
            Self::Off => Verdict::Off,
            Self::Unreachable => Verdict::Unreachable,
            Self::Absent => Verdict::Absent,
            Self::Fresh => Verdict::Fresh,
            Self::Stale => Verdict::Stale,
            Self::Expired => Verdict::Expired,
            Self::GivenUp => Verdict::GivenUp,
            Self::Pending => Verdict::Pending,
            Self::Unproven => Verdict::Unproven,
            Self::OtherEpoch => Verdict::OtherEpoch,
            Self::Foreign => Verdict::Foreign,
            Self::Loading => Verdict::Loading,
        }
    }
}

/// Names by their places in `plan::names_of`.
impl Verdict<usize> {
    /// Says more of a look than [`crate::protocol::sight::Sight::judge`], which only needs to know that an entry is dead.
    pub(crate) fn of_dead(look: Look<'_>, origin: Origin<'_>, names: Names<'_>, now: u64) -> Self {
        let envelope = match Stored::read(look.stored, origin) {
            Stored::OtherEpoch => return Self::OtherEpoch,
            Stored::Value(envelope) if now >= envelope.life.hard => return Self::Expired,
            Stored::Value(envelope) => Some(envelope),
            // The lease of a load that was invalidated: a generation is missing.
            Stored::Absent | Stored::Lease | Stored::Foreign => None,
        };
        let is_current = |(at, name)| match (look.generations.get(at).copied().flatten(), &envelope)
        {
            (Some(generation), Some(envelope)) => envelope.nonces.contains(&(name, generation)),
            (generation, _) => generation.is_some(),
        };
        let mut all = names.hard.iter().chain(names.lazy).copied().enumerate();
        let by = all.find(|name| !is_current(*name)).map_or(0, |(at, _)| at);
        Self::Invalidated { by }
    }
}

/// Why the loader ran, for the keys that missed last.
pub(crate) struct Misses(Mutex<Box<[Option<Noted>]>>);

#[derive(Clone, Copy)]
struct Noted {
    key: u128,
    at: u64,
    l1: Verdict<usize>,
    l2: Verdict<usize>,
}

impl Default for Misses {
    fn default() -> Self {
        Self(Mutex::new(vec![None; REMEMBERED].into()))
    }
}

impl Misses {
    fn note(&self, noted: Noted) {
        self.0.lock()[place(noted.key)] = Some(noted);
    }

    fn of(&self, key: u128) -> Option<Noted> {
        self.0.lock()[place(key)].filter(|noted| noted.key == key)
    }
}

fn place(key: u128) -> usize {
    (key % REMEMBERED as u128) as usize
}

impl Inner {
    /// What L1 would say to a read in the default mode.
    fn l1_verdict(&self, namespace: &str, key: &[u8]) -> (Verdict<usize>, Option<Entry>) {
        let Some(l1) = self.l1.as_ref().filter(|_| self.caches(namespace)) else {
            return (Verdict::Off, None);
        };
        let Some(entry) = l1.get(key) else { return (Verdict::Absent, None) };
        let now = self.clock.now();
        let is_stale = now >= entry.soft;
        let slots = entry.slots.counting(is_stale);
        let verdict = if now >= entry.hard {
            Verdict::Expired
        } else if let Some(by) = self.stamps.overtaken(entry.born, slots) {
            Verdict::Invalidated { by }
        } else if !self.stamps.is_current(entry.born, slots) {
            Verdict::GivenUp
        } else if self.stamps.is_dirty(slots) {
            Verdict::Pending
        } else if !self.window.is_open(self.clock.real()) {
            Verdict::Unproven
        } else if is_stale {
            Verdict::Stale
        } else {
            Verdict::Fresh
        };
        (verdict, Some(entry))
    }

    /// What Redis says that is not asked.
    fn unasked(&self, namespace: &str, slots: &Slots) -> Verdict<usize> {
        match &self.l2 {
            Some(_) if !self.caches(namespace) => Verdict::Off,
            None => Verdict::Off,
            Some(_) if self.stamps.is_dirty(slots.counting(true)) => Verdict::Pending,
            Some(_) => Verdict::Unreachable,
        }
    }

    fn seen(&self, verdict: Verdict, entry: Option<&Entry>) -> Sighting {
        let now = self.clock.now();
        let entry = entry.filter(|_| matches!(verdict, Verdict::Fresh | Verdict::Stale));
        let left = |until: u64| Duration::from_millis(until.saturating_sub(now));
        Sighting {
            verdict,
            age: entry.map(|entry| Duration::from_millis(entry.age(now))),
            soft_left: entry.map(|entry| left(entry.soft)),
            hard_left: entry.map(|entry| left(entry.hard)),
        }
    }
}

impl<K: CacheKey> Trip<K> {
    /// Remembers why a read loads.
    pub(crate) fn note_miss(&self) {
        if (self.purpose, self.mode) != (Purpose::Read, Mode::Any) {
            return;
        }
        let (inner, plan) = (&self.inner, &self.plan);
        let Some(key) = plan.hashes.first() else { return };
        let (l1, _) = inner.l1_verdict(K::NAMESPACE, plan.key.as_bytes());
        let l2 = self.verdict.unwrap_or_else(|| inner.unasked(K::NAMESPACE, &plan.slots));
        inner.misses.note(Noted { key: key.0, at: inner.clock.now(), l1, l2 });
    }
}

impl Cache {
    /// What both tiers hold under a public key, and why they would not answer a read. Looks without
    /// keeping, loading or counting a read; costs a round trip to Redis.
    ///
    /// # Cancel safety
    /// Safe.
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct Course(i64); impl CacheKey for Course { type Value = u32; type Scope = Public;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "course"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
    /// # fn segments(&self, key: &mut KeyWriter) { key.push(self.0); }
    /// # fn tags(&self, _: &Public, tags: &mut Tags) { tags.add(Tag::new("course", self.0)); } }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = Cache::builder().build()?;
    /// cache.get_or_load(&Course(42), || async { Ok::<_, std::io::Error>(1) }).await?;
    /// assert_eq!(cache.explain(&Course(42)).await.l1.verdict, Verdict::Fresh);
    /// cache.invalidate(Tag::new("course", 42)).await;
    /// let explained = cache.explain(&Course(42)).await;
    /// assert_eq!(explained.l1.verdict, Verdict::Invalidated { by: "tag course:42".into() });
    /// assert_eq!(explained.last_miss.map(|miss| miss.l1), Some(Verdict::Absent));
    /// # Ok(()) }
    /// ```
    pub async fn explain<K: CacheKey<Scope = crate::Public>>(
        &self,
        key: &K,
    ) -> Explanation<K::Value> {
        self.explained(&crate::Public, key).await
    }

    async fn explained<K: CacheKey>(&self, scope: &K::Scope, key: &K) -> Explanation<K::Value> {
        let inner = &self.inner;
        let mut written = KeyWriter::new();
        written.write(key, scope);
        let (names, hard) = names_of(key, scope, written.rendered().unwrap_or_default());
        let tags = |names: &[Name]| names.iter().map(|name| name.text.to_string()).collect();
        let (tags, lazy_tags) = (tags(&names[3..hard]), tags(&names[hard..]));
        let Ok(plan) = Plan::new(inner, key, scope, &written) else {
            let off = inner.seen(Verdict::Off, None);
            let (l1, l2) = (off.clone(), off);
            return Explanation {
                key: None,
                tags,
                lazy_tags,
                l1,
                l2,
                value: None,
                last_miss: None,
            };
        };
        let named = |verdict: Verdict<usize>| verdict.map(|by| called(names.get(by)));
        let (l1, here) = inner.l1_verdict(K::NAMESPACE, plan.key.as_bytes());
        let (mut l2, mut there) = (inner.unasked(K::NAMESPACE, &plan.slots), None);
        if inner.caches(K::NAMESPACE) && inner.may_ask_l2(&plan) {
            let born = inner.stamps.now();
            let mode = Mode::Any;
            let trip = Trip::new::<Option<Arc<K::Value>>>(inner, &plan, born, Purpose::Read, mode);
            (l2, there) = trip.sight().await;
        }
        let (l1, l2) = (named(l1), named(l2));
        let served = |sighting: &Sighting| sighting.age.is_some();
        let (l1, l2) = (inner.seen(l1, here.as_ref()), inner.seen(l2, there.as_ref()));
        let entry = here.filter(|_| served(&l1)).or(there.filter(|_| served(&l2)));
        let value = entry.map(|entry| entry.value.and_then(|value| value.downcast().ok()));
        let noted = plan.hashes.first().and_then(|key| inner.misses.of(key.0));
        let last_miss = noted.map(|noted| LastMiss {
            ago: Duration::from_millis(inner.clock.now().saturating_sub(noted.at)),
            l1: named(noted.l1),
            l2: named(noted.l2),
        });
        let key = Some(plan.key.to_string());
        Explanation { key, tags, lazy_tags, l1, l2, value, last_miss }
    }
}

impl<S: Scope> Scoped<'_, S> {
    /// [`Cache::explain`] for a key of this scope.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn explain<K: CacheKey<Scope = S>>(&self, key: &K) -> Explanation<K::Value> {
        self.cache.explained(&self.scope, key).await
    }
}

fn called(name: Option<&Name>) -> String {
    match name.map(|name| (name.kind, &name.text)) {
        Some((NameKind::Tag, text)) => format!("tag {text}"),
        Some((NameKind::Namespace, text)) => format!("namespace {text}"),
        Some((NameKind::Root, _)) => "everything".to_owned(),
        Some((NameKind::Key, _)) | None => "key".to_owned(),
    }
}
