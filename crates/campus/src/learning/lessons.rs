//! Content: who reads it, and how its owner changes it.

use std::sync::Arc;

use super::courses::{NO_COURSE, check_version};
use super::{Error, Learning, Result, found, overtaken};
use crate::model::{
    Content, ContentDraft, CourseStatus, LessonDraft, MAX_CONTENT_BYTES, ModuleDraft, Principal,
    Refusal,
};
use crate::reads::{ContentAnswer, Ending, PlainAnswer, Read, Via};
use crate::store::{StoredContent, ToEdit, Tx};

const NO_CONTENT: Refusal = Refusal::NotFound("Course content not found");
/// How often a document is fetched that others keep changing meanwhile.
const TURNS: u32 = 8;

pub(super) const NOT_ENROLLED: Refusal = Refusal::Forbidden("You are not enrolled in this course");

impl Learning {
    /// The content, for the enrolled, the owner and admins. Access is settled
    /// before the document is asked for, from cached facts that carry no content.
    pub async fn content(
        &self,
        viewer: Principal,
        via: Via,
        course_id: i64,
    ) -> Result<Read<Arc<ContentAnswer>>> {
        let Read { value: course, origin } =
            found(self.reads.course(via, course_id).await?, NO_COURSE)?;
        let hidden = || Error::Absent(NO_COURSE, origin);
        let governs = viewer.governs(course.instructor_id);
        if course.status == CourseStatus::Draft && !governs {
            return Err(hidden());
        }
        if !governs && !self.reads.is_enrolled(viewer.id, course_id).await? {
            return Err(match course.status {
                CourseStatus::Published => NOT_ENROLLED.into(),
                CourseStatus::Draft | CourseStatus::Archived => hidden(),
            });
        }
        found(self.reads.content(via, course_id).await?, NO_CONTENT)
    }

    /// How full a published course is.
    pub async fn seats(&self, via: Via, course_id: i64) -> Result<Read<Arc<PlainAnswer>>> {
        let course = found(self.reads.course(via, course_id).await?, NO_COURSE)?;
        if course.value.status != CourseStatus::Published {
            return Err(Error::Absent(NO_COURSE, course.origin));
        }
        found(self.reads.seats(via, course_id).await?, NO_COURSE)
    }

    /// `expected` are the versions of `If-Match`, if the client sent it.
    pub async fn replace_content(
        &self,
        by: Principal,
        course_id: i64,
        expected: Option<&[i64]>,
        draft: ContentDraft,
    ) -> Result<ContentAnswer> {
        let (tx, stored) = self.content_to_edit(by, course_id).await?;
        let shown = stored.as_ref().filter(|stored| !stored.is_deleted);
        check_version(expected, shown.map_or(0, |stored| stored.version))?;
        self.save_edit(tx, course_id, stored, Edit::Begin, |content| content.replace(draft)).await
    }

    pub async fn add_module(
        &self,
        by: Principal,
        course_id: i64,
        draft: ModuleDraft,
    ) -> Result<ContentAnswer> {
        self.edit_content(by, course_id, Edit::Begin, |content| content.add_module(draft).map(drop))
            .await
    }

    pub async fn add_lesson(
        &self,
        by: Principal,
        course_id: i64,
        module_id: i64,
        draft: LessonDraft,
    ) -> Result<ContentAnswer> {
        self.edit_content(by, course_id, Edit::Extend, |content| {
            content.add_lesson(module_id, draft).map(drop)
        })
        .await
    }

    pub async fn remove_module(&self, by: Principal, course_id: i64, module_id: i64) -> Result<()> {
        self.edit_content(by, course_id, Edit::Shorten, |content| content.remove_module(module_id))
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
        self.edit_content(by, course_id, Edit::Shorten, |content| {
            content.remove_lesson(module_id, lesson_id)
        })
        .await?;
        Ok(())
    }

    pub async fn delete_content(&self, by: Principal, course_id: i64) -> Result<()> {
        let (tx, stored) = self.content_to_edit(by, course_id).await?;
        let stored = stored.filter(|s| !s.is_deleted).ok_or(NO_CONTENT)?;
        let emptied = Content { next_id: stored.content.next_id, ..Content::default() };
        tx.delete_content(course_id, &emptied, stored.last_version(), self.clock.now()).await?;
        self.end_edit(tx, course_id).await
    }

    /// Answers the document as the next read will.
    async fn edit_content(
        &self,
        by: Principal,
        course_id: i64,
        kind: Edit,
        edit: impl FnOnce(&mut Content) -> std::result::Result<(), Refusal>,
    ) -> Result<ContentAnswer> {
        let (tx, stored) = self.content_to_edit(by, course_id).await?;
        let stored = stored.map(StoredContent::whole).transpose()?;
        self.save_edit(tx, course_id, stored, kind, edit).await
    }

    /// The document of a course that this person may change, or what is left of it, held until
    /// the commit.
    async fn content_to_edit(
        &self,
        by: Principal,
        course_id: i64,
    ) -> Result<(Tx, Option<StoredContent>)> {
        let mut fetched = None;
        for _ in 0..TURNS {
            let tx = self.store.begin().await?;
            self.owned(&tx, by, course_id).await?;
            match tx.content_to_edit(course_id, fetched.take()).await? {
                ToEdit::Here(stored) => return Ok((tx, stored)),
                ToEdit::Elsewhere(version) => {
                    // Others may write while MongoDB is asked: on SQLite only one can.
                    drop(tx);
                    fetched = Some(self.store.fetch_content(course_id, version).await?);
                }
            }
        }
        Err(overtaken())
    }

    async fn save_edit(
        &self,
        tx: Tx,
        course_id: i64,
        stored: Option<StoredContent>,
        kind: Edit,
        edit: impl FnOnce(&mut Content) -> std::result::Result<(), Refusal>,
    ) -> Result<ContentAnswer> {
        let exists = stored.as_ref().is_some_and(|s| !s.is_deleted);
        if !exists && kind != Edit::Begin {
            return Err(NO_CONTENT.into());
        }
        let is_lost = stored.as_ref().is_some_and(|s| s.lost.is_some());
        let version = stored.as_ref().map_or(0, StoredContent::last_version);
        let before = stored.map(|s| s.content).unwrap_or_default();
        let mut content = before.clone();
        edit(&mut content)?;
        if exists && !is_lost && content == before {
            return Ok(ContentAnswer::render(course_id, &content, version)?);
        }
        let answer = ContentAnswer::render(course_id, &content, version + 1)?;
        if kind != Edit::Shorten {
            check_size(answer.body.bytes.len())?;
        }
        tx.save_content(course_id, &content, version, self.clock.now()).await?;
        self.end_edit(tx, course_id).await?;
        Ok(answer)
    }

    /// Committed, the document is what every read finds; where it is kept matters to none.
    async fn end_edit(&self, tx: Tx, course_id: i64) -> Result<()> {
        self.reads.commit(tx, Ending::content_changed(course_id)).await?;
        if let Err(error) = self.store.carry_content(course_id).await {
            tracing::debug!(%error, course_id, "a document stays in the database for now");
        }
        Ok(())
    }
}

/// What an edit does to the document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// Writes it, also where there is none yet.
    Begin,
    /// Adds to what is there.
    Extend,
    /// Takes away, which one may do with a document of any size.
    Shorten,
}

/// What can be read can be written back: both have the same limit.
fn check_size(bytes: usize) -> std::result::Result<(), Refusal> {
    if bytes <= MAX_CONTENT_BYTES {
        return Ok(());
    }
    let (size, most) = (bytes.div_ceil(1024), MAX_CONTENT_BYTES / 1024);
    let detail = format!("The content would have {size} KiB; at most {most} KiB are allowed");
    Err(Refusal::TooLarge(detail))
}

#[cfg(test)]
mod tests {
    use super::{MAX_CONTENT_BYTES, check_size};

    #[test]
    fn content_may_not_outgrow_what_can_be_sent_back() {
        assert!(check_size(MAX_CONTENT_BYTES).is_ok());
        assert!(check_size(MAX_CONTENT_BYTES + 1).is_err());
    }
}
