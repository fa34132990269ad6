//! Articles and tags: their keys, and the reads behind them.

use std::sync::Arc;
use std::time::Duration;

use larder::{CacheKey, KeyWriter, Policy, Public, Tag, Tags};

use super::answers::{ArticleAnswer, ListAnswer, PlainAnswer, fitting};
use super::keys::policy;
use super::{Body, Read, Reads, Result, Via, plain};
use crate::config::lifetimes;
use crate::model::Window;
use crate::wire;

/// How many tags are listed: those that most articles carry.
const MOST_TAGS: u64 = 1000;

/// `article:list:{skip}:{limit}`
pub(super) struct ArticleListKey {
    pub(super) window: Window,
}

impl CacheKey for ArticleListKey {
    type Value = ListAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::ARTICLES_LIST.name;
    const NAME: &'static str = "article:list";
    const VERSION: u16 = 2;

    fn policy() -> Policy {
        policy(lifetimes::ARTICLES_LIST)
    }

    fn weigh(answer: &ListAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.window.skip);
        key.push(self.window.limit);
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::named("articles"));
    }
}

/// `article:detail:{id}`
pub(super) struct ArticleKey {
    pub(super) id: i64,
}

impl CacheKey for ArticleKey {
    type Value = ArticleAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::ARTICLES.name;
    const NAME: &'static str = "article:detail";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::ARTICLES).negative(Duration::from_secs(30))
    }

    fn weigh(answer: &ArticleAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.id);
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("article", self.id));
    }
}

/// `tag:list`
pub(super) struct TagsKey;

impl CacheKey for TagsKey {
    type Value = PlainAnswer;
    type Scope = Public;
    const NAMESPACE: &'static str = lifetimes::TAGS.name;
    const NAME: &'static str = "tag:list";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        policy(lifetimes::TAGS)
    }

    fn weigh(answer: &PlainAnswer) -> usize {
        answer.weight()
    }

    fn segments(&self, _: &mut KeyWriter) {}

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::named("tags"));
    }
}

impl Reads {
    /// A page of the published articles, the newest first; shorter than asked for if it would be
    /// too heavy to be kept.
    pub async fn articles(&self, via: Via, window: Window) -> Result<Read<Arc<ListAnswer>>> {
        self.get(via, &ArticleListKey { window }, move |store| async move {
            let (articles, total) = store.published_articles(window).await?;
            let items = fitting(articles.iter().map(wire::Article::from).collect())?;
            Ok(ListAnswer { body: Body::render(&items)?, count: items.len() as i64, total })
        })
        .await
    }

    /// An article; the body is only there for a published one.
    pub async fn article(&self, via: Via, id: i64) -> Result<Read<Option<Arc<ArticleAnswer>>>> {
        self.find(via, &ArticleKey { id }, move |store| async move {
            let article = store.article(id).await?;
            article.as_ref().map(ArticleAnswer::public).transpose()
        })
        .await
    }

    /// The tags of published articles, those that most of them carry first.
    pub async fn tags(&self, via: Via) -> Result<Read<Arc<PlainAnswer>>> {
        self.get(via, &TagsKey, |store| async move {
            let tags = store.tag_counts(MOST_TAGS).await?.into_iter();
            let tags = tags.map(|(name, count)| wire::TagCount { name, count });
            plain(&tags.collect::<Vec<wire::TagCount>>())
        })
        .await
    }
}
