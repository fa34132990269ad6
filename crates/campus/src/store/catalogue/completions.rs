//! Which lessons the students of imported enrollments have done.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set};

use super::members::BATCH;
use super::{Ids, Import};
use crate::model::{EnrollmentImport, Outline};
use crate::store::tables::{course_contents, enrollments, lesson_completions};
use crate::store::{Error, Result};

/// Enrollments that this import inserted: student, course and the imported row.
pub(super) type Fresh<'a> = Vec<(i64, i64, &'a EnrollmentImport)>;

/// The (module, lesson) ids of each course in the order of its content.
type Lessons = HashMap<i64, Vec<(i64, i64)>>;

impl Import<'_> {
    pub(super) async fn lessons(&self, courses: &Ids) -> Result<Lessons> {
        use course_contents::Column;
        let rows: Vec<(i64, String)> = course_contents::Entity::find()
            .select_only()
            .columns([Column::CourseId, Column::Outline])
            .filter(Column::CourseId.is_in(courses.values().copied()))
            .into_tuple()
            .all(self.tx)
            .await?;
        rows.into_iter()
            .map(|(course, outline)| {
                let outline: Outline = serde_json::from_str(&outline)
                    .map_err(|e| Error::corrupt(format!("outline {course}: {e}")))?;
                let pairs = outline
                    .0
                    .into_iter()
                    .flat_map(|(module, lessons)| lessons.into_iter().map(move |id| (module, id)));
                Ok((course, pairs.collect()))
            })
            .collect()
    }

    /// Marks the first lessons of each new enrollment as done.
    pub(super) async fn completions(&self, fresh: &Fresh<'_>, lessons: &Lessons) -> Result<()> {
        if fresh.iter().all(|(_, _, row)| row.lessons_done == 0) {
            return Ok(());
        }
        let ids = self.enrollment_ids(fresh).await?;
        let mut rows = Vec::new();
        for (student, course, enrollment) in fresh {
            let (Some(&id), Some(lessons)) = (ids.get(&(*student, *course)), lessons.get(course))
            else {
                continue;
            };
            rows.extend(done(id, enrollment, lessons));
        }
        for batch in rows.chunks(BATCH) {
            lesson_completions::Entity::insert_many(batch.to_vec())
                .exec_without_returning(self.tx)
                .await?;
        }
        Ok(())
    }

    /// The newest enrollment of each student in each course.
    async fn enrollment_ids(&self, fresh: &Fresh<'_>) -> Result<HashMap<(i64, i64), i64>> {
        use enrollments::Column;
        let mut courses: Vec<i64> = fresh.iter().map(|(_, course, _)| *course).collect();
        courses.sort_unstable();
        courses.dedup();
        let rows: Vec<(i64, i64, i64)> = enrollments::Entity::find()
            .select_only()
            .columns([Column::StudentId, Column::CourseId, Column::Id])
            .filter(Column::CourseId.is_in(courses))
            .order_by_asc(Column::Id)
            .into_tuple()
            .all(self.tx)
            .await?;
        Ok(rows.into_iter().map(|(student, course, id)| ((student, course), id)).collect())
    }
}

/// The lessons are spread evenly over the time from enrolling to the last visit.
fn done(
    enrollment_id: i64,
    enrollment: &EnrollmentImport,
    lessons: &[(i64, i64)],
) -> impl Iterator<Item = lesson_completions::ActiveModel> {
    let count = enrollment.lessons_done.min(lessons.len());
    let (start, end) = (enrollment.enrolled_at.0, enrollment.last_accessed_at.0);
    let step = (end - start) / (count.max(1) as i64);
    (1..).zip(&lessons[..count]).map(move |(nth, (module, lesson))| {
        lesson_completions::ActiveModel {
            enrollment_id: Set(enrollment_id),
            lesson_id: Set(*lesson),
            module_id: Set(*module),
            completed_at: Set(start + step * nth),
        }
    })
}
