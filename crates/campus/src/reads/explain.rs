//! What the cache holds under a key that somebody names, and why it would not answer.

use std::time::Duration;

use bytes::Bytes;
use larder::{CacheKey, Explanation, Public, Sighting, User, Verdict};

use super::Reads;
use super::answers::Body;
use super::articles::{ArticleKey, ArticleListKey, TagsKey};
use super::figures::{CourseFiguresKey, PlatformKey, StudentFiguresKey, SystemKey};
use super::keys::{
    CategoriesKey, ContentKey, CourseKey, DashboardKey, EnrolledKey, InstructorKey, ListKey,
    ProfileKey, ProgressKey, SearchKey, SeatsKey, SessionKey,
};
use crate::model::{CourseSort, Window};

/// Everything that is known of one key.
#[derive(Debug)]
pub struct Explained {
    /// As it stands in Redis behind the prefix.
    pub key: String,
    pub namespace: &'static str,
    pub tags: Vec<String>,
    pub lazy_tags: Vec<String>,
    pub l1: InTier,
    pub l2: InTier,
    pub shown: Shown,
    pub last_miss: Option<Missed>,
}

/// What one tier has.
#[derive(Debug)]
pub struct InTier {
    pub says: Says,
    pub age: Option<Duration>,
    pub soft_left: Option<Duration>,
    pub hard_left: Option<Duration>,
}

/// What a tier says to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Says {
    /// `fresh`, `stale`, `absent`, `expired`, `invalidated`, ..
    pub verdict: &'static str,
    /// What it was invalidated by.
    pub by: Option<String>,
}

#[derive(Debug)]
pub struct Missed {
    pub ago: Duration,
    pub l1: Says,
    pub l2: Says,
}

/// What a read would be answered with.
#[derive(Debug)]
pub enum Shown {
    /// Rendered JSON that anybody may see.
    Body(Bytes),
    /// There is something, and not everybody may see it.
    Redacted,
    /// That there is no such thing.
    NoSuchThing,
    /// Neither tier would answer.
    Nothing,
}

impl Reads {
    /// Explains a key as Redis shows it, without the prefix; `None` for what is no key of Campus.
    pub async fn explain(&self, key: &str) -> Option<Explained> {
        let (family, rest) = key.split_once('@')?;
        let mut segments = rest.split(':').skip(1);
        let segments: Vec<&str> = segments.by_ref().collect();
        let explained = self.explain_parts(family, &segments).await?;
        // A key that is spelt otherwise, or of another version, is another key.
        (explained.key == key).then_some(explained)
    }

    async fn explain_parts(&self, family: &str, segments: &[&str]) -> Option<Explained> {
        Some(match (family, segments) {
            ("course:published", [..]) => {
                self.open(ListKey::read(segments)?, |list| Some(&list.body)).await
            }
            ("course:categories", []) => self.open(CategoriesKey, |list| Some(&list.body)).await,
            ("course:search", [hash, "p", skip, "l", limit]) => {
                let key = SearchKey { hash: (*hash).to_owned(), window: window(skip, limit)? };
                self.open(key, |list| Some(&list.body)).await
            }
            ("course:detail", [id]) => {
                self.open(CourseKey { id: number(id)? }, |course| Some(&course.body)).await
            }
            ("course:content", [id]) => self.open(ContentKey { id: number(id)? }, |_| None).await,
            ("course:enrollment_count", [id]) => {
                self.open(SeatsKey { id: number(id)? }, |seats| Some(&seats.body)).await
            }
            ("user:profile", [id]) => self.open(ProfileKey { id: number(id)? }, |_| None).await,
            ("user:instructor", [id]) => {
                self.open(InstructorKey { id: number(id)? }, |person| Some(&person.body)).await
            }
            ("course:enrolled", [student, course]) => {
                self.own(student, EnrolledKey { course_id: number(course)? }).await?
            }
            ("progress", [student, course]) => {
                self.own(student, ProgressKey { course_id: number(course)? }).await?
            }
            ("user:dashboard", [person]) => self.own(person, DashboardKey).await?,
            ("user:session", [person]) => self.own(person, SessionKey).await?,
            ("article:list", [skip, limit]) => {
                self.open(ArticleListKey { window: window(skip, limit)? }, |list| Some(&list.body))
                    .await
            }
            ("article:detail", [id]) => {
                self.open(ArticleKey { id: number(id)? }, |article| Some(&article.body)).await
            }
            ("tag:list", []) => self.open(TagsKey, |tags| Some(&tags.body)).await,
            ("analytics:course", [id]) => {
                self.open(CourseFiguresKey { id: number(id)? }, |_| None).await
            }
            ("analytics:student", [student]) => self.own(student, StudentFiguresKey).await?,
            ("analytics:platform", ["overview"]) => self.open(PlatformKey, |_| None).await,
            ("system:stats", []) => self.open(SystemKey, |_| None).await,
            _ => return None,
        })
    }

    /// A value that is the same for everybody who sees it; `body` is what anybody may see.
    async fn open<K: CacheKey<Scope = Public>>(
        &self,
        key: K,
        body: fn(&K::Value) -> Option<&Body>,
    ) -> Explained {
        told::<K>(self.cache.explain(&key).await, body)
    }

    /// A value of one person.
    async fn own<K: CacheKey<Scope = User<i64>>>(&self, id: &str, key: K) -> Option<Explained> {
        let explanation = self.cache.scoped(User(number(id)?)).explain(&key).await;
        Some(told::<K>(explanation, |_| None))
    }
}

fn told<K: CacheKey>(
    explanation: Explanation<K::Value>,
    body: fn(&K::Value) -> Option<&Body>,
) -> Explained {
    let shown = match &explanation.value {
        None => Shown::Nothing,
        Some(None) => Shown::NoSuchThing,
        Some(Some(value)) => match body(value) {
            // An unpublished course has none.
            Some(body) if !body.bytes.is_empty() => Shown::Body(body.bytes.clone()),
            Some(_) | None => Shown::Redacted,
        },
    };
    Explained {
        key: explanation.key.unwrap_or_default(),
        namespace: K::NAMESPACE,
        tags: explanation.tags,
        lazy_tags: explanation.lazy_tags,
        l1: explanation.l1.into(),
        l2: explanation.l2.into(),
        shown,
        last_miss: explanation.last_miss.map(|miss| Missed {
            ago: miss.ago,
            l1: miss.l1.into(),
            l2: miss.l2.into(),
        }),
    }
}

impl From<Sighting> for InTier {
    fn from(sighting: Sighting) -> Self {
        Self {
            says: sighting.verdict.into(),
            age: sighting.age,
            soft_left: sighting.soft_left,
            hard_left: sighting.hard_left,
        }
    }
}

impl From<Verdict> for Says {
    fn from(verdict: Verdict) -> Self {
        let word = match &verdict {
            Verdict::Off => "off",
            Verdict::Unreachable => "unreachable",
            Verdict::Absent => "absent",
            Verdict::Fresh => "fresh",
            Verdict::Stale => "stale",
            Verdict::Expired => "expired",
            Verdict::Invalidated { .. } => "invalidated",
            Verdict::GivenUp => "given up",
            Verdict::Pending => "pending",
            Verdict::Unproven => "unproven",
            Verdict::OtherEpoch => "other epoch",
            Verdict::Foreign => "foreign",
            Verdict::Loading => "loading",
            _ => "unknown",
        };
        let by = match verdict {
            Verdict::Invalidated { by } => Some(by),
            _ => None,
        };
        Self { verdict: word, by }
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn window(skip: &str, limit: &str) -> Option<Window> {
    Some(Window { skip: number(skip)?, limit: number(limit)? })
}

impl ListKey {
    /// The reverse of its segments.
    fn read(segments: &[&str]) -> Option<Self> {
        let ["p", skip, "l", limit, rest @ ..] = segments else { return None };
        let (sort, hash) = match rest {
            [] => (None, None),
            ["o", sort] => (Some(*sort), None),
            ["h", hash] => (None, Some(*hash)),
            ["o", sort, "h", hash] => (Some(*sort), Some(*hash)),
            _ => return None,
        };
        let sort = sort.unwrap_or(CourseSort::default().as_str());
        let mut sorts = [CourseSort::Recent, CourseSort::Popular, CourseSort::TopRated].into_iter();
        let sort = sorts.find(|known| known.as_str() == sort)?;
        Some(Self { window: window(skip, limit)?, sort, hash: hash.map(str::to_owned) })
    }
}
