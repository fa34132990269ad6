//! Reads the tables of published data sets row by row: columns by their names, in any order, plain or quoted.

use std::path::Path;
use std::str::FromStr;

use super::input::Lines;
use super::problem::{ImportError, Place, Problem, Problems};

/// The publisher's click log has 10.7 million rows and 450 MB.
const MAX_TABLE: u64 = 2 << 30;

/// One row: the fields of the columns that were asked for, in that order.
pub(super) struct Row<'a> {
    columns: &'a [&'static str],
    places: &'a [usize],
    fields: &'a [&'a str],
    place: Place<'a>,
}

impl Row<'_> {
    /// The text of a column; the publisher writes `?` or nothing for what is not known.
    pub(super) fn get(&self, column: usize) -> &str {
        match self.places.get(column).and_then(|place| self.fields.get(*place)) {
            Some(&"?") | None => "",
            Some(text) => text,
        }
    }

    pub(super) fn problem(&self, column: usize, reason: impl Into<String>) -> Problem {
        self.place.problem(self.columns.get(column).copied().unwrap_or(""), reason)
    }

    pub(super) fn text(&self, column: usize) -> Result<&str, Problem> {
        match self.get(column) {
            "" => Err(self.problem(column, "is empty")),
            text => Ok(text),
        }
    }

    pub(super) fn number<T: FromStr>(&self, column: usize) -> Result<T, Problem> {
        self.optional(column)?.ok_or_else(|| self.problem(column, "is empty"))
    }

    pub(super) fn optional<T: FromStr>(&self, column: usize) -> Result<Option<T>, Problem> {
        let text = self.get(column);
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.parse().map(Some);
        number.map_err(|_| self.problem(column, format!("`{text}` is not a number in range")))
    }

    /// A day counted from the course's first one: presentations are shorter than a year.
    pub(super) fn day(&self, column: usize) -> Result<Option<i32>, Problem> {
        let day: Option<i32> = self.optional(column)?;
        match day {
            Some(day) if !(-2_000..=2_000).contains(&day) => {
                Err(self.problem(column, format!("`{day}` is not a day near the course")))
            }
            day => Ok(day),
        }
    }
}

/// Hands on every row of a table; what is wrong with one is noted, until too much is.
pub(super) fn rows(
    path: &Path,
    columns: &[&'static str],
    problems: &mut Problems,
    mut take: impl FnMut(&Row<'_>) -> Result<(), Problem>,
) -> Result<(), ImportError> {
    let mut lines = Lines::open_up_to(path, MAX_TABLE)?;
    let Some(header) = lines.next() else {
        problems.push(empty(path));
        return Ok(());
    };
    let header = header.and_then(|(place, text)| find(columns, text, place));
    let Some((places, width)) = problems.keep(header) else {
        return Ok(());
    };
    while !problems.is_full()
        && let Some(line) = lines.next()
    {
        let row = line.and_then(|(place, text)| {
            let fields = fields(text);
            if fields.len() != width {
                let found = fields.len();
                let reason = format!("the row has {found} fields, the header {width}");
                return Err(place.problem("", reason));
            }
            take(&Row { columns, places: &places, fields: &fields, place })
        });
        problems.keep(row);
    }
    Ok(())
}

fn empty(path: &Path) -> Problem {
    let file = path.display().to_string();
    Place { file: &file, line: 1 }.problem("", "the table is empty: not even a header")
}

/// Where the columns are in the header, and how many there are in all.
fn find(
    columns: &[&'static str],
    header: &str,
    place: Place<'_>,
) -> Result<(Vec<usize>, usize), Problem> {
    let names = fields(header);
    let position = |column: &&'static str| {
        let found = names.iter().position(|name| name.eq_ignore_ascii_case(column));
        found.ok_or_else(|| place.problem(column, "this column is missing"))
    };
    let places: Result<Vec<usize>, Problem> = columns.iter().map(position).collect();
    Ok((places?, names.len()))
}

/// The fields of a line. No field of these tables has a line end or a quotation mark in it.
fn fields(line: &str) -> Vec<&str> {
    let mut fields = Vec::with_capacity(16);
    let mut rest = line;
    loop {
        let quoted = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (field, after) = match quoted {
            Some((field, after)) => (field, after),
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        fields.push(field.trim());
        // What stands between a closing quotation mark and the comma is not a field.
        match after.split_once(',') {
            Some((_, next)) => rest = next,
            None => return fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn fields_are_told_apart_plain_or_quoted() {
        assert_eq!(fields("AAA,2013J,,-3"), ["AAA", "2013J", "", "-3"]);
        assert_eq!(fields(r#""AAA","a, b",?,"""#), ["AAA", "a, b", "?", ""]);
        assert_eq!(fields(""), [""]);
        assert_eq!(fields("\"open"), ["\"open"]);
    }
}
