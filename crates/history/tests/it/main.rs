//! The checker finds what is wrong, and only that.

use std::process::{Command, Output};

fn history(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_history"));
    command.arg("run").args(arguments).output().expect("the program starts")
}

#[track_caller]
fn finds(bug: &str, promises: &[&str]) {
    let output = history(&["--seconds", "5", "--no-faults", "--bug", bug]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let found = promises.iter().any(|name| text.contains(&format!("VIOLATION {name}")));
    assert!(found, "none of {promises:?} in {text}");
}

#[test]
fn writers_that_invalidate_nothing_are_found() {
    finds("no-invalidate", &["own writes", "applied elsewhere"]);
}

#[test]
fn writers_that_acknowledge_before_they_invalidate_are_found() {
    finds("late", &["own writes", "applied elsewhere"]);
}

#[test]
fn loaders_that_read_what_is_not_committed_are_found() {
    finds("ahead", &["never committed"]);
}

#[test]
fn values_of_other_keys_are_found() {
    finds("mixed", &["of another key"]);
}

/// `make history` does the same for longer.
#[test]
fn a_minute_of_faults_shows_no_broken_promise() {
    let output = history(&["--seconds", "60", "--seed", "1", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{problem}{text}");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["violations"], 0);
    assert!(report["reads"].as_u64() > Some(2_000), "{text}");
    assert!(report["faults"].as_object().is_some_and(|faults| faults.len() > 5), "{text}");
}

#[test]
fn postgresql_is_checked_like_sqlite() {
    let output = history(&["--seconds", "5", "--seed", "4", "--database", "postgres"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("PostgreSQL"), "{text}");
}
