//! A log as requests to the database that it was imported into.

use std::collections::{HashMap, HashSet};

use crate::cli::Failure;
use crate::import::edify::{self, Happened, Happening};
use crate::import::oulad::{self, Visit};
use crate::store::{ImportedIds, Store};

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    OpenCourse,
    OpenLesson,
    SeeProgress,
    Complete,
    SpendTime,
    Reenroll,
    EditContent,
    EditCourse,
}

impl Act {
    pub(super) fn is_read(self) -> bool {
        matches!(self, Self::OpenCourse | Self::OpenLesson | Self::SeeProgress)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OpenCourse => "course page",
            Self::OpenLesson => "lesson",
            Self::SeeProgress => "progress",
            Self::Complete => "complete",
            Self::SpendTime => "report time",
            Self::Reenroll => "drop and enroll",
            Self::EditContent => "edit content",
            Self::EditCourse => "edit course",
        }
    }
}

/// A row of a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// Seconds since the log's zero.
    pub(super) at: f64,
    /// A student; whoever teaches the course if the acts are edits.
    pub(super) person: i64,
    pub(super) course_id: i64,
    /// The lesson that is opened, completed or edited.
    pub(super) lesson_id: Option<i64>,
    pub(super) acts: &'static [Act],
}

/// A log that has been read, and what it brings into an empty database.
pub(super) enum Log {
    /// Days without times. The first visit of a lesson completes it.
    Clicks { visits: Vec<Visit>, presentation: String },
    /// Times, and the writes as they were.
    Moodle(Vec<Happening>),
}

const VISIT: &[Act] = &[Act::OpenCourse, Act::OpenLesson, Act::SeeProgress];
const FIRST_VISIT: &[Act] = &[Act::OpenCourse, Act::OpenLesson, Act::SeeProgress, Act::Complete];
const DAY: f64 = 86_400.0;

impl Log {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Clicks { visits, .. } => visits.is_empty(),
            Self::Moodle(log) => log.is_empty(),
        }
    }

    pub(super) async fn requests(self, store: &Store) -> Result<Vec<Request>, Failure> {
        match self {
            Self::Clicks { visits, presentation } => clicks(&visits, &presentation, store).await,
            Self::Moodle(log) => moodle(&log, store).await,
        }
    }
}

/// A day's requests are spread evenly over its 24 hours.
async fn clicks(
    visits: &[Visit],
    presentation: &str,
    store: &Store,
) -> Result<Vec<Request>, Failure> {
    let ids = store.imported_ids(oulad::SOURCE).await?;
    let students = ids.people.iter();
    let students: HashMap<u32, i64> =
        students.filter_map(|(name, id)| Some((oulad::learner_of(name)?, *id))).collect();
    let sites = lessons(&ids, store, |course| course.ends_with(presentation)).await?;
    let sites: HashMap<u32, (i64, i64)> = sites
        .into_iter()
        .filter_map(|((course_id, name), lesson_id)| {
            Some((oulad::site_of(&name)?, (course_id, lesson_id)))
        })
        .collect();
    let mut seen = HashSet::new();
    let mut requests = Vec::with_capacity(visits.len());
    for day in visits.chunk_by(|a, b| a.day == b.day) {
        for (place, visit) in day.iter().enumerate() {
            let share = (place as f64 + 0.5) / day.len() as f64;
            let &person = students.get(&visit.student).ok_or_else(|| {
                format!("the learner {} is not in studentInfo.csv", visit.student)
            })?;
            let &(course_id, lesson_id) = sites
                .get(&visit.site)
                .ok_or_else(|| format!("the site {} is not in vle.csv", visit.site))?;
            let is_first = seen.insert((visit.student, visit.site));
            requests.push(Request {
                at: (f64::from(visit.day) + share) * DAY,
                person,
                course_id,
                lesson_id: Some(lesson_id),
                acts: if is_first { FIRST_VISIT } else { VISIT },
            });
        }
    }
    Ok(requests)
}

/// What Campus has too: the course's page with the learner's progress, an item as a lesson, and
/// every write whose author is known. A learner's write is reported as time spent; one about
/// enrolment drops its author and enrolls them again; one about a course edits it, its content if
/// the log names an item.
async fn moodle(log: &[Happening], store: &Store) -> Result<Vec<Request>, Failure> {
    let ids = store.imported_ids(edify::SOURCE).await?;
    let items = lessons(&ids, store, |_| true).await?;
    let request = |event: &Happening| {
        let course_id = *ids.courses.get(&event.course)?;
        let item = event.item.and_then(|item| items.get(&(course_id, edify::item(item))));
        let acts: &[Act] = match event.what {
            Happened::CourseViewed => &[Act::OpenCourse, Act::SeeProgress],
            Happened::ItemViewed => &[Act::OpenLesson],
            Happened::OtherRead => return None,
            Happened::LearnerWrite => &[Act::SpendTime],
            Happened::EnrolmentWrite => &[Act::Reenroll],
            Happened::CourseWrite if item.is_some() => &[Act::EditContent],
            Happened::CourseWrite => &[Act::EditCourse],
        };
        let person = match event.what {
            Happened::CourseWrite => ids.people.get(edify::TEACHER),
            _ => ids.people.get(&edify::student(event.user?)),
        };
        let at = event.at.seconds() as f64;
        Some(Request { at, person: *person?, course_id, lesson_id: item.copied(), acts })
    };
    Ok(log.iter().filter_map(request).collect())
}

/// The lessons of some courses by the names that the import gave them.
async fn lessons(
    ids: &ImportedIds,
    store: &Store,
    of: impl Fn(&str) -> bool,
) -> Result<HashMap<(i64, String), i64>, Failure> {
    let mut lessons = HashMap::new();
    for (_, &course_id) in ids.courses.iter().filter(|(name, _)| of(name)) {
        let content = store.content(course_id).await?;
        let known = content.map(|(content, _)| content.known_ids()).unwrap_or_default();
        lessons.extend(known.into_iter().map(|(name, id)| ((course_id, name), id)));
    }
    Ok(lessons)
}
