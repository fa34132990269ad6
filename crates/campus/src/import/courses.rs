//! Courses of one's own: the JSON object that the demo catalogue and `docs/importing.md` use.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;

use super::json::{decode, elements, rows};
use super::problem::{ImportError, Place, Problems};
use super::{input, unique};
use crate::model::{
    Catalogue, CourseDraft, CourseImport, CourseStatus, Fields, LessonImport, Level, ModuleImport,
    Money, Origin, Patch, PersonImport, Refusal, Role, Timestamp,
};

/// The largest body of a lesson or an article, in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;
const MAX_TAGS: usize = 30;

/// Who teaches a course that names nobody.
const NOBODY: &str = "imported";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CourseRow {
    pub(super) slug: String,
    pub(super) title: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default = "general")]
    pub(super) category: String,
    #[serde(default = "beginner")]
    pub(super) level: Level,
    #[serde(default)]
    pub(super) price: Money,
    #[serde(default)]
    pub(super) max_students: Option<i64>,
    /// Absent: published by the first import. `null`: a draft.
    #[serde(default)]
    pub(super) published_at: Patch<Timestamp>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) instructor: Option<InstructorRow>,
    #[serde(default)]
    pub(super) modules: Vec<ModuleRow>,
}

pub(super) fn general() -> String {
    "General".to_owned()
}

pub(super) fn beginner() -> Level {
    Level::Beginner
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstructorRow {
    pub(super) username: String,
    pub(super) full_name: String,
    #[serde(default)]
    pub(super) headline: Option<String>,
    #[serde(default)]
    pub(super) bio: Option<String>,
    #[serde(default)]
    pub(super) expertise: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModuleRow {
    pub(super) title: String,
    #[serde(default)]
    pub(super) lessons: Vec<LessonRow>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LessonRow {
    pub(super) title: String,
    #[serde(default)]
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) duration_minutes: u16,
    #[serde(default)]
    pub(super) body: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    #[default]
    Text,
    Video,
    Exercise,
    Quiz,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Video => "video",
            Self::Exercise => "exercise",
            Self::Quiz => "quiz",
        }
    }
}

/// The courses of all files of one source, and where each slug was seen first.
pub(super) struct Courses {
    catalogue: Catalogue,
    seen: HashMap<String, String>,
    people: HashMap<String, usize>,
}

impl Courses {
    pub(super) fn new(source: &str) -> Self {
        let catalogue = Catalogue { source: source.to_owned(), ..Catalogue::default() };
        Self { catalogue, seen: HashMap::new(), people: HashMap::new() }
    }

    pub(super) fn finish(self) -> Catalogue {
        self.catalogue
    }

    pub(super) fn is_empty(&self) -> bool {
        self.catalogue.courses.is_empty()
    }

    /// Takes a row over, or says everything that is wrong with it.
    pub(super) fn add(&mut self, row: CourseRow, place: Place<'_>, problems: &mut Problems) {
        if let Some(first) = self.seen.get(&row.slug) {
            return problems.push(
                place.problem("slug", format!("`{}` was given at {first} already", row.slug)),
            );
        }
        self.seen.insert(row.slug.clone(), format!("{}:{}", place.file, place.line));
        let Err(errors) = check(&row) else {
            match self.instructor(row.instructor.as_ref()) {
                Ok(instructor) => self.push(row, instructor),
                Err(reason) => problems.push(place.problem("instructor.username", reason)),
            }
            return;
        };
        match errors {
            Refusal::Invalid(fields) => {
                fields
                    .into_iter()
                    .for_each(|bad| problems.push(place.problem(&bad.field, bad.message)));
            }
            other => problems.push(place.problem("", other.to_string())),
        }
    }

    fn push(&mut self, row: CourseRow, instructor: String) {
        let (status, published_at) = match row.published_at {
            Patch::Keep => (CourseStatus::Published, None),
            Patch::Clear => (CourseStatus::Draft, None),
            Patch::Set(at) => (CourseStatus::Published, Some(at)),
        };
        self.catalogue.courses.push(CourseImport {
            origin: self.origin(&row.slug),
            slug: row.slug,
            title: row.title,
            description: row.description,
            category: row.category,
            level: row.level,
            price: row.price,
            max_students: row.max_students,
            status,
            published_at,
            tags: row.tags,
            instructor,
            modules: modules(row.modules),
        });
    }

    /// The id of the person who teaches; the same user name must always mean the same person.
    fn instructor(&mut self, row: Option<&InstructorRow>) -> Result<String, String> {
        let nobody = InstructorRow {
            username: NOBODY.to_owned(),
            full_name: "Imported courses".to_owned(),
            headline: None,
            bio: None,
            expertise: Vec::new(),
        };
        let row = row.unwrap_or(&nobody);
        let Some(&index) = self.people.get(&row.username) else {
            self.people.insert(row.username.clone(), self.catalogue.people.len());
            let person = person(self.origin(&row.username), row);
            self.catalogue.people.push(person);
            return Ok(row.username.clone());
        };
        let known = &mut self.catalogue.people[index];
        if known.full_name != row.full_name {
            return Err(format!("`{}` is {} in another row", row.username, known.full_name));
        }
        known.headline = known.headline.take().or_else(|| row.headline.clone());
        known.bio = known.bio.take().or_else(|| row.bio.clone());
        if known.expertise.is_empty() {
            known.expertise.clone_from(&row.expertise);
        }
        Ok(row.username.clone())
    }

    fn origin(&self, id: &str) -> Origin {
        Origin {
            source: self.catalogue.source.clone(),
            external_id: id.to_owned(),
            attribution: None,
        }
    }
}

fn person(origin: Origin, row: &InstructorRow) -> PersonImport {
    PersonImport {
        origin,
        username: row.username.clone(),
        full_name: row.full_name.clone(),
        role: Role::Instructor,
        headline: row.headline.clone(),
        bio: row.bio.clone(),
        expertise: row.expertise.clone(),
    }
}

/// The rules of `POST /courses/`, and those of what a course contains.
fn check(row: &CourseRow) -> Result<(), Refusal> {
    CourseDraft {
        slug: row.slug.clone(),
        title: row.title.clone(),
        description: row.description.clone(),
        category: row.category.clone(),
        level: row.level,
        price: row.price,
        max_students: row.max_students,
        instructor_id: 0,
    }
    .check()?;
    let mut fields = Fields::default();
    if row.tags.len() > MAX_TAGS {
        fields.refuse("tags", format!("must have at most {MAX_TAGS} tags"));
    }
    row.tags.iter().for_each(|tag| fields.text("tags", tag, 1, 50));
    if let Some(person) = &row.instructor {
        fields.text("instructor.username", &person.username, 3, 50);
        fields.text("instructor.full_name", &person.full_name, 1, 200);
        fields.text("instructor.headline", person.headline.as_deref().unwrap_or(""), 0, 200);
        fields.text("instructor.bio", person.bio.as_deref().unwrap_or(""), 0, 5000);
    }
    for (m, module) in row.modules.iter().enumerate() {
        fields.text(format!("modules[{m}].title"), &module.title, 1, 300);
        for (l, lesson) in module.lessons.iter().enumerate() {
            fields.text(format!("modules[{m}].lessons[{l}].title"), &lesson.title, 1, 300);
            check_body(&mut fields, format!("modules[{m}].lessons[{l}].body"), &lesson.body);
        }
    }
    fields.finish()
}

/// A body is judged by its bytes: that is what it costs to store and to send.
pub(super) fn check_body(fields: &mut Fields, field: impl std::fmt::Display, body: &str) {
    if body.len() > MAX_BODY {
        fields.refuse(field, format!("must have at most {} MiB", MAX_BODY >> 20));
    } else {
        fields.text(field, body, 0, MAX_BODY);
    }
}

/// Modules and lessons are known again by their titles, so that progress survives a second import.
fn modules(given: Vec<ModuleRow>) -> Vec<ModuleImport> {
    let mut taken = HashSet::new();
    let mut imported = Vec::with_capacity(given.len());
    for module in given {
        let id = unique(&mut taken, fold(&module.title));
        let lesson = |lesson: LessonRow| LessonImport {
            external_id: unique(&mut taken, format!("{id}/{}", fold(&lesson.title))),
            title: lesson.title,
            kind: lesson.kind.as_str().to_owned(),
            duration_minutes: i64::from(lesson.duration_minutes),
            body: lesson.body,
        };
        let lessons = module.lessons.into_iter().map(lesson).collect();
        imported.push(ModuleImport { external_id: id.clone(), title: module.title, lessons });
    }
    imported
}

/// A title as an id: not a slug, because a title in another script must stay distinct.
fn fold(title: &str) -> String {
    title.split_whitespace().collect::<Vec<_>>().join("-").to_lowercase()
}

/// Reads a JSON array (or one object) of courses that is in memory already.
pub(super) fn read_text(text: &str, file: &str, courses: &mut Courses, problems: &mut Problems) {
    let found = if text.trim_start().starts_with('[') {
        elements(text, file)
    } else {
        Ok(vec![(Place { file, line: 1 }, text)])
    };
    for (place, element) in problems.keep(found).unwrap_or_default() {
        if let Some(row) = problems.keep(decode(element, place)) {
            courses.add(row, place, problems);
        }
        if problems.is_full() {
            return;
        }
    }
}

pub(super) fn read_document(
    path: &Path,
    courses: &mut Courses,
    problems: &mut Problems,
) -> Result<(), ImportError> {
    if let Some(text) = problems.keep(input::document(path)?) {
        read_text(&text, &path.display().to_string(), courses, problems);
    }
    Ok(())
}

pub(super) fn read_lines(
    path: &Path,
    courses: &mut Courses,
    problems: &mut Problems,
) -> Result<(), ImportError> {
    rows(path, problems, |row, place, problems| courses.add(row, place, problems))
}
