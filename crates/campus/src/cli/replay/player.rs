//! Plays requests one after the other, as fast as they are answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::script::{Act, Request};
use super::tick;
use crate::app::App;
use crate::cli::Failure;
use crate::learning::{EnrollRequest, ProgressReport};
use crate::model::{
    Content, ContentDraft, CourseEdit, EnrollmentStatus, LessonDraft, ModuleDraft, Patch,
    Principal, Role, Window,
};
use crate::reads::{CacheReport, Via};

/// Which acts are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Playing {
    Everything,
    Reads,
}

pub(super) struct Played {
    pub(super) requests: usize,
    pub(super) took: Duration,
    /// How long each act took, in nanoseconds.
    pub(super) times: BTreeMap<Act, Vec<u32>>,
    pub(super) cache: CacheReport,
}

impl Played {
    /// How many acts were reads, or were not.
    pub(super) fn acts(&self, are_wanted: impl Fn(Act) -> bool) -> usize {
        self.times.iter().filter(|(act, _)| are_wanted(**act)).map(|(_, times)| times.len()).sum()
    }
}

pub(super) async fn play(
    app: &App,
    requests: &[Request],
    playing: Playing,
    bar: &ProgressBar,
) -> Result<Played, Failure> {
    let begun = Instant::now();
    let mut times: BTreeMap<Act, Vec<u32>> = BTreeMap::new();
    for (number, request) in requests.iter().enumerate() {
        for &act in request.acts {
            if act.is_read() || playing == Playing::Everything {
                let took = step(app, act, request, number).await?;
                let nanos = u32::try_from(took.as_nanos()).unwrap_or(u32::MAX);
                times.entry(act).or_default().push(nanos);
            }
        }
        tick(bar, number);
    }
    let cache = app.reads.stats();
    Ok(Played { requests: requests.len(), took: begun.elapsed(), times, cache })
}

/// One act and how long it took, without what had to be looked up for it.
async fn step(app: &App, act: Act, request: &Request, number: usize) -> Result<Duration, Failure> {
    let Request { person, course_id, lesson_id, .. } = *request;
    let learning = &app.learning;
    let student = Principal { id: person, role: Role::Student };
    let teacher = Principal { id: person, role: Role::Instructor };
    let no_lesson = "a lesson is missing from its content";
    let enrollment = match act {
        Act::SpendTime | Act::Reenroll => place(app, student, course_id).await?,
        _ => 0,
    };
    let draft = match act {
        Act::EditContent => Some(edited(app, course_id, number).await?),
        _ => None,
    };
    let from = Instant::now();
    match act {
        Act::OpenCourse => drop(learning.course(Some(student), Via::Cache, course_id).await?),
        Act::OpenLesson => {
            let content = learning.content(student, Via::Cache, course_id).await?;
            content.value.lesson(lesson_id.ok_or(no_lesson)?).ok_or(no_lesson)?;
        }
        Act::SeeProgress => drop(learning.progress(student, Via::Cache, course_id).await?),
        Act::Complete => {
            let lesson_id = lesson_id.ok_or(no_lesson)?;
            drop(learning.complete_lesson(student, course_id, lesson_id).await?);
        }
        Act::SpendTime => {
            let report = ProgressReport { time_spent_minutes: Some(1), ..Default::default() };
            drop(learning.report_progress(student, enrollment, report).await?);
        }
        Act::Reenroll => {
            learning.drop_enrollment(student, enrollment).await?;
            let again =
                EnrollRequest { course_id, student_id: None, payment_amount: None, source: None };
            drop(learning.enroll(student, again).await?);
        }
        Act::EditContent => {
            let draft = draft.ok_or(no_lesson)?;
            drop(learning.replace_content(teacher, course_id, None, draft).await?);
        }
        Act::EditCourse => {
            let description = Patch::Set(format!("As it was after request {number}."));
            let edit = CourseEdit { description, ..CourseEdit::default() };
            drop(learning.edit_course(teacher, course_id, None, edit).await?);
        }
    }
    Ok(from.elapsed())
}

/// The enrollment that a student has in a course.
async fn place(app: &App, student: Principal, course_id: i64) -> Result<i64, Failure> {
    let all = Window { skip: 0, limit: 1_000 };
    let (enrollments, _) = app.learning.my_enrollments(student, all).await?;
    let enrollments = enrollments.into_iter().map(|detail| detail.enrollment);
    let mut active = enrollments.filter(|e| e.status == EnrollmentStatus::Active);
    let here = active.find(|e| e.course_id == course_id);
    here.map(|e| e.id).ok_or_else(|| "a learner has lost their place in a course".into())
}

/// The content of a course with another title of its first module.
async fn edited(app: &App, course_id: i64, number: usize) -> Result<ContentDraft, Failure> {
    let (Content { modules, .. }, _) =
        app.store().content(course_id).await?.ok_or("a course has lost its content")?;
    let modules = modules.into_iter().map(|module| ModuleDraft {
        id: Some(module.id),
        title: format!("Items, as they were after request {number}"),
        position: None,
        external_id: module.external_id,
        lessons: module
            .lessons
            .into_iter()
            .map(|lesson| LessonDraft {
                id: Some(lesson.id),
                title: lesson.title,
                kind: lesson.kind,
                duration_minutes: lesson.duration_minutes,
                body: lesson.body,
                external_id: lesson.external_id,
            })
            .collect(),
    });
    Ok(ContentDraft { modules: modules.collect(), tags: None })
}
