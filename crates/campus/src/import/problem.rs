//! What can be wrong with a catalogue, and the words in which it is told.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// So many bad rows are collected before reading stops: enough to see a pattern, few enough to read.
pub(super) const MAX_PROBLEMS: usize = 20;

/// One bad row: where it is and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub file: String,
    pub line: u64,
    pub field: Option<String>,
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// A place in a file, from which problems are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) line: u64,
}

impl Place<'_> {
    pub(super) fn problem(self, field: &str, reason: impl Into<String>) -> Problem {
        let field = (!field.is_empty()).then(|| field.to_owned());
        Problem { file: self.file.to_owned(), line: self.line, field, reason: reason.into() }
    }
}

/// The bad rows found so far. Reading goes on until there are `MAX_PROBLEMS`.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        if !self.is_full() {
            self.0.push(problem);
        }
    }

    /// Keeps the value of a good row and notes what is wrong with a bad one.
    pub(super) fn keep<T>(&mut self, row: Result<T, Problem>) -> Option<T> {
        row.map_err(|problem| self.push(problem)).ok()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_PROBLEMS
    }

    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "  {problem}")?;
        }
        if self.is_full() {
            writeln!(f, "  (stopped after {MAX_PROBLEMS} problems; there may be more)")?;
        }
        write!(f, "nothing was imported")
    }
}

/// The layouts that can be imported, for the messages that must name them.
pub(super) const LAYOUTS: &str = "What can be imported:
  - a folder in the Microsoft Learn layout: modules.ndjson, units.ndjson, optionally paths.ndjson
  - a folder of articles: articles.ndjson, optionally topics.*.ndjson and authors.*.ndjson
  - courses of your own: .csv, .json (an array) or .ndjson (one object a line), or a folder of these
Each file may be plain, gzip or zstd. docs/importing.md describes them.";

/// Why a catalogue could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{}: there is no such file or folder", .0.display())]
    Missing(PathBuf),
    #[error("{} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is neither a file nor a folder", .0.display())]
    NotAFile(PathBuf),
    #[error("{}: no catalogue was found in this folder{hint}\n{LAYOUTS}", path.display())]
    NothingKnown { path: PathBuf, hint: String },
    #[error(
        "{}: there is no courses.csv (or .csv.zst, .csv.gz) of the Open University's tables here",
        .0.display()
    )]
    NoTables(PathBuf),
    #[error("{}: incomplete: {missing} is missing beside {present}", path.display())]
    Incomplete { path: PathBuf, present: &'static str, missing: &'static str },
    #[error("{}: this layout is not known ({found})\n{LAYOUTS}", path.display())]
    UnknownLayout { path: PathBuf, found: String },
    #[error("bad rows:\n{0}")]
    BadRows(Problems),
}
