//! Figures over many rows, counted by the database. What is divided or rounded is in the model.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use sea_orm::sea_query::{Asterisk, Expr, Query, SimpleExpr};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, JoinType, Order, QueryFilter, QueryOrder,
    QuerySelect, RelationTrait, Select,
};

use super::articles;
use super::enrollments::{DROPPED, of_courses, outlines};
use super::tables::{certificates, courses, enrollments, lesson_completions, users};
use super::{Error, Result, Store};
use crate::model::{
    CourseFigures, CourseStatus, EnrollmentStatus, LessonFigures, Outline, Pace, PlaceGroup,
    PlatformFigures, Rating, Role, RoleCounts, StatusCounts, StudentCourse, StudentFigures,
    Timestamp, TopCourse, Totals, Windows,
};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// How many of the most popular courses the overview shows.
const TOP: u64 = 10;

/// Somebody may have enrolled and dropped more often than a statement has parameters.
const PLACES_AT_ONCE: usize = 1_000;

/// A place in a course that there still is.
#[derive(FromQueryResult)]
struct Row {
    id: i64,
    status: String,
    enrolled_at: i64,
    last_accessed_at: Option<i64>,
    time_spent_minutes: i64,
    course_id: i64,
    title: String,
    slug: String,
    instructor_id: i64,
}

/// A lesson done.
#[derive(FromQueryResult)]
struct Done {
    enrollment_id: i64,
    lesson_id: i64,
    completed_at: i64,
}

impl Store {
    /// What a live course's students have done in it.
    pub async fn course_figures(&self, id: i64, now: Timestamp) -> Result<Option<CourseFigures>> {
        use courses::Column;
        let course: Option<(String, i64, i64)> = courses::Entity::find_by_id(id)
            .filter(Column::DeletedAt.is_null())
            .select_only()
            .columns([Column::Title, Column::RatingSum, Column::RatingCount])
            .into_tuple()
            .one(&self.reader)
            .await?;
        let Some((title, sum, count)) = course else {
            return Ok(None);
        };
        let outline = outlines(&self.reader, vec![id]).await?.remove(&id).unwrap_or_default();
        let completions: Vec<(i64, i64)> =
            completions_by_lesson(id).into_tuple().all(&self.reader).await?;
        let completions: HashMap<i64, i64> = completions.into_iter().collect();
        let places = place_groups(id, lessons_done(&outline, &completions), now);
        let places: Vec<(String, i64, i64, i64, i64)> =
            places.into_tuple().all(&self.reader).await?;
        let places: Result<Vec<PlaceGroup>> = places.into_iter().map(place_group).collect();
        let lesson = |(module_id, lesson_id)| {
            let completions = completions.get(&lesson_id).copied().unwrap_or(0);
            LessonFigures { module_id, lesson_id, completions }
        };
        let modules = outline.0.iter();
        let lessons = modules.flat_map(|(module, lessons)| lessons.iter().map(|l| (*module, *l)));
        Ok(Some(CourseFigures {
            course_id: id,
            title,
            places: places?,
            lessons: lessons.map(lesson).collect(),
            rating: Rating { sum, count },
            generated_at: now,
        }))
    }

    /// Every course in which a live account has or had a place.
    pub async fn student_figures(&self, id: i64, now: Timestamp) -> Result<Option<StudentFigures>> {
        if self.user(id).await?.is_none() {
            return Ok(None);
        }
        let rows = places_ever(id).into_model::<Row>().all(&self.reader).await?;
        let mut done_by_place: HashMap<i64, Vec<Done>> = HashMap::new();
        for some in rows.chunks(PLACES_AT_ONCE) {
            let done = lessons_done_in(some.iter().map(|row| row.id));
            for one in done.into_model::<Done>().all(&self.reader).await? {
                done_by_place.entry(one.enrollment_id).or_default().push(one);
            }
        }
        let course_ids: BTreeSet<i64> = rows.iter().map(|row| row.course_id).collect();
        let outlines = outlines(&self.reader, course_ids.into_iter().collect()).await?;
        let mut courses: BTreeMap<i64, StudentCourse> = BTreeMap::new();
        for row in rows {
            let done = done_by_place.remove(&row.id).unwrap_or_default();
            let lately = StudentFigures::recent_from(now).0;
            let recent = done.iter().map(|one| one.completed_at).filter(|at| *at >= lately);
            let place = pace(&row, &done, outlines.get(&row.course_id))?;
            let course = courses.entry(row.course_id).or_insert_with(|| row.course());
            course.recent.extend(recent.map(Timestamp));
            match place {
                Some(place) => course.place = Some(place),
                None => course.dropped += 1,
            }
        }
        let courses = courses.into_values().collect();
        Ok(Some(StudentFigures { user_id: id, courses, generated_at: now }))
    }

    pub async fn platform_figures(&self, now: Timestamp) -> Result<PlatformFigures> {
        let enrolled = enrollments::Column::EnrolledAt;
        let completed = lesson_completions::Column::CompletedAt;
        Ok(PlatformFigures {
            users: self.users_by_role().await?,
            courses: self.courses_by_status().await?,
            enrollments: self.windows::<enrollments::Entity>(enrolled, now).await?,
            completions: self.windows::<lesson_completions::Entity>(completed, now).await?,
            top_courses: self.top_courses().await?,
            generated_at: now,
        })
    }

    async fn users_by_role(&self) -> Result<RoleCounts> {
        let mut counts = RoleCounts::default();
        let rows: Vec<(String, i64)> =
            by(live_users(), users::Column::Role).into_tuple().all(&self.reader).await?;
        for (role, count) in rows {
            match role.parse().map_err(Error::corrupt)? {
                Role::Student => counts.student = count,
                Role::Instructor => counts.instructor = count,
                Role::Admin => counts.admin = count,
            }
        }
        Ok(counts)
    }

    async fn courses_by_status(&self) -> Result<StatusCounts> {
        let mut counts = StatusCounts::default();
        let rows: Vec<(String, i64)> =
            by(live_courses(), courses::Column::Status).into_tuple().all(&self.reader).await?;
        for (status, count) in rows {
            match status.parse().map_err(Error::corrupt)? {
                CourseStatus::Draft => counts.draft = count,
                CourseStatus::Published => counts.published = count,
                CourseStatus::Archived => counts.archived = count,
            }
        }
        Ok(counts)
    }

    /// Each row is counted once, in the shortest span that it is in.
    async fn windows<E: EntityTrait>(&self, at: E::Column, now: Timestamp) -> Result<Windows> {
        let [day, week, month] = [0..1, 1..7, 7..30].map(|days| of_days::<E>(at, now, days));
        let last_24h = self.number(day).await?;
        let last_7d = last_24h + self.number(week).await?;
        let last_30d = last_7d + self.number(month).await?;
        Ok(Windows { last_24h, last_7d, last_30d })
    }

    async fn top_courses(&self) -> Result<Vec<TopCourse>> {
        let rows: Vec<(i64, String, String, i64)> =
            most_popular().into_tuple().all(&self.reader).await?;
        let course =
            |(id, title, slug, enrolled_count)| TopCourse { id, title, slug, enrolled_count };
        Ok(rows.into_iter().map(course).collect())
    }

    pub async fn totals(&self, now: Timestamp) -> Result<Totals> {
        Ok(Totals {
            users: self.number(live_users()).await?,
            courses: self.number(live_courses()).await?,
            enrollments: self.number(enrollments::Entity::find()).await?,
            completions: self.number(lesson_completions::Entity::find()).await?,
            certificates: self.number(certificates::Entity::find()).await?,
            articles: self.number(articles::live()).await?,
            generated_at: now,
        })
    }

    async fn number<E: EntityTrait>(&self, select: Select<E>) -> Result<i64> {
        let count = counted(select).into_tuple().one(&self.reader).await?;
        Ok(count.unwrap_or(0))
    }
}

/// `COUNT(*)`, which SQLite answers from the smallest index.
fn rows() -> SimpleExpr {
    Expr::col(Asterisk).count()
}

/// `COUNT` leaves out what is `NULL`.
fn rows_where(condition: SimpleExpr) -> SimpleExpr {
    let one: SimpleExpr = Expr::case(condition, 1).into();
    one.count()
}

fn live_users() -> Select<users::Entity> {
    users::Entity::find().filter(users::Column::DeletedAt.is_null())
}

fn live_courses() -> Select<courses::Entity> {
    courses::Entity::find().filter(courses::Column::DeletedAt.is_null())
}

fn counted<E: EntityTrait>(select: Select<E>) -> Select<E> {
    select.select_only().column_as(rows(), "count")
}

fn by<E: EntityTrait>(select: Select<E>, column: E::Column) -> Select<E> {
    select.select_only().column(column).column_as(rows(), "count").group_by(column)
}

/// The rows that are so many days old. A moment that is still to come counts as today.
fn of_days<E: EntityTrait>(at: E::Column, now: Timestamp, days: Range<i64>) -> Select<E> {
    let since = E::find().filter(at.gte(now.0 - days.end * DAY));
    if days.start == 0 { since } else { since.filter(at.lt(now.0 - days.start * DAY)) }
}

fn most_popular() -> Select<courses::Entity> {
    use courses::Column;
    live_courses()
        .select_only()
        .columns([Column::Id, Column::Title, Column::Slug, Column::EnrolledCount])
        .filter(Column::Status.eq(CourseStatus::Published.as_str()))
        .order_by(Column::EnrolledCount, Order::Desc)
        .order_by(Column::Id, Order::Desc)
        .limit(TOP)
}

/// How many live places have each lesson done; also lessons that the course has no more.
fn completions_by_lesson(course_id: i64) -> Select<enrollments::Entity> {
    use lesson_completions::Column;
    enrollments::Entity::find()
        .select_only()
        .column(Column::LessonId)
        .column_as(rows(), "completions")
        .join(JoinType::InnerJoin, lesson_completions::Relation::Enrollment.def().rev())
        .filter(of_courses(std::iter::once(course_id)))
        .filter(enrollments::Column::CourseId.eq(course_id))
        .filter(enrollments::Column::Status.ne(DROPPED))
        .group_by(Column::LessonId)
}

/// The places, counted by status and lessons done, in one statement: its sums agree.
fn place_groups(course_id: i64, done: SimpleExpr, now: Timestamp) -> Select<enrollments::Entity> {
    use enrollments::Column;
    let is_active = Column::LastAccessedAt.gte(now.0 - 7 * DAY);
    // PostgreSQL's sums are decimals.
    let minutes = Column::TimeSpentMinutes.into_expr().sum().cast_as("bigint");
    enrollments::Entity::find()
        .select_only()
        .column(Column::Status)
        .column_as(done, "done")
        .column_as(rows(), "places")
        .column_as(rows_where(is_active), "active")
        .column_as(minutes, "minutes")
        .filter(Column::CourseId.eq(course_id))
        .group_by(Column::Status)
        .group_by(Expr::col("done"))
}

fn place_group(row: (String, i64, i64, i64, i64)) -> Result<PlaceGroup> {
    let (status, done, places, active, minutes) = row;
    let status: EnrollmentStatus = status.parse().map_err(Error::corrupt)?;
    Ok(PlaceGroup { status, done, places, active, minutes })
}

/// A student's places in courses that there still are, dropped ones too, the oldest first.
fn places_ever(student_id: i64) -> Select<enrollments::Entity> {
    use enrollments::Column;
    enrollments::Entity::find()
        .select_only()
        .columns([Column::Id, Column::Status, Column::EnrolledAt, Column::LastAccessedAt])
        .columns([Column::TimeSpentMinutes, Column::CourseId])
        .columns([courses::Column::Title, courses::Column::Slug, courses::Column::InstructorId])
        .join(JoinType::InnerJoin, enrollments::Relation::Course.def())
        .filter(Column::StudentId.eq(student_id))
        .filter(courses::Column::DeletedAt.is_null())
        .order_by(Column::Id, Order::Asc)
}

/// What has been done in these places. Listed, not joined: without statistics PostgreSQL takes a
/// student's places for so many that it would read the whole table.
fn lessons_done_in(places: impl Iterator<Item = i64>) -> Select<lesson_completions::Entity> {
    lesson_completions::Entity::find()
        .filter(lesson_completions::Column::EnrollmentId.is_in(places))
}

/// How many lessons of the outline a place has done. Told by whichever list is shorter, of the
/// lessons that count or of those that do not: nearly always there are none of these.
fn lessons_done(outline: &Outline, completions: &HashMap<i64, i64>) -> SimpleExpr {
    use lesson_completions::Column;
    let lessons: HashSet<i64> = outline.lessons().collect();
    let gone: Vec<i64> = completions.keys().copied().filter(|id| !lessons.contains(id)).collect();
    let lesson = Expr::col((lesson_completions::Entity, Column::LessonId));
    let counts = if gone.len() < lessons.len() {
        (!gone.is_empty()).then(|| lesson.is_not_in(gone))
    } else {
        Some(lesson.is_in(lessons))
    };
    let place = Expr::col((lesson_completions::Entity, Column::EnrollmentId));
    let done = Query::select()
        .expr(rows())
        .from(lesson_completions::Entity)
        .and_where(place.equals((enrollments::Entity, enrollments::Column::Id)))
        .and_where_option(counts)
        .take();
    SimpleExpr::from(done)
}

impl Row {
    fn course(&self) -> StudentCourse {
        StudentCourse {
            id: self.course_id,
            title: self.title.clone(),
            slug: self.slug.clone(),
            instructor_id: self.instructor_id,
            place: None,
            dropped: 0,
            recent: Vec::new(),
        }
    }
}

/// Nothing for a dropped place.
fn pace(row: &Row, done: &[Done], outline: Option<&Outline>) -> Result<Option<Pace>> {
    let status: EnrollmentStatus = row.status.parse().map_err(Error::corrupt)?;
    if status == EnrollmentStatus::Dropped {
        return Ok(None);
    }
    let lessons: HashSet<i64> = outline.into_iter().flat_map(Outline::lessons).collect();
    Ok(Some(Pace {
        status,
        enrolled_at: Timestamp(row.enrolled_at),
        last_accessed_at: row.last_accessed_at.map(Timestamp),
        minutes: row.time_spent_minutes,
        done: done.iter().filter(|one| lessons.contains(&one.lesson_id)).count() as i64,
        lessons: lessons.len() as i64,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, QueryTrait, Statement};
    use tempfile::TempDir;

    use super::*;

    const NOW: Timestamp = Timestamp(1_772_357_400_000_000);

    /// Every statement that counts, by what it counts.
    fn statements() -> Vec<(&'static str, Statement)> {
        let outline = Outline(vec![(1, vec![2, 3])]);
        let done = lessons_done(&outline, &HashMap::from([(2, 5), (9, 1)]));
        let (enrolled, completed) =
            (enrollments::Column::EnrolledAt, lesson_completions::Column::CompletedAt);
        macro_rules! built {
            ($($name:literal: $select:expr),* $(,)?) => {
                vec![$(($name, $select.build(DbBackend::Sqlite))),*]
            };
        }
        built![
            "completions by lesson": completions_by_lesson(1),
            "places of a course": place_groups(1, done, NOW),
            "places of a student": places_ever(1),
            "lessons of a student": lessons_done_in([1, 2, 3].into_iter()),
            "users by role": by(live_users(), users::Column::Role),
            "courses by status": by(live_courses(), courses::Column::Status),
            "enrollments lately": counted(of_days::<enrollments::Entity>(enrolled, NOW, 0..1)),
            "completions lately":
                counted(of_days::<lesson_completions::Entity>(completed, NOW, 7..30)),
            "most popular": most_popular(),
            "users": counted(live_users()),
            "courses": counted(live_courses()),
            "enrollments": counted(enrollments::Entity::find()),
            "completions": counted(lesson_completions::Entity::find()),
        ]
    }

    #[tokio::test]
    async fn no_figure_needs_a_look_at_every_row_of_a_table() {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite://{}", folder.path().join("campus.db").display());
        let store = Store::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        for (name, statement) in statements() {
            let explain = format!("EXPLAIN QUERY PLAN {}", statement.sql);
            let values = statement.values.unwrap_or_else(|| sea_orm::Values(Vec::new()));
            let statement = Statement::from_sql_and_values(DbBackend::Sqlite, explain, values);
            let rows = store.reader.query_all_raw(statement).await.unwrap();
            let steps: Vec<String> =
                rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            let is_scan =
                |step: &String| step.starts_with("SCAN ") && !step.contains("COVERING INDEX");
            assert!(!steps.is_empty() && !steps.iter().any(is_scan), "{name}: {steps:#?}");
        }
    }
}
