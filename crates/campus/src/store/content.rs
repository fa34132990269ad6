//! Course content, one document per course.
//!
//! The row of a course says which version of its document counts, which lessons that has and
//! whether it is deleted. The document is in the row too: for good, or until MongoDB has it.
//! So a write to MongoDB is the same transaction as one to SQL, and what the transaction
//! leaves in the row is carried over afterwards, by its writer or by whoever finds it there.

use std::time::Duration;

use sea_orm::sea_query::{Expr, OnConflict, SimpleExpr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Select, Set,
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "mongo")]
use super::documents::Documents;
use super::tables::course_contents::{ActiveModel, Column, Entity, Model};
use super::{Error, Result, Store, Tx};
use crate::model::{Content, Timestamp};

/// What the row of a document that is in MongoDB has in its place.
const ELSEWHERE: &str = "";

/// How often the row and MongoDB are looked at until both speak of one version.
const LOOKS: u32 = 5;

/// How many rows one look at what is to be carried over takes in.
const BATCH: u64 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Where documents are kept once they are written.
#[derive(Debug, Clone)]
pub enum ContentStore {
    /// In their rows.
    Sql,
    #[cfg(feature = "mongo")]
    Mongo(Documents),
}

/// A version of a course's content, as MongoDB keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub(super) course_id: i64,
    pub(super) version: i64,
    pub(super) content: Content,
}

/// A document with the version it was written as.
#[derive(Debug, Clone)]
pub struct StoredContent {
    pub content: Content,
    pub version: i64,
    /// A deleted document is kept for its ids and its version, not to be shown.
    pub is_deleted: bool,
}

/// What a transaction finds that is to change a document.
#[derive(Debug)]
pub enum ToEdit {
    Here(Option<StoredContent>),
    /// To be fetched first ([`Store::fetch_content`]), outside of the transaction.
    Elsewhere,
}

impl ContentStore {
    /// The document of a row that has none.
    async fn fetch(&self, course_id: i64) -> Result<Option<Document>> {
        match self {
            Self::Sql => Err(Error::documents(format!(
                "the content of course {course_id} is in MongoDB: this server needs \
                 CONTENT_STORE=mongo"
            ))),
            #[cfg(feature = "mongo")]
            Self::Mongo(documents) => documents.find(course_id).await,
        }
    }

    /// Keeps a document, unless it has a newer one of that course.
    async fn put(&self, document: Document) -> Result<()> {
        match self {
            Self::Sql => drop(document),
            #[cfg(feature = "mongo")]
            Self::Mongo(documents) => documents.put(&document).await?,
        }
        Ok(())
    }

    /// Refuses an imported document that is too large to be kept.
    pub(super) fn check_size(&self, content: &Content) -> Result<()> {
        match self {
            // A text has no limit there.
            Self::Sql => _ = content,
            #[cfg(feature = "mongo")]
            Self::Mongo(_) => Documents::check_size(content)?,
        }
        Ok(())
    }
}

impl Model {
    fn with(self, content: Content) -> StoredContent {
        StoredContent { content, version: self.version, is_deleted: self.deleted_at.is_some() }
    }

    /// The document, if it is here.
    fn document(&self) -> Result<Option<Content>> {
        if self.doc == ELSEWHERE {
            return Ok(None);
        }
        let content = serde_json::from_str(&self.doc);
        let id = self.course_id;
        content.map(Some).map_err(|e| Error::corrupt(format!("content {id}: {e}")))
    }
}

/// Rows that have their document. Written out: an index of exactly these serves it.
fn is_here() -> SimpleExpr {
    Expr::cust("doc <> ''")
}

pub(super) async fn find_content<C: ConnectionTrait>(
    db: &C,
    place: &ContentStore,
    course_id: i64,
) -> Result<Option<StoredContent>> {
    find(db, place, Entity::find_by_id(course_id)).await
}

async fn find<C: ConnectionTrait>(
    db: &C,
    place: &ContentStore,
    select: Select<Entity>,
) -> Result<Option<StoredContent>> {
    let mut missing = None;
    for _ in 0..LOOKS {
        let Some(row) = select.clone().one(db).await? else {
            return Ok(None);
        };
        if let Some(content) = row.document()? {
            return Ok(Some(row.with(content)));
        }
        match place.fetch(row.course_id).await? {
            Some(found) if found.version == row.version => {
                return Ok(Some(row.with(found.content)));
            }
            // Or a write in between has changed both.
            found => missing = Some((row.course_id, row.version, found.map(|found| found.version))),
        }
    }
    Err(Error::corrupt(format!("course, version and MongoDB's version of content: {missing:?}")))
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
    let json = |e: serde_json::Error| Error::corrupt(format!("content {course_id}: {e}"));
    let row = ActiveModel {
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
    Entity::insert(row).on_conflict(replace).exec_without_returning(db).await?;
    Ok(())
}

impl Store {
    /// Keeps documents there from now on.
    ///
    /// # Errors
    /// They are to be kept in SQL, and some are in MongoDB.
    pub async fn keep_content_in(self, place: ContentStore) -> Result<Self> {
        if matches!(place, ContentStore::Sql) {
            let all = Entity::find().count(&self.reader).await?;
            let here = Entity::find().filter(is_here()).count(&self.reader).await?;
            if here < all {
                return Err(Error::documents(format!(
                    "the content of {} courses is in MongoDB: start with CONTENT_STORE=mongo and \
                     its MONGODB_URL",
                    all - here
                )));
            }
        }
        Ok(Self { content: place, ..self })
    }

    pub fn content_store(&self) -> &ContentStore {
        &self.content
    }

    /// The content of a course, if it has any that is not deleted.
    pub async fn content(&self, course_id: i64) -> Result<Option<(Content, i64)>> {
        let live = Entity::find_by_id(course_id).filter(Column::DeletedAt.is_null());
        let stored = find(&self.reader, &self.content, live).await?;
        Ok(stored.map(|stored| (stored.content, stored.version)))
    }

    /// What [`Tx::content_to_edit`] did not find in the row.
    pub async fn fetch_content(&self, course_id: i64) -> Result<Option<Document>> {
        self.content.fetch(course_id).await
    }

    /// Carries a document that a transaction has left in its row to where documents are kept.
    /// Done twice, at once, or late, it does no harm: MongoDB takes no older version, and only
    /// what it has is removed from the row.
    ///
    /// # Errors
    /// The document stays in its row, where every read finds it, until this is done again.
    pub async fn carry_content(&self, course_id: i64) -> Result<()> {
        if matches!(self.content, ContentStore::Sql) {
            return Ok(());
        }
        let Some(row) = Entity::find_by_id(course_id).one(&self.reader).await? else {
            return Ok(());
        };
        let Some(content) = row.document()? else {
            return Ok(());
        };
        let version = row.version;
        self.content.put(Document { course_id, version, content }).await?;
        Entity::update_many()
            .col_expr(Column::Doc, ELSEWHERE.into())
            .filter(Column::CourseId.eq(course_id))
            .filter(Column::Version.eq(version))
            .exec(&self.writer)
            .await?;
        Ok(())
    }

    /// The same for every document that is still in its row: of writers that died, of imports,
    /// and from before MongoDB was used. One that cannot be carried does not hold up the others.
    ///
    /// # Errors
    /// The first one that there was.
    pub async fn carry_all_content(&self) -> Result<()> {
        let mut outcome = Ok(());
        let mut after = 0;
        loop {
            let ids: Vec<i64> = Entity::find()
                .select_only()
                .column(Column::CourseId)
                .filter(is_here())
                .filter(Column::CourseId.gt(after))
                .order_by_asc(Column::CourseId)
                .limit(BATCH)
                .into_tuple()
                .all(&self.reader)
                .await?;
            let Some(last) = ids.last() else {
                return outcome;
            };
            after = *last;
            for id in ids {
                match self.carry_content(id).await {
                    Err(error) if error.away().is_some() => return Err(error),
                    carried => outcome = outcome.and(carried),
                }
            }
        }
    }

    /// Carries documents for as long as this server runs.
    pub async fn keep_carrying_content(&self) {
        if matches!(self.content, ContentStore::Sql) {
            return;
        }
        let mut told = None;
        loop {
            let problem = self.carry_all_content().await.err().map(|error| error.to_string());
            // Once, not every second.
            if problem.is_some() && problem != told {
                tracing::warn!(problem, "documents stay in the database until MongoDB takes them");
            }
            told = problem;
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

impl Tx {
    /// The document to change, also a deleted one, whose ids must not come back; `fetched` is
    /// what MongoDB had a moment ago. Ask for [`Tx::course_to_edit`] first: it makes two
    /// editors take turns.
    pub async fn content_to_edit(
        &self,
        course_id: i64,
        fetched: Option<Document>,
    ) -> Result<ToEdit> {
        let Some(row) = Entity::find_by_id(course_id).one(&self.0).await? else {
            return Ok(ToEdit::Here(None));
        };
        let fetched = fetched.filter(|fetched| fetched.version == row.version);
        let content = row.document()?.or(fetched.map(|fetched| fetched.content));
        Ok(content.map_or(ToEdit::Elsewhere, |content| ToEdit::Here(Some(row.with(content)))))
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
