//! Articles and their tags.

use std::collections::HashMap;

use sea_orm::sea_query::{LockType, OnConflict, SimpleExpr};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, JoinType, Order,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, RelationTrait, Select, Set,
};

use super::tables::{article_tags, articles, tags, users};
use super::{Result, Store, Tx};
use crate::model::{Article, ArticleDraft, Author, Timestamp, Window};

/// An article with the name it shows, without its tags.
#[derive(FromQueryResult)]
struct Row {
    id: i64,
    slug: String,
    title: String,
    body: String,
    author_id: Option<i64>,
    author_name: Option<String>,
    published: bool,
    created_at: i64,
    updated_at: i64,
    version: i64,
}

impl Row {
    fn with(self, tags: Vec<String>) -> Article {
        let author = self.author_id.zip(self.author_name);
        Article {
            id: self.id,
            slug: self.slug,
            title: self.title,
            body: self.body,
            author: author.map(|(id, full_name)| Author { id, full_name }),
            tags,
            published: self.published,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
            version: self.version,
        }
    }
}

pub(super) fn live() -> Select<articles::Entity> {
    articles::Entity::find().filter(articles::Column::DeletedAt.is_null())
}

/// An article of a page, and how many there are on all of them.
#[derive(FromQueryResult)]
struct OfPage {
    #[sea_orm(nested)]
    row: Row,
    total: i64,
}

/// Narrows a selection of articles to what [`Row`] holds.
fn rows(select: Select<articles::Entity>) -> Select<articles::Entity> {
    use articles::Column;
    select
        .select_only()
        .columns([
            Column::Id,
            Column::Slug,
            Column::Title,
            Column::Body,
            Column::AuthorId,
            Column::Published,
            Column::CreatedAt,
            Column::UpdatedAt,
            Column::Version,
        ])
        .column_as(users::Column::FullName, "author_name")
        .join(JoinType::LeftJoin, articles::Relation::Author.def())
}

/// Adds the tags, in one query for all.
async fn with_tags<C: ConnectionTrait>(db: &C, rows: Vec<Row>) -> Result<Vec<Article>> {
    let mut tags = tags_of(db, rows.iter().map(|row| row.id)).await?;
    let article = |row: Row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        row.with(tags)
    };
    Ok(rows.into_iter().map(article).collect())
}

async fn one<C: ConnectionTrait>(db: &C, id: i64) -> Result<Option<Article>> {
    let row = rows(live().filter(articles::Column::Id.eq(id))).into_model::<Row>().one(db).await?;
    Ok(with_tags(db, row.into_iter().collect()).await?.pop())
}

async fn tags_of<C: ConnectionTrait>(
    db: &C,
    ids: impl Iterator<Item = i64>,
) -> Result<HashMap<i64, Vec<String>>> {
    let rows: Vec<(i64, String)> = article_tags::Entity::find()
        .select_only()
        .column(article_tags::Column::ArticleId)
        .column(tags::Column::Name)
        .join(JoinType::InnerJoin, article_tags::Relation::Tag.def())
        .filter(article_tags::Column::ArticleId.is_in(ids))
        .into_tuple()
        .all(db)
        .await?;
    let mut names: HashMap<i64, Vec<String>> = HashMap::new();
    for (id, name) in rows {
        names.entry(id).or_default().push(name);
    }
    // Databases sort texts by rules of their own.
    names.values_mut().for_each(|names| names.sort_unstable());
    Ok(names)
}

impl Store {
    pub async fn article(&self, id: i64) -> Result<Option<Article>> {
        one(&self.reader, id).await
    }

    /// A page of the published articles, the newest first, and how many there are.
    pub async fn published_articles(&self, window: Window) -> Result<(Vec<Article>, i64)> {
        use articles::Column;
        let published = live().filter(Column::Published.eq(true));
        let ids = published.clone().select_only().column(Column::Id);
        let count = published.clone().select_only().column_as(Column::Id.count(), "count");
        let page = rows(published)
            .column_as(SimpleExpr::from(count.into_query()), "total")
            .order_by(Column::CreatedAt, Order::Desc)
            .order_by(Column::Id, Order::Desc)
            .offset(window.skip as u64)
            .limit(window.limit as u64);
        let page = page.into_model::<OfPage>().all(&self.reader).await?;
        let Some(first) = page.first() else {
            // Beyond the last page there is no row to say it.
            return Ok((Vec::new(), ids.count(&self.reader).await? as i64));
        };
        let total = first.total;
        let rows = page.into_iter().map(|one| one.row).collect();
        Ok((with_tags(&self.reader, rows).await?, total))
    }

    /// The tags of published articles that most of them carry, and how many do. Of tags that
    /// equally many carry, the older one comes first.
    pub async fn tag_counts(&self, most: u64) -> Result<Vec<(String, i64)>> {
        use article_tags::Column;
        let counted = article_tags::Entity::find()
            .select_only()
            .column(tags::Column::Name)
            .column_as(Column::ArticleId.count(), "count")
            .join(JoinType::InnerJoin, article_tags::Relation::Tag.def())
            .join(JoinType::InnerJoin, article_tags::Relation::Article.def())
            .filter(articles::Column::Published.eq(true))
            .filter(articles::Column::DeletedAt.is_null())
            .group_by(tags::Column::Id)
            .group_by(tags::Column::Name)
            .order_by(Column::ArticleId.count(), Order::Desc)
            .order_by(tags::Column::Id, Order::Asc)
            .limit(most);
        Ok(counted.into_tuple().all(&self.reader).await?)
    }
}

impl Tx {
    pub async fn article(&self, id: i64) -> Result<Option<Article>> {
        one(&self.0, id).await
    }

    /// An article that is about to be changed: two editors take turns. SQLite has one writer
    /// and ignores the clause.
    pub async fn article_to_edit(&self, id: i64) -> Result<Option<Article>> {
        use articles::Column;
        let held = live().select_only().column(Column::Id).filter(Column::Id.eq(id));
        let held = held.lock(LockType::NoKeyUpdate).into_tuple::<i64>();
        match held.one(&self.0).await? {
            Some(id) => self.article(id).await,
            None => Ok(None),
        }
    }

    pub async fn article_slug_taken(&self, slug: &str, but: Option<i64>) -> Result<bool> {
        let same = live()
            .filter(articles::Column::Slug.eq(slug))
            .filter(articles::Column::Id.ne(but.unwrap_or(0)));
        Ok(same.count(&self.0).await? > 0)
    }

    pub async fn insert_article(&self, draft: ArticleDraft, now: Timestamp) -> Result<i64> {
        let row = articles::ActiveModel {
            slug: Set(draft.slug),
            title: Set(draft.title),
            body: Set(draft.body),
            author_id: Set(Some(draft.author_id)),
            published: Set(draft.published),
            created_at: Set(now.0),
            updated_at: Set(now.0),
            version: Set(1),
            ..Default::default()
        };
        let id = row.insert(&self.0).await?.id;
        set_tags(&self.0, id, &draft.tags).await?;
        Ok(id)
    }

    /// Writes the fields and tags of an article back as its next version; `false` when
    /// somebody else wrote since it was read.
    pub async fn save_article(&self, article: &Article, now: Timestamp) -> Result<bool> {
        let changes = articles::ActiveModel {
            slug: Set(article.slug.clone()),
            title: Set(article.title.clone()),
            body: Set(article.body.clone()),
            published: Set(article.published),
            ..Default::default()
        };
        let is_saved = self.write_article(article, changes, now).await?;
        if is_saved {
            set_tags(&self.0, article.id, &article.tags).await?;
        }
        Ok(is_saved)
    }

    /// Marks an article deleted; its slug is free again.
    pub async fn delete_article(&self, article: &Article, now: Timestamp) -> Result<bool> {
        let changes = articles::ActiveModel { deleted_at: Set(Some(now.0)), ..Default::default() };
        self.write_article(article, changes, now).await
    }

    async fn write_article(
        &self,
        article: &Article,
        mut changes: articles::ActiveModel,
        now: Timestamp,
    ) -> Result<bool> {
        changes.updated_at = Set(now.0);
        changes.version = Set(article.version + 1);
        let written = articles::Entity::update_many()
            .set(changes)
            .filter(articles::Column::Id.eq(article.id))
            .filter(articles::Column::Version.eq(article.version))
            .filter(articles::Column::DeletedAt.is_null())
            .exec(&self.0)
            .await?;
        Ok(written.rows_affected == 1)
    }
}

/// Makes the tags of an article exactly these. A tag that nobody uses any more stays as a row
/// that nothing shows: somebody else may be about to use it.
pub(super) async fn set_tags<C: ConnectionTrait>(
    db: &C,
    article_id: i64,
    names: &[String],
) -> Result<()> {
    use tags::Column;
    article_tags::Entity::delete_many()
        .filter(article_tags::Column::ArticleId.eq(article_id))
        .exec(db)
        .await?;
    if names.is_empty() {
        return Ok(());
    }
    // In one order, so that two writers of the same new tags do not wait for each other.
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let rows = names
        .iter()
        .map(|&name| tags::ActiveModel { name: Set(name.to_owned()), ..Default::default() });
    let once = OnConflict::column(Column::Name).do_nothing().to_owned();
    tags::Entity::insert_many(rows).on_conflict(once).exec_without_returning(db).await?;
    let ids: Vec<i64> = tags::Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Name.is_in(names))
        .into_tuple()
        .all(db)
        .await?;
    let rows = ids
        .into_iter()
        .map(|id| article_tags::ActiveModel { article_id: Set(article_id), tag_id: Set(id) });
    article_tags::Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}
