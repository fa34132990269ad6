//! Decodes JSON rows so that an error names the line and the field, not only a column.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::input::Lines;
use super::problem::{ImportError, Place, Problem, Problems};

/// One JSON object. `place.line` is the line of its first character; the object may go on over several.
pub(super) fn decode<T: DeserializeOwned>(text: &str, place: Place<'_>) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_str(text);
    let row = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        describe(path.trim_matches('.'), error.inner(), place)
    })?;
    json.end().map_err(|error| describe("", &error, place))?;
    Ok(row)
}

/// The elements of a JSON array, each as text with the line on which it begins.
pub(super) fn elements<'a>(
    text: &'a str,
    file: &'a str,
) -> Result<Vec<(Place<'a>, &'a str)>, Problem> {
    let place = Place { file, line: 1 };
    let rows: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| describe("", &error, place))?;
    let (mut line, mut seen) = (1, 0);
    Ok(rows
        .into_iter()
        .map(|row| {
            // The rows borrow from the text, so the distance of their addresses is their offset.
            let offset = row.get().as_ptr().addr() - text.as_ptr().addr();
            line +=
                text.as_bytes()[seen..offset].iter().filter(|byte| **byte == b'\n').count() as u64;
            seen = offset;
            (Place { file, line }, row.get())
        })
        .collect())
}

fn describe(path: &str, error: &serde_json::Error, place: Place<'_>) -> Problem {
    let line = place.line + (error.line() as u64).saturating_sub(1);
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    let place = Place { line, ..place };
    match error.classify() {
        Category::Data => place.problem(&field(path, reason), reason),
        _ => place.problem(path, format!("not valid JSON: {reason} (column {})", error.column())),
    }
}

/// A missing or unknown field is reported at the object around it; the name is in the reason, in back quotes.
fn field(path: &str, reason: &str) -> String {
    let inner = (reason.starts_with("missing field") || reason.starts_with("unknown field"))
        .then(|| reason.split('`').nth(1))
        .flatten();
    match inner {
        Some(name) if path.is_empty() || path.ends_with(name) => name.to_owned(),
        Some(name) => format!("{path}.{name}"),
        None => path.to_owned(),
    }
}

/// Every row of a newline-JSON file: the good ones are handed on, the bad ones noted, until there are too many.
pub(super) fn rows<T: DeserializeOwned>(
    path: &Path,
    problems: &mut Problems,
    mut each: impl FnMut(T, Place<'_>, &mut Problems),
) -> Result<(), ImportError> {
    let mut lines = Lines::open(path)?;
    while !problems.is_full()
        && let Some(line) = lines.next()
    {
        match line.and_then(|(place, text)| Ok((decode(text, place)?, place))) {
            Ok((row, place)) => each(row, place, problems),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(())
}
