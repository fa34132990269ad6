//! Figures that change with nearly every write. Their tags are lazy: writes mark them dirty, and
//! they are counted anew at most once in their soft life.

use std::sync::Arc;

use larder::{CacheKey, KeyWriter, Policy, Public, Tag, Tags, User};
use serde::{Deserialize, Serialize};

use super::{Body, PlainAnswer, Read, Reads, Result, Via, plain};
use crate::config::{Lifetime, lifetimes};
use crate::model::{StudentFigures, Timestamp};
use crate::{store, wire};

const fn policy(life: Lifetime) -> Policy {
    Policy::new(life.soft, life.hard)
}

/// A student's figures: rendered, and as numbers for those who may see a part of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StudentAnswer {
    pub body: Body,
    figures: StudentFigures,
}

impl StudentAnswer {
    fn new(figures: StudentFigures) -> store::Result<Self> {
        let body = Body::render(&wire::StudentAnalytics::from(&figures))?;
        Ok(Self { body, figures })
    }

    /// What concerns the courses of one instructor; nothing if the student is in none.
    pub fn taught_by(&self, instructor_id: i64) -> store::Result<Option<Self>> {
        self.figures.taught_by(instructor_id).map(Self::new).transpose()
    }

    /// The numbers take about as much as the text that is made of them.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.body.weight() + self.body.bytes.len()
    }
}

/// `analytics:course:{id}`
pub(super) struct CourseFiguresKey {
    pub(super) id: i64,
}

impl CacheKey for CourseFiguresKey {
    type Value = PlainAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::ANALYTICS.name;
    const NAME: &'static str = "analytics:course";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::ANALYTICS.life)
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.id);
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("course", self.id));
        tags.lazy(Tag::new("an:course", self.id));
    }
}

/// `analytics:student:{user}`
pub(super) struct StudentFiguresKey;

impl CacheKey for StudentFiguresKey {
    type Value = StudentAnswer;
    type Scope = User<i64>;
    const NAMESPACE: &'static str = lifetimes::ANALYTICS.name;
    const NAME: &'static str = "analytics:student";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::STUDENT_ANALYTICS)
    }

    fn weigh(answer: &StudentAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, _: &mut KeyWriter) {}

    fn tags(&self, student: &User<i64>, tags: &mut Tags) {
        tags.add(Tag::new("member", student.0));
        tags.lazy(Tag::new("an:student", student.0));
    }
}

/// `analytics:platform:overview`
pub(super) struct PlatformKey;

impl CacheKey for PlatformKey {
    type Value = PlainAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::ANALYTICS.name;
    const NAME: &'static str = "analytics:platform";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::PLATFORM_ANALYTICS)
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push("overview");
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.lazy(Tag::named("an:platform"));
    }
}

/// `system:stats`: nothing ends it but its short life.
pub(super) struct SystemKey;

impl CacheKey for SystemKey {
    type Value = PlainAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::SYSTEM.name;
    const NAME: &'static str = "system:stats";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::SYSTEM.life)
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, _: &mut KeyWriter) {}
}

/// What is loaded says at which moment: that of the read which asked first.
impl Reads {
    pub async fn course_figures(
        &self,
        via: Via,
        id: i64,
        now: Timestamp,
    ) -> Result<Read<Option<Arc<PlainAnswer>>>> {
        self.find(via, &CourseFiguresKey { id }, move |store| async move {
            let figures = store.course_figures(id, now).await?;
            figures.map(|figures| plain(&wire::CourseAnalytics::from(&figures))).transpose()
        })
        .await
    }

    pub async fn student_figures(
        &self,
        via: Via,
        id: i64,
        now: Timestamp,
    ) -> Result<Read<Option<Arc<StudentAnswer>>>> {
        self.find_own(via, id, &StudentFiguresKey, move |store| async move {
            store.student_figures(id, now).await?.map(StudentAnswer::new).transpose()
        })
        .await
    }

    pub async fn platform(&self, via: Via, now: Timestamp) -> Result<Read<Arc<PlainAnswer>>> {
        self.get(via, &PlatformKey, move |store| async move {
            plain(&store.platform_figures(now).await?)
        })
        .await
    }

    pub async fn system_stats(&self, via: Via, now: Timestamp) -> Result<Read<Arc<PlainAnswer>>> {
        self.get(via, &SystemKey, move |store| async move { plain(&store.totals(now).await?) })
            .await
    }
}
