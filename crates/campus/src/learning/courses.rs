//! Courses: creating, editing, publishing, deleting, rating, and who sees which.

use std::sync::Arc;

use super::{Error, Learning, Result, found, overtaken};
use crate::model::{
    Course, CourseDraft, CourseEdit, CourseStatus, Principal, Refusal, Role, Window,
};
use crate::reads::{CourseAnswer, Ending, Listed, Read, Via};
use crate::store::Tx;

pub(super) const NO_COURSE: Refusal = Refusal::NotFound("Course not found");
pub(super) const NOT_OWNER: Refusal = Refusal::Forbidden("You do not own this course");
const NOT_INSTRUCTOR: Refusal = Refusal::Forbidden("Only instructors may create courses");

impl Learning {
    /// A course as this viewer may see it. Published ones come from the cache,
    /// the others from the database and only for those who have to do with them.
    pub async fn course(
        &self,
        viewer: Option<Principal>,
        via: Via,
        id: i64,
    ) -> Result<Read<Arc<CourseAnswer>>> {
        let read = found(self.reads.course(via, id).await?, NO_COURSE)?;
        if read.value.status == CourseStatus::Published {
            return Ok(read);
        }
        if !self.sees_unpublished(viewer, id, &read.value).await? {
            // As if it did not exist, headers included.
            return Err(Error::Absent(NO_COURSE, read.origin));
        }
        let course = self.store.course(id).await?.ok_or(NO_COURSE)?;
        let answer = CourseAnswer::full(&course)?;
        Ok(Read::from_database(Arc::new(answer)))
    }

    /// The owner and admins see everything, the enrolled keep seeing an archived course.
    pub(super) async fn sees_unpublished(
        &self,
        viewer: Option<Principal>,
        id: i64,
        course: &CourseAnswer,
    ) -> Result<bool> {
        let Some(viewer) = viewer else {
            return Ok(false);
        };
        if viewer.governs(course.instructor_id) {
            return Ok(true);
        }
        let archived = course.status == CourseStatus::Archived;
        Ok(archived && self.reads.is_enrolled(viewer.id, id).await?)
    }

    /// A course by its slug, never cached.
    pub async fn course_by_slug(
        &self,
        viewer: Option<Principal>,
        slug: &str,
    ) -> Result<CourseAnswer> {
        let course = self.store.course_by_slug(slug).await?.ok_or(NO_COURSE)?;
        let answer = CourseAnswer::full(&course)?;
        let visible = course.status == CourseStatus::Published
            || self.sees_unpublished(viewer, course.id, &answer).await?;
        if visible { Ok(answer) } else { Err(NO_COURSE.into()) }
    }

    /// What a person teaches, drafts included.
    pub async fn my_courses(&self, by: Principal, window: Window) -> Result<(Vec<Course>, i64)> {
        if by.role < Role::Instructor {
            return Err(Refusal::Forbidden("Only instructors have courses").into());
        }
        Ok(self.store.courses_of(by.id, window).await?)
    }

    pub async fn create_course(&self, by: Principal, draft: CourseDraft) -> Result<Course> {
        draft.check()?;
        let tx = self.store.begin().await?;
        if self.actor(&tx, by).await?.role < Role::Instructor {
            return Err(NOT_INSTRUCTOR.into());
        }
        let slug = draft.slug.clone();
        if tx.slug_taken(&slug, None).await? {
            return Err(slug_taken(&slug));
        }
        let id = match tx.insert_course(draft, self.clock.now()).await {
            Err(e) if e.is_duplicate() => return Err(slug_taken(&slug)),
            id => id?,
        };
        let course = tx.course(id).await?.ok_or(NO_COURSE)?;
        self.reads.commit(tx, Ending::course_created(id)).await?;
        Ok(course)
    }

    /// Edits a course; `expected` are the versions of `If-Match`, if the client sent it.
    pub async fn edit_course(
        &self,
        by: Principal,
        id: i64,
        expected: Option<&[i64]>,
        edit: CourseEdit,
    ) -> Result<Course> {
        let tx = self.store.begin().await?;
        let before = self.owned(&tx, by, id).await?;
        check_version(expected, before.version)?;
        let mut course = before.clone();
        edit.apply(&mut course)?;
        if course == before {
            return Ok(before);
        }
        if tx.slug_taken(&course.slug, Some(id)).await? {
            return Err(slug_taken(&course.slug));
        }
        match tx.save_course(&course, self.clock.now()).await {
            Ok(true) => {}
            Ok(false) => return Err(overtaken()),
            Err(e) if e.is_duplicate() => return Err(slug_taken(&course.slug)),
            Err(e) => return Err(e.into()),
        }
        let course = tx.course(id).await?.ok_or(NO_COURSE)?;
        let listed = match course.status {
            CourseStatus::Published => Listed::Yes,
            CourseStatus::Draft | CourseStatus::Archived => Listed::No,
        };
        self.reads.commit(tx, Ending::course_edited(id, listed)).await?;
        Ok(course)
    }

    pub async fn change_status(
        &self,
        by: Principal,
        id: i64,
        status: CourseStatus,
    ) -> Result<Course> {
        let now = self.clock.now();
        let tx = self.store.begin().await?;
        let mut course = self.owned(&tx, by, id).await?;
        course.status.may_become(status, course.enrolled_count)?;
        course.status = status;
        if status == CourseStatus::Published {
            course.published_at.get_or_insert(now);
        }
        if !tx.save_course(&course, now).await? {
            return Err(overtaken());
        }
        let course = tx.course(id).await?.ok_or(NO_COURSE)?;
        self.reads.commit(tx, Ending::course_status_changed(id, status)).await?;
        Ok(course)
    }

    pub async fn delete_course(&self, by: Principal, id: i64) -> Result<()> {
        let tx = self.store.begin().await?;
        let course = self.owned(&tx, by, id).await?;
        if !tx.delete_course(&course, self.clock.now()).await? {
            return Err(overtaken());
        }
        self.reads.commit(tx, Ending::course_deleted(id)).await?;
        Ok(())
    }

    /// Gives a course 1 to 5 stars; only who has a place may.
    pub async fn rate_course(&self, by: Principal, id: i64, stars: i16) -> Result<Course> {
        if !(1..=5).contains(&stars) {
            return Err(Refusal::invalid("stars", "must be between 1 and 5").into());
        }
        let tx = self.store.begin().await?;
        let by = self.actor(&tx, by).await?;
        visible(&tx, by, tx.course(id).await?).await?;
        if !tx.has_place(by.id, id).await? {
            return Err(Refusal::Forbidden("Only enrolled students may rate a course").into());
        }
        let is_new = tx.rate(id, by.id, stars).await?;
        let course = tx.course(id).await?.ok_or(NO_COURSE)?;
        if is_new {
            self.reads.commit(tx, Ending::course_rated(id)).await?;
        }
        Ok(course)
    }

    /// A course that this person may change.
    pub(super) async fn owned(&self, tx: &Tx, by: Principal, id: i64) -> Result<Course> {
        let by = self.actor(tx, by).await?;
        let course = visible(tx, by, tx.course_to_edit(id).await?).await?;
        if by.governs(course.instructor.id) { Ok(course) } else { Err(NOT_OWNER.into()) }
    }
}

/// The course, if a GET would show it to this person: a write must not tell a
/// stranger that a draft exists.
pub(super) async fn visible(tx: &Tx, by: Principal, course: Option<Course>) -> Result<Course> {
    let course = course.ok_or(NO_COURSE)?;
    let is_visible = by.governs(course.instructor.id)
        || match course.status {
            CourseStatus::Published => true,
            CourseStatus::Archived => tx.has_place(by.id, course.id).await?,
            CourseStatus::Draft => false,
        };
    if is_visible { Ok(course) } else { Err(NO_COURSE.into()) }
}

pub(super) fn check_version(expected: Option<&[i64]>, current: i64) -> Result<()> {
    match expected {
        Some(versions) if !versions.contains(&current) => {
            Err(Refusal::VersionMismatch { current }.into())
        }
        _ => Ok(()),
    }
}

pub(super) fn slug_taken(slug: &str) -> Error {
    Refusal::conflict(format!("Slug '{slug}' is already taken")).into()
}
