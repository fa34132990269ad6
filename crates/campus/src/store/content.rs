//! Course content, one document per course.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, EntityTrait, Set};

use super::tables::course_contents;
use super::{Error, Result, Store, Tx};
use crate::model::{Content, Timestamp};

/// A document with the version it was written as.
#[derive(Debug, Clone)]
pub struct StoredContent {
    pub content: Content,
    pub version: i64,
    /// A deleted document is kept for its ids and its version, not to be shown.
    pub is_deleted: bool,
}

pub(super) async fn find_content<C: ConnectionTrait>(
    db: &C,
    course_id: i64,
) -> Result<Option<StoredContent>> {
    let row = course_contents::Entity::find_by_id(course_id).one(db).await?;
    row.map(|row| {
        let content = serde_json::from_str(&row.doc);
        Ok(StoredContent {
            content: content.map_err(|e| Error::corrupt(format!("content {course_id}: {e}")))?,
            version: row.version,
            is_deleted: row.deleted_at.is_some(),
        })
    })
    .transpose()
}

/// Writes the document as the version after `version`.
pub(super) async fn save_content<C: ConnectionTrait>(
    db: &C,
    course_id: i64,
    content: &Content,
    version: i64,
    now: Timestamp,
) -> Result<()> {
    write(db, course_id, content, version, now, None).await
}

async fn write<C: ConnectionTrait>(
    db: &C,
    course_id: i64,
    content: &Content,
    version: i64,
    now: Timestamp,
    deleted_at: Option<i64>,
) -> Result<()> {
    use course_contents::Column;
    let json = |e: serde_json::Error| Error::corrupt(format!("content {course_id}: {e}"));
    let row = course_contents::ActiveModel {
        course_id: Set(course_id),
        version: Set(version + 1),
        doc: Set(serde_json::to_string(content).map_err(json)?),
        outline: Set(serde_json::to_string(&content.outline()).map_err(json)?),
        updated_at: Set(now.0),
        deleted_at: Set(deleted_at),
    };
    let replace = OnConflict::column(Column::CourseId)
        .update_columns([
            Column::Version,
            Column::Doc,
            Column::Outline,
            Column::UpdatedAt,
            Column::DeletedAt,
        ])
        .to_owned();
    course_contents::Entity::insert(row).on_conflict(replace).exec_without_returning(db).await?;
    Ok(())
}

impl Store {
    /// The content of a course, if it has any that is not deleted.
    pub async fn content(&self, course_id: i64) -> Result<Option<(Content, i64)>> {
        let stored = find_content(&self.reader, course_id).await?;
        let live = stored.filter(|stored| !stored.is_deleted);
        Ok(live.map(|stored| (stored.content, stored.version)))
    }
}

impl Tx {
    /// The document to change, also a deleted one, whose ids must not come back.
    /// Ask for [`Tx::course_to_edit`] first: it makes two editors take turns.
    pub async fn content_to_edit(&self, course_id: i64) -> Result<Option<StoredContent>> {
        find_content(&self.0, course_id).await
    }

    pub async fn save_content(
        &self,
        course_id: i64,
        content: &Content,
        version: i64,
        now: Timestamp,
    ) -> Result<()> {
        save_content(&self.0, course_id, content, version, now).await
    }

    /// Empties the document; its ids and version are remembered.
    pub async fn delete_content(
        &self,
        course_id: i64,
        content: &Content,
        version: i64,
        now: Timestamp,
    ) -> Result<()> {
        write(&self.0, course_id, content, version, now, Some(now.0)).await
    }
}
