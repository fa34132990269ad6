//! Courses of one's own as CSV: a row a course, or a row a lesson with the rows of a course in a block.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use super::courses::{
    CourseRow, Courses, InstructorRow, Kind, LessonRow, ModuleRow, beginner, general,
};
use super::input;
use super::problem::{ImportError, Place, Problem, Problems};
use crate::model::{Money, Patch, Timestamp, slugify};

const COLUMNS: [&str; 15] = [
    "slug",
    "title",
    "description",
    "category",
    "level",
    "price",
    "max_students",
    "published_at",
    "instructor",
    "tags",
    "module",
    "lesson",
    "kind",
    "minutes",
    "body",
];
/// The columns that describe the course: later rows of its block leave them empty or repeat them.
const COURSE_COLUMNS: &[&str] = COLUMNS.split_at(10).0;

/// Whether a first line is the header of this layout.
pub(super) fn is_header(line: &str) -> bool {
    let mut names = line.split(',').map(|name| name.trim().trim_matches('"').to_lowercase());
    names.clone().any(|name| name == "slug") && names.any(|name| name == "title")
}

pub(super) fn read(
    path: &Path,
    courses: &mut Courses,
    problems: &mut Problems,
) -> Result<(), ImportError> {
    let file = path.display().to_string();
    if let Some(text) = problems.keep(input::document(path)?) {
        read_text(&text, &file, courses, problems);
    }
    Ok(())
}

fn read_text(text: &str, file: &str, courses: &mut Courses, problems: &mut Problems) {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return problems.push(Place { file, line: 1 }.problem("", error.to_string())),
    };
    let Some(columns) = problems.keep(columns(&header, Place { file, line: 1 })) else {
        return;
    };
    let mut open: Option<Block> = None;
    for record in reader.records() {
        let Some((row, line)) = problems.keep(record_at(record, &columns, text, file)) else {
            continue;
        };
        let row = Row { columns: &columns, record: row, place: Place { file, line } };
        if let Err(problem) = take(&row, &mut open, courses, problems) {
            problems.push(problem);
        }
        if problems.is_full() {
            return;
        }
    }
    if let Some(block) = open {
        block.close(file, courses, problems);
    }
}

/// The course whose rows are being read. Its first row may have been bad; the others are then passed over.
struct Block {
    slug: String,
    line: u64,
    course: Option<CourseRow>,
    first: Vec<String>,
}

impl Block {
    fn close(self, file: &str, courses: &mut Courses, problems: &mut Problems) {
        if let Some(course) = self.course {
            courses.add(course, Place { file, line: self.line }, problems);
        }
    }
}

/// Begins a new course or adds a lesson to the one that is open.
fn take(
    row: &Row<'_>,
    open: &mut Option<Block>,
    courses: &mut Courses,
    problems: &mut Problems,
) -> Result<(), Problem> {
    let slug = row.get("slug");
    let same = open.as_ref().is_some_and(|block| block.slug == slug);
    if !same {
        let course = problems.keep(row.course());
        let next = Block {
            slug: slug.to_owned(),
            line: row.place.line,
            course,
            first: row.course_columns(),
        };
        if let Some(done) = open.replace(next) {
            done.close(row.place.file, courses, problems);
        }
    }
    let Some(Block { course: Some(course), first, .. }) = open else {
        return Ok(());
    };
    if same {
        row.repeats(first)?;
    }
    if let Some((module, lesson)) = row.lesson()? {
        match course.modules.last_mut() {
            Some(last) if module.is_empty() || last.title == module => last.lessons.push(lesson),
            _ => {
                let title = if module.is_empty() { course.title.clone() } else { module };
                course.modules.push(ModuleRow { title, lessons: vec![lesson] });
            }
        }
    }
    Ok(())
}

fn columns(header: &StringRecord, place: Place<'_>) -> Result<Vec<&'static str>, Problem> {
    let mut columns = Vec::new();
    for name in header {
        let name = name.trim().to_lowercase();
        let known = COLUMNS.iter().find(|known| **known == name).ok_or_else(|| {
            let known = COLUMNS.join(", ");
            place.problem(&name, format!("this column is not known (known: {known})"))
        })?;
        if columns.contains(known) {
            return Err(place.problem(known, "this column is given twice"));
        }
        columns.push(*known);
    }
    for needed in ["slug", "title"] {
        if !columns.contains(&needed) {
            return Err(place.problem(needed, "this column is missing"));
        }
    }
    Ok(columns)
}

/// A record with the number of its first line, which the blank lines before it must not shift.
fn record_at(
    record: csv::Result<StringRecord>,
    columns: &[&str],
    text: &str,
    file: &str,
) -> Result<(StringRecord, u64), Problem> {
    let record = record.map_err(|error| {
        let line = error.position().map_or(1, csv::Position::line);
        Place { file, line }.problem("", error.to_string())
    })?;
    let (mut line, start) = record.position().map_or((1, 0), |at| (at.line(), at.byte() as usize));
    let rest = text.as_bytes().get(start..).unwrap_or_default();
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    line += blank.filter(|byte| **byte == b'\n').count() as u64;
    if record.len() == columns.len() {
        return Ok((record, line));
    }
    let reason = format!("the row has {} fields, the header {}", record.len(), columns.len());
    Err(Place { file, line }.problem("", reason))
}

struct Row<'a> {
    columns: &'a [&'static str],
    record: StringRecord,
    place: Place<'a>,
}

impl Row<'_> {
    fn get(&self, column: &str) -> &str {
        let index = self.columns.iter().position(|known| *known == column);
        index.and_then(|index| self.record.get(index)).unwrap_or("").trim()
    }

    /// The value of a column through `read`; nothing when it is empty.
    fn parse<T>(
        &self,
        column: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let text = self.get(column);
        if text.is_empty() {
            return Ok(None);
        }
        read(text).map(Some).map_err(|reason| self.place.problem(column, reason))
    }

    fn course(&self) -> Result<CourseRow, Problem> {
        let category = self.get("category");
        Ok(CourseRow {
            slug: self.get("slug").to_owned(),
            title: self.get("title").to_owned(),
            description: self.get("description").replace("\r\n", "\n"),
            category: if category.is_empty() { general() } else { category.to_owned() },
            level: self
                .parse("level", |text| text.to_lowercase().parse())?
                .unwrap_or_else(beginner),
            price: self.parse("price", price)?.unwrap_or_default(),
            max_students: self.parse("max_students", |text| {
                text.parse().map_err(|_| format!("`{text}` is not a whole number"))
            })?,
            published_at: self.parse("published_at", published)?.unwrap_or_default(),
            tags: self
                .get("tags")
                .split(';')
                .map(str::trim)
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect(),
            instructor: self.parse("instructor", |name| Ok(instructor(name)))?,
            modules: Vec::new(),
        })
    }

    /// The lesson of this row and the title of its module; nothing for a row that only describes a course.
    fn lesson(&self) -> Result<Option<(String, LessonRow)>, Problem> {
        let title = self.get("lesson");
        if title.is_empty() {
            let stray = ["module", "kind", "minutes", "body"]
                .into_iter()
                .find(|column| !self.get(column).is_empty());
            return stray.map_or(Ok(None), |column| {
                Err(self.place.problem("lesson", format!("is empty although `{column}` is given")))
            });
        }
        let lesson = LessonRow {
            title: title.to_owned(),
            kind: self.parse("kind", kind)?.unwrap_or_default(),
            duration_minutes: self
                .parse("minutes", |text| {
                    text.parse().map_err(|_| format!("`{text}` is not a whole number of minutes"))
                })?
                .unwrap_or_default(),
            body: self.get("body").replace("\r\n", "\n"),
        };
        Ok(Some((self.get("module").to_owned(), lesson)))
    }

    fn course_columns(&self) -> Vec<String> {
        COURSE_COLUMNS.iter().map(|column| self.get(column).to_owned()).collect()
    }

    fn repeats(&self, first: &[String]) -> Result<(), Problem> {
        for (column, value) in COURSE_COLUMNS.iter().zip(first) {
            let here = self.get(column);
            if !here.is_empty() && here != value {
                let reason =
                    "differs from the first row of this course; leave it empty or repeat it";
                return Err(self.place.problem(column, reason));
            }
        }
        Ok(())
    }
}

fn price(text: &str) -> Result<Money, String> {
    Money::parse(text).ok_or_else(|| format!("`{text}` is not an amount such as 49.00"))
}

fn published(text: &str) -> Result<Patch<Timestamp>, String> {
    match text {
        "draft" => Ok(Patch::Clear),
        _ => Timestamp::parse(text).map(Patch::Set).ok_or_else(|| {
            format!("`{text}` is neither `draft` nor a date such as 2026-01-31 (or RFC 3339)")
        }),
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    match text.to_lowercase().as_str() {
        "text" => Ok(Kind::Text),
        "video" => Ok(Kind::Video),
        "exercise" => Ok(Kind::Exercise),
        "quiz" => Ok(Kind::Quiz),
        _ => Err(format!("`{text}` is not a kind (text, video, exercise, quiz)")),
    }
}

/// CSV names an instructor by the full name alone; the user name is made from it.
fn instructor(name: &str) -> InstructorRow {
    let mut username = slugify(name);
    username.truncate(50);
    InstructorRow {
        username,
        full_name: name.to_owned(),
        headline: None,
        bio: None,
        expertise: Vec::new(),
    }
}
