//! Places in courses. Seats are counted by the database itself, never by a reader.

use std::collections::{BTreeSet, HashMap};

use sea_orm::sea_query::SimpleExpr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, JoinType,
    Order, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, RelationTrait, Set,
};

use super::tables::{course_contents, courses, enrollments, lesson_completions};
use super::{Error, Result, Store, Tx};
use crate::model::{
    CourseStatus, Enrollment, EnrollmentDetail, EnrollmentDraft, EnrollmentStatus, Money, Outline,
    Timestamp, Window,
};

/// The enrollments that ended with an account.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    pub course_ids: Vec<i64>,
}

pub(super) const ACTIVE: &str = EnrollmentStatus::Active.as_str();
pub(super) const DROPPED: &str = EnrollmentStatus::Dropped.as_str();

pub(super) fn enrollment(row: enrollments::Model) -> Result<Enrollment> {
    Ok(Enrollment {
        id: row.id,
        course_id: row.course_id,
        student_id: row.student_id,
        status: row.status.parse().map_err(Error::corrupt)?,
        payment_amount: row.payment_cents.and_then(Money::from_cents),
        payment_status: row.payment_status,
        source: row.enrollment_source,
        enrolled_at: Timestamp(row.enrolled_at),
        started_at: row.started_at.map(Timestamp),
        completed_at: row.completed_at.map(Timestamp),
        dropped_at: row.dropped_at.map(Timestamp),
        last_accessed_at: row.last_accessed_at.map(Timestamp),
        last_lesson_id: row.last_lesson_id,
        time_spent_minutes: row.time_spent_minutes,
        version: row.version,
    })
}

async fn has_place<C: ConnectionTrait>(db: &C, student_id: i64, course_id: i64) -> Result<bool> {
    let live = enrollments::Entity::find()
        .filter(enrollments::Column::StudentId.eq(student_id))
        .filter(enrollments::Column::CourseId.eq(course_id))
        .filter(enrollments::Column::Status.ne(DROPPED));
    Ok(live.count(db).await? > 0)
}

impl Store {
    /// As [`Tx::has_place`], outside a transaction.
    pub async fn is_enrolled(&self, student_id: i64, course_id: i64) -> Result<bool> {
        has_place(&self.reader, student_id, course_id).await
    }

    pub async fn enrollment(&self, id: i64) -> Result<Option<Enrollment>> {
        let row = enrollments::Entity::find_by_id(id).one(&self.reader).await?;
        row.map(enrollment).transpose()
    }

    /// A person's places in courses that there still are.
    pub async fn enrollments_of(
        &self,
        student_id: i64,
        window: Window,
    ) -> Result<(Vec<Enrollment>, i64)> {
        let own = enrollments::Entity::find()
            .join(JoinType::InnerJoin, enrollments::Relation::Course.def())
            .filter(enrollments::Column::StudentId.eq(student_id))
            .filter(courses::Column::DeletedAt.is_null());
        let total = own.clone().count(&self.reader).await?;
        let rows = own
            .order_by(enrollments::Column::Id, Order::Desc)
            .offset(window.skip as u64)
            .limit(window.limit as u64)
            .all(&self.reader)
            .await?;
        let rows: Result<Vec<Enrollment>> = rows.into_iter().map(enrollment).collect();
        Ok((rows?, total as i64))
    }

    /// Adds to each enrollment what its progress is computed from, in two queries for all.
    pub async fn details(&self, enrollments: Vec<Enrollment>) -> Result<Vec<EnrollmentDetail>> {
        details(&self.reader, enrollments).await
    }

    /// Taken places and the limit of a live course.
    pub async fn seats(&self, course_id: i64) -> Result<Option<(i64, Option<i64>)>> {
        let seats = courses::Entity::find_by_id(course_id)
            .select_only()
            .columns([courses::Column::EnrolledCount, courses::Column::MaxStudents])
            .filter(courses::Column::DeletedAt.is_null());
        Ok(seats.into_tuple().one(&self.reader).await?)
    }
}

pub(super) async fn details<C: ConnectionTrait>(
    db: &C,
    enrollments: Vec<Enrollment>,
) -> Result<Vec<EnrollmentDetail>> {
    // Asked for the lessons of nobody, SQLite plans to read all of them.
    if enrollments.is_empty() {
        return Ok(Vec::new());
    }
    let ids = enrollments.iter().map(|e| e.id);
    let completions = lesson_completions::Entity::find()
        .filter(of_courses(enrollments.iter().map(|e| e.course_id)))
        .filter(lesson_completions::Column::EnrollmentId.is_in(ids))
        .all(db)
        .await?;
    let mut done: HashMap<i64, Vec<i64>> = HashMap::new();
    for row in completions {
        done.entry(row.enrollment_id).or_default().push(row.lesson_id);
    }
    let outlines = outlines(db, enrollments.iter().map(|e| e.course_id).collect()).await?;
    let empty = Outline::default();
    let detail = |enrollment: Enrollment| {
        let outline = outlines.get(&enrollment.course_id).unwrap_or(&empty);
        let done = done.get(&enrollment.id).map_or(&[][..], Vec::as_slice);
        EnrollmentDetail::new(enrollment, done, outline)
    };
    Ok(enrollments.into_iter().map(detail).collect())
}

/// Narrows lessons done to those of some courses. A database that has not counted its rows yet
/// would take the lessons of a hundred places for half of all that there are.
pub(super) fn of_courses(ids: impl Iterator<Item = i64>) -> SimpleExpr {
    // Each once: it guesses by how many there are. Rows of an older version do not say it, so
    // whoever asks names the places too.
    let ids: BTreeSet<i64> = ids.chain([0]).collect();
    lesson_completions::Column::CourseId.is_in(ids)
}

pub(super) async fn outlines<C: ConnectionTrait>(
    db: &C,
    course_ids: Vec<i64>,
) -> Result<HashMap<i64, Outline>> {
    let rows: Vec<(i64, String)> = course_contents::Entity::find()
        .select_only()
        .columns([course_contents::Column::CourseId, course_contents::Column::Outline])
        .filter(course_contents::Column::CourseId.is_in(course_ids))
        .filter(course_contents::Column::DeletedAt.is_null())
        .into_tuple()
        .all(db)
        .await?;
    rows.into_iter()
        .map(|(id, json)| {
            let outline = serde_json::from_str(&json);
            Ok((id, outline.map_err(|e| Error::corrupt(e.to_string()))?))
        })
        .collect()
}

impl Tx {
    /// The same for rows that this transaction has just written.
    pub async fn details(&self, enrollments: Vec<Enrollment>) -> Result<Vec<EnrollmentDetail>> {
        details(&self.0, enrollments).await
    }

    /// Takes a seat if the course is published and has one left. One conditional
    /// update, so that no two requests can take the last seat.
    pub async fn take_seat(&self, course_id: i64) -> Result<bool> {
        use courses::Column;
        let seats = Column::EnrolledCount.into_expr();
        let has_room = Condition::any()
            .add(Column::MaxStudents.is_null())
            .add(seats.clone().lt(Column::MaxStudents.into_expr()));
        let taken = courses::Entity::update_many()
            .col_expr(Column::EnrolledCount, seats.add(1))
            .filter(Column::Id.eq(course_id))
            .filter(Column::Status.eq(CourseStatus::Published.as_str()))
            .filter(Column::DeletedAt.is_null())
            .filter(has_room)
            .exec(&self.0)
            .await?;
        Ok(taken.rows_affected == 1)
    }

    /// Whether a student has a place: active or completed, not dropped.
    pub async fn has_place(&self, student_id: i64, course_id: i64) -> Result<bool> {
        has_place(&self.0, student_id, course_id).await
    }

    /// Fails with [`Error::is_duplicate`] when the student has a live place already.
    pub async fn insert_enrollment(
        &self,
        draft: EnrollmentDraft,
        now: Timestamp,
    ) -> Result<Enrollment> {
        let paid = draft.payment_amount.filter(|amount| amount.cents() > 0);
        let row = enrollments::ActiveModel {
            student_id: Set(draft.student_id),
            course_id: Set(draft.course_id),
            status: Set(ACTIVE.to_owned()),
            payment_cents: Set(draft.payment_amount.map(Money::cents)),
            payment_status: Set(paid.map(|_| "completed".to_owned())),
            enrollment_source: Set(draft.source),
            enrolled_at: Set(now.0),
            time_spent_minutes: Set(0),
            version: Set(1),
            ..Default::default()
        };
        enrollment(row.insert(&self.0).await?)
    }

    /// Drops every active place of a person and gives the seats back: exactly those of the
    /// rows that this update dropped. The caller holds the person ([`Tx::user_to_edit`]), as
    /// whoever enrolls them does, so that no place appears after it.
    pub async fn end_enrollments(&self, student_id: i64, now: Timestamp) -> Result<Ended> {
        use enrollments::Column;
        let ended = enrollments::Entity::update_many()
            .col_expr(Column::Status, DROPPED.into())
            .col_expr(Column::DroppedAt, Some(now.0).into())
            .col_expr(Column::Version, Column::Version.into_expr().add(1))
            .filter(Column::StudentId.eq(student_id))
            .filter(Column::Status.eq(ACTIVE))
            .exec_with_returning(&self.0)
            .await?;
        let course_ids: Vec<i64> = ended.into_iter().map(|row| row.course_id).collect();
        self.give_back_seats(&course_ids).await?;
        Ok(Ended { course_ids })
    }

    pub async fn enrollment(&self, id: i64) -> Result<Option<Enrollment>> {
        let row = enrollments::Entity::find_by_id(id).one(&self.0).await?;
        row.map(enrollment).transpose()
    }

    /// Drops a place, if it is active, and gives its seat back. The caller holds the student
    /// ([`Tx::user_to_edit`]): whoever enrolls takes the course before the place, and this
    /// the place before the course.
    pub async fn drop_enrollment(&self, id: i64, now: Timestamp) -> Result<Option<Enrollment>> {
        use enrollments::Column;
        let dropped = enrollments::Entity::update_many()
            .col_expr(Column::Status, DROPPED.into())
            .col_expr(Column::DroppedAt, Some(now.0).into())
            .col_expr(Column::Version, Column::Version.into_expr().add(1))
            .filter(Column::Id.eq(id))
            .filter(Column::Status.eq(ACTIVE))
            .exec_with_returning(&self.0)
            .await?;
        let Some(row) = dropped.into_iter().next() else {
            return Ok(None);
        };
        self.give_back_seats(&[row.course_id]).await?;
        enrollment(row).map(Some)
    }

    async fn give_back_seats(&self, course_ids: &[i64]) -> Result<()> {
        let seats = courses::Column::EnrolledCount.into_expr();
        courses::Entity::update_many()
            .col_expr(courses::Column::EnrolledCount, seats.sub(1))
            .filter(courses::Column::Id.is_in(course_ids.iter().copied()))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
