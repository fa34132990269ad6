//! The Microsoft Learn layout: a module becomes a course, a unit a lesson, a path the category.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use chrono::NaiveDate;
use serde::Deserialize;

use super::courses::{check_body, general};
use super::json::rows;
use super::problem::{ImportError, Place, Problems};
use super::{Part, find, refuse, words};
use crate::model::{
    Catalogue, CourseImport, CourseStatus, Fields, LessonImport, Level, ModuleImport, Money,
    Origin, PersonImport, Role, Timestamp,
};

const SOURCE: &str = "mslearn";
const ATTRIBUTION: &str = "Microsoft Learn, (c) Microsoft Corporation, CC BY 4.0, \
github.com/MicrosoftDocs/learn; changed: YAML and Markdown joined into JSON lines, images left out, \
quizzes set as text at the end of their lessons";

#[derive(Deserialize)]
struct PathRow {
    title: String,
    #[serde(default)]
    modules: Vec<String>,
}

#[derive(Deserialize)]
struct ModuleRow {
    uid: String,
    #[serde(default)]
    slug: String,
    title: String,
    #[serde(default)]
    summary: String,
    #[serde(default, rename = "abstract")]
    about: String,
    #[serde(default)]
    prerequisites: String,
    #[serde(default)]
    levels: Vec<Level>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    products: Vec<String>,
    #[serde(default)]
    author: String,
    #[serde(default)]
    date: String,
}

#[derive(Deserialize)]
struct UnitRow {
    module_uid: String,
    uid: String,
    position: i64,
    title: String,
    #[serde(default)]
    minutes: u16,
    #[serde(default)]
    body_markdown: String,
    #[serde(default)]
    quiz: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    question: String,
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    text: String,
    correct: bool,
    #[serde(default)]
    explanation: String,
}

/// Whether a folder has this layout.
pub(super) fn is_here(dir: &Path) -> bool {
    find(dir, "modules.ndjson").is_some() || find(dir, "units.ndjson").is_some()
}

pub(super) fn read(dir: &Path, problems: &mut Problems) -> Result<Part, ImportError> {
    let need = |missing, present| {
        find(dir, missing).ok_or_else(|| ImportError::Incomplete {
            path: dir.to_owned(),
            present,
            missing,
        })
    };
    let modules = need("modules.ndjson", "units.ndjson")?;
    let units = need("units.ndjson", "modules.ndjson")?;
    let mut import = Import::default();
    if let Some(paths) = find(dir, "paths.ndjson") {
        rows(&paths, problems, |row, place, problems| import.path(row, place, problems))?;
    }
    rows(&modules, problems, |row, place, problems| import.module(row, place, problems))?;
    import.modules_are_complete = problems.as_slice().is_empty();
    rows(&units, problems, |row, place, problems| import.unit(row, place, problems))?;
    let mut notes = Vec::new();
    if find(dir, "translations.de.ndjson").is_some() {
        notes.push("translations.de.ndjson was left out: a course has one language".to_owned());
    }
    Ok(Part { catalogue: import.finish(), notes, attribution: Some(ATTRIBUTION) })
}

#[derive(Default)]
struct Import {
    /// The title of the first path that has a module, by the module's uid.
    categories: HashMap<String, String>,
    /// Where each module stands in `courses`.
    index: HashMap<String, usize>,
    courses: Vec<CourseImport>,
    /// False after a bad module: its units must not be blamed for it.
    modules_are_complete: bool,
    lessons: Vec<Vec<(i64, LessonImport)>>,
    units: HashMap<String, u64>,
    people: HashMap<String, PersonImport>,
}

impl Import {
    fn path(&mut self, row: PathRow, place: Place<'_>, problems: &mut Problems) {
        let mut fields = Fields::default();
        fields.text("title", &row.title, 1, 100);
        refuse(fields, place, problems);
        for module in row.modules {
            self.categories.entry(module).or_insert_with(|| row.title.clone());
        }
    }

    fn module(&mut self, row: ModuleRow, place: Place<'_>, problems: &mut Problems) {
        if self.index.contains_key(&row.uid) {
            return problems.push(place.problem("uid", format!("`{}` was given already", row.uid)));
        }
        let published_at = match date(&row.date) {
            Ok(at) => at,
            Err(reason) => return problems.push(place.problem("date", reason)),
        };
        let mut fields = Fields::default();
        fields.text("uid", &row.uid, 1, 200);
        fields.text("title", &row.title, 1, 200);
        fields.text("summary", &row.summary, 0, 10_000);
        fields.text("author", &row.author, 0, 100);
        for tag in row.products.iter().chain(&row.roles) {
            fields.text("products", tag, 1, 100);
        }
        refuse(fields, place, problems);
        self.index.insert(row.uid.clone(), self.courses.len());
        let instructor = self.person(&row.author);
        let category = self.categories.get(&row.uid).cloned().unwrap_or_else(general);
        self.courses.push(course(row, category, published_at, instructor));
        self.lessons.push(Vec::new());
    }

    fn unit(&mut self, row: UnitRow, place: Place<'_>, problems: &mut Problems) {
        let Some(&course) = self.index.get(&row.module_uid) else {
            if self.modules_are_complete {
                let reason = format!("there is no module `{}`", row.module_uid);
                problems.push(place.problem("module_uid", reason));
            }
            return;
        };
        if let Some(line) = self.units.insert(row.uid.clone(), place.line) {
            return problems.push(
                place.problem("uid", format!("`{}` was given in line {line} already", row.uid)),
            );
        }
        let (position, lesson) = (row.position, lesson(row));
        let mut fields = Fields::default();
        fields.text("title", &lesson.title, 1, 300);
        check_body(&mut fields, "body_markdown", &lesson.body);
        refuse(fields, place, problems);
        self.lessons[course].push((position, lesson));
    }

    /// Authors are GitHub names, written now with capitals and now without.
    fn person(&mut self, author: &str) -> String {
        let name = if author.trim().is_empty() { "Microsoft Learn" } else { author.trim() };
        let id = name.to_lowercase().replace(' ', "-");
        let person = || PersonImport {
            origin: origin(&id),
            username: format!("mslearn-{id}").chars().take(50).collect(),
            full_name: name.to_owned(),
            role: Role::Instructor,
            headline: Some("Author at Microsoft Learn".to_owned()),
            bio: None,
            expertise: Vec::new(),
        };
        self.people.entry(id.clone()).or_insert_with(person);
        id
    }

    fn finish(mut self) -> Catalogue {
        for (course, mut lessons) in self.courses.iter_mut().zip(self.lessons) {
            lessons.sort_by_key(|(position, _)| *position);
            course.modules = vec![ModuleImport {
                external_id: "units".to_owned(),
                title: course.title.clone(),
                lessons: lessons.into_iter().map(|(_, lesson)| lesson).collect(),
            }];
        }
        let mut people: Vec<_> = self.people.into_values().collect();
        people.sort_by(|a, b| a.origin.external_id.cmp(&b.origin.external_id));
        Catalogue {
            source: SOURCE.to_owned(),
            people,
            courses: self.courses,
            ..Catalogue::default()
        }
    }
}

fn origin(id: &str) -> Origin {
    Origin {
        source: SOURCE.to_owned(),
        external_id: id.to_owned(),
        attribution: Some(ATTRIBUTION.to_owned()),
    }
}

fn course(
    row: ModuleRow,
    category: String,
    published_at: Option<Timestamp>,
    instructor: String,
) -> CourseImport {
    let slug = if row.slug.is_empty() { &row.title } else { &row.slug };
    CourseImport {
        origin: origin(&row.uid),
        slug: crate::model::slugify(slug),
        description: description(&row),
        category,
        level: row.levels.first().copied().unwrap_or(Level::Beginner),
        price: Money::default(),
        max_students: None,
        status: CourseStatus::Published,
        published_at,
        tags: row.products.iter().chain(&row.roles).cloned().collect(),
        instructor,
        modules: Vec::new(),
        title: row.title,
    }
}

fn description(row: &ModuleRow) -> String {
    let mut text = row.summary.trim().to_owned();
    for (heading, part) in [("", &row.about), ("**Prerequisites**\n\n", &row.prerequisites)] {
        let part = part.trim();
        if !part.is_empty() && part != "None" {
            let _ = write!(text, "\n\n{heading}{part}");
        }
    }
    text.replace("\r\n", "\n")
}

fn lesson(row: UnitRow) -> LessonImport {
    let mut body = row.body_markdown.replace("\r\n", "\n");
    let kind = if body.trim().is_empty() && !row.quiz.is_empty() {
        "quiz"
    } else if words(&row.title).any(|word| word == "exercise") {
        "exercise"
    } else {
        "text"
    };
    body.push_str(&quiz(&row.quiz));
    if kind == "quiz" {
        body = body.trim_start().to_owned();
    }
    LessonImport {
        external_id: row.uid,
        title: row.title,
        kind: kind.to_owned(),
        duration_minutes: i64::from(row.minutes),
        body,
    }
}

/// The questions with lettered choices, and the answers with what explains them below, not beside them.
fn quiz(questions: &[Question]) -> String {
    if questions.is_empty() {
        return String::new();
    }
    let (mut asked, mut answered) = (String::new(), String::new());
    for (number, question) in (1..).zip(questions) {
        let _ = writeln!(asked, "{number}. {}", indent(&question.question));
        let _ = write!(answered, "{number}.");
        for (letter, choice) in ('A'..='Z').zip(&question.choices) {
            let _ = writeln!(asked, "   - **{letter}.** {}", indent(&choice.text));
            if choice.correct {
                let _ = write!(answered, " **{letter}.**");
            }
        }
        answered.push('\n');
        for (letter, choice) in ('A'..='Z').zip(&question.choices) {
            if !choice.explanation.trim().is_empty() {
                let _ = writeln!(answered, "   - {letter}: {}", indent(&choice.explanation));
            }
        }
    }
    format!("\n\n## Check your knowledge\n\n{asked}\n### Answers\n\n{answered}")
        .replace("\r\n", "\n")
}

/// Keeps the further lines of a text inside its list item.
fn indent(text: &str) -> String {
    text.trim().replace('\n', "\n     ")
}

/// `M/D/Y`, or nothing for an empty text or the word `None`.
fn date(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() || text == "None" {
        return Ok(None);
    }
    NaiveDate::parse_from_str(text, "%m/%d/%Y")
        .ok()
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .map(|at| Some(Timestamp(at.and_utc().timestamp_micros())))
        .ok_or_else(|| format!("`{text}` is neither M/D/Y nor None"))
}
