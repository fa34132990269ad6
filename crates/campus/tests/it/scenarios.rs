//! The table of scenarios: every number has its row, and every test that a row names exists.

use std::collections::BTreeSet;

use crate::requirements::{named, rows, tests};

/// What may be put off, and until what.
const LATER: [&str; 9] = [
    "strict mode",
    "Cluster",
    "batch reads",
    "the HTTP caching layer",
    "late tags",
    "tier flags",
    "conditional loads",
    "a choice by error",
    "session tokens",
];

/// The list of scenarios has gaps.
const MISSING: [u32; 32] = [
    7, 12, 15, 21, 34, 36, 37, 41, 43, 46, 53, 57, 59, 62, 64, 67, 69, 70, 72, 75, 78, 79, 80, 84,
    86, 92, 93, 94, 97, 98, 102, 104,
];

fn table() -> Vec<(String, String)> {
    let is_row = |line: &str| {
        let number = line.strip_prefix("| ").unwrap_or_default();
        number
            .trim_start_matches(['I', 'F', 'S', 'M'])
            .starts_with(|first: char| first.is_ascii_digit())
    };
    rows("docs/scenarios.md", is_row).into_iter().collect()
}

#[test]
fn every_scenario_invariant_fault_and_check_has_a_row() {
    let scenarios = (1..=105).filter(|n| !MISSING.contains(n)).map(|n| n.to_string());
    let others = [("I", 19), ("F", 30), ("S", 12), ("M", 13)];
    let others = others.iter().flat_map(|(of, most)| (1..=*most).map(move |n| format!("{of}{n}")));
    let numbers: BTreeSet<String> = scenarios.chain(others).collect();
    let found: BTreeSet<String> = table().into_iter().map(|(number, _)| number).collect();
    assert_eq!(found, numbers);
}

#[test]
fn every_scenario_names_tests_that_exist_or_says_until_when_it_is_put_off() {
    let tests = tests();
    for (number, shown) in table() {
        let unknown: Vec<&str> = named(&shown).filter(|name| !tests.contains(*name)).collect();
        assert!(unknown.is_empty(), "{number} names no test: {unknown:?}");
        let is_put_off = shown.contains("*later*: ");
        let is_known = LATER.iter().any(|work| shown.contains(work));
        assert!(!is_put_off || is_known, "{number} is put off without a reason");
        assert!(named(&shown).next().is_some() || is_put_off, "{number}: '{shown}'");
    }
}
