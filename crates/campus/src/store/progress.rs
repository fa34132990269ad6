//! What students have done. Whoever writes it holds the student ([`Tx::user_to_edit`]), so
//! that what one student does at once is done in turn.

use std::collections::HashMap;

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, JoinType, Order, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, RelationTrait, Select, Set,
};

use super::enrollments::{ACTIVE, DROPPED, details, enrollment, outlines};
use super::tables::{courses, enrollments, lesson_completions, users};
use super::{Error, Result, Store, Tx};
use crate::model::{
    Enrollment, EnrollmentDetail, EnrollmentStatus, Learner, Outline, Place, RosterEntry,
    Timestamp, Visit, Window,
};

fn live_of(student_id: i64) -> Select<enrollments::Entity> {
    enrollments::Entity::find()
        .filter(enrollments::Column::StudentId.eq(student_id))
        .filter(enrollments::Column::Status.ne(DROPPED))
}

async fn place<C: ConnectionTrait>(
    db: &C,
    student_id: i64,
    course_id: i64,
) -> Result<Option<Enrollment>> {
    let live = live_of(student_id).filter(enrollments::Column::CourseId.eq(course_id));
    live.one(db).await?.map(enrollment).transpose()
}

impl Store {
    /// A student's place in a course and how far they are.
    pub async fn progress(
        &self,
        student_id: i64,
        course_id: i64,
    ) -> Result<Option<EnrollmentDetail>> {
        let place = place(&self.reader, student_id, course_id).await?;
        let details = details(&self.reader, place.into_iter().collect()).await?;
        Ok(details.into_iter().next())
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
            .join(JoinType::InnerJoin, enrollments::Relation::Course.def())
            .filter(courses::Column::DeletedAt.is_null())
            .order_by(enrollments::Column::Id, Order::Desc)
            .all(&self.reader)
            .await?;
        let rows: Result<Vec<Enrollment>> = rows.into_iter().map(enrollment).collect();
        let details = self.details(rows?).await?;
        if details.is_empty() {
            return Ok(Vec::new());
        }
        let titles: Vec<(i64, String, String)> = courses::Entity::find()
            .select_only()
            .columns([courses::Column::Id, courses::Column::Title, courses::Column::Slug])
            .filter(courses::Column::Id.is_in(details.iter().map(|d| d.enrollment.course_id)))
            .into_tuple()
            .all(&self.reader)
            .await?;
        let titles: HashMap<i64, (String, String)> =
            titles.into_iter().map(|(id, title, slug)| (id, (title, slug))).collect();
        let place = |detail: EnrollmentDetail| {
            let names = titles.get(&detail.enrollment.course_id).cloned();
            let (course_title, course_slug) =
                names.ok_or_else(|| Error::corrupt("an enrollment has no course"))?;
            Ok(Place { detail, course_title, course_slug })
        };
        details.into_iter().map(place).collect()
    }
}

impl Tx {
    /// A student's place in a course: active or completed, not dropped.
    pub async fn place(&self, student_id: i64, course_id: i64) -> Result<Option<Enrollment>> {
        place(&self.0, student_id, course_id).await
    }

    /// The lessons that a course has now.
    pub async fn outline(&self, course_id: i64) -> Result<Outline> {
        let mut outlines = outlines(&self.0, vec![course_id]).await?;
        Ok(outlines.remove(&course_id).unwrap_or_default())
    }

    /// Notes lessons (module and lesson) as done, and answers how many were not yet.
    pub async fn complete_lessons(
        &self,
        enrollment_id: i64,
        lessons: impl IntoIterator<Item = (i64, i64)>,
        now: Timestamp,
    ) -> Result<u64> {
        use lesson_completions::Column;
        let mut fresh = 0;
        for (module_id, lesson_id) in lessons {
            let row = lesson_completions::ActiveModel {
                enrollment_id: Set(enrollment_id),
                lesson_id: Set(lesson_id),
                module_id: Set(module_id),
                completed_at: Set(now.0),
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
