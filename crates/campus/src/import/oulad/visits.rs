//! A log of clicks as requests in the order in which they came, for replays.

use std::path::Path;

use super::super::find;
use super::super::problem::{ImportError, Problems};
use super::super::table::rows;

/// A learner opens a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// Counted from the course's first day.
    pub day: i16,
    pub student: u32,
    pub site: u32,
}

/// The rows of `{log}.csv`, packed or not, at most `most` of them.
pub fn visits(dir: &Path, log: &str, most: usize) -> Result<Vec<Visit>, ImportError> {
    let Some(path) = find(dir, &format!("{log}.csv")) else {
        return Err(ImportError::Missing(dir.join(format!("{log}.csv"))));
    };
    let mut problems = Problems::default();
    let mut visits = Vec::new();
    rows(&path, &["day", "id_student", "id_site"], &mut problems, |row| {
        if visits.len() < most {
            let day = row.number(0)?;
            visits.push(Visit { day, student: row.number(1)?, site: row.number(2)? });
        }
        Ok(())
    })?;
    if problems.as_slice().is_empty() { Ok(visits) } else { Err(ImportError::BadRows(problems)) }
}
