//! Articles: writing, publishing, deleting, and who sees which.

use std::sync::Arc;

use super::courses::{check_version, slug_taken};
use super::{Error, Learning, Result, found, held, overtaken};
use crate::model::{
    Article, ArticleDraft, ArticleEdit, Principal, Refusal, Role, may_edit_article,
};
use crate::reads::{ArticleAnswer, Ending, Listed, Read, TagCounts, Via};
use crate::store::Tx;

const NO_ARTICLE: Refusal = Refusal::NotFound("Article not found");
const NOT_AUTHOR: Refusal = Refusal::Forbidden("You are not the author of this article");
const NOT_INSTRUCTOR: Refusal = Refusal::Forbidden("Only instructors may write articles");

impl Learning {
    /// An article as this viewer may see it: published ones from the cache, the others from the
    /// database and only for their author and admins.
    pub async fn article(
        &self,
        viewer: Option<Principal>,
        via: Via,
        id: i64,
    ) -> Result<Read<Arc<ArticleAnswer>>> {
        let read = found(self.reads.article(via, id).await?, NO_ARTICLE)?;
        if read.value.published {
            return Ok(read);
        }
        if !viewer.is_some_and(|viewer| may_edit_article(viewer, read.value.author_id)) {
            // As if it did not exist, headers included.
            return Err(Error::Absent(NO_ARTICLE, read.origin));
        }
        let article = self.store.article(id).await?.ok_or(NO_ARTICLE)?;
        let answer = ArticleAnswer::full(&article)?;
        Ok(Read::from_database(Arc::new(answer)))
    }

    pub async fn create_article(&self, by: Principal, draft: ArticleDraft) -> Result<Article> {
        let draft = draft.checked()?;
        let tx = self.store.begin().await?;
        // Held, so that whoever changes the author's name finds this article among those that
        // show it.
        if held(&tx, by).await?.role < Role::Instructor {
            return Err(NOT_INSTRUCTOR.into());
        }
        let slug = draft.slug.clone();
        if tx.article_slug_taken(&slug, None).await? {
            return Err(slug_taken(&slug));
        }
        let id = match tx.insert_article(draft, self.clock.now()).await {
            Err(e) if e.is_duplicate() => return Err(slug_taken(&slug)),
            id => id?,
        };
        let article = tx.article(id).await?.ok_or(NO_ARTICLE)?;
        let listed = if article.published { Listed::Yes } else { Listed::No };
        self.reads.commit(tx, Ending::article_created(id, listed)).await?;
        Ok(article)
    }

    /// Edits an article; `expected` are the versions of `If-Match`, if the client sent it.
    pub async fn edit_article(
        &self,
        by: Principal,
        id: i64,
        expected: Option<&[i64]>,
        edit: ArticleEdit,
    ) -> Result<Article> {
        let tx = self.store.begin().await?;
        let before = self.own_article(&tx, by, id).await?;
        check_version(expected, before.version)?;
        let mut article = before.clone();
        edit.apply(&mut article)?;
        if article == before {
            return Ok(before);
        }
        if tx.article_slug_taken(&article.slug, Some(id)).await? {
            return Err(slug_taken(&article.slug));
        }
        match tx.save_article(&article, self.clock.now()).await {
            Ok(true) => {}
            Ok(false) => return Err(overtaken()),
            Err(e) if e.is_duplicate() => return Err(slug_taken(&article.slug)),
            Err(e) => return Err(e.into()),
        }
        let article = tx.article(id).await?.ok_or(NO_ARTICLE)?;
        let counted = |article: &Article| (article.published, article.tags.clone());
        let counts = if counted(&article) == counted(&before) {
            TagCounts::Same
        } else {
            TagCounts::Changed
        };
        self.reads.commit(tx, Ending::article_edited(id, counts)).await?;
        Ok(article)
    }

    /// Deletes an article; `expected` as in [`Learning::edit_article`].
    pub async fn delete_article(
        &self,
        by: Principal,
        id: i64,
        expected: Option<&[i64]>,
    ) -> Result<()> {
        let tx = self.store.begin().await?;
        let article = self.own_article(&tx, by, id).await?;
        check_version(expected, article.version)?;
        if !tx.delete_article(&article, self.clock.now()).await? {
            return Err(overtaken());
        }
        self.reads.commit(tx, Ending::article_deleted(id)).await?;
        Ok(())
    }

    /// An article that this person may change. To those who may not see it, it does not exist.
    async fn own_article(&self, tx: &Tx, by: Principal, id: i64) -> Result<Article> {
        let by = self.actor(tx, by).await?;
        let article = tx.article_to_edit(id).await?.ok_or(NO_ARTICLE)?;
        if may_edit_article(by, article.author_id()) {
            Ok(article)
        } else if article.published {
            Err(NOT_AUTHOR.into())
        } else {
            Err(NO_ARTICLE.into())
        }
    }
}
