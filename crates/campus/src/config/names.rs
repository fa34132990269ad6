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
        if name.starts_with("CAMPUS_") || name.starts_with("CACHE_") {
            let hint = nearest(name, &known).map_or_else(
                || "`campus --help` lists those that are".to_owned(),
                |nearest| format!("did you mean {nearest}?"),
            );
            problems.push(format!("{name} is not a known variable; {hint}"));
        } else if name.starts_with("REDIS_") {
            warnings.push(format!("{name} is not a known variable and is ignored"));
        }
    }
}

/// A name that differs by a slip or two after the same first word. Anything further away
/// would be a guess that sends people the wrong way.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let (first, rest) = name.split_once('_')?;
    let far = (1 + rest.len() / 2).min(4);
    let alike = known.iter().filter_map(|candidate| {
        let (same, other) = candidate.split_once('_')?;
        (same == first).then(|| (distance(rest, other), candidate.as_str()))
    });
    alike.filter(|(distance, _)| *distance <= far).min().map(|(_, candidate)| candidate)
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
