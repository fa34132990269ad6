//! How long the entries of each namespace live, when the operator says so.

use std::collections::BTreeMap;
use std::time::Duration;

/// A namespace of the cache registry, with the lives that its entries have by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace {
    /// The stats label, which is also a part of the names of its variables.
    pub name: &'static str,
    pub life: Lifetime,
}

impl Namespace {
    const fn new(name: &'static str, soft: u64, hard: u64) -> Self {
        Self { name, life: Lifetime::seconds(soft, hard) }
    }

    /// The one with this label.
    pub fn named(name: &str) -> Option<Self> {
        NAMESPACES.iter().copied().find(|namespace| namespace.name == name)
    }
}

pub const COURSES_LIST: Namespace = Namespace::new("courses_list", 120, 300);
pub const SEARCH: Namespace = Namespace::new("search", 60, 120);
pub const COURSES: Namespace = Namespace::new("courses", 300, 600);
pub const CONTENT: Namespace = Namespace::new("content", 300, 900);
pub const ENROLLED: Namespace = Namespace::new("enrolled", 1800, 1800);
pub const ENROLL_COUNT: Namespace = Namespace::new("enroll_count", 60, 300);
pub const USERS: Namespace = Namespace::new("users", 600, 900);
pub const INSTRUCTORS: Namespace = Namespace::new("instructors", 1800, 1800);
pub const PROGRESS: Namespace = Namespace::new("progress", 600, 600);
pub const DASHBOARD: Namespace = Namespace::new("dashboard", 300, 300);
pub const SESSION: Namespace = Namespace::new("session", 1800, 1800);
/// Of a course; those below are for the other entries of the namespace.
pub const ANALYTICS: Namespace = Namespace::new("analytics", 60, 600);
pub const STUDENT_ANALYTICS: Lifetime = Lifetime::seconds(45, 1200);
pub const PLATFORM_ANALYTICS: Lifetime = Lifetime::seconds(60, 2700);
pub const SYSTEM: Namespace = Namespace::new("system", 30, 30);
pub const ARTICLES_LIST: Namespace = Namespace::new("articles_list", 60, 60);
pub const ARTICLES: Namespace = Namespace::new("articles", 300, 300);
pub const TAGS: Namespace = Namespace::new("tags", 300, 300);

/// All of them. Those without a name of their own have variables, and no reads yet.
pub const NAMESPACES: &[Namespace] = &[
    COURSES_LIST,
    SEARCH,
    COURSES,
    CONTENT,
    ENROLLED,
    ENROLL_COUNT,
    USERS,
    INSTRUCTORS,
    PROGRESS,
    DASHBOARD,
    SESSION,
    ANALYTICS,
    SYSTEM,
    ARTICLES_LIST,
    ARTICLES,
    TAGS,
];

/// Variables of the seed documents that name one namespace.
const ALIASES: &[(&str, &str)] =
    &[("CACHE_TTL_ARTICLES_DETAIL", "articles"), ("REDIS_COURSE_TTL", "courses")];

/// Variables for every namespace that has none of its own; the first that is set wins.
const DEFAULTS: &[&str] = &["CACHE_DEFAULT_TTL", "REDIS_DEFAULT_TTL"];

/// Both lives of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    pub soft: Duration,
    pub hard: Duration,
}

impl Lifetime {
    const fn seconds(soft: u64, hard: u64) -> Self {
        Self { soft: Duration::from_secs(soft), hard: Duration::from_secs(hard) }
    }
}

/// The variables that exist once per namespace.
pub(super) fn variables() -> impl Iterator<Item = String> {
    NAMESPACES.iter().flat_map(|namespace| {
        let name = namespace.name.to_uppercase();
        [format!("CACHE_TTL_{name}"), format!("CACHE_HARD_TTL_{name}")]
    })
}

/// The variables that can set both lives of a namespace, the one that wins first.
fn soft_variables(namespace: &str) -> Vec<String> {
    let own = format!("CACHE_TTL_{}", namespace.to_uppercase());
    let aliases = ALIASES.iter().filter(|(_, of)| *of == namespace).map(|(alias, _)| *alias);
    let others = aliases.chain(DEFAULTS.iter().copied()).map(str::to_owned);
    std::iter::once(own).chain(others).collect()
}

fn hard_variable(namespace: &str) -> String {
    format!("CACHE_HARD_TTL_{}", namespace.to_uppercase())
}

/// The variables that decide about a namespace, of those that are set.
pub(super) fn deciding(namespace: &str, is_set: impl Fn(&str) -> bool) -> Vec<String> {
    let soft = soft_variables(namespace).into_iter().find(|name| is_set(name));
    let hard = Some(hard_variable(namespace)).filter(|name| is_set(name));
    soft.into_iter().chain(hard).collect()
}

/// What the variables change. An explicit TTL sets soft and hard alike, unless the
/// hard one is given too.
pub(super) fn read(
    value: impl Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) -> BTreeMap<&'static str, Lifetime> {
    let mut changed = BTreeMap::new();
    for &Namespace { name: namespace, life } in NAMESPACES {
        let names = soft_variables(namespace);
        let explicit = names.iter().find_map(|name| seconds(name, &value, problems));
        let explicit_hard = seconds(&hard_variable(namespace), &value, problems);
        let lifetime = match (explicit, explicit_hard) {
            (None, None) => continue,
            (Some(ttl), None) => Lifetime::seconds(ttl, ttl),
            (Some(ttl), Some(hard)) => Lifetime::seconds(ttl.min(hard), hard),
            (None, Some(hard)) => Lifetime::seconds(life.soft.as_secs().min(hard), hard),
        };
        changed.insert(namespace, lifetime);
    }
    problems.dedup();
    changed
}

fn seconds(
    name: &str,
    value: &impl Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) -> Option<u64> {
    let text = value(name)?;
    match text.trim().parse() {
        Ok(seconds) if (1..=86_400 * 30).contains(&seconds) => Some(seconds),
        _ => {
            let problem = format!("{name}: '{text}' is not a number of seconds (1 to 2592000)");
            if !problems.contains(&problem) {
                problems.push(problem);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::{Lifetime, read};

    fn lifetimes(vars: &[(&str, &str)]) -> HashMap<&'static str, Lifetime> {
        let vars: HashMap<&str, &str> = vars.iter().copied().collect();
        let mut problems = Vec::new();
        let lookup = |name: &str| vars.get(name).map(|v| (*v).to_owned());
        let lifetimes = read(lookup, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        lifetimes.into_iter().collect()
    }

    fn alike(seconds: u64) -> Lifetime {
        let ttl = Duration::from_secs(seconds);
        Lifetime { soft: ttl, hard: ttl }
    }

    #[test]
    fn the_most_specific_variable_wins() {
        let found = lifetimes(&[
            ("REDIS_DEFAULT_TTL", "3600"),
            ("CACHE_DEFAULT_TTL", "200"),
            ("REDIS_COURSE_TTL", "1000"),
            ("CACHE_TTL_USERS", "5"),
        ]);
        assert_eq!(found["tags"], alike(200));
        assert_eq!(found["courses"], alike(1000));
        assert_eq!(found["users"], alike(5));
    }

    #[test]
    fn a_hard_ttl_alone_keeps_the_soft_one_below_it() {
        let found = lifetimes(&[("CACHE_HARD_TTL_COURSES", "100")]);
        assert_eq!(found["courses"], alike(100));
        assert_eq!(found.len(), 1);
    }
}
