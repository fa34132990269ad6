//! The cache keys: their names, lives and tags, as the registry in the documentation lists them.

use std::time::Duration;

use larder::{CacheKey, KeyWriter, Policy, Public, Tag, Tags, User};

use super::answers::{ContentAnswer, CourseAnswer, ListAnswer, PlainAnswer, ProfileAnswer};
use crate::config::{Namespace, lifetimes};
use crate::model::{CourseFilter, CourseSort, Window};

pub(super) const fn policy(namespace: Namespace) -> Policy {
    Policy::new(namespace.life.soft, namespace.life.hard)
}

/// What a course list is asked for. The filter is in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourseQuery {
    pub filter: CourseFilter,
    pub sort: CourseSort,
    pub window: Window,
}

impl CourseQuery {
    /// 128 bits over everything but the window, each part with its length, so that
    /// no two different questions look alike.
    fn hash(&self) -> String {
        let CourseFilter { q, category, level, min_rating } = &self.filter;
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: Option<&str>| {
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(text.unwrap_or("").as_bytes());
        };
        part(q.as_deref());
        part(category.as_deref());
        part(level.map(|level| level.as_str()));
        part(min_rating.map(|stars| stars.to_string()).as_deref());
        part(Some(self.sort.as_str()));
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

/// `course:published:p:{skip}:l:{limit}[:o:{sort}][:h:{hash}]`
pub(super) struct ListKey {
    pub(super) window: Window,
    pub(super) sort: CourseSort,
    pub(super) hash: Option<String>,
}

impl ListKey {
    pub(super) fn new(query: &CourseQuery) -> Self {
        Self {
            window: query.window,
            sort: query.sort,
            hash: (!query.filter.is_empty()).then(|| query.hash()),
        }
    }
}

impl CacheKey for ListKey {
    type Value = ListAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::COURSES_LIST.name;
    const NAME: &'static str = "course:published";
    const VERSION: u16 = 2;

    fn policy() -> Policy {
        policy(lifetimes::COURSES_LIST)
    }

    fn weigh(answer: &ListAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push("p");
        key.push(self.window.skip);
        key.push("l");
        key.push(self.window.limit);
        if self.sort != CourseSort::default() {
            key.push("o");
            key.push(self.sort.as_str());
        }
        if let Some(hash) = &self.hash {
            key.push("h");
            key.push(hash.as_str());
        }
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::named("courses"));
    }
}

/// `course:categories`: what the lists can be narrowed to, so it ends with them.
pub(super) struct CategoriesKey;

impl CacheKey for CategoriesKey {
    type Value = PlainAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::COURSES_LIST.name;
    const NAME: &'static str = "course:categories";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::COURSES_LIST)
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, _: &mut KeyWriter) {}

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::named("courses"));
    }
}

/// `course:search:{hash}:p:{skip}:l:{limit}`
pub(super) struct SearchKey {
    pub(super) hash: String,
    pub(super) window: Window,
}

impl SearchKey {
    pub(super) fn new(query: &CourseQuery) -> Self {
        Self { hash: query.hash(), window: query.window }
    }
}

impl CacheKey for SearchKey {
    type Value = ListAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::SEARCH.name;
    const NAME: &'static str = "course:search";
    const VERSION: u16 = 2;

    fn policy() -> Policy {
        policy(lifetimes::SEARCH)
    }

    fn weigh(answer: &ListAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.hash.as_str());
        key.push("p");
        key.push(self.window.skip);
        key.push("l");
        key.push(self.window.limit);
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::named("courses"));
    }
}

/// `course:detail:{id}`
pub(super) struct CourseKey {
    pub(super) id: i64,
}

impl CacheKey for CourseKey {
    type Value = CourseAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::COURSES.name;
    const NAME: &'static str = "course:detail";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::COURSES).negative(Duration::from_secs(30))
    }

    fn weigh(answer: &CourseAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.id);
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("course", self.id));
    }
}

/// `course:content:{id}`
pub(super) struct ContentKey {
    pub(super) id: i64,
}

impl CacheKey for ContentKey {
    type Value = ContentAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::CONTENT.name;
    const NAME: &'static str = "course:content";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::CONTENT).negative(Duration::from_secs(15))
    }

    fn weigh(answer: &ContentAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.id);
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("course", self.id));
        tags.add(Tag::new("content", self.id));
    }
}

/// `course:enrollment_count:{id}`
pub(super) struct SeatsKey {
    pub(super) id: i64,
}

impl CacheKey for SeatsKey {
    type Value = PlainAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::ENROLL_COUNT.name;
    const NAME: &'static str = "course:enrollment_count";
    const VERSION: u16 = 2;

    fn policy() -> Policy {
        policy(lifetimes::ENROLL_COUNT)
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.id);
    }

    /// The limit is a field of the course, so an edit of the course ends this too.
    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("enrol", self.id));
        tags.add(Tag::new("course", self.id));
    }
}

/// `course:enrolled:{student}:{course}`; the student is the scope.
pub(super) struct EnrolledKey {
    pub(super) course_id: i64,
}

impl CacheKey for EnrolledKey {
    type Value = bool;
    type Scope = User<i64>;
    const NAMESPACE: &'static str = lifetimes::ENROLLED.name;
    const NAME: &'static str = "course:enrolled";
    const VERSION: u16 = 1;

    /// Ten seconds in L1: the bound for a drop that another node cannot be told of.
    fn policy() -> Policy {
        policy(lifetimes::ENROLLED).l1(Duration::from_secs(10))
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.course_id);
    }

    fn tags(&self, student: &User<i64>, tags: &mut Tags) {
        tags.add(Tag::new("member", student.0));
    }
}

/// `user:profile:{id}`: the public fields only, never an e-mail.
pub(super) struct ProfileKey {
    pub(super) id: i64,
}

impl CacheKey for ProfileKey {
    type Value = ProfileAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::USERS.name;
    const NAME: &'static str = "user:profile";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::USERS).negative(Duration::from_secs(30))
    }

    fn weigh(answer: &ProfileAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.id);
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("user", self.id));
    }
}

/// `user:instructor:{id}`
pub(super) struct InstructorKey {
    pub(super) id: i64,
}

impl CacheKey for InstructorKey {
    type Value = PlainAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::INSTRUCTORS.name;
    const NAME: &'static str = "user:instructor";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::INSTRUCTORS).negative(Duration::from_secs(30))
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.id);
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("user", self.id));
    }
}

/// `progress:{user}:{course}`
pub(super) struct ProgressKey {
    pub(super) course_id: i64,
}

impl CacheKey for ProgressKey {
    type Value = PlainAnswer;
    type Scope = User<i64>;
    const NAMESPACE: &'static str = lifetimes::PROGRESS.name;
    const NAME: &'static str = "progress";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::PROGRESS)
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.course_id);
    }

    fn tags(&self, student: &User<i64>, tags: &mut Tags) {
        tags.add(Tag::new("learner", student.0));
        tags.add(Tag::new("content", self.course_id));
    }
}

/// `user:dashboard:{user}`
pub(super) struct DashboardKey;

impl CacheKey for DashboardKey {
    type Value = PlainAnswer;
    type Scope = User<i64>;
    const NAMESPACE: &'static str = lifetimes::DASHBOARD.name;
    const NAME: &'static str = "user:dashboard";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::DASHBOARD)
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, _: &mut KeyWriter) {}

    fn tags(&self, person: &User<i64>, tags: &mut Tags) {
        about(person, tags);
    }
}

/// `user:session:{user}`
pub(super) struct SessionKey;

impl CacheKey for SessionKey {
    type Value = PlainAnswer;
    type Scope = User<i64>;
    const NAMESPACE: &'static str = lifetimes::SESSION.name;
    const NAME: &'static str = "user:session";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::SESSION)
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, _: &mut KeyWriter) {}

    fn tags(&self, person: &User<i64>, tags: &mut Tags) {
        about(person, tags);
    }
}

/// What ends everything about a person: what they did, where they are enrolled, who they are.
/// Titles and percentages may lag an edit of a course by the entry's life.
fn about(person: &User<i64>, tags: &mut Tags) {
    for kind in ["learner", "member", "user"] {
        tags.add(Tag::new(kind, person.0));
    }
}
