//! Imported enrollments and ratings, and the numbers that courses show of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_orm::sea_query::{Expr, LockType, OnConflict, SimpleExpr};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Set,
};

use super::completions::{Done, Fresh};
use super::{Change, Ids, Import, look_up};
use crate::model::{EnrollmentImport, EnrollmentStatus, RatingImport};
use crate::store::courses::score_of;
use crate::store::tables::{course_ratings, courses, enrollments};
use crate::store::{Error, Result};

/// Rows per INSERT: well below SQLite's limit of 32,766 parameters.
pub(super) const BATCH: usize = 500;

impl Import<'_> {
    pub(super) async fn members(&mut self, people: &Ids, courses: &Ids) -> Result<()> {
        if self.catalogue.enrollments.is_empty() && self.catalogue.ratings.is_empty() {
            return Ok(());
        }
        let mut changed = self.enrollments(people, courses).await?;
        changed.extend(self.ratings(people, courses).await?);
        self.recount(&changed).await?;
        self.report.course_ids.extend(courses.values());
        self.report.course_ids.sort_unstable();
        self.report.course_ids.dedup();
        Ok(())
    }

    /// Answers the courses whose places are other ones now.
    async fn enrollments(&mut self, people: &Ids, courses: &Ids) -> Result<BTreeSet<i64>> {
        let named: HashSet<&String> =
            self.catalogue.enrollments.iter().map(|row| &row.course).collect();
        let course_ids = named.into_iter().filter_map(|course| courses.get(course).copied());
        // Nothing of a deleted one is changed, so nothing of it is asked for.
        let course_ids: Vec<i64> =
            course_ids.filter(|course| !self.deleted.courses.contains(course)).collect();
        let existing = enrollments::Entity::find()
            .filter(enrollments::Column::CourseId.is_in(course_ids.iter().copied()))
            .order_by_asc(enrollments::Column::Id)
            .all(self.tx)
            .await?;
        // Of several rows of one student the last one counts: only it can be live.
        let mut existing: HashMap<(i64, i64), String> =
            existing.into_iter().map(|row| ((row.student_id, row.course_id), row.status)).collect();
        let dropped = EnrollmentStatus::Dropped.as_str();
        let lessons = self.lessons(&course_ids).await?;
        let (mut fresh, mut changed) = (Fresh::new(), BTreeSet::new());
        for enrollment in &self.catalogue.enrollments {
            let student = look_up(people, &enrollment.student, "person", "an enrollment")?;
            let course = look_up(courses, &enrollment.course, "course", "an enrollment")?;
            let status = enrollment.status.as_str().to_owned();
            let change = match existing.insert((student, course), status.clone()) {
                _ if self.deleted.has(student, course) => Change::Unchanged,
                Some(known) if known == status => Change::Unchanged,
                Some(known) if known != dropped => {
                    self.change_status(enrollment, student, course).await?;
                    Change::Updated
                }
                _ => {
                    fresh.push((student, course, enrollment));
                    Change::Inserted
                }
            };
            if change != Change::Unchanged {
                self.report.student_ids.push(student);
                changed.insert(course);
            }
            self.report.enrollments.count(change);
            self.step();
        }
        for batch in fresh.chunks(BATCH) {
            let rows = batch.iter().map(|&(student, course, enrollment)| {
                row(enrollment, student, course, &lessons.done(course, enrollment))
            });
            enrollments::Entity::insert_many(rows).exec_without_returning(self.tx).await?;
        }
        self.completions(&fresh, &lessons).await?;
        Ok(changed)
    }

    async fn change_status(
        &self,
        enrollment: &EnrollmentImport,
        student: i64,
        course: i64,
    ) -> Result<()> {
        use enrollments::Column;
        let new = row(enrollment, student, course, &[]);
        let changes = enrollments::ActiveModel {
            status: new.status,
            completed_at: new.completed_at,
            dropped_at: new.dropped_at,
            ..Default::default()
        };
        enrollments::Entity::update_many()
            .set(changes)
            .col_expr(Column::Version, Column::Version.into_expr().add(1))
            .filter(Column::StudentId.eq(student))
            .filter(Column::CourseId.eq(course))
            .filter(Column::Status.ne(EnrollmentStatus::Dropped.as_str()))
            .exec(self.tx)
            .await?;
        Ok(())
    }

    /// Answers the courses whose ratings are other ones now.
    async fn ratings(&mut self, people: &Ids, courses: &Ids) -> Result<BTreeSet<i64>> {
        let course_ids: Vec<i64> = courses.values().copied().collect();
        let existing = course_ratings::Entity::find()
            .filter(course_ratings::Column::CourseId.is_in(course_ids))
            .all(self.tx)
            .await?;
        let mut known: HashMap<(i64, i64), i16> =
            existing.into_iter().map(|row| ((row.course_id, row.user_id), row.stars)).collect();
        let mut changed = HashMap::new();
        for rating in &self.catalogue.ratings {
            let RatingImport { stars, .. } = *rating;
            if !(1..=5).contains(&stars) {
                return Err(Error::import(format!("a rating has {stars} stars, not 1 to 5")));
            }
            let user = look_up(people, &rating.student, "person", "a rating")?;
            let course = look_up(courses, &rating.course, "course", "a rating")?;
            let change = match known.insert((course, user), stars) {
                _ if self.deleted.has(user, course) => Change::Unchanged,
                Some(before) if before == stars => Change::Unchanged,
                Some(_) => Change::Updated,
                None => Change::Inserted,
            };
            if change != Change::Unchanged {
                changed.insert((course, user), stars);
            }
            self.report.ratings.count(change);
            self.step();
        }
        let course_ids = changed.keys().map(|(course, _)| *course).collect();
        self.save_ratings(changed).await?;
        Ok(course_ids)
    }

    async fn save_ratings(&self, changed: HashMap<(i64, i64), i16>) -> Result<()> {
        use course_ratings::Column;
        let rows: Vec<course_ratings::ActiveModel> = changed
            .into_iter()
            .map(|((course, user), stars)| course_ratings::ActiveModel {
                course_id: Set(course),
                user_id: Set(user),
                stars: Set(stars),
            })
            .collect();
        let replace = OnConflict::columns([Column::CourseId, Column::UserId])
            .update_column(Column::Stars)
            .to_owned();
        for batch in rows.chunks(BATCH) {
            course_ratings::Entity::insert_many(batch.to_vec())
                .on_conflict(replace.clone())
                .exec_without_returning(self.tx)
                .await?;
        }
        Ok(())
    }

    /// Counts are the rows, never the importer's word. Each course is written once, whatever
    /// this import has of it, and not at all if its counts are right.
    async fn recount(&self, changed: &BTreeSet<i64>) -> Result<()> {
        use courses::Column;
        let ids: Vec<i64> = changed.iter().copied().collect();
        for ids in ids.chunks(BATCH) {
            self.hold_courses(ids).await?;
            let differs = Condition::any()
                .add(Column::EnrolledCount.into_expr().ne(places()))
                .add(Column::RatingCount.into_expr().ne(ratings()))
                .add(Column::RatingSum.into_expr().ne(stars()));
            courses::Entity::update_many()
                .col_expr(Column::EnrolledCount, places())
                .col_expr(Column::RatingCount, ratings())
                .col_expr(Column::RatingSum, stars())
                .col_expr(Column::RatingScore, score_of(stars(), ratings()))
                .filter(Column::Id.is_in(ids.iter().copied()))
                .filter(differs)
                .exec(self.tx)
                .await?;
        }
        Ok(())
    }

    /// Whoever enrolls meanwhile has committed when this answers, or waits for this import. A
    /// statement of PostgreSQL counts what was committed before it began, so it must begin later.
    async fn hold_courses(&self, ids: &[i64]) -> Result<()> {
        use courses::Column;
        let held = courses::Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Id.is_in(ids.iter().copied()))
            .order_by_asc(Column::Id)
            .lock(LockType::NoKeyUpdate);
        held.into_tuple::<i64>().all(self.tx).await?;
        Ok(())
    }
}

/// What a row of courses is to show, counted.
fn places() -> SimpleExpr {
    Expr::cust(
        "(SELECT COUNT(*) FROM enrollments e WHERE e.course_id = courses.id \
         AND e.status <> 'dropped')",
    )
}

fn ratings() -> SimpleExpr {
    Expr::cust("(SELECT COUNT(*) FROM course_ratings r WHERE r.course_id = courses.id)")
}

fn stars() -> SimpleExpr {
    Expr::cust(
        "(SELECT CAST(COALESCE(SUM(r.stars), 0) AS BIGINT) FROM course_ratings r \
         WHERE r.course_id = courses.id)",
    )
}

fn row(
    enrollment: &EnrollmentImport,
    student: i64,
    course: i64,
    done: &[Done],
) -> enrollments::ActiveModel {
    let (at, last) = (enrollment.enrolled_at.0, enrollment.last_accessed_at.0);
    let ended = |status| (enrollment.status == status).then_some(last);
    let started = |at| (!done.is_empty()).then_some(at);
    enrollments::ActiveModel {
        student_id: Set(student),
        course_id: Set(course),
        status: Set(enrollment.status.as_str().to_owned()),
        payment_cents: Set(None),
        payment_status: Set(None),
        enrollment_source: Set("import".to_owned()),
        enrolled_at: Set(at),
        started_at: Set(started(at)),
        completed_at: Set(ended(EnrollmentStatus::Completed)),
        dropped_at: Set(ended(EnrollmentStatus::Dropped)),
        last_accessed_at: Set(started(last)),
        last_lesson_id: Set(done.last().map(|done| done.lesson_id)),
        time_spent_minutes: Set(enrollment.time_spent_minutes),
        version: Set(1),
        ..Default::default()
    }
}
