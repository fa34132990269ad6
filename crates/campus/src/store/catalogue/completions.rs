//! Which lessons the students of imported enrollments have done.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set};

use super::Import;
use super::members::BATCH;
use crate::model::{EnrollmentImport, Timestamp};
use crate::store::Result;
use crate::store::content::find_content;
use crate::store::tables::{enrollments, lesson_completions};

/// Enrollments that this import inserted: student, course and the imported row.
pub(super) type Fresh<'a> = Vec<(i64, i64, &'a EnrollmentImport)>;

/// The lessons of each course, by their source's ids.
pub(super) struct Lessons(HashMap<i64, HashMap<String, Lesson>>);

#[derive(Clone, Copy)]
struct Lesson {
    id: i64,
    module_id: i64,
}

/// A lesson that somebody has done.
pub(super) struct Done {
    pub(super) lesson_id: i64,
    module_id: i64,
    at: Timestamp,
}

impl Lessons {
    /// What an enrollment has done of what the course has now: a lesson may have been deleted here.
    pub(super) fn done(&self, course: i64, enrollment: &EnrollmentImport) -> Vec<Done> {
        let Some(lessons) = self.0.get(&course) else {
            return Vec::new();
        };
        let done = enrollment.completions.iter().filter_map(|done| {
            let lesson = lessons.get(&*done.lesson)?;
            Some(Done { lesson_id: lesson.id, module_id: lesson.module_id, at: done.at })
        });
        done.collect()
    }
}

impl Import<'_> {
    pub(super) async fn lessons(&self, courses: &[i64]) -> Result<Lessons> {
        let mut all = HashMap::new();
        for &course in courses {
            let Some(stored) = find_content(self.tx, self.documents, course).await? else {
                continue;
            };
            let mut lessons = HashMap::new();
            for module in stored.content.modules {
                let module_id = module.id;
                for lesson in module.lessons {
                    let id = lesson.id;
                    lesson.external_id.map(|name| lessons.insert(name, Lesson { id, module_id }));
                }
            }
            all.insert(course, lessons);
        }
        Ok(Lessons(all))
    }

    /// Stores what the students of new enrollments have done.
    pub(super) async fn completions(&self, fresh: &Fresh<'_>, lessons: &Lessons) -> Result<()> {
        if fresh.iter().all(|(_, _, row)| row.completions.is_empty()) {
            return Ok(());
        }
        let ids = self.enrollment_ids(fresh).await?;
        let mut rows = Vec::with_capacity(BATCH);
        for (student, course, enrollment) in fresh {
            let Some(&enrollment_id) = ids.get(&(*student, *course)) else {
                continue;
            };
            for done in lessons.done(*course, enrollment) {
                rows.push(lesson_completions::ActiveModel {
                    enrollment_id: Set(enrollment_id),
                    lesson_id: Set(done.lesson_id),
                    module_id: Set(done.module_id),
                    completed_at: Set(done.at.0),
                    course_id: Set(*course),
                });
                if rows.len() == BATCH {
                    self.insert_completions(&mut rows).await?;
                }
            }
        }
        self.insert_completions(&mut rows).await
    }

    async fn insert_completions(
        &self,
        rows: &mut Vec<lesson_completions::ActiveModel>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let insert = lesson_completions::Entity::insert_many(rows.drain(..));
        insert.exec_without_returning(self.tx).await?;
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
