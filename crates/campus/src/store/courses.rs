//! Courses and their ratings.

use sea_orm::sea_query::{LikeExpr, OnConflict, SimpleExpr};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ExprTrait,
    FromQueryResult, JoinType, Order, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    RelationTrait, Select, Set,
};

use super::tables::{course_ratings, courses, users};
use super::{Error, Result, Store, Tx};
use crate::model::{
    Course, CourseDraft, CourseFilter, CourseSort, CourseStatus, InstructorRef, Money, Rating,
    Timestamp, Window, rating_score,
};

/// A course with the name it shows; the search text stays in the database.
#[derive(FromQueryResult)]
struct Row {
    id: i64,
    slug: String,
    title: String,
    description: String,
    category: String,
    level: String,
    price_cents: i64,
    status: String,
    instructor_id: i64,
    instructor_name: String,
    max_students: Option<i64>,
    enrolled_count: i64,
    rating_sum: i64,
    rating_count: i64,
    published_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
    version: i64,
}

impl TryFrom<Row> for Course {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let price = Money::from_cents(row.price_cents);
        Ok(Self {
            id: row.id,
            slug: row.slug,
            title: row.title,
            description: row.description,
            category: row.category,
            level: row.level.parse().map_err(Error::corrupt)?,
            price: price.ok_or_else(|| Error::corrupt("a price is out of range"))?,
            status: row.status.parse().map_err(Error::corrupt)?,
            instructor: InstructorRef { id: row.instructor_id, full_name: row.instructor_name },
            max_students: row.max_students,
            enrolled_count: row.enrolled_count,
            rating: Rating { sum: row.rating_sum, count: row.rating_count },
            published_at: row.published_at.map(Timestamp),
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
            version: row.version,
        })
    }
}

fn live() -> Select<courses::Entity> {
    courses::Entity::find().filter(courses::Column::DeletedAt.is_null())
}

/// Narrows a selection of courses to what [`Row`] holds.
fn rows(select: Select<courses::Entity>) -> Select<courses::Entity> {
    use courses::Column;
    select
        .select_only()
        .columns([
            Column::Id,
            Column::Slug,
            Column::Title,
            Column::Description,
            Column::Category,
            Column::Level,
            Column::PriceCents,
            Column::Status,
            Column::InstructorId,
            Column::MaxStudents,
            Column::EnrolledCount,
            Column::RatingSum,
            Column::RatingCount,
            Column::PublishedAt,
            Column::CreatedAt,
            Column::UpdatedAt,
            Column::Version,
        ])
        .column_as(users::Column::FullName, "instructor_name")
        .join(JoinType::InnerJoin, courses::Relation::Instructor.def())
}

async fn one<C: ConnectionTrait>(
    db: &C,
    select: Select<courses::Entity>,
) -> Result<Option<Course>> {
    let row = rows(select).into_model::<Row>().one(db).await?;
    row.map(Course::try_from).transpose()
}

impl Store {
    pub async fn course(&self, id: i64) -> Result<Option<Course>> {
        one(&self.reader, live().filter(courses::Column::Id.eq(id))).await
    }

    pub async fn course_by_slug(&self, slug: &str) -> Result<Option<Course>> {
        let select = live().filter(courses::Column::Slug.eq(slug));
        one(&self.reader, select).await
    }

    /// A page of the public catalogue and how many courses match in all.
    pub async fn published_courses(
        &self,
        filter: &CourseFilter,
        sort: CourseSort,
        window: Window,
    ) -> Result<(Vec<Course>, i64)> {
        let column = match sort {
            CourseSort::Recent => courses::Column::PublishedAt,
            CourseSort::Popular => courses::Column::EnrolledCount,
            CourseSort::TopRated => courses::Column::RatingScore,
        };
        let status = CourseStatus::Published.as_str();
        let select = narrowed(live().filter(courses::Column::Status.eq(status)), filter);
        let ordered =
            select.clone().order_by(column, Order::Desc).order_by(courses::Column::Id, Order::Desc);
        self.page(select, ordered, window).await
    }

    /// The categories of published courses and how many are in each. Spellings that lists
    /// take for one are one here.
    pub async fn categories(&self) -> Result<Vec<(String, i64)>> {
        use courses::Column;
        let mut rows: Vec<(String, String, i64)> = live()
            .filter(Column::Status.eq(CourseStatus::Published.as_str()))
            .select_only()
            .column(Column::CategoryKey)
            .column_as(Column::Category.min(), "name")
            .column_as(Column::Id.count(), "count")
            .group_by(Column::CategoryKey)
            .into_tuple()
            .all(&self.reader)
            .await?;
        // Databases sort texts by rules of their own.
        rows.sort();
        Ok(rows.into_iter().map(|(_, name, count)| (name, count)).collect())
    }

    /// Everything a person teaches, drafts included, newest first.
    pub async fn courses_of(
        &self,
        instructor_id: i64,
        window: Window,
    ) -> Result<(Vec<Course>, i64)> {
        let select = live().filter(courses::Column::InstructorId.eq(instructor_id));
        let ordered = select.clone().order_by(courses::Column::Id, Order::Desc);
        self.page(select, ordered, window).await
    }

    async fn page(
        &self,
        select: Select<courses::Entity>,
        ordered: Select<courses::Entity>,
        window: Window,
    ) -> Result<(Vec<Course>, i64)> {
        let total = select.select_only().column(courses::Column::Id).count(&self.reader).await?;
        let page = rows(ordered)
            .offset(window.skip as u64)
            .limit(window.limit as u64)
            .into_model::<Row>()
            .all(&self.reader)
            .await?;
        let courses: Result<Vec<Course>> = page.into_iter().map(Course::try_from).collect();
        Ok((courses?, total as i64))
    }
}

fn narrowed(mut select: Select<courses::Entity>, filter: &CourseFilter) -> Select<courses::Entity> {
    use courses::Column;
    if let Some(q) = &filter.q {
        let text = sea_orm::sea_query::Expr::col((courses::Entity, Column::SearchText));
        select = select.filter(text.like(contains(q)));
    }
    if let Some(category) = &filter.category {
        select = select.filter(Column::CategoryKey.eq(category));
    }
    if let Some(level) = filter.level {
        select = select.filter(Column::Level.eq(level.as_str()));
    }
    if let Some(stars) = filter.min_rating {
        let hundredfold = Column::RatingSum.into_expr().mul(100);
        let wanted = Column::RatingCount.into_expr().mul(stars);
        select = select.filter(Column::RatingCount.gt(0)).filter(hundredfold.gte(wanted));
    }
    select
}

/// A LIKE pattern for "contains this text", in which `%` and `_` mean themselves.
fn contains(text: &str) -> LikeExpr {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    LikeExpr::new(pattern).escape('\\')
}

/// The text that `q` is looked for in. Folded here, because SQLite's `lower()` knows only ASCII.
pub(super) fn search_text(title: &str, description: &str) -> String {
    let folded = format!("{title}\n{description}").to_lowercase();
    let words: Vec<&str> = folded.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// `model::rating_score` in integer SQL, which both databases divide alike.
pub(super) fn score_of(sum: SimpleExpr, count: SimpleExpr) -> SimpleExpr {
    sum.mul(2).add(35).mul(500_000).div(count.add(5))
}

pub(super) fn category_key(category: &str) -> String {
    let words: Vec<&str> = category.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

impl Tx {
    /// Whether there is no course of any status, nor has been one.
    pub async fn has_no_courses(&self) -> Result<bool> {
        Ok(courses::Entity::find().one(&self.0).await?.is_none())
    }

    pub async fn course(&self, id: i64) -> Result<Option<Course>> {
        one(&self.0, live().filter(courses::Column::Id.eq(id))).await
    }

    /// A course that is about to be changed. Two editors take turns: SQLite has one
    /// writer anyway; PostgreSQL locks the row through an update that changes nothing.
    pub async fn course_to_edit(&self, id: i64) -> Result<Option<Course>> {
        use courses::Column;
        if self.0.get_database_backend() == DbBackend::Postgres {
            courses::Entity::update_many()
                .col_expr(Column::Version, Column::Version.into_expr())
                .filter(Column::Id.eq(id))
                .exec(&self.0)
                .await?;
        }
        self.course(id).await
    }

    pub async fn slug_taken(&self, slug: &str, but: Option<i64>) -> Result<bool> {
        let same = live()
            .filter(courses::Column::Slug.eq(slug))
            .filter(courses::Column::Id.ne(but.unwrap_or(0)));
        Ok(same.count(&self.0).await? > 0)
    }

    pub async fn insert_course(&self, draft: CourseDraft, now: Timestamp) -> Result<i64> {
        let row = courses::ActiveModel {
            search_text: Set(search_text(&draft.title, &draft.description)),
            category_key: Set(category_key(&draft.category)),
            slug: Set(draft.slug),
            title: Set(draft.title),
            description: Set(draft.description),
            category: Set(draft.category),
            level: Set(draft.level.as_str().to_owned()),
            price_cents: Set(draft.price.cents()),
            status: Set(CourseStatus::Draft.as_str().to_owned()),
            instructor_id: Set(draft.instructor_id),
            max_students: Set(draft.max_students),
            enrolled_count: Set(0),
            rating_sum: Set(0),
            rating_count: Set(0),
            rating_score: Set(rating_score(Rating::default())),
            created_at: Set(now.0),
            updated_at: Set(now.0),
            version: Set(1),
            ..Default::default()
        };
        Ok(row.insert(&self.0).await?.id)
    }

    /// Writes the fields of a course back as its next version; `false` when
    /// somebody else wrote since it was read. Counts and ratings are not touched.
    pub async fn save_course(&self, course: &Course, now: Timestamp) -> Result<bool> {
        let changes = courses::ActiveModel {
            slug: Set(course.slug.clone()),
            title: Set(course.title.clone()),
            description: Set(course.description.clone()),
            search_text: Set(search_text(&course.title, &course.description)),
            category: Set(course.category.clone()),
            category_key: Set(category_key(&course.category)),
            level: Set(course.level.as_str().to_owned()),
            price_cents: Set(course.price.cents()),
            status: Set(course.status.as_str().to_owned()),
            max_students: Set(course.max_students),
            published_at: Set(course.published_at.map(|at| at.0)),
            ..Default::default()
        };
        self.write_course(course, changes, now).await
    }

    /// Marks a course deleted; its slug is free again.
    pub async fn delete_course(&self, course: &Course, now: Timestamp) -> Result<bool> {
        let changes = courses::ActiveModel { deleted_at: Set(Some(now.0)), ..Default::default() };
        self.write_course(course, changes, now).await
    }

    async fn write_course(
        &self,
        course: &Course,
        mut changes: courses::ActiveModel,
        now: Timestamp,
    ) -> Result<bool> {
        changes.updated_at = Set(now.0);
        changes.version = Set(course.version + 1);
        let written = courses::Entity::update_many()
            .set(changes)
            .filter(courses::Column::Id.eq(course.id))
            .filter(courses::Column::Version.eq(course.version))
            .filter(courses::Column::DeletedAt.is_null())
            .exec(&self.0)
            .await?;
        Ok(written.rows_affected == 1)
    }

    /// Gives or changes a person's stars and keeps the sums in step; `false` when they are the
    /// same as before. The course is held first: two votes of one person would both read the
    /// stars before the other's.
    pub async fn rate(&self, course_id: i64, user_id: i64, stars: i16) -> Result<bool> {
        use course_ratings::Column;
        self.course_to_edit(course_id).await?;
        let before = course_ratings::Entity::find_by_id((course_id, user_id)).one(&self.0).await?;
        let (new_votes, difference) = match before {
            Some(row) if row.stars == stars => return Ok(false),
            Some(row) => (0, i64::from(stars) - i64::from(row.stars)),
            None => (1, i64::from(stars)),
        };
        let row = course_ratings::ActiveModel {
            course_id: Set(course_id),
            user_id: Set(user_id),
            stars: Set(stars),
        };
        let replace = OnConflict::columns([Column::CourseId, Column::UserId])
            .update_column(Column::Stars)
            .to_owned();
        course_ratings::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(&self.0)
            .await?;
        self.add_rating(course_id, difference, new_votes).await?;
        Ok(true)
    }

    async fn add_rating(&self, course_id: i64, difference: i64, new_votes: i64) -> Result<()> {
        use courses::Column;
        let sum = || Column::RatingSum.into_expr().add(difference);
        let count = || Column::RatingCount.into_expr().add(new_votes);
        courses::Entity::update_many()
            .col_expr(Column::RatingSum, sum())
            .col_expr(Column::RatingCount, count())
            .col_expr(Column::RatingScore, score_of(sum(), count()))
            .filter(Column::Id.eq(course_id))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
