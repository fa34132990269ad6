//! The architecture, as far as a text search can hold it: which file may name what.

use std::fs;
use std::path::{Path, PathBuf};

/// Where people write.
const WRITTEN: [&str; 7] = [
    "campus/src",
    "campus/tests",
    "history/src",
    "history/tests",
    "larder/src",
    "larder/tests",
    "private-servers/src",
];

/// What is no test.
const CODE: [&str; 4] = ["campus/src", "history/src", "larder/src", "private-servers/src"];

/// A source file: its path from the crates' folder, and its text.
pub(crate) struct Source {
    path: String,
    pub(crate) text: String,
}

impl Source {
    /// The code in use: no comments, and nothing after the unit tests begin.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        let lines = lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
        lines.map(|(at, line)| (at + 1, line.trim_start())).filter(|(_, l)| !l.starts_with("//"))
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }
}

pub(crate) fn sources(folders: &[&str]) -> Vec<Source> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| crates.join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder of the source");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let short = path.strip_prefix(&crates).expect("below the crates").display().to_string();
            found.push(Source { path: short, text: fs::read_to_string(&path).expect("UTF-8") });
        }
    }
    assert!(!found.is_empty(), "{folders:?} hold no source");
    found
}

/// Whether a line names a crate or a module: as a word of its own, not as the end of another one.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !goes_on(before) && (word.ends_with(':') || word.ends_with('!') || !goes_on(after))
    })
}

/// Fails with every place in `inside` where one of the words stands, unless it is in `allowed`.
#[track_caller]
fn forbid(inside: &[&str], words: &[&str], allowed: &[&str]) {
    let mut found = Vec::new();
    for source in sources(inside).iter().filter(|source| !source.is_in(allowed)) {
        for (line, code) in source.code() {
            for word in words.iter().filter(|word| names(code, word)) {
                found.push(format!("{}:{line} names {word}", source.path));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    for source in sources(&WRITTEN) {
        assert!(source.text.starts_with("//! "), "{}", source.path);
    }
}

#[test]
fn no_file_is_longer_than_500_lines_of_code() {
    for source in sources(&CODE) {
        let tests = source.text.lines().position(|line| line.starts_with("#[cfg(test)]"));
        let lines = tests.unwrap_or_else(|| source.text.lines().count());
        let is_tests = source.path.ends_with("/tests.rs");
        assert!(lines <= 500 || is_tests, "{}: {lines} lines", source.path);
    }
}

#[test]
fn no_module_is_named_for_being_useful() {
    for source in sources(&WRITTEN) {
        for name in ["utils", "util", "helpers", "common", "misc", "prelude"] {
            let parts = source.path.trim_end_matches(".rs").split('/');
            assert!(parts.skip(1).all(|part| part != name), "{}", source.path);
        }
    }
}

#[test]
fn nothing_prints_past_the_output_and_nothing_is_left_undone() {
    // Tests that say how much they have tried.
    let allowed = ["larder/src/fuzzing/runs.rs", "larder/src/model/", "larder/src/schedules/"];
    let words = ["println!", "print!", "eprintln!", "eprint!", "dbg!", "todo!", "unimplemented!"];
    forbid(&CODE, &words, &allowed);
}

#[test]
fn campus_imports_point_in_one_direction() {
    for source in sources(&["campus/src/model"]) {
        for (line, code) in source.code() {
            let inside = code.replace("crate::model", "");
            assert!(!names(&inside, "crate::"), "{}:{line}: the model is a leaf", source.path);
        }
    }
    let web = ["axum", "hyper", "tower", "crate::http"];
    let database = ["sea_orm", "sea_orm_migration", "sqlx"];
    forbid(&["campus/src/learning", "campus/src/reads", "campus/src/store"], &web, &[]);
    forbid(&["campus/src"], &database, &["campus/src/store/"]);
    forbid(&["campus/src/http"], &["crate::store"], &[]);
    forbid(&["campus/src/store"], &["crate::learning", "crate::reads", "crate::app"], &[]);
    forbid(&["campus/src/reads"], &["crate::learning", "crate::app"], &[]);
    forbid(&["campus/src"], &["larder"], &["campus/src/reads/", "campus/src/app.rs"]);
    forbid(&["campus/src"], &["redis::"], &[]);
    forbid(&["campus/src"], &["mongodb::"], &["campus/src/store/documents.rs"]);
    let traces = ["campus/src/traces/", "campus/src/http/traced.rs"];
    forbid(&["campus/src"], &["opentelemetry", "tracing_opentelemetry"], &traces);
    // Where what a spreadsheet would run is made harmless.
    forbid(&["campus/src"], &["csv::Writer"], &["campus/src/http/csv.rs"]);
}

#[test]
fn only_the_configuration_reads_the_environment() {
    // The last one only in a build for `make bugs`.
    let allowed =
        ["campus/src/config/", "larder/src/fuzzing/runs.rs", "larder/src/protocol/bugs.rs"];
    let words = ["env::var", "env::vars", "env::vars_os"];
    forbid(&CODE, &words, &allowed);
}

#[test]
fn tests_have_their_servers_from_one_place() {
    let allowed = ["private-servers/src/", "campus/tests/it/tidy.rs"];
    forbid(&WRITTEN, &["\"redis-server\"", "\"initdb\"", "\"pg_ctl\""], &allowed);
    forbid(&["larder/benches"], &["\"redis-server\""], &[]);
    forbid(&["campus/src", "larder/src"], &["private_servers"], &[]);
}

#[test]
fn larder_names_each_of_its_stores_in_one_place() {
    // The builder parses the URL and the error keeps the client's reason; neither talks to Redis.
    let l2 = ["larder/src/l2/", "larder/src/builder.rs", "larder/src/error.rs"];
    forbid(&["larder/src"], &["redis::"], &l2);
    forbid(&["larder/src"], &["quick_cache"], &["larder/src/l1.rs"]);
    let io = ["tokio", "redis", "std::time::Instant", "SystemTime"];
    forbid(&["larder/src/protocol"], &io, &[]);
}

#[test]
fn larder_depends_on_no_web_framework_and_no_database() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../larder/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("a manifest");
    let sections = manifest.split("\n[").filter(|section| {
        let head = section.lines().next().unwrap_or("");
        head.ends_with("dependencies]") && !head.contains("dev-")
    });
    let mut dependencies = 0;
    for line in sections.flat_map(|section| section.lines().skip(1)) {
        let name = line.split(['=', '.']).next().unwrap_or("").trim();
        let banned = ["axum", "http", "hyper", "tower", "sea-orm", "sqlx", "campus"];
        assert!(!banned.iter().any(|b| name.starts_with(b)), "larder depends on {name}");
        dependencies += usize::from(!name.is_empty() && !name.starts_with('#'));
    }
    assert!(dependencies > 8, "{dependencies} dependencies were read");
}
