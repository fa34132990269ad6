//! Catalogues from files: finds out the layout, reads everything, and only then is anything stored.
//!
//! A parser never touches the database. It turns files into [`Catalogue`]s or into a list of bad
//! rows; one bad row is enough for nothing to be imported.

mod articles;
mod courses;
mod courses_csv;
mod demo;
pub mod edify;
mod input;
mod json;
mod mslearn;
pub mod oulad;
mod problem;
pub mod synthetic;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use problem::{ImportError, Problem, Problems};

use self::courses::Courses;
use self::problem::Place;
use crate::model::{Catalogue, Fields, Refusal, Timestamp};
use crate::store::{self, Imported, Tx};

const PACKINGS: [&str; 3] = ["", ".gz", ".zst"];

/// What one layout brought.
#[derive(Debug)]
pub struct Part {
    pub catalogue: Catalogue,
    /// What was left out or changed, for the person who imports.
    pub notes: Vec<String>,
    /// The credit that the licence asks for.
    pub attribution: Option<&'static str>,
}

/// Reads all paths. Nothing is stored: the caller applies the parts in one transaction.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Part>, ImportError> {
    let mut problems = Problems::default();
    let mut parts = Vec::new();
    let mut own = Courses::new("file");
    for layout in layouts(paths)? {
        match layout {
            Layout::MsLearn(dir) => parts.push(mslearn::read(&dir, &mut problems)?),
            Layout::Articles(dir) => parts.push(articles::read(&dir, &mut problems)?),
            Layout::Csv(file) => courses_csv::read(&file, &mut own, &mut problems)?,
            Layout::Document(file) => courses::read_document(&file, &mut own, &mut problems)?,
            Layout::Lines(file) => courses::read_lines(&file, &mut own, &mut problems)?,
        }
        if problems.is_full() {
            break;
        }
    }
    if !problems.as_slice().is_empty() {
        return Err(ImportError::BadRows(problems));
    }
    if !own.is_empty() {
        parts.push(Part { catalogue: own.finish(), notes: Vec::new(), attribution: None });
    }
    Ok(parts)
}

/// Why the demo catalogue is not in the database.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the bundled demo catalogue is damaged")]
    Damaged(#[from] ImportError),
    #[error("the demo catalogue could not be stored; nothing of it was kept")]
    Store(#[from] store::Error),
}

/// Puts the bundled demo catalogue into a database that has no courses: courses, people,
/// enrollments and ratings. `None` when there are courses already: the demo must not mix with them.
pub async fn demo(tx: &Tx, now: Timestamp) -> Result<Option<Imported>, DemoError> {
    if !tx.has_no_courses().await? {
        return Ok(None);
    }
    let catalogue = demo::catalogue(now)?;
    Ok(tx.import(&[&catalogue], now, &mut |_| {}).await?.pop())
}

#[derive(Debug, PartialEq, Eq)]
enum Layout {
    MsLearn(PathBuf),
    Articles(PathBuf),
    Csv(PathBuf),
    Document(PathBuf),
    Lines(PathBuf),
}

/// What the paths are, each once: a folder may be named by several of its files.
fn layouts(paths: &[PathBuf]) -> Result<Vec<Layout>, ImportError> {
    let mut found = Vec::new();
    for path in paths {
        let kind = fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ImportError::Missing(path.clone()),
            _ => ImportError::Unreadable { path: path.clone(), source },
        })?;
        let here = if kind.is_dir() {
            folder(path)?
        } else if kind.is_file() {
            vec![file(path)?]
        } else {
            return Err(ImportError::NotAFile(path.clone()));
        };
        for layout in here {
            if !found.contains(&layout) {
                found.push(layout);
            }
        }
    }
    Ok(found)
}

fn folder(dir: &Path) -> Result<Vec<Layout>, ImportError> {
    let mut found = Vec::new();
    if mslearn::is_here(dir) {
        found.push(Layout::MsLearn(dir.to_owned()));
    }
    if articles::is_here(dir) {
        found.push(Layout::Articles(dir.to_owned()));
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let ends = |name: &str, end: &str| {
        PACKINGS.iter().any(|packing| name.ends_with(&format!("{end}{packing}")))
    };
    for path in files(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if [".csv", ".json", ".ndjson", ".jsonl"].iter().any(|end| ends(&name, end)) {
            found.push(file(&path)?);
        }
    }
    if found.is_empty() {
        return Err(ImportError::NothingKnown { path: dir.to_owned(), hint: hint(dir) });
    }
    Ok(found)
}

/// Names the folders inside that could have been meant.
fn hint(dir: &Path) -> String {
    let inner = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut known: Vec<String> = inner
        .filter(|path| mslearn::is_here(path) || articles::is_here(path))
        .map(|path| path.display().to_string())
        .collect();
    known.sort();
    match known.as_slice() {
        [] => String::new(),
        known => format!("; did you mean {}?", known.join(" or ")),
    }
}

/// The layout of one file, from how it begins: a name may say anything.
fn file(path: &Path) -> Result<Layout, ImportError> {
    let first = input::first_line(path)?;
    let dir = || match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    let has = |key: &str| first.contains(&format!("\"{key}\""));
    if first.starts_with('[') {
        return Ok(Layout::Document(path.to_owned()));
    }
    if first.starts_with('{') {
        return Ok(if has("uid") && mslearn::is_here(&dir()) {
            Layout::MsLearn(dir())
        } else if has("body_markdown") && articles::is_here(&dir()) {
            Layout::Articles(dir())
        } else if !is_lines(path, &first) {
            Layout::Document(path.to_owned())
        } else if has("slug") || has("title") {
            Layout::Lines(path.to_owned())
        } else {
            return Err(unknown(path, &first));
        });
    }
    if courses_csv::is_header(&first) {
        return Ok(Layout::Csv(path.to_owned()));
    }
    Err(unknown(path, &first))
}

fn unknown(path: &Path, first: &str) -> ImportError {
    let start: String = first.chars().take(60).collect();
    let found = if start.is_empty() {
        "no line of text could be read".to_owned()
    } else {
        format!("it begins with `{start}`")
    };
    ImportError::UnknownLayout { path: path.to_owned(), found }
}

/// One object a line, unless the first line is only the beginning of an object and the name claims nothing.
fn is_lines(path: &Path, first: &str) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    name.contains(".ndjson")
        || name.contains(".jsonl")
        || serde_json::from_str::<serde::de::IgnoredAny>(first).is_ok()
}

/// A file of a folder by its name, packed or not.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    PACKINGS.iter().map(|packing| dir.join(format!("{name}{packing}"))).find(|path| path.is_file())
}

/// The files of a folder in the order of their names.
fn files(dir: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let unreadable = |source| ImportError::Unreadable { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Notes every field that a check refused.
fn refuse(fields: Fields, place: Place<'_>, problems: &mut Problems) {
    if let Err(Refusal::Invalid(fields)) = fields.finish() {
        fields.into_iter().for_each(|bad| problems.push(place.problem(&bad.field, bad.message)));
    }
}

/// The wished id, or the first of `wished-2`, `wished-3`, … that is free.
fn unique(taken: &mut HashSet<String>, wished: String) -> String {
    if taken.insert(wished.clone()) {
        return wished;
    }
    let mut number = 2_u32;
    loop {
        let next = format!("{wished}-{number}");
        if taken.insert(next.clone()) {
            return next;
        }
        number += 1;
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .into_iter()
}
