//! Articles and tags.

use serde::Serialize;
use utoipa::ToSchema;

use super::PersonRef;
use crate::model::{self, Timestamp};

#[derive(Debug, Serialize, ToSchema)]
pub struct Article {
    #[schema(example = 42)]
    pub id: i64,
    #[schema(example = "what-a-cache-owes-you")]
    pub slug: String,
    #[schema(example = "What a Cache Owes You")]
    pub title: String,
    pub body: String,
    /// `null` for an imported article that names nobody.
    pub author: Option<PersonRef>,
    /// In the order of their letters.
    #[schema(example = json!(["caching", "open-data"]))]
    pub tags: Vec<String>,
    pub published: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: i64,
}

impl From<&model::Article> for Article {
    fn from(article: &model::Article) -> Self {
        let author = article.author.as_ref();
        Self {
            id: article.id,
            slug: article.slug.clone(),
            title: article.title.clone(),
            body: article.body.clone(),
            author: author
                .map(|author| PersonRef { id: author.id, full_name: author.full_name.clone() }),
            tags: article.tags.clone(),
            published: article.published,
            created_at: article.created_at,
            updated_at: article.updated_at,
            version: article.version,
        }
    }
}

/// A tag of published articles.
#[derive(Debug, Serialize, ToSchema)]
pub struct TagCount {
    #[schema(example = "caching")]
    pub name: String,
    /// How many published articles carry it.
    pub count: i64,
}
