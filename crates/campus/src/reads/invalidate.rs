//! What ends cached reads: one method per write, called after its commit and before its answer.
//!
//! Redis being away does not fail the write: the cache queues what it could not
//! tell and applies it as soon as Redis answers again.

use std::time::Duration;

use larder::{Ack, Names, Tag};

use super::Reads;
use crate::store::{Ended, Imported};

/// Whether a course is in the public lists, before or after the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    Yes,
    No,
}

impl Reads {
    /// Ends a remembered "there is no such user".
    pub async fn user_registered(&self, id: i64) {
        self.end(Names::new().tag(user(id))).await;
    }

    /// The name is shown by the person's courses and articles; list pages lag by their TTL.
    pub async fn user_changed(&self, id: i64, courses: &[i64], articles: &[i64]) {
        let names = Names::new().tag(user(id));
        self.end(tagged(tagged(names, course, courses), article, articles)).await;
    }

    pub async fn user_deleted(&self, id: i64, ended: &Ended, courses: &[i64], articles: &[i64]) {
        let mut names =
            Names::new().tag(user(id)).tag(Tag::new("member", id)).tag(Tag::new("learner", id));
        names = tagged(names, seats, &ended.course_ids);
        if !courses.is_empty() {
            names = tagged(names, course, courses).tag(Tag::named("courses"));
        }
        if !articles.is_empty() {
            names = tagged(names, article, articles)
                .tag(Tag::named("articles"))
                .tag(Tag::named("tags"));
        }
        self.end(names).await;
    }

    pub async fn instructor_changed(&self, id: i64) {
        self.end(Names::new().tag(user(id))).await;
    }

    /// Ends a remembered "there is no such course"; a draft is in no list.
    pub async fn course_created(&self, id: i64) {
        self.end(Names::new().tag(course(id))).await;
    }

    pub async fn course_edited(&self, id: i64, listed: Listed) {
        let names = Names::new().tag(course(id));
        self.end(match listed {
            Listed::Yes => names.tag(Tag::named("courses")),
            Listed::No => names,
        })
        .await;
    }

    pub async fn course_status_changed(&self, id: i64) {
        self.end(Names::new().tag(course(id)).tag(Tag::named("courses"))).await;
    }

    /// Enrolled flags stay: whoever asks for content is asked for the course's status first.
    pub async fn course_deleted(&self, id: i64) {
        self.end(
            Names::new()
                .tag(course(id))
                .tag(Tag::new("content", id))
                .tag(seats(id))
                .tag(Tag::named("courses")),
        )
        .await;
    }

    /// Lists lag by their TTL: one vote must not empty the catalogue.
    pub async fn course_rated(&self, id: i64) {
        self.end(Names::new().tag(course(id))).await;
    }

    pub async fn content_changed(&self, course_id: i64) {
        self.end(Names::new().tag(Tag::new("content", course_id))).await;
    }

    pub async fn enrolled(&self, student_id: i64, course_id: i64) {
        self.end(Names::new().tag(Tag::new("member", student_id)).tag(seats(course_id))).await;
    }

    /// Everything an import may have changed.
    pub async fn imported(&self, imported: &Imported) {
        let names = Names::new()
            .tag(Tag::named("courses"))
            .tag(Tag::named("articles"))
            .tag(Tag::named("tags"));
        let names = tagged(names, user, &imported.user_ids);
        let names = tagged(names, course, &imported.course_ids);
        let names = tagged(names, |id| Tag::new("content", id), &imported.course_ids);
        let names = tagged(names, seats, &imported.course_ids);
        self.end(tagged(names, article, &imported.article_ids)).await;
    }

    /// Waits until Redis has been told of every write, for at most `limit`, and answers
    /// how many invalidations it still does not know. For a process that is about to
    /// end: what is queued ends with it, and is served until its TTL.
    pub async fn invalidations_told(&self, limit: Duration) -> usize {
        let told = async {
            while self.cache.stats().pending_invalidations > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(limit, told).await {
            Ok(()) => 0,
            Err(_) => self.cache.stats().pending_invalidations,
        }
    }

    async fn end(&self, names: Names) {
        if self.cache.invalidate(names).await == Ack::Queued {
            tracing::debug!("Redis did not take an invalidation; it is queued");
        }
    }
}

fn user(id: i64) -> Tag {
    Tag::new("user", id)
}

fn course(id: i64) -> Tag {
    Tag::new("course", id)
}

fn article(id: i64) -> Tag {
    Tag::new("article", id)
}

fn seats(course_id: i64) -> Tag {
    Tag::new("enrol", course_id)
}

fn tagged(names: Names, tag: impl Fn(i64) -> Tag, ids: &[i64]) -> Names {
    ids.iter().fold(names, |names, &id| names.tag(tag(id)))
}
