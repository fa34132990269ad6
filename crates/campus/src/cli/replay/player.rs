//! Plays visits: the course page, the lesson, the learner's progress; the first visit of a lesson
//! completes it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::tick;
use crate::app::App;
use crate::cli::Failure;
use crate::import::oulad::{self, Visit};
use crate::model::{Principal, Role};
use crate::reads::{CacheReport, Via};
use crate::store::Store;

/// What a visit does beside reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completing {
    /// Completes a lesson that its learner has not opened before.
    FirstVisits,
    /// Only reads.
    Nothing,
}

/// Who and what the log's numbers are in the database.
pub(super) struct Player {
    students: HashMap<u32, i64>,
    lessons: HashMap<u32, Lesson>,
}

#[derive(Clone, Copy)]
pub(super) struct Lesson {
    pub(super) course_id: i64,
    pub(super) lesson_id: i64,
}

pub(super) struct Played {
    pub(super) requests: usize,
    pub(super) completions: usize,
    pub(super) took: Duration,
    /// The time of each step, by its name.
    pub(super) steps: [(&'static str, Vec<u32>); 4],
    pub(super) cache: CacheReport,
}

impl Player {
    pub(super) async fn new(store: &Store, presentation: &str) -> Result<Self, Failure> {
        let ids = store.imported_ids(oulad::SOURCE).await?;
        let students = ids.people.iter();
        let students = students.filter_map(|(name, id)| Some((oulad::learner_of(name)?, *id)));
        let mut lessons = HashMap::new();
        for (name, &course_id) in &ids.courses {
            if !name.ends_with(presentation) {
                continue;
            }
            let content = store.content(course_id).await?;
            let known = content.map(|(content, _)| content.known_ids()).unwrap_or_default();
            for (name, lesson_id) in known {
                if let Some(site) = oulad::site_of(&name) {
                    lessons.insert(site, Lesson { course_id, lesson_id });
                }
            }
        }
        Ok(Self { students: students.collect(), lessons })
    }

    /// What a visit is of. The importer has seen to it that every one is of something.
    pub(super) fn lesson(&self, visit: Visit) -> Result<Lesson, Failure> {
        let lesson = self.lessons.get(&visit.site).copied();
        lesson.ok_or_else(|| format!("the site {} is not in vle.csv", visit.site).into())
    }

    fn student(&self, visit: Visit) -> Result<Principal, Failure> {
        let id = self.students.get(&visit.student).copied();
        let id =
            id.ok_or_else(|| format!("the learner {} is not in studentInfo.csv", visit.student))?;
        Ok(Principal { id, role: Role::Student })
    }

    /// One after the other, as fast as they are answered.
    pub(super) async fn play(
        &self,
        app: &App,
        visits: &[Visit],
        completing: Completing,
        bar: &ProgressBar,
    ) -> Result<Played, Failure> {
        let begun = Instant::now();
        let mut seen = HashSet::new();
        let mut steps =
            ["course page", "lesson", "progress", "complete"].map(|step| (step, Vec::new()));
        for (number, &visit) in visits.iter().enumerate() {
            let (student, lesson) = (self.student(visit)?, self.lesson(visit)?);
            let is_first = seen.insert((visit.student, visit.site));
            let wanted = if is_first && completing == Completing::FirstVisits { 4 } else { 3 };
            for (step, (_, times)) in steps.iter_mut().enumerate().take(wanted) {
                let from = Instant::now();
                self.step(app, step, student, lesson).await?;
                times.push(u32::try_from(from.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
            tick(bar, number);
        }
        Ok(Played {
            requests: visits.len(),
            completions: steps[3].1.len(),
            took: begun.elapsed(),
            steps,
            cache: app.reads.stats(),
        })
    }

    async fn step(
        &self,
        app: &App,
        step: usize,
        student: Principal,
        lesson: Lesson,
    ) -> Result<(), Failure> {
        let Lesson { course_id, lesson_id } = lesson;
        let learning = &app.learning;
        match step {
            0 => drop(learning.course(Some(student), Via::Cache, course_id).await?),
            1 => {
                let content = learning.content(student, Via::Cache, course_id).await?;
                content.value.lesson(lesson_id).ok_or("a lesson is missing from its content")?;
            }
            2 => drop(learning.progress(student, Via::Cache, course_id).await?),
            _ => drop(learning.complete_lesson(student, course_id, lesson_id).await?),
        }
        Ok(())
    }
}
