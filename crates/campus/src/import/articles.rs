//! The layout of the articles: one file of articles, and beside it the topics and the authors they name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::courses::check_body;
use super::json::rows;
use super::problem::{ImportError, Place, Problems};
use super::{Part, find, refuse};
use crate::model::{
    ArticleImport, Catalogue, Fields, MOST_TAGS, Origin, PersonImport, Role, Timestamp, slugify,
    tag_name,
};

const SOURCE: &str = "gsa";
const ATTRIBUTION: &str = "digital.gov and 18F, U.S. General Services Administration, CC0 1.0; \
changed: front matter to JSON, dates to UTC, e-mail addresses redacted, images left out";

#[derive(Deserialize)]
struct ArticleRow {
    id: String,
    #[serde(default)]
    site: String,
    slug: String,
    title: String,
    #[serde(default)]
    summary: String,
    published_at: Timestamp,
    #[serde(default)]
    authors: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    body_markdown: String,
}

#[derive(Deserialize)]
struct AuthorRow {
    site: String,
    slug: String,
    display_name: String,
}

#[derive(Deserialize)]
struct TopicRow {
    slug: String,
}

/// Whether a folder has this layout.
pub(super) fn is_here(dir: &Path) -> bool {
    find(dir, "articles.ndjson").is_some()
}

pub(super) fn read(dir: &Path, problems: &mut Problems) -> Result<Part, ImportError> {
    let Some(articles) = find(dir, "articles.ndjson") else {
        return Err(ImportError::NothingKnown { path: dir.to_owned(), hint: String::new() });
    };
    let mut import = Import::default();
    for file in beside(dir, "authors.")? {
        rows(&file, problems, |row: AuthorRow, _, _| {
            import.names.insert((row.site, row.slug), row.display_name);
        })?;
    }
    let mut topics = HashSet::new();
    for file in beside(dir, "topics.")? {
        rows(&file, problems, |row: TopicRow, _, _| {
            topics.insert(tag_name(&row.slug));
        })?;
    }
    rows(&articles, problems, |row, place, problems| import.article(row, place, problems))?;
    let notes = import.notes(&topics);
    Ok(Part { catalogue: import.finish(), notes, attribution: Some(ATTRIBUTION) })
}

/// The files `authors.*.ndjson` or `topics.*.ndjson`, whatever their packing, in the order of their names.
fn beside(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>, ImportError> {
    let mut files = super::files(dir)?;
    files.retain(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && name.contains(".ndjson")
    });
    Ok(files)
}

#[derive(Default)]
struct Import {
    /// Display names by site and author slug.
    names: HashMap<(String, String), String>,
    people: BTreeMap<String, PersonImport>,
    seen: HashMap<String, u64>,
    slugs: HashSet<String>,
    articles: Vec<ArticleImport>,
    repeated: usize,
    anonymous: usize,
    linked: usize,
}

impl Import {
    fn article(&mut self, row: ArticleRow, place: Place<'_>, problems: &mut Problems) {
        if let Some(line) = self.seen.insert(row.id.clone(), place.line) {
            return problems.push(
                place.problem("id", format!("`{}` was given in line {line} already", row.id)),
            );
        }
        let mut fields = Fields::default();
        fields.text("id", &row.id, 1, 300);
        fields.text("title", &row.title, 1, 300);
        fields.text("summary", &row.summary, 0, 20_000);
        check_body(&mut fields, "body_markdown", &row.body_markdown);
        row.authors.iter().for_each(|author| fields.text("authors", author, 1, 100));
        row.tags.iter().for_each(|tag| fields.text("tags", tag, 0, 100));
        if row.tags.len() > MOST_TAGS {
            fields.refuse("tags", format!("must have at most {MOST_TAGS} entries"));
        }
        refuse(fields, place, problems);
        let names: Vec<String> =
            row.authors.iter().map(|slug| self.name(&row.site, slug)).collect();
        let author = row.authors.first().map(|slug| self.person(&row.site, slug));
        self.anonymous += usize::from(author.is_none());
        let slug = self.slug(&row);
        let body = self.body(&row);
        self.articles.push(ArticleImport {
            origin: origin(row.id, &names),
            slug,
            title: row.title,
            body,
            author,
            tags: tags(&row.tags),
            published: true,
            created_at: Some(row.published_at),
        });
    }

    /// The store numbers a slug that is taken. The articles come oldest first, so the oldest keeps it.
    fn slug(&mut self, row: &ArticleRow) -> String {
        let slug = slugify(&row.slug);
        self.repeated += usize::from(!self.slugs.insert(slug.clone()));
        slug
    }

    /// A post that only links elsewhere has no body: its summary is all there is to read.
    fn body(&mut self, row: &ArticleRow) -> String {
        let empty = row.body_markdown.trim().is_empty();
        self.linked += usize::from(empty);
        if empty { &row.summary } else { &row.body_markdown }.replace("\r\n", "\n")
    }

    fn name(&self, site: &str, slug: &str) -> String {
        let known = self.names.get(&(site.to_owned(), slug.to_owned()));
        known.cloned().unwrap_or_else(|| spelled(slug))
    }

    fn person(&mut self, site: &str, slug: &str) -> String {
        let id = format!("{site}/{slug}");
        if !self.people.contains_key(&id) {
            let person = PersonImport {
                origin: Origin {
                    attribution: Some(ATTRIBUTION.to_owned()),
                    ..origin(id.clone(), &[])
                },
                username: format!("gsa-{}", slugify(slug)).chars().take(50).collect(),
                full_name: self.name(site, slug),
                role: Role::Instructor,
                headline: Some(format!("Writes for {site}")),
                bio: None,
                expertise: Vec::new(),
            };
            self.people.insert(id.clone(), person);
        }
        id
    }

    fn notes(&self, topics: &HashSet<String>) -> Vec<String> {
        let used: HashSet<&String> =
            self.articles.iter().flat_map(|article| &article.tags).collect();
        let described = used.iter().filter(|tag| topics.contains(**tag)).count();
        vec![
            format!("{} articles repeat the slug of an older one and got a number", self.repeated),
            format!(
                "{} articles have no author, {} no body (their summary stands in)",
                self.anonymous, self.linked
            ),
            format!("{} tags, {described} of them among the {} topics", used.len(), topics.len()),
        ]
    }

    fn finish(self) -> Catalogue {
        Catalogue {
            source: SOURCE.to_owned(),
            people: self.people.into_values().collect(),
            articles: self.articles,
            ..Catalogue::default()
        }
    }
}

/// An article has one author here; the others are kept in the credit.
fn origin(id: String, authors: &[String]) -> Origin {
    let attribution = match authors {
        [] | [_] => ATTRIBUTION.to_owned(),
        several => format!("By {}. {ATTRIBUTION}", several.join(", ")),
    };
    Origin { source: SOURCE.to_owned(), external_id: id, attribution: Some(attribution) }
}

/// `andrew-hyder` is written `Andrew Hyder`, for authors without an entry of their own.
fn spelled(slug: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect::<String>())
            .unwrap_or_default()
    };
    slug.split('-').map(capital).collect::<Vec<_>>().join(" ")
}

/// The sites write one tag as `Open data`, `open data` and `open-data`.
fn tags(given: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    given
        .iter()
        .map(|name| tag_name(name))
        .filter(|name| !name.is_empty() && seen.insert(name.clone()))
        .collect()
}
