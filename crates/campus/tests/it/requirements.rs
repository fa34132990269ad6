//! The table of requirements: every number has its row, and every test that a row names exists. The
//! table of scenarios is read like it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::tidy::sources;

/// What may be put off, and until what.
const LATER: [&str; 6] = [
    "the web console",
    "Grafana and alert rules",
    "containers and deployment files",
    "the attribute macros",
    "the HTTP caching layer",
    "Sentinel and Cluster",
];

/// The last column of each row of a document, by its number.
pub(crate) fn rows(document: &str, is_row: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(document);
    let text = fs::read_to_string(path).expect("a document of the repository");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| is_row(line)) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, shown] = cells[..] else {
            panic!("three columns: {line}");
        };
        let before = rows.insert(number.to_owned(), shown.to_owned());
        assert_eq!(before, None, "{number} has two rows");
    }
    rows
}

fn table() -> BTreeMap<String, String> {
    let is_row = |line: &str| line.starts_with("| R") || line.starts_with("| E");
    rows("docs/requirements.md", is_row)
}

/// The names in backticks.
pub(crate) fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The macros that make tests of one body.
fn starts_list(line: &str) -> bool {
    ["on_both!(", "with_sql!(", "on_every_content_store!("]
        .iter()
        .any(|list| line.starts_with(list))
}

/// Every test of the workspace: what stands behind a test's attribute, and what the macros make.
pub(crate) fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for source in sources(&["campus", "history", "larder"]) {
        let mut is_test = false;
        let mut is_both = false;
        for line in source.text.lines().map(str::trim) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            is_both = (is_both || starts_list(line)) && !line.starts_with(')');
            let name = |text: &str| {
                text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
            };
            if let (true, Some((_, rest))) = (is_test, line.split_once("fn ")) {
                tests.insert(name(rest));
                is_test = false;
            } else if is_both && line.contains("_on_") {
                tests.insert(name(line));
            } else if let Some(rest) = line.strip_prefix("empty_value_is_a_hit!(") {
                tests.insert(name(rest));
            }
        }
    }
    assert!(tests.len() > 500, "{} tests were found", tests.len());
    tests
}

#[test]
fn every_requirement_has_a_row() {
    let numbers = (1..=109).map(|n| format!("R{n}")).chain((1..=39).map(|n| format!("E{n}")));
    let numbers: BTreeSet<String> = numbers.collect();
    let found: BTreeSet<String> = table().into_keys().collect();
    assert_eq!(found, numbers);
}

#[test]
fn every_row_names_tests_that_exist_or_says_what_is_missing() {
    let tests = tests();
    for (number, shown) in table() {
        let unknown: Vec<&str> = named(&shown).filter(|name| !tests.contains(*name)).collect();
        assert!(unknown.is_empty(), "{number} names no test: {unknown:?}");
        let is_put_off = shown.contains("*later*: ");
        let is_known = LATER.iter().any(|work| shown.contains(work));
        assert!(!is_put_off || is_known, "{number} is put off without a reason");
        let is_measured = ["R105", "R106", "R107", "R108", "R109"].contains(&number.as_str());
        let is_shown = named(&shown).next().is_some() || is_put_off || shown.contains("*open*: ");
        let has_figures = is_measured && shown.chars().any(|c| c.is_ascii_digit());
        assert!(if is_measured { has_figures } else { is_shown }, "{number}: '{shown}'");
    }
}

#[test]
fn make_ci_runs_the_suites_of_which_one_scrapes_redis_exporter() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("a file of the repository");
    assert!(read("suites/run").contains("prometheus-redis-exporter"));
    assert!(read("Makefile").contains("$(MAKE) suites"), "`make ci` does not run the suites");
}
