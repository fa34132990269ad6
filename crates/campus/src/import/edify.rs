//! The log of a Moodle with fourteen courses, with the minute of everything and with the writes:
//! what `campus replay edify` plays. The log's courses, their items and its people become courses,
//! lessons and students, each enrolled where the log shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::problem::{ImportError, Problem, Problems};
use super::table::{Row, rows};
use super::{Part, find};
use crate::model::{
    Catalogue, CourseImport, CourseStatus, EnrollmentImport, EnrollmentStatus, LessonImport, Level,
    ModuleImport, Money, Origin, PersonImport, Role, Timestamp, slugify,
};

pub const SOURCE: &str = "edify";

const ATTRIBUTION: &str = "Hasan R., Palaniappan S., Mahmood S., Abbas A., Sarker K.U. Dataset of \
Students' Performance Using Student Information System, Moodle and the Mobile Application 'eDify'. \
Data 6(11):110, doi:10.3390/data6110110 (2021), CC BY 4.0; changed: courses, items and people \
without names";

/// The external id of who teaches the courses.
pub const TEACHER: &str = "team";

/// A row of the log.
#[derive(Debug, Clone)]
pub struct Happening {
    pub at: Timestamp,
    pub course: String,
    /// The log does not always know.
    pub user: Option<u32>,
    pub item: Option<u32>,
    pub what: Happened,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    CourseViewed,
    ItemViewed,
    /// Lists of submissions, grading tables and the like.
    OtherRead,
    /// Something that somebody does for themselves.
    LearnerWrite,
    EnrolmentWrite,
    CourseWrite,
}

/// Reads `events.csv` of a folder, packed or not. Nothing is stored.
pub fn read(dir: &Path) -> Result<(Part, Vec<Happening>), ImportError> {
    let path =
        find(dir, "events.csv").ok_or_else(|| ImportError::Missing(dir.join("events.csv")))?;
    let columns = ["ts", "course", "user_id", "cm_id", "event_name", "class", "write_scope"];
    let mut problems = Problems::default();
    let mut log = Vec::new();
    rows(&path, &columns, &mut problems, |row| {
        log.push(happening(row)?);
        Ok(())
    })?;
    if !problems.as_slice().is_empty() {
        return Err(ImportError::BadRows(problems));
    }
    let part =
        Part { catalogue: catalogue(&log), notes: Vec::new(), attribution: Some(ATTRIBUTION) };
    Ok((part, log))
}

fn happening(row: &Row<'_>) -> Result<Happening, Problem> {
    let at = row.text(0)?;
    let at = Timestamp::parse(&format!("{at}:00Z"))
        .ok_or_else(|| row.problem(0, format!("`{at}` is no time such as 2017-02-28T16:45")))?;
    let item = row.optional(3)?;
    let what = match (row.text(5)?, row.get(6), row.text(4)?) {
        ("read", _, "Course viewed") => Happened::CourseViewed,
        ("read", _, "Course module viewed") if item.is_some() => Happened::ItemViewed,
        ("read", ..) => Happened::OtherRead,
        ("write", "learner", _) => Happened::LearnerWrite,
        ("write", "enrolment", _) => Happened::EnrolmentWrite,
        ("write", "course", _) => Happened::CourseWrite,
        _ => return Err(row.problem(5, "is neither a read nor a write of a known scope")),
    };
    Ok(Happening { at, course: row.text(1)?.to_owned(), user: row.optional(2)?, item, what })
}

/// The external id of the lesson that an item becomes.
pub fn item(id: u32) -> String {
    format!("item-{id}")
}

/// The external id of the student that somebody becomes.
pub fn student(id: u32) -> String {
    format!("user-{id}")
}

fn catalogue(log: &[Happening]) -> Catalogue {
    let mut courses: BTreeMap<&str, (Timestamp, BTreeSet<u32>)> = BTreeMap::new();
    let mut places = BTreeSet::new();
    let mut students = BTreeSet::new();
    for event in log {
        let (_, items) = courses.entry(&event.course).or_insert((event.at, BTreeSet::new()));
        items.extend(event.item);
        places.extend(event.user.map(|user| (event.course.as_str(), user)));
        students.extend(event.user);
    }
    let mut people = vec![person(TEACHER.to_owned(), "eDify team".to_owned(), Role::Instructor)];
    people.extend(
        students.iter().map(|&id| person(student(id), format!("Learner {id}"), Role::Student)),
    );
    let enrollments = places.iter().map(|&(course, user)| {
        let opened = courses[course].0;
        EnrollmentImport {
            student: student(user),
            course: course.to_owned(),
            status: EnrollmentStatus::Active,
            enrolled_at: opened,
            last_accessed_at: opened,
            completions: Vec::new(),
            time_spent_minutes: 0,
        }
    });
    let enrollments = enrollments.collect();
    let courses = courses.iter().map(|(name, (opened, items))| course(name, *opened, items));
    Catalogue {
        source: SOURCE.to_owned(),
        people,
        courses: courses.collect(),
        enrollments,
        ..Catalogue::default()
    }
}

fn origin(external_id: String) -> Origin {
    Origin { source: SOURCE.to_owned(), external_id, attribution: Some(ATTRIBUTION.to_owned()) }
}

fn person(external_id: String, full_name: String, role: Role) -> PersonImport {
    PersonImport {
        username: format!("edify-{external_id}"),
        origin: origin(external_id),
        full_name,
        role,
        headline: None,
        bio: None,
        expertise: Vec::new(),
    }
}

fn course(name: &str, opened: Timestamp, items: &BTreeSet<u32>) -> CourseImport {
    let lesson = |&id: &u32| LessonImport {
        external_id: item(id),
        title: format!("Item {id}"),
        kind: "text".to_owned(),
        duration_minutes: 0,
        body: String::new(),
    };
    CourseImport {
        origin: origin(name.to_owned()),
        slug: format!("edify-{}", slugify(name)),
        title: name.to_owned(),
        description: "An anonymised course of a Moodle.".to_owned(),
        category: "Moodle".to_owned(),
        level: Level::Beginner,
        price: Money::default(),
        max_students: None,
        status: CourseStatus::Published,
        published_at: Some(opened),
        tags: Vec::new(),
        instructor: TEACHER.to_owned(),
        modules: vec![ModuleImport {
            external_id: "items".to_owned(),
            title: "Items".to_owned(),
            lessons: items.iter().map(lesson).collect(),
        }],
    }
}
