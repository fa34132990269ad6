//! What students have done. Whoever writes it holds the student ([`Tx::user_to_edit`]), so
//! that what one student does at once is done in turn.

use std::collections::HashMap;

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, JoinType, Order, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, RelationTrait, Select, Set,
};

use super::enrollments::{ACTIVE, DROPPED, enrollment, outlines};
use super::tables::{courses, enrollments, lesson_completions, users};
use super::{Result, Store, Tx};
use crate::model::{
    Enrollment, EnrollmentDetail, EnrollmentStatus, Learner, Outline, Place, RosterEntry,
    Timestamp, Visit, Window,
};

fn live_of(student_id: i64) -> Select<enrollments::Entity> {
    enrollments::Entity::find()
        .filter(enrollments::Column::StudentId.eq(student_id))
        .filter(enrollments::Column::Status.ne(DROPPED))
}

/// A place, once for each lesson done there, or once without one.
#[derive(FromQueryResult)]
struct Done {
    #[sea_orm(nested)]
    place: enrollments::Model,
    lesson_id: Option<i64>,
}

/// A place and what its course is called.
#[derive(FromQueryResult)]
struct Titled {
    #[sea_orm(nested)]
    place: enrollments::Model,
    course_title: String,
    course_slug: String,
}

impl Store {
    /// A student's place in a course and how far they are.
    pub async fn progress(
        &self,
        student_id: i64,
        course_id: i64,
    ) -> Result<Option<EnrollmentDetail>> {
        let rows = live_of(student_id)
            .column(lesson_completions::Column::LessonId)
            .join(JoinType::LeftJoin, lesson_completions::Relation::Enrollment.def().rev())
            .filter(enrollments::Column::CourseId.eq(course_id))
            .into_model::<Done>()
            .all(&self.reader)
            .await?;
        let done: Vec<i64> = rows.iter().filter_map(|row| row.lesson_id).collect();
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        let outline = outlines(&self.reader, vec![course_id]).await?.remove(&course_id);
        let place = enrollment(row.place)?;
        Ok(Some(EnrollmentDetail::new(place, &done, &outline.unwrap_or_default())))
    }

    /// A live account and everything that its dashboard shows.
    pub async fn learner(&self, id: i64) -> Result<Option<Learner>> {
        let Some(user) = self.user(id).await? else {
            return Ok(None);
        };
        let places = self.places(id).await?;
        let certificates = self.every_certificate_of(id).await?;
        Ok(Some(Learner { user, places, certificates }))
    }

    /// A page of everybody who has or had a place in a course, in the order in which they came,
    /// so that pages stay as they are while people enroll.
    pub async fn roster(&self, course_id: i64, window: Window) -> Result<(Vec<RosterEntry>, i64)> {
        let all = enrollments::Entity::find().filter(enrollments::Column::CourseId.eq(course_id));
        let total = all.clone().count(&self.reader).await?;
        let page = all
            .order_by(enrollments::Column::Id, Order::Asc)
            .offset(window.skip as u64)
            .limit(window.limit as u64);
        let rows = page.all(&self.reader).await?;
        let rows: Result<Vec<Enrollment>> = rows.into_iter().map(enrollment).collect();
        let details = self.details(rows?).await?;
        if details.is_empty() {
            return Ok((Vec::new(), total as i64));
        }
        let names: Vec<(i64, String)> = users::Entity::find()
            .select_only()
            .columns([users::Column::Id, users::Column::FullName])
            .filter(users::Column::Id.is_in(details.iter().map(|d| d.enrollment.student_id)))
            .into_tuple()
            .all(&self.reader)
            .await?;
        let names: HashMap<i64, String> = names.into_iter().collect();
        let entry = |detail: EnrollmentDetail| {
            let student_name = names.get(&detail.enrollment.student_id).cloned();
            RosterEntry { detail, student_name: student_name.unwrap_or_default() }
        };
        Ok((details.into_iter().map(entry).collect(), total as i64))
    }

    async fn places(&self, student_id: i64) -> Result<Vec<Place>> {
        let rows = live_of(student_id)
            .column_as(courses::Column::Title, "course_title")
            .column_as(courses::Column::Slug, "course_slug")
            .join(JoinType::InnerJoin, enrollments::Relation::Course.def())
            .filter(courses::Column::DeletedAt.is_null())
            .order_by(enrollments::Column::Id, Order::Desc)
            .into_model::<Titled>()
            .all(&self.reader)
            .await?;
        let (mut places, mut titles) = (Vec::new(), Vec::new());
        for row in rows {
            places.push(enrollment(row.place)?);
            titles.push((row.course_title, row.course_slug));
        }
        let details = self.details(places).await?;
        let place =
            |(detail, (course_title, course_slug))| Place { detail, course_title, course_slug };
        Ok(details.into_iter().zip(titles).map(place).collect())
    }
}

impl Tx {
    /// A student's place in a course: active or completed, not dropped.
    pub async fn place(&self, student_id: i64, course_id: i64) -> Result<Option<Enrollment>> {
        let live = live_of(student_id).filter(enrollments::Column::CourseId.eq(course_id));
        live.one(&self.0).await?.map(enrollment).transpose()
    }

    /// The lessons that a course has now.
    pub async fn outline(&self, course_id: i64) -> Result<Outline> {
        let mut outlines = outlines(&self.0, vec![course_id]).await?;
        Ok(outlines.remove(&course_id).unwrap_or_default())
    }

    /// Notes lessons (module and lesson) as done, and answers how many were not yet.
    pub async fn complete_lessons(
        &self,
        place: &Enrollment,
        lessons: impl IntoIterator<Item = (i64, i64)>,
        now: Timestamp,
    ) -> Result<u64> {
        use lesson_completions::Column;
        let mut fresh = 0;
        for (module_id, lesson_id) in lessons {
            let row = lesson_completions::ActiveModel {
                enrollment_id: Set(place.id),
                lesson_id: Set(lesson_id),
                module_id: Set(module_id),
                completed_at: Set(now.0),
                course_id: Set(place.course_id),
            };
            let once = OnConflict::columns([Column::EnrollmentId, Column::LessonId])
                .do_nothing()
                .to_owned();
            let insert = lesson_completions::Entity::insert(row).on_conflict(once);
            fresh += insert.exec_without_returning(&self.0).await?;
        }
        Ok(fresh)
    }

    /// Whether it was done before.
    pub async fn uncomplete_lesson(&self, enrollment_id: i64, lesson_id: i64) -> Result<bool> {
        let key = (enrollment_id, lesson_id);
        let deleted = lesson_completions::Entity::delete_by_id(key).exec(&self.0).await?;
        Ok(deleted.rows_affected == 1)
    }

    /// The time is added by the database: what two requests report adds up.
    pub async fn note_visit(
        &self,
        enrollment_id: i64,
        visit: Visit,
        now: Timestamp,
    ) -> Result<Option<Enrollment>> {
        use enrollments::Column;
        let mut update = enrollments::Entity::update_many()
            .col_expr(Column::StartedAt, Column::StartedAt.into_expr().if_null(now.0))
            .col_expr(Column::LastAccessedAt, Some(now.0).into())
            .col_expr(
                Column::TimeSpentMinutes,
                Column::TimeSpentMinutes.into_expr().add(visit.minutes),
            )
            .col_expr(Column::Version, Column::Version.into_expr().add(1))
            .filter(Column::Id.eq(enrollment_id))
            .filter(Column::Status.ne(DROPPED));
        if let Some(lesson_id) = visit.lesson_id {
            update = update.col_expr(Column::LastLessonId, Some(lesson_id).into());
        }
        let rows = update.exec_with_returning(&self.0).await?;
        rows.into_iter().next().map(enrollment).transpose()
    }

    /// Makes an active place a completed one.
    pub async fn finish(&self, enrollment_id: i64, now: Timestamp) -> Result<Option<Enrollment>> {
        use enrollments::Column;
        let rows = enrollments::Entity::update_many()
            .col_expr(Column::Status, EnrollmentStatus::Completed.as_str().into())
            .col_expr(Column::CompletedAt, Some(now.0).into())
            .filter(Column::Id.eq(enrollment_id))
            .filter(Column::Status.eq(ACTIVE))
            .exec_with_returning(&self.0)
            .await?;
        rows.into_iter().next().map(enrollment).transpose()
    }
}
