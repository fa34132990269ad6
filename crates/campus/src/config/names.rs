//! Which variables exist, and which one somebody probably meant.

use clap::Args;

use super::Settings;
use super::lifetimes;

/// The names of all variables, taken from the flags that read them.
pub(super) fn known() -> Vec<String> {
    let command = Settings::augment_args(clap::Command::new("campus"));
    let mut names: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned))
        .collect();
    names.extend(lifetimes::variables());
    names
}

/// Errors for unknown names under our own prefixes, warnings for unknown `REDIS_*`:
/// Kubernetes sets such names for every service called `redis`.
pub(super) fn check_unknown<'a>(
    present: impl Iterator<Item = &'a str>,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    let known = known();
    for name in present.filter(|name| !known.iter().any(|k| k == name)) {
        let hint = nearest(name, &known);
        if name.starts_with("CAMPUS_") || name.starts_with("CACHE_") {
            problems.push(format!("{name} is not a known variable; did you mean {hint}?"));
        } else if name.starts_with("REDIS_") {
            warnings.push(format!("{name} is not a known variable and is ignored"));
        }
    }
}

fn nearest<'a>(name: &str, known: &'a [String]) -> &'a str {
    known
        .iter()
        .min_by_key(|candidate| distance(name, candidate))
        .map_or("CAMPUS_ADDR", String::as_str)
}

/// Levenshtein distance: how many letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::check_unknown;

    #[test]
    fn a_misspelt_variable_is_an_error_that_names_the_nearest_one() {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let present = ["CACHE_MAX_MEMROY_MB", "REDIS_PORT", "PATH", "CACHE_TTL_COURSES"];
        check_unknown(present.into_iter(), &mut problems, &mut warnings);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("did you mean CACHE_MAX_MEMORY_MB"));
        assert_eq!(warnings.len(), 1);
    }
}
