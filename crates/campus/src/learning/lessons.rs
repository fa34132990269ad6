//! Content: who reads it, and how its owner changes it.

use std::sync::Arc;

use super::courses::NO_COURSE;
use super::{Learning, Result};
use crate::model::{
    Content, ContentDraft, CourseStatus, LessonDraft, ModuleDraft, Principal, Refusal,
};
use crate::reads::{ContentAnswer, PlainAnswer, Read, Via};

const NO_CONTENT: Refusal = Refusal::NotFound("Course content not found");
const NOT_ENROLLED: Refusal = Refusal::Forbidden("You are not enrolled in this course");

/// What became of the content, for the answer of the write.
pub struct EditedContent {
    pub content: Content,
    pub version: i64,
}

impl Learning {
    /// The content, for the enrolled, the owner and admins. Access is settled
    /// before the document is asked for, from cached facts that carry no content.
    pub async fn content(
        &self,
        viewer: Principal,
        via: Via,
        course_id: i64,
    ) -> Result<Read<Arc<ContentAnswer>>> {
        let course = self.reads.course(via, course_id).await?.value;
        let course = course.ok_or(NO_COURSE)?;
        let governs = viewer.governs(course.instructor_id);
        if course.status == CourseStatus::Draft && !governs {
            return Err(NO_COURSE.into());
        }
        if !governs && !self.reads.is_enrolled(viewer.id, course_id).await? {
            return Err(match course.status {
                CourseStatus::Published => NOT_ENROLLED,
                CourseStatus::Draft | CourseStatus::Archived => NO_COURSE,
            }
            .into());
        }
        let Read { value, origin } = self.reads.content(via, course_id).await?;
        let value = value.ok_or(NO_CONTENT)?;
        Ok(Read { value, origin })
    }

    /// How full a published course is.
    pub async fn seats(&self, via: Via, course_id: i64) -> Result<Read<Arc<PlainAnswer>>> {
        let course = self.reads.course(via, course_id).await?.value;
        course.filter(|course| course.status == CourseStatus::Published).ok_or(NO_COURSE)?;
        let Read { value, origin } = self.reads.seats(via, course_id).await?;
        let value = value.ok_or(NO_COURSE)?;
        Ok(Read { value, origin })
    }

    pub async fn replace_content(
        &self,
        by: Principal,
        course_id: i64,
        draft: ContentDraft,
    ) -> Result<EditedContent> {
        self.edit_content(by, course_id, Missing::Create, |content| content.replace(draft)).await
    }

    pub async fn add_module(
        &self,
        by: Principal,
        course_id: i64,
        draft: ModuleDraft,
    ) -> Result<EditedContent> {
        self.edit_content(by, course_id, Missing::Create, |content| {
            content.add_module(draft).map(drop)
        })
        .await
    }

    pub async fn add_lesson(
        &self,
        by: Principal,
        course_id: i64,
        module_id: i64,
        draft: LessonDraft,
    ) -> Result<EditedContent> {
        self.edit_content(by, course_id, Missing::Refuse, |content| {
            content.add_lesson(module_id, draft).map(drop)
        })
        .await
    }

    pub async fn remove_module(&self, by: Principal, course_id: i64, module_id: i64) -> Result<()> {
        self.edit_content(by, course_id, Missing::Refuse, |content| {
            content.remove_module(module_id)
        })
        .await?;
        Ok(())
    }

    pub async fn remove_lesson(
        &self,
        by: Principal,
        course_id: i64,
        module_id: i64,
        lesson_id: i64,
    ) -> Result<()> {
        self.edit_content(by, course_id, Missing::Refuse, |content| {
            content.remove_lesson(module_id, lesson_id)
        })
        .await?;
        Ok(())
    }

    pub async fn delete_content(&self, by: Principal, course_id: i64) -> Result<()> {
        let tx = self.store.begin().await?;
        self.owned(&tx, by, course_id).await?;
        let stored = tx.content_to_edit(course_id).await?;
        let stored = stored.filter(|s| !s.is_deleted).ok_or(NO_CONTENT)?;
        let emptied = Content { next_id: stored.content.next_id, ..Content::default() };
        tx.delete_content(course_id, &emptied, stored.version, self.clock.now()).await?;
        tx.commit().await?;
        self.reads.content_changed(course_id).await;
        Ok(())
    }

    async fn edit_content(
        &self,
        by: Principal,
        course_id: i64,
        missing: Missing,
        edit: impl FnOnce(&mut Content) -> std::result::Result<(), Refusal>,
    ) -> Result<EditedContent> {
        let tx = self.store.begin().await?;
        self.owned(&tx, by, course_id).await?;
        let stored = tx.content_to_edit(course_id).await?;
        let exists = stored.as_ref().is_some_and(|s| !s.is_deleted);
        if !exists && missing == Missing::Refuse {
            return Err(NO_CONTENT.into());
        }
        let (mut content, version) =
            stored.map_or((Content::default(), 0), |s| (s.content, s.version));
        edit(&mut content)?;
        tx.save_content(course_id, &content, version, self.clock.now()).await?;
        tx.commit().await?;
        self.reads.content_changed(course_id).await;
        Ok(EditedContent { content, version: version + 1 })
    }
}

/// What an edit does where there is no content yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Refuse,
}
