//! Imported articles and their tags.

use std::collections::HashMap;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, Set,
};

use super::{Change, Ids, Import, digest, free_name, look_up};
use crate::model::ArticleImport;
use crate::store::articles::{live, set_tags};
use crate::store::tables::articles;
use crate::store::{Error, Result};

impl Import<'_> {
    pub(super) async fn articles(&mut self, people: &Ids) -> Result<()> {
        let existing = articles::Entity::find()
            .filter(articles::Column::Source.eq(&self.catalogue.source))
            .all(self.tx)
            .await?;
        let mut existing: HashMap<String, articles::Model> =
            existing.into_iter().filter_map(|row| Some((row.external_id.clone()?, row))).collect();
        for article in &self.catalogue.articles {
            let known = existing.remove(&article.origin.external_id);
            let row = format!("the article '{}'", article.origin.external_id);
            let author = article.author.as_deref();
            let author = author.map(|name| look_up(people, name, "person", &row));
            let (id, change) = self.article(article, author.transpose()?, known).await?;
            self.report.articles.count(change);
            if change != Change::Unchanged {
                set_tags(self.tx, id, &article.tags).await?;
                self.report.article_ids.push(id);
            }
            self.step();
        }
        Ok(())
    }

    async fn article(
        &self,
        article: &ArticleImport,
        author: Option<i64>,
        known: Option<articles::Model>,
    ) -> Result<(i64, Change)> {
        let digest = digest(article)?;
        let (mut row, version, change) = match known {
            Some(row)
                if row.deleted_at.is_some() || row.import_digest.as_deref() == Some(&digest) =>
            {
                return Ok((row.id, Change::Unchanged));
            }
            Some(row) => {
                let version = row.version;
                (row.into_active_model(), version + 1, Change::Updated)
            }
            None => (self.new_article(article).await?, 1, Change::Inserted),
        };
        row.title = Set(article.title.clone());
        row.body = Set(article.body.clone());
        row.author_id = Set(author);
        row.updated_at = Set(self.now.0);
        row.version = Set(version);
        row.source = Set(Some(article.origin.source.clone()));
        row.external_id = Set(Some(article.origin.external_id.clone()));
        row.attribution = Set(article.origin.attribution.clone());
        row.import_digest = Set(Some(digest));
        let saved = match change {
            Change::Inserted => row.insert(self.tx).await?,
            _ => row.update(self.tx).await?,
        };
        Ok((saved.id, change))
    }

    /// Whether it is published is only set at first, like the status of a course.
    async fn new_article(&self, article: &ArticleImport) -> Result<articles::ActiveModel> {
        let slug = free_name(&article.slug, |slug| async move {
            let same = live().filter(articles::Column::Slug.eq(slug));
            Ok::<bool, Error>(same.count(self.tx).await? > 0)
        })
        .await?;
        Ok(articles::ActiveModel {
            slug: Set(slug),
            published: Set(article.published),
            created_at: Set(article.created_at.unwrap_or(self.now).0),
            ..Default::default()
        })
    }
}
