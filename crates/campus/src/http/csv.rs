//! Tables for spreadsheets, and when a client wants one.

use axum::http::{HeaderMap, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::error::Problem;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    Json,
    Csv,
}

impl Format {
    /// What the query says, or else what `Accept` likes better; JSON when it likes both alike.
    pub(super) fn wanted(named: Option<Self>, headers: &HeaderMap) -> Self {
        named.unwrap_or_else(|| {
            let csv = weight(headers, "text/csv");
            if csv > weight(headers, "application/json") { Self::Csv } else { Self::Json }
        })
    }
}

/// How much a client likes a media type that it names, in thousandths.
fn weight(headers: &HeaderMap, kind: &str) -> u32 {
    let accept = headers.get_all(header::ACCEPT).iter();
    let ranges = accept.flat_map(|value| value.to_str().unwrap_or("").split(','));
    let weights = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(kind) {
            return None;
        }
        let q = parts.find_map(|part| part.strip_prefix("q=")).unwrap_or("1");
        Some((q.parse::<f64>().unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u32)
    });
    weights.max().unwrap_or(0)
}

/// A table with its head.
pub(super) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<Vec<u8>, Problem> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head).map_err(|_| Problem::internal())?;
    for row in rows {
        writer.write_record(row.map(harmless)).map_err(|_| Problem::internal())?;
    }
    writer.into_inner().map_err(|_| Problem::internal())
}

/// A spreadsheet would run what begins like a formula, so such a text gets an apostrophe in
/// front, which spreadsheets do not show. Some skip blanks before they look.
fn harmless(cell: String) -> String {
    let is_formula = |c: char| matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n');
    let is_wide = |c: char| matches!(c, '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}');
    let begins = |text: &str| text.starts_with(|c| is_formula(c) || is_wide(c));
    if begins(&cell) || begins(cell.trim_start()) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::{Format, table};

    #[test]
    fn a_table_is_given_to_who_names_it_and_json_to_the_others() {
        let wanted = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            Format::wanted(None, &headers)
        };
        for csv in ["text/csv", "text/csv, */*;q=0.1", "application/json;q=0.5, Text/CSV"] {
            assert_eq!(wanted(csv), Format::Csv, "{csv}");
        }
        for json in ["*/*", "application/json, text/csv", "text/csv;q=0", "text/html"] {
            assert_eq!(wanted(json), Format::Json, "{json}");
        }
        assert_eq!(Format::wanted(Some(Format::Csv), &HeaderMap::new()), Format::Csv);
    }

    #[test]
    fn what_begins_like_a_formula_is_a_text() {
        let cells = ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\u{ff1d}1", "a=b", "x, \"y\""];
        let rows = cells.map(|cell| [cell.to_owned()]);
        let table = String::from_utf8(table(["name"], rows).ok().unwrap()).unwrap();
        let expected =
            "name\n'=1+1\n'+1\n'-1\n'@x\n'\t=1\n' =1\n'\u{ff1d}1\na=b\n\"x, \"\"y\"\"\"\n";
        assert_eq!(table, expected);
    }
}
