//! What is cached: one method per read, in `ending.rs` what ends each, and in `outbox.rs` how.
//!
//! Cached answers are the same for every viewer and already rendered as JSON;
//! whoever may see them is decided by the caller, from the facts beside the bytes.
//! Only this folder and `app.rs` name the cache library.

mod answers;
mod articles;
mod ending;
mod explain;
mod feed;
mod figures;
#[cfg(test)]
mod golden;
mod identity;
mod keys;
mod meters;
mod outbox;
mod report;
mod rules;
mod self_test;
mod symbols;
mod warm;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::{Cache, CacheKey, Cached, LoadError, Loaded, Public, Source, User};

pub use answers::{
    ArticleAnswer, Body, ContentAnswer, CourseAnswer, Encoding, LessonSlice, ListAnswer,
    PlainAnswer, ProfileAnswer,
};
pub use ending::{Ending, Learned, Listed, Milestone, TagCounts};
pub use explain::{Explained, InTier, Missed, Says, Shown};
pub use feed::{Feed, REPLAY};
pub use figures::StudentAnswer;
pub use identity::Holds;
pub use keys::CourseQuery;
pub use meters::{Latency, Percentiles};
pub use outbox::{Crash, Rows};
pub use report::{Backplane, CacheReport, NamespaceReport, RedisReport, RedisState};
pub use rules::Definition;
pub use self_test::TestStep;
#[cfg(feature = "otel")]
pub use symbols::SPANS;
pub use symbols::SYMBOLS;
pub use warm::{WarmReport, Warmed, Warming};

use crate::config::Lifetime;
pub use crate::store::Away;
use crate::store::{self, Store};
use crate::wire;
use answers::fitting;
use keys::{
    CategoriesKey, ContentKey, CourseKey, DashboardKey, EnrolledKey, InstructorKey, ListKey,
    ProfileKey, ProgressKey, SearchKey, SeatsKey, SessionKey,
};
use meters::{By, Latencies};
use rules::Rules;
use warm::WarmCounts;

/// The reads of the product, through the cache.
#[derive(Clone)]
pub struct Reads {
    cache: Cache,
    store: Arc<Store>,
    caching: Caching,
    crash: Crash,
    feed: Arc<Feed>,
    latencies: Arc<Latencies>,
    rules: Arc<Rules>,
    warming: Arc<WarmCounts>,
}

/// Whether this process caches at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    On,
    /// `CACHE_ENABLED=false`, or neither tier is there: every read loads.
    Off,
}

/// Which way a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Cache,
    /// Straight from the database: an admin asked for it, or the viewer sees unpublished things.
    Database,
}

/// A value and where it came from.
#[derive(Debug, Clone)]
pub struct Read<T> {
    pub value: T,
    pub origin: Origin,
}

/// Where an answer came from, for the headers that tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Cache {
        tier: Tier,
        freshness: Freshness,
        age: Duration,
        ttl: Duration,
    },
    /// Loaded just now, by this read or by one that it waited for.
    Loaded {
        stored: bool,
    },
    /// Loaded, because caching is off.
    Off,
    /// Loaded, because this answer must not come from a cache.
    Database,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    L1,
    L2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Past its soft TTL; a refresh is under way.
    Stale,
}

/// Why a read gave nothing. The cache itself never fails a read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("loading failed")]
    Store(#[source] Arc<store::Error>),
    #[error("loading took too long")]
    Timeout,
    #[error("loading panicked")]
    Panicked,
}

impl From<LoadError<store::Error>> for Error {
    fn from(error: LoadError<store::Error>) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        error.into_loader().map_or(Self::Panicked, Self::Store)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl Error {
    /// What could not be reached, if that is why: the same read may work in a moment.
    pub fn away(&self) -> Option<Away> {
        match self {
            Self::Store(error) => error.away(),
            Self::Timeout => Some(Away::Database),
            Self::Panicked => None,
        }
    }
}

pub type Result<T> = std::result::Result<T, Error>;

impl Reads {
    /// `configured` are the lifetimes that differ from the registry's.
    pub fn new(
        cache: Cache,
        store: Arc<Store>,
        caching: Caching,
        crash: Crash,
        configured: BTreeMap<&'static str, Lifetime>,
    ) -> Self {
        let feed = Arc::new(Feed::new(Arc::clone(&store)));
        Self {
            cache,
            store,
            caching,
            crash,
            latencies: Arc::default(),
            rules: Arc::new(Rules::new(configured)),
            warming: Arc::default(),
            feed,
        }
    }

    /// A page of the public catalogue; shorter than asked for if it would be too heavy to be kept.
    pub async fn courses(&self, via: Via, query: CourseQuery) -> Result<Read<Arc<ListAnswer>>> {
        let load = |query: CourseQuery| {
            move |store: Arc<Store>| async move {
                let CourseQuery { filter, sort, window } = query;
                let (courses, total) = store.published_courses(&filter, sort, window).await?;
                let items = fitting(courses.iter().map(wire::Course::from).collect())?;
                let count = items.len() as i64;
                let list =
                    wire::CourseList { items, total, skip: window.skip, limit: window.limit };
                let body = Body::render(&list)?;
                Ok(ListAnswer { body, count, total })
            }
        };
        if query.filter.q.is_some() {
            let key = SearchKey::new(&query);
            self.get(via, &key, load(query)).await
        } else {
            let key = ListKey::new(&query);
            self.get(via, &key, load(query)).await
        }
    }

    /// The categories of the public catalogue.
    pub async fn categories(&self, via: Via) -> Result<Read<Arc<PlainAnswer>>> {
        self.get(via, &CategoriesKey, |store| async move {
            let categories = store.categories().await?.into_iter();
            let categories = categories.map(|(name, count)| wire::Category { name, count });
            let body = Body::render(&categories.collect::<Vec<wire::Category>>())?;
            Ok(PlainAnswer { body })
        })
        .await
    }

    /// A course of any status; the body is only there for a published one.
    pub async fn course(&self, via: Via, id: i64) -> Result<Read<Option<Arc<CourseAnswer>>>> {
        self.find(via, &CourseKey { id }, move |store| async move {
            let course = store.course(id).await?;
            course.as_ref().map(CourseAnswer::public).transpose()
        })
        .await
    }

    /// The content of a course, rendered, with where each lesson lies in it.
    pub async fn content(&self, via: Via, id: i64) -> Result<Read<Option<Arc<ContentAnswer>>>> {
        self.find(via, &ContentKey { id }, move |store| async move {
            let content = store.content(id).await?;
            content
                .map(|(content, version)| ContentAnswer::render(id, &content, version))
                .transpose()
        })
        .await
    }

    /// How full a course is.
    pub async fn seats(&self, via: Via, id: i64) -> Result<Read<Option<Arc<PlainAnswer>>>> {
        self.find(via, &SeatsKey { id }, move |store| async move {
            let Some((enrolled, max_students)) = store.seats(id).await? else {
                return Ok(None);
            };
            let body = Body::render(&wire::Seats { enrolled, max_students })?;
            Ok(Some(PlainAnswer { body }))
        })
        .await
    }

    /// Whether a student has a place in a course. Only a yes is cached: a no is
    /// confirmed by the database every time, so that nobody who paid is locked out.
    pub async fn is_enrolled(&self, student_id: i64, course_id: i64) -> Result<bool> {
        let store = Arc::clone(&self.store);
        let key = EnrolledKey { course_id };
        let own = self.cache.scoped(User(student_id));
        let read = own.get_or_load(&key, move || async move {
            let enrolled = store.is_enrolled(student_id, course_id).await?;
            Ok::<_, store::Error>(if enrolled {
                Loaded::from(true)
            } else {
                Loaded::uncached(false)
            })
        });
        Ok(*self.timed::<EnrolledKey, _, _>(read).await?.value)
    }

    /// A person's public profile.
    pub async fn profile(&self, via: Via, id: i64) -> Result<Read<Option<Arc<ProfileAnswer>>>> {
        self.find(via, &ProfileKey { id }, move |store| async move {
            let Some(user) = store.user(id).await? else {
                return Ok(None);
            };
            Ok(Some(ProfileAnswer {
                body: Body::render(&wire::User::from(&user))?,
                version: user.version,
                role: user.role,
            }))
        })
        .await
    }

    pub async fn instructor(&self, via: Via, id: i64) -> Result<Read<Option<Arc<PlainAnswer>>>> {
        self.find(via, &InstructorKey { id }, move |store| async move {
            let profile = store.instructor(id).await?;
            let Some(profile) = profile else {
                return Ok(None);
            };
            let body = Body::render(&wire::Instructor::from(&profile))?;
            Ok(Some(PlainAnswer { body }))
        })
        .await
    }

    /// How far a student is in a course; nothing without a place in it.
    pub async fn progress(
        &self,
        via: Via,
        student_id: i64,
        course_id: i64,
    ) -> Result<Read<Option<Arc<PlainAnswer>>>> {
        self.find_own(via, student_id, &ProgressKey { course_id }, move |store| async move {
            let detail = store.progress(student_id, course_id).await?;
            detail.map(|detail| plain(&wire::Progress::from(&detail))).transpose()
        })
        .await
    }

    /// Everything that a person learns and has learned.
    pub async fn dashboard(&self, via: Via, id: i64) -> Result<Read<Option<Arc<PlainAnswer>>>> {
        self.find_own(via, id, &DashboardKey, move |store| async move {
            let learner = store.learner(id).await?;
            learner.map(|learner| plain(&wire::Dashboard::from(&learner))).transpose()
        })
        .await
    }

    /// The same in short.
    pub async fn session(&self, via: Via, id: i64) -> Result<Read<Option<Arc<PlainAnswer>>>> {
        self.find_own(via, id, &SessionKey, move |store| async move {
            let learner = store.learner(id).await?;
            learner.map(|learner| plain(&wire::Session::from(&learner))).transpose()
        })
        .await
    }

    /// What is committed, as it happens.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The round trip to Redis; `None` without Redis, an error text when it does not answer.
    pub async fn ping_redis(&self) -> Option<std::result::Result<Duration, String>> {
        let ping = self.cache.ping_redis().await?;
        Some(ping.map_err(|e| e.to_string()))
    }

    async fn get<K, F, L>(&self, via: Via, key: &K, load: F) -> Result<Read<Arc<K::Value>>>
    where
        K: CacheKey<Scope = Public>,
        F: FnOnce(Arc<Store>) -> L + Send + 'static,
        L: Future<Output = store::Result<K::Value>> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        if via == Via::Database {
            let value = Arc::new(load(store).await?);
            return Ok(Read::from_database(value));
        }
        let read = self.cache.get_or_load(key, move || load(store));
        Ok(self.told(self.timed::<K, _, _>(read).await?))
    }

    async fn find<K, F, L>(&self, via: Via, key: &K, load: F) -> Result<Read<Option<Arc<K::Value>>>>
    where
        K: CacheKey<Scope = Public>,
        F: FnOnce(Arc<Store>) -> L + Send + 'static,
        L: Future<Output = store::Result<Option<K::Value>>> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        if via == Via::Database {
            let value = load(store).await?.map(Arc::new);
            return Ok(Read::from_database(value));
        }
        let read = self.cache.find_or_load(key, move || load(store));
        Ok(self.told(self.timed::<K, _, _>(read).await?))
    }

    /// What belongs to one person and is stored under their id.
    async fn find_own<K, F, L>(
        &self,
        via: Via,
        user_id: i64,
        key: &K,
        load: F,
    ) -> Result<Read<Option<Arc<K::Value>>>>
    where
        K: CacheKey<Scope = User<i64>>,
        F: FnOnce(Arc<Store>) -> L + Send + 'static,
        L: Future<Output = store::Result<Option<K::Value>>> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        if via == Via::Database {
            let value = load(store).await?.map(Arc::new);
            return Ok(Read::from_database(value));
        }
        let own = self.cache.scoped(User(user_id));
        let read = own.find_or_load(key, move || load(store));
        Ok(self.told(self.timed::<K, _, _>(read).await?))
    }

    /// Counts how long a read took, by who answered.
    async fn timed<K: CacheKey, T, E>(
        &self,
        read: impl Future<Output = std::result::Result<Cached<T>, E>>,
    ) -> std::result::Result<Cached<T>, E> {
        let began = Instant::now();
        let read = read.await?;
        let place = const { meters::place(K::NAMESPACE) };
        let took = began.elapsed();
        self.latencies.record(place, read.source.into(), took);
        self.tell::<K, T>(&read, took);
        Ok(read)
    }

    /// One line for a read, and one for what it stored. A key may name people: the log has only
    /// its kind. What stands inside a line is worked out only for a log that is on.
    fn tell<K: CacheKey, T>(&self, read: &Cached<T>, took: Duration) {
        let (namespace, key) = (K::NAMESPACE, K::NAME);
        let tier = || By::from(read.source).name();
        let ms = || took.as_secs_f64() * 1000.0;
        let ttl_s = || read.ttl().as_secs();
        match (self.caching, read.source) {
            (Caching::Off, _) => {}
            (Caching::On, Source::L1 | Source::L2) => {
                let outcome = if read.is_stale { "stale" } else { "hit" };
                tracing::debug!(
                    target: "campus::cache::hit", namespace, key, outcome,
                    tier = tier(), ms = ms(), ttl_s = ttl_s(), "cache hit"
                );
            }
            (Caching::On, Source::Loader | Source::Joined) => {
                let outcome = "miss";
                tracing::debug!(
                    target: "campus::cache::miss", namespace, key, outcome,
                    tier = tier(), ms = ms(), ttl_s = ttl_s(), "cache miss"
                );
                if read.source == Source::Loader && read.ttl() >= Duration::from_secs(1) {
                    tracing::debug!(
                        target: "campus::cache::set", namespace, key, ttl_s = ttl_s(), "cache set"
                    );
                }
            }
        }
    }

    fn told<T>(&self, read: Cached<T>) -> Read<T> {
        let tier = match read.source {
            Source::L1 => Some(Tier::L1),
            Source::L2 => Some(Tier::L2),
            Source::Loader | Source::Joined => None,
        };
        let origin = match (self.caching, tier) {
            (Caching::Off, _) => Origin::Off,
            // Only of its own load a read knows whether the fill was refused.
            (Caching::On, None) => Origin::Loaded {
                stored: read.source == Source::Loader && read.ttl() > Duration::ZERO,
            },
            (Caching::On, Some(tier)) => Origin::Cache {
                tier,
                freshness: if read.is_stale { Freshness::Stale } else { Freshness::Fresh },
                age: read.age(),
                ttl: read.ttl(),
            },
        };
        Read { value: read.value, origin }
    }
}

fn plain(value: &impl serde::Serialize) -> store::Result<PlainAnswer> {
    Ok(PlainAnswer { body: Body::render(value)? })
}

impl<T> Read<T> {
    pub fn from_database(value: T) -> Self {
        Self { value, origin: Origin::Database }
    }
}
