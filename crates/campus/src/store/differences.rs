//! The rows and the documents of course content, held against each other, and the way back from
//! MongoDB: after one of the two databases was restored without the other they may disagree.

use std::collections::BTreeMap;

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use super::content::{ContentStore, ELSEWHERE, Found, LOOKS, is_here, remains};
use super::tables::course_contents::{Column, Entity};
use super::{Error, Lost, Result, Store};

/// How many rows, and how many documents, one look takes in.
const PAGE: usize = 1_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Rows of content.
    pub rows: u64,
    /// Documents that are still in their rows, and in order: a server carries them to MongoDB.
    pub waiting: u64,
    pub differences: Vec<Difference>,
}

/// A row and a document that should be one and are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    pub course_id: i64,
    pub how: How,
    /// The version that the row names.
    pub in_sql: Option<i64>,
    pub in_mongodb: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// MongoDB has no document where the row says that it has.
    Missing,
    /// It has another version.
    OtherVersion,
    /// It has another one of the version that is in the row, which therefore stays there.
    KeptOut,
    /// It has a newer one than that in the row: another installation's, or the last work of an
    /// author whose database is now an older backup.
    NewerInMongodb,
    /// It has one of which there is no row.
    WithoutRow,
    /// It has one that this release cannot read.
    Unreadable,
}

/// What became of the documents that were in MongoDB.
#[derive(Debug, Default)]
pub struct Brought {
    pub documents: u64,
    /// Lost ones of deleted courses, or deleted before: of these the ids are back, the rest is
    /// for nobody to read.
    pub ids_alone: u64,
    /// Those that are not there at the version of their rows.
    pub lost: Vec<Lost>,
}

/// A row, as far as this is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    version: i64,
    has_document: bool,
    /// Neither the content nor its course is deleted.
    is_shown: bool,
}

/// A document, as far as this is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) version: Option<i64>,
    pub(super) is_readable: bool,
}

/// What became of one document.
enum Back {
    Whole,
    IdsAlone,
    Lost(Lost),
}

impl How {
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::OtherVersion => "other_version",
            Self::KeptOut => "kept_out",
            Self::NewerInMongodb => "newer_in_mongodb",
            Self::WithoutRow => "without_row",
            Self::Unreadable => "unreadable",
        }
    }

    fn of(row: Option<State>, found: Option<Kept>) -> Option<Self> {
        match (row, found) {
            (None, Some(_)) => Some(Self::WithoutRow),
            (Some(row), Some(found)) if row.has_document => match found.version {
                Some(found) if found == row.version => Some(Self::KeptOut),
                Some(found) if found > row.version => Some(Self::NewerInMongodb),
                _ => None,
            },
            // Nobody can read it, nor has to.
            (Some(row), _) if !row.is_shown => None,
            (Some(_), Some(found)) if !found.is_readable => Some(Self::Unreadable),
            (Some(row), Some(found)) => {
                (found.version != Some(row.version)).then_some(Self::OtherVersion)
            }
            (Some(row), None) => (!row.has_document).then_some(Self::Missing),
            (None, None) => None,
        }
    }
}

impl Store {
    /// How many courses have content, or had.
    pub async fn content_rows(&self) -> Result<u64> {
        Ok(Entity::find().count(&self.reader).await?)
    }

    /// Compares every row with its document, beside servers that go on writing; `progress` hears
    /// how many rows are done.
    ///
    /// # Errors
    /// One of the databases is away.
    pub async fn compare_content(
        &self,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Comparison> {
        let mut comparison = Comparison::default();
        let mut after = i64::MIN;
        loop {
            let rows = self.states(after).await?;
            let documents = self.content.kept_after(after).await?;
            // What comes after the end of a full page has not been seen yet.
            let seen = |last: Option<i64>, count| if count < PAGE { None } else { last };
            let ends = [
                seen(rows.last().map(|row| row.0), rows.len()),
                seen(documents.last().map(|document| document.0), documents.len()),
            ];
            let end = ends.into_iter().flatten().min();
            let mut pairs: BTreeMap<i64, (Option<State>, Option<Kept>)> = BTreeMap::new();
            for (id, state) in rows {
                pairs.entry(id).or_default().0 = Some(state);
            }
            for (id, kept) in documents {
                pairs.entry(id).or_default().1 = Some(kept);
            }
            pairs.retain(|id, _| end.is_none_or(|end| *id <= end));
            self.compare(pairs, &mut comparison).await?;
            progress(comparison.rows);
            match end {
                Some(end) => after = end,
                None => return Ok(comparison),
            }
        }
    }

    async fn compare(
        &self,
        pairs: BTreeMap<i64, (Option<State>, Option<Kept>)>,
        comparison: &mut Comparison,
    ) -> Result<()> {
        for (course_id, (row, found)) in pairs {
            comparison.rows += u64::from(row.is_some());
            let difference = match How::of(row, found) {
                Some(_) => self.difference(course_id).await?,
                None => None,
            };
            comparison.differences.extend(difference);
            let waits = difference.is_none() && row.is_some_and(|row| row.has_document);
            comparison.waiting += u64::from(waits);
        }
        Ok(())
    }

    /// Looks again, at one course: most of what differs is being written.
    async fn difference(&self, course_id: i64) -> Result<Option<Difference>> {
        let mut before = self.state(course_id).await?;
        for _ in 0..LOOKS {
            let found = self.content.fetch(course_id).await?.map(|found| found.kept());
            let row = self.state(course_id).await?;
            if row == before {
                let how = match How::of(row, found) {
                    Some(How::KeptOut) if self.is_carried(course_id, row).await? => None,
                    how => how,
                };
                let in_sql = row.map(|row| row.version);
                let in_mongodb = found.and_then(|found| found.version);
                return Ok(how.map(|how| Difference { course_id, how, in_sql, in_mongodb }));
            }
            before = row;
        }
        Ok(None)
    }

    /// Whether MongoDB has the very document that is in the row, about to be removed there; or
    /// whether the row is written at this moment.
    async fn is_carried(&self, course_id: i64, seen: Option<State>) -> Result<bool> {
        let row = Entity::find_by_id(course_id).one(&self.reader).await?;
        let seen = seen.map(|seen| seen.version);
        let Some(row) = row.filter(|row| Some(row.version) == seen) else {
            return Ok(true);
        };
        let Some(content) = row.document()? else {
            return Ok(true);
        };
        let found = self.content.fetch(course_id).await?;
        Ok(match found {
            Some(Found::Whole(found)) => found.version == row.version && found.content == content,
            Some(Found::Unreadable { .. }) => false,
            None => true,
        })
    }

    /// Removes the document of a difference from MongoDB, unless the two do not differ like that
    /// any more. Answers whether it did.
    ///
    /// # Errors
    /// One of the databases is away.
    pub async fn remove_document(&self, difference: &Difference) -> Result<bool> {
        let Difference { course_id, how, in_mongodb: version, .. } = *difference;
        if how == How::Missing {
            return Ok(false);
        }
        // The comparison may have been long ago, and this the only copy since.
        if self.difference(course_id).await? != Some(*difference) {
            return Ok(false);
        }
        self.content.remove(course_id, version, self.relies_on(course_id, version)).await
    }

    /// Whether the document of a row is in MongoDB alone, as this version.
    async fn relies_on(&self, course_id: i64, version: Option<i64>) -> Result<bool> {
        let row = self.state(course_id).await?;
        Ok(row.is_some_and(|row| !row.has_document && Some(row.version) == version))
    }

    /// Puts the documents back into their rows, to be kept in SQL from then on. It can be done
    /// again and goes on where it was; MongoDB keeps what it has. Servers that run meanwhile
    /// would carry the documents back.
    ///
    /// # Errors
    /// One of the databases is away, or a document cannot be read; those before are in their rows.
    pub async fn bring_content_back(
        &self,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Brought> {
        let mut brought = Brought::default();
        let (mut after, mut done) = (i64::MIN, 0);
        loop {
            let states = self.states(after).await?;
            let Some((last, _)) = states.last() else {
                return Ok(brought);
            };
            after = *last;
            for (course_id, state) in states {
                if !state.has_document {
                    match self.bring_back(course_id, state).await? {
                        Back::Whole => brought.documents += 1,
                        Back::IdsAlone => brought.ids_alone += 1,
                        Back::Lost(lost) => brought.lost.push(lost),
                    }
                }
                done += 1;
                progress(done);
            }
        }
    }

    async fn bring_back(&self, course_id: i64, state: State) -> Result<Back> {
        let State { version, is_shown, .. } = state;
        let found = self.content.fetch(course_id).await?;
        let (content, back) = match found {
            Some(Found::Whole(found)) if found.version == version => (found.content, Back::Whole),
            found => {
                let row = Entity::find_by_id(course_id).one(&self.reader).await?;
                let row =
                    row.ok_or_else(|| Error::corrupt(format!("content {course_id}: gone")))?;
                if is_shown {
                    return Ok(Back::Lost(row.lost(found.as_ref())));
                }
                (remains(&self.reader, row, found).await?.content, Back::IdsAlone)
            }
        };
        let text = serde_json::to_string(&content)
            .map_err(|e| Error::corrupt(format!("content {course_id}: {e}")))?;
        Entity::update_many()
            .col_expr(Column::Doc, text.into())
            .filter(Column::CourseId.eq(course_id))
            .filter(Column::Version.eq(version))
            .filter(Column::Doc.eq(ELSEWHERE))
            .exec(&self.writer)
            .await?;
        Ok(back)
    }

    /// The rows of the next courses.
    async fn states(&self, after: i64) -> Result<Vec<(i64, State)>> {
        let rows: Vec<Row> = states()
            .filter(Column::CourseId.gt(after))
            .order_by_asc(Column::CourseId)
            .limit(PAGE as u64)
            .into_tuple()
            .all(&self.reader)
            .await?;
        Ok(rows.into_iter().map(state).collect())
    }

    async fn state(&self, course_id: i64) -> Result<Option<State>> {
        let row = states().filter(Column::CourseId.eq(course_id));
        let row: Option<Row> = row.into_tuple().one(&self.reader).await?;
        Ok(row.map(|row| state(row).1))
    }
}

/// Course, version, and the two answers of a [`State`], as numbers: SQLite knows no others.
type Row = (i64, i64, i32, i32);

fn states() -> Select<Entity> {
    let is_shown = Expr::cust(
        "course_contents.deleted_at IS NULL AND EXISTS (SELECT 1 FROM courses c \
         WHERE c.id = course_contents.course_id AND c.deleted_at IS NULL)",
    );
    Entity::find()
        .select_only()
        .columns([Column::CourseId, Column::Version])
        .expr_as(Expr::case(is_here(), 1).finally(0), "has_document")
        .expr_as(Expr::case(is_shown, 1).finally(0), "is_shown")
}

fn state((course_id, version, has_document, is_shown): Row) -> (i64, State) {
    let (has_document, is_shown) = (has_document == 1, is_shown == 1);
    (course_id, State { version, has_document, is_shown })
}

impl ContentStore {
    /// Courses and what there is of their documents, from the first one after `after`.
    async fn kept_after(&self, after: i64) -> Result<Vec<(i64, Kept)>> {
        match self {
            Self::Sql => {
                _ = after;
                Ok(Vec::new())
            }
            #[cfg(feature = "mongo")]
            Self::Mongo(documents) => documents.after(after, PAGE as i64).await,
        }
    }

    async fn remove(
        &self,
        course_id: i64,
        version: Option<i64>,
        is_needed: impl Future<Output = Result<bool>>,
    ) -> Result<bool> {
        match self {
            Self::Sql => {
                _ = (course_id, version, is_needed);
                Ok(false)
            }
            #[cfg(feature = "mongo")]
            Self::Mongo(documents) => documents.remove(course_id, version, is_needed).await,
        }
    }
}
