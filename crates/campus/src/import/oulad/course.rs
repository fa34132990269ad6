//! Courses from modules and their presentations; lessons from sites and assessments.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::super::problem::{ImportError, Problem, Problems};
use super::super::table::{Row, rows};
use super::{course_id, origin, person, site};
use crate::model::{
    CourseImport, CourseStatus, LessonImport, Level, ModuleImport, Money, PersonImport, Role,
    Timestamp, slugify,
};

pub(super) const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// The registrations that the tables have begin at most this long before a course.
const OPENS: i64 = 365 * DAY;

const ASSESSMENTS: &str = "assessment";

/// A module's presentation.
pub(super) struct Course {
    module: String,
    presentation: String,
    /// Midnight before the first day.
    pub(super) start: Timestamp,
    days: u16,
    pub(super) lessons: Vec<Lesson>,
}

pub(super) struct Lesson {
    pub(super) external_id: Arc<str>,
    /// The publisher's kind of activity: lessons of one kind are a module of the course.
    kind: String,
    title: String,
    body: String,
}

/// Which lesson of which course something is.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) course: u32,
    pub(super) lesson: u32,
}

#[derive(Default)]
pub(super) struct Courses {
    pub(super) all: Vec<Course>,
    by_name: HashMap<(String, String), u32>,
    pub(super) sites: HashMap<u32, Spot>,
    pub(super) assessments: HashMap<u32, Spot>,
}

impl Course {
    /// Midnight before a day that is counted from the course's first one.
    pub(super) fn midnight(&self, day: i32) -> Timestamp {
        Timestamp(self.start.0 + i64::from(day) * DAY)
    }

    pub(super) fn end(&self) -> Timestamp {
        self.midnight(i32::from(self.days))
    }

    pub(super) fn presentation(&self) -> &str {
        &self.presentation
    }

    pub(super) fn external_id(&self) -> String {
        course_id(&self.module, &self.presentation)
    }
}

impl Courses {
    pub(super) fn read(&mut self, path: &Path, problems: &mut Problems) -> Result<(), ImportError> {
        let columns = ["code_module", "code_presentation", "module_presentation_length"];
        rows(path, &columns, problems, |row| {
            let (module, presentation) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
            let start = start(&presentation).ok_or_else(|| {
                row.problem(
                    1,
                    format!("`{presentation}` is no presentation such as 2013B or 2014J"),
                )
            })?;
            let days = row.number(2)?;
            let (name, next) = ((module.clone(), presentation.clone()), self.all.len() as u32);
            if self.by_name.insert(name, next).is_some() {
                return Err(row.problem(1, "this module and presentation was given already"));
            }
            self.all.push(Course { module, presentation, start, days, lessons: Vec::new() });
            Ok(())
        })
    }

    pub(super) fn read_sites(
        &mut self,
        path: &Path,
        problems: &mut Problems,
    ) -> Result<(), ImportError> {
        let columns = [
            "code_module",
            "code_presentation",
            "id_site",
            "activity_type",
            "week_from",
            "week_to",
        ];
        rows(path, &columns, problems, |row| {
            let course = self.named(row)?;
            let (id, kind): (u32, &str) = (row.number(2)?, row.text(3)?);
            let (from, to): (Option<i32>, Option<i32>) = (row.optional(4)?, row.optional(5)?);
            let body = match (from, to) {
                (Some(from), Some(to)) => format!("For the weeks {from} to {to}."),
                _ => String::new(),
            };
            let title = format!("{} {id}", spaced(kind));
            let lesson = Lesson { external_id: site(id), kind: kind.to_owned(), title, body };
            let spot = self.add(course, lesson);
            match self.sites.insert(id, spot) {
                None => Ok(()),
                Some(_) => Err(row.problem(2, format!("the site {id} was given already"))),
            }
        })
    }

    pub(super) fn read_assessments(
        &mut self,
        path: &Path,
        problems: &mut Problems,
    ) -> Result<(), ImportError> {
        let columns =
            ["code_module", "code_presentation", "id_assessment", "assessment_type", "date"];
        rows(path, &columns, problems, |row| {
            let course = self.named(row)?;
            let (id, kind, date): (u32, &str, Option<i32>) =
                (row.number(2)?, row.text(3)?, row.day(4)?);
            let due = date.map_or("at the end".to_owned(), |day| format!("on day {day}"));
            let lesson = Lesson {
                external_id: format!("assessment-{id}").into(),
                kind: ASSESSMENTS.to_owned(),
                title: format!("{kind} {id}"),
                body: format!("Due {due} of the course."),
            };
            let spot = self.add(course, lesson);
            match self.assessments.insert(id, spot) {
                None => Ok(()),
                Some(_) => Err(row.problem(2, format!("the assessment {id} was given already"))),
            }
        })
    }

    /// The course of a row whose first two columns name it.
    pub(super) fn named(&self, row: &Row<'_>) -> Result<u32, Problem> {
        let (module, presentation) = (row.text(0)?, row.text(1)?);
        self.of(module, presentation)
            .ok_or_else(|| row.problem(0, format!("{module} {presentation} is not in courses.csv")))
    }

    pub(super) fn of(&self, module: &str, presentation: &str) -> Option<u32> {
        self.by_name.get(&(module.to_owned(), presentation.to_owned())).copied()
    }

    fn add(&mut self, course: u32, lesson: Lesson) -> Spot {
        let lessons = &mut self.all[course as usize].lessons;
        lessons.push(lesson);
        Spot { course, lesson: lessons.len() as u32 - 1 }
    }

    /// The courses, and for each module somebody who teaches it.
    pub(super) fn finish(self) -> (Vec<PersonImport>, Vec<CourseImport>) {
        let mut teachers = BTreeMap::new();
        for Course { module, .. } in &self.all {
            let name = format!("Module team {module}");
            let slug = format!("oulad-{}", slugify(module));
            let new = || person(teacher(module), slug, name, Role::Instructor);
            teachers.entry(module.clone()).or_insert_with(new);
        }
        (teachers.into_values().collect(), self.all.into_iter().map(course).collect())
    }
}

fn teacher(module: &str) -> String {
    format!("team-{module}")
}

/// Presentations are named for the month they begin in: B is February, J is October.
fn start(presentation: &str) -> Option<Timestamp> {
    let (year, letter) = presentation.split_at_checked(4)?;
    let month = match letter {
        "B" => "02",
        "J" => "10",
        _ => return None,
    };
    Timestamp::parse(&format!("{year}-{month}-01"))
}

fn course(course: Course) -> CourseImport {
    let external_id = course.external_id();
    let Course { module, presentation, days, .. } = &course;
    CourseImport {
        slug: format!("oulad-{}", slugify(&external_id)),
        title: format!("Module {module}, presentation {presentation}"),
        description: format!("An anonymised module of the Open University, {days} days long."),
        category: "Open University".to_owned(),
        level: Level::Beginner,
        price: Money::default(),
        max_students: None,
        status: CourseStatus::Published,
        published_at: Some(Timestamp(course.start.0 - OPENS)),
        tags: vec![module.to_lowercase(), presentation.to_lowercase()],
        instructor: teacher(module),
        origin: origin(external_id),
        modules: modules(course.lessons),
    }
}

fn modules(lessons: Vec<Lesson>) -> Vec<ModuleImport> {
    let mut kinds: BTreeMap<String, Vec<LessonImport>> = BTreeMap::new();
    for Lesson { external_id, kind, title, body } in lessons {
        let is_quiz = kind.contains("quiz") || kind == ASSESSMENTS;
        let lesson = LessonImport {
            external_id: external_id.to_string(),
            title,
            kind: if is_quiz { "quiz" } else { "text" }.to_owned(),
            duration_minutes: 0,
            body,
        };
        kinds.entry(kind).or_default().push(lesson);
    }
    let module = |(kind, lessons): (String, _)| ModuleImport {
        external_id: format!("kind-{kind}"),
        title: spaced(&kind),
        lessons,
    };
    kinds.into_iter().map(module).collect()
}

/// `ou_content` is written `Ou content`.
fn spaced(kind: &str) -> String {
    let text = kind.replace('_', " ");
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
