//! Articles: what instructors write beside their courses, and the tags they are found by.

use super::course::check_slug;
use super::{Fields, Patch, Principal, Refusal, Timestamp};

pub const MOST_TAGS: usize = 30;

/// The request as a whole has its own limit, in bytes.
const LONGEST_BODY: usize = 60_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    pub id: i64,
    pub full_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    pub id: i64,
    pub slug: String,
    pub title: String,
    pub body: String,
    /// An imported article may have none.
    pub author: Option<Author>,
    /// Sorted, each once.
    pub tags: Vec<String>,
    pub published: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: i64,
}

impl Article {
    pub fn author_id(&self) -> Option<i64> {
        self.author.as_ref().map(|author| author.id)
    }
}

/// Whether somebody may change an article of this author, and see it unpublished.
pub fn may_edit_article(by: Principal, author_id: Option<i64>) -> bool {
    by.is_admin() || author_id.is_some_and(|author| by.governs(author))
}

/// What a new article is made of.
#[derive(Debug, Clone)]
pub struct ArticleDraft {
    pub slug: String,
    pub title: String,
    pub body: String,
    pub tags: Vec<String>,
    pub published: bool,
    pub author_id: i64,
}

impl ArticleDraft {
    /// The draft with its tags as they are stored.
    pub fn checked(self) -> Result<Self, Refusal> {
        let mut fields = Fields::default();
        check_slug(&mut fields, &self.slug);
        check_title(&mut fields, &self.title);
        check_body(&mut fields, &self.body);
        let tags = tags(&self.tags, &mut fields);
        fields.finish()?;
        Ok(Self { tags, ..self })
    }
}

/// A partial update of an article.
#[derive(Debug, Clone, Default)]
pub struct ArticleEdit {
    pub slug: Patch<String>,
    pub title: Patch<String>,
    pub body: Patch<String>,
    pub tags: Patch<Vec<String>>,
    pub published: Patch<bool>,
}

impl ArticleEdit {
    /// Puts the edit over an article. Only the tags can be cleared. What is not given is not
    /// checked: imported articles may be longer than what can be sent.
    pub fn apply(self, article: &mut Article) -> Result<(), Refusal> {
        let mut fields = Fields::default();
        let f = &mut fields;
        if let Some(slug) = self.slug.required("slug", f) {
            check_slug(f, &slug);
            article.slug = slug;
        }
        if let Some(title) = self.title.required("title", f) {
            check_title(f, &title);
            article.title = title;
        }
        if let Some(body) = self.body.required("body", f) {
            check_body(f, &body);
            article.body = body;
        }
        match self.tags {
            Patch::Keep => {}
            Patch::Clear => article.tags = Vec::new(),
            Patch::Set(given) => article.tags = tags(&given, f),
        }
        if let Some(published) = self.published.required("published", f) {
            article.published = published;
        }
        fields.finish()
    }
}

fn check_title(fields: &mut Fields, title: &str) {
    fields.text("title", title, 1, 300);
}

fn check_body(fields: &mut Fields, body: &str) {
    fields.text("body", body, 0, LONGEST_BODY);
}

/// Tags as they are stored. People write one tag as `Open data`, `open data` and `open-data`.
fn tags(given: &[String], fields: &mut Fields) -> Vec<String> {
    if given.len() > MOST_TAGS {
        fields.refuse("tags", format!("must have at most {MOST_TAGS} entries"));
        return Vec::new();
    }
    let mut tags: Vec<String> = given.iter().map(|text| tag_name(text)).collect();
    for (at, tag) in tags.iter().enumerate() {
        fields.text(format_args!("tags[{at}]"), tag, 1, 100);
    }
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// One tag as it is stored: in lower case, with hyphens for blanks.
pub fn tag_name(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{ArticleDraft, MOST_TAGS, Refusal, may_edit_article};
    use crate::model::{Principal, Role};

    fn draft(tags: &[&str]) -> ArticleDraft {
        ArticleDraft {
            slug: "knots".to_owned(),
            title: "Knots".to_owned(),
            body: String::new(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            published: false,
            author_id: 1,
        }
    }

    #[test]
    fn spellings_of_one_tag_are_one_tag() {
        let draft = draft(&["Open data", "  open   DATA ", "open-data", "Ärger", "b"]);
        assert_eq!(draft.checked().unwrap().tags, ["b", "open-data", "ärger"]);
    }

    #[test]
    fn too_many_tags_and_tags_that_say_nothing_are_refused_by_name() {
        let many: Vec<String> = (0..=MOST_TAGS).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (tags, field) in [(many.as_slice(), "tags"), (&["a", " "], "tags[1]")] {
            let Err(Refusal::Invalid(errors)) = draft(tags).checked() else {
                panic!("{tags:?}");
            };
            assert_eq!(errors[0].field, field);
        }
        assert!(draft(&["a"; MOST_TAGS]).checked().is_ok());
    }

    #[test]
    fn an_article_without_an_author_is_for_admins() {
        let by = |role| Principal { id: 1, role };
        assert!(may_edit_article(by(Role::Instructor), Some(1)));
        assert!(!may_edit_article(by(Role::Student), Some(1)));
        assert!(!may_edit_article(by(Role::Instructor), Some(2)));
        assert!(!may_edit_article(by(Role::Instructor), None));
        assert!(may_edit_article(by(Role::Admin), None));
    }
}
