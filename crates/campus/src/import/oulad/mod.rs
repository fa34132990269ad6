//! The Open University's learning analytics data set: its tables, by the publisher's names.
//!
//! A module's presentation becomes a course, a site and an assessment a lesson, a registration
//! an enrollment. Who opened a site has done it, and who passed an assessment has done that.
//! The tables count days from a course's first one; nothing of who the learners are is kept.

mod course;
mod learners;
mod visits;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::course::Courses;
use self::learners::Learners;
pub use self::visits::{Visit, visits};
use super::problem::{ImportError, Problems};
use super::{Part, find};
use crate::model::{Catalogue, Origin, PersonImport, Role};

pub const SOURCE: &str = "oulad";

const ATTRIBUTION: &str = "Kuzilek J., Hlosta M., Zdrahal Z. Open University Learning Analytics \
dataset. Sci. Data 4:170171, doi:10.1038/sdata.2017.171 (2017), The Open University, CC BY 4.0; \
changed: days to dates, first visits to completions, personal attributes left out";

/// How much of the learners' time is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until<'a> {
    /// Everything the tables tell.
    TheEnd,
    /// Everybody is registered for this presentation and nobody has begun: where a replay begins.
    TheStartOf(&'a str),
}

/// Reads a folder of the tables. Nothing is stored.
pub fn read(dir: &Path, until: Until<'_>) -> Result<Part, ImportError> {
    if !dir.is_dir() {
        return Err(ImportError::Missing(dir.to_owned()));
    }
    let mut problems = Problems::default();
    let mut courses = Courses::default();
    courses.read(&table(dir, "courses.csv")?, &mut problems)?;
    courses.read_sites(&table(dir, "vle.csv")?, &mut problems)?;
    courses.read_assessments(&table(dir, "assessments.csv")?, &mut problems)?;
    let mut learners = Learners::new(&courses, until);
    learners.read_results(&table(dir, "studentInfo.csv")?, &mut problems)?;
    learners.read_registrations(&table(dir, "studentRegistration.csv")?, &mut problems)?;
    let mut notes = Vec::new();
    if until == Until::TheEnd {
        learners.read_scores(&table(dir, "studentAssessment.csv")?, &mut problems)?;
        for log in logs(dir)? {
            notes.push(format!("first visits are taken from {}", name(&log.path)));
            learners.read_clicks(&log, &mut problems)?;
        }
    }
    if !problems.as_slice().is_empty() {
        return Err(ImportError::BadRows(problems));
    }
    let (students, enrollments) = learners.finish();
    let (mut people, courses) = courses.finish();
    people.extend(students);
    let catalogue = Catalogue {
        source: SOURCE.to_owned(),
        people,
        courses,
        enrollments,
        ..Catalogue::default()
    };
    Ok(Part { catalogue, notes, attribution: Some(ATTRIBUTION) })
}

/// A log of clicks. The publisher's names the presentation in each row, one of a single
/// presentation in its name: `clicks_2014J.csv`.
struct Log {
    path: PathBuf,
    presentation: Option<String>,
}

/// The logs to read, none of which holds the rows of another one: the publisher's whole one, else
/// those of whole presentations, else those of single modules.
fn logs(dir: &Path) -> Result<Vec<Log>, ImportError> {
    if let Some(path) = find(dir, "studentVle.csv") {
        return Ok(vec![Log { path, presentation: None }]);
    }
    let mut logs: Vec<(bool, Log)> = super::files(dir)?
        .into_iter()
        .filter_map(|path| {
            let name = name(&path);
            let stem = name.strip_prefix("clicks_")?.split(".csv").next()?.to_owned();
            let presentation = stem.rsplit('_').next().map(str::to_owned);
            Some((!stem.contains('_'), Log { path, presentation }))
        })
        .collect();
    let has_whole = logs.iter().any(|(is_whole, _)| *is_whole);
    logs.retain(|(is_whole, _)| *is_whole == has_whole);
    if logs.is_empty() {
        let (path, present) = (dir.to_owned(), "courses.csv");
        let missing = "studentVle.csv (or clicks_<presentation>.csv)";
        return Err(ImportError::Incomplete { path, present, missing });
    }
    Ok(logs.into_iter().map(|(_, log)| log).collect())
}

fn table(dir: &Path, file: &'static str) -> Result<PathBuf, ImportError> {
    find(dir, file).ok_or_else(|| match file {
        "courses.csv" => ImportError::NoTables(dir.to_owned()),
        _ => {
            ImportError::Incomplete { path: dir.to_owned(), present: "courses.csv", missing: file }
        }
    })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn origin(external_id: String) -> Origin {
    Origin { source: SOURCE.to_owned(), external_id, attribution: Some(ATTRIBUTION.to_owned()) }
}

fn person(external_id: String, username: String, full_name: String, role: Role) -> PersonImport {
    PersonImport {
        origin: origin(external_id),
        username,
        full_name,
        role,
        headline: None,
        bio: None,
        expertise: Vec::new(),
    }
}

/// The external id of the lesson that a site becomes.
fn site(id: u32) -> Arc<str> {
    format!("site-{id}").into()
}

/// The external id of a learner.
fn learner(id: u32) -> String {
    format!("learner-{id}")
}

/// The site that a lesson was, by its external id.
pub fn site_of(external_id: &str) -> Option<u32> {
    external_id.strip_prefix("site-")?.parse().ok()
}

/// The learner that a person was, by their external id.
pub fn learner_of(external_id: &str) -> Option<u32> {
    external_id.strip_prefix("learner-")?.parse().ok()
}

/// The external id of the course that a module's presentation becomes.
fn course_id(module: &str, presentation: &str) -> String {
    format!("{module}-{presentation}")
}
