//! Course content, one document per course.
//!
//! The row of a course says which version of its document counts, which lessons that has and
//! whether it is deleted. The document is in the row too: for good, or until MongoDB has it.
//! So a write to MongoDB is the same transaction as one to SQL, and what the transaction
//! leaves in the row is carried over afterwards, by its writer or by whoever finds it there.

use std::fmt;
use std::time::Duration;

use sea_orm::sea_query::{Expr, OnConflict, SimpleExpr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, Select, Set,
};
use serde::{Deserialize, Serialize};

use super::differences::Kept;
#[cfg(feature = "mongo")]
use super::documents::Documents;
use super::tables::course_contents::{ActiveModel, Column, Entity, Model};
use super::tables::{enrollments, lesson_completions};
use super::{Error, Result, Store, Tx};
use crate::model::{Content, Outline, Timestamp};

/// What the row of a document that is in MongoDB has in its place.
pub(super) const ELSEWHERE: &str = "";

/// How often the row and MongoDB are looked at until both speak of one version.
pub(super) const LOOKS: u32 = 5;

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

/// What MongoDB has of a course.
#[derive(Debug)]
#[cfg_attr(not(feature = "mongo"), expect(dead_code, reason = "a build without it finds nothing"))]
pub(super) enum Found {
    Whole(Document),
    /// What this release cannot read, as far as it can.
    Unreadable {
        version: Option<i64>,
        next_id: i64,
    },
}

/// A document with the version it was written as.
#[derive(Debug, Clone)]
pub struct StoredContent {
    pub content: Content,
    pub version: i64,
    /// A deleted document is kept for its ids and its version, not to be shown.
    pub is_deleted: bool,
    /// Then `content` has its ids and nothing else: it can be replaced or deleted, not extended.
    pub lost: Option<Lost>,
}

/// A document that MongoDB has at another version than its row, or not at all, because one of the
/// two databases was restored without the other; or that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    pub course_id: i64,
    /// By its row.
    pub version: i64,
    /// In MongoDB.
    pub found: Option<i64>,
    pub is_unreadable: bool,
}

/// What a transaction finds that is to change a document.
#[derive(Debug)]
pub enum ToEdit {
    Here(Option<StoredContent>),
    /// This version is to be fetched first ([`Store::fetch_content`]), outside of the transaction.
    Elsewhere(i64),
}

/// What MongoDB had of a course when a version of it was wanted.
#[derive(Debug)]
pub struct Fetched {
    wanted: i64,
    document: Option<Found>,
}

impl Found {
    pub(super) fn kept(&self) -> Kept {
        let is_readable = matches!(self, Self::Whole(_));
        Kept { version: self.version(), is_readable }
    }

    fn version(&self) -> Option<i64> {
        match self {
            Self::Whole(document) => Some(document.version),
            Self::Unreadable { version, .. } => *version,
        }
    }

    fn next_id(&self) -> i64 {
        match self {
            Self::Whole(document) => document.content.next_id,
            Self::Unreadable { next_id, .. } => *next_id,
        }
    }
}

impl StoredContent {
    /// The same, to be changed in part.
    ///
    /// # Errors
    /// It is lost.
    pub fn whole(self) -> Result<Self> {
        self.lost.map_or(Ok(self), |lost| Err(lost.into()))
    }

    /// The version that the next one has to follow: MongoDB takes no older document.
    pub fn last_version(&self) -> i64 {
        let found = self.lost.and_then(|lost| lost.found);
        found.map_or(self.version, |found| found.max(self.version))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { course_id, version, found, is_unreadable } = self;
        write!(f, "the content of course {course_id} is at version {version}, and MongoDB has ")?;
        match found {
            Some(found) => write!(f, "version {found}")?,
            None if *is_unreadable => f.write_str("one")?,
            None => f.write_str("none")?,
        }
        if *is_unreadable {
            f.write_str(", which cannot be read")?;
        }
        f.write_str(
            "; replacing it as a whole or deleting it repairs it, `campus content check` lists all",
        )
    }
}

impl ContentStore {
    /// The document of a row that has none.
    pub(super) async fn fetch(&self, course_id: i64) -> Result<Option<Found>> {
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
        let is_deleted = self.deleted_at.is_some();
        StoredContent { content, version: self.version, is_deleted, lost: None }
    }

    /// What it means that MongoDB has this instead.
    pub(super) fn lost(&self, found: Option<&Found>) -> Lost {
        let is_unreadable = matches!(found, Some(Found::Unreadable { .. }));
        let found = found.and_then(Found::version);
        Lost { course_id: self.course_id, version: self.version, found, is_unreadable }
    }

    /// The document, if it is here.
    pub(super) fn document(&self) -> Result<Option<Content>> {
        if self.doc == ELSEWHERE {
            return Ok(None);
        }
        let content = serde_json::from_str(&self.doc);
        let id = self.course_id;
        content.map(Some).map_err(|e| Error::corrupt(format!("content {id}: {e}")))
    }
}

/// Rows that have their document. Written out: an index of exactly these serves it.
pub(super) fn is_here() -> SimpleExpr {
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
    let mut looks = 0;
    loop {
        let Some(row) = select.clone().one(db).await? else {
            return Ok(None);
        };
        if let Some(content) = row.document()? {
            return Ok(Some(row.with(content)));
        }
        let lost = match place.fetch(row.course_id).await? {
            Some(Found::Whole(found)) if found.version == row.version => {
                return Ok(Some(row.with(found.content)));
            }
            found => row.lost(found.as_ref()),
        };
        looks += 1;
        // Or a write in between has changed both.
        if looks == LOOKS {
            return Err(lost.into());
        }
    }
}

/// What is left of a lost document: its ids. None that anybody has met may come to mean another
/// lesson.
pub(super) async fn remains<C: ConnectionTrait>(
    db: &C,
    row: Model,
    found: Option<Found>,
) -> Result<StoredContent> {
    let lost = row.lost(found.as_ref());
    let outline: Outline =
        serde_json::from_str(&row.outline).map_err(|e| Error::corrupt(e.to_string()))?;
    let highest = highest_id_met(db, row.course_id).await?;
    let next_id = found.as_ref().map_or(0, Found::next_id).max(highest + 1);
    let content = Content::of_ids(&outline, next_id);
    Ok(StoredContent { lost: Some(lost), ..row.with(content) })
}

/// Of the modules and lessons that students of a course have done or been at.
async fn highest_id_met<C: ConnectionTrait>(db: &C, course_id: i64) -> Result<i64> {
    use enrollments::Column as Place;
    use lesson_completions::Column as Done;
    let places = || enrollments::Entity::find().filter(Place::CourseId.eq(course_id));
    let their_ids = places().select_only().column(Place::Id).into_query();
    let done: Option<(Option<i64>, Option<i64>)> = lesson_completions::Entity::find()
        .select_only()
        .column_as(Done::LessonId.max(), "lesson")
        .column_as(Done::ModuleId.max(), "module")
        .filter(Done::EnrollmentId.in_subquery(their_ids))
        .into_tuple()
        .one(db)
        .await?;
    let last: Option<Option<i64>> = places()
        .select_only()
        .column_as(Place::LastLessonId.max(), "lesson")
        .into_tuple()
        .one(db)
        .await?;
    let (lesson, module) = done.unwrap_or_default();
    Ok([lesson, module, last.flatten()].into_iter().flatten().max().unwrap_or(0))
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
                     its MONGODB_URL, or bring it back with `campus content to-sql` before",
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
    pub async fn fetch_content(&self, course_id: i64, wanted: i64) -> Result<Fetched> {
        Ok(Fetched { wanted, document: self.content.fetch(course_id).await? })
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
        fetched: Option<Fetched>,
    ) -> Result<ToEdit> {
        let Some(row) = Entity::find_by_id(course_id).one(&self.0).await? else {
            return Ok(ToEdit::Here(None));
        };
        if let Some(content) = row.document()? {
            return Ok(ToEdit::Here(Some(row.with(content))));
        }
        Ok(match fetched {
            Some(Fetched { document: Some(Found::Whole(found)), .. })
                if found.version == row.version =>
            {
                ToEdit::Here(Some(row.with(found.content)))
            }
            // Nobody has written since it was asked for: there is no such document.
            Some(fetched) if fetched.wanted == row.version => {
                ToEdit::Here(Some(remains(&self.0, row, fetched.document).await?))
            }
            _ => ToEdit::Elsewhere(row.version),
        })
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
