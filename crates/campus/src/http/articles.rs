//! Articles and their tags.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Audience, Rendered, written};
use super::auth::{SignedIn, Viewer};
use super::error::{ListProblems, Problem, ReadProblems, VersionProblems, WriteProblems};
use super::extract::{Conditions, IfMatch, IfMatchParam, Json, Label, Path, Query};
use super::page::{Page, PageParams, page_headers};
use crate::app::App;
use crate::model::{ArticleDraft, ArticleEdit, Patch, slugify};
use crate::wire;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list_articles, create_article))
        .routes(routes!(get_article, edit_article, delete_article))
        .routes(routes!(list_tags))
}

/// The published articles, the newest first
///
/// A page over 640 KiB ends earlier than asked for; `Link` says where the next one begins.
#[utoipa::path(get, path = "/articles", tag = "articles", operation_id = "listArticles",
    params(PageParams), security((), ("bearer" = [])),
    responses((status = 200, description = "A page of articles; X-Total-Count says how many there are",
        body = [wire::Article]), ListProblems))]
async fn list_articles(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
    RawQuery(raw): RawQuery,
    Query(params): Query<PageParams>,
) -> Result<Response, Problem> {
    let window = params.window()?;
    let read = app.reads.articles(viewer.via(&conditions), window).await?;
    let rendered = Rendered {
        body: &read.value.body,
        version: None,
        origin: read.origin,
        audience: Audience::Everyone,
    };
    let mut response = rendered.answer(&conditions).await;
    let page = Page::ending(window, read.value.count, read.value.total);
    page_headers(response.headers_mut(), "/articles", raw.as_deref(), page);
    Ok(response)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ArticleCreate {
    #[schema(example = "What a Cache Owes You", max_length = 300, pattern = r"\S")]
    title: String,
    /// Made from the title when absent.
    #[schema(
        example = "what-a-cache-owes-you",
        max_length = 200,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
    )]
    slug: Option<String>,
    #[schema(example = "An answer that is not older than it says.", max_length = 60_000)]
    body: String,
    /// Stored in lower case, with hyphens for blanks.
    #[schema(value_type = Option<Vec<Label>>, example = json!(["caching", "open-data"]), max_items = 30)]
    tags: Option<Vec<String>>,
    /// Absent: only the author and admins see it.
    #[serde(default)]
    #[schema(default = false)]
    published: bool,
}

/// Write an article (instructor)
#[utoipa::path(post, path = "/articles", tag = "articles", operation_id = "createArticle",
    security(("bearer" = [])), request_body = ArticleCreate,
    responses((status = 201, description = "The article", body = wire::Article), WriteProblems))]
async fn create_article(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    Json(request): Json<ArticleCreate>,
) -> Result<Response, Problem> {
    let draft = ArticleDraft {
        slug: request.slug.unwrap_or_else(|| slugify(&request.title)),
        title: request.title,
        body: request.body,
        tags: request.tags.unwrap_or_default(),
        published: request.published,
        author_id: by.id,
    };
    let article = app.learning.create_article(by, draft).await?;
    let location = Some(format!("/articles/{}", article.id));
    let body = wire::Article::from(&article);
    Ok(written(StatusCode::CREATED, &body, article.version, location))
}

/// An article; an unpublished one only for its author and admins
#[utoipa::path(get, path = "/articles/{id}", tag = "articles", operation_id = "getArticle",
    params(("id" = i64, Path)), security((), ("bearer" = [])),
    responses((status = 200, description = "The article", body = wire::Article), ReadProblems))]
async fn get_article(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let via = viewer.via(&conditions);
    let read = app.learning.article(viewer.0, via, id).await?;
    let rendered = Rendered {
        body: &read.value.body,
        version: Some(read.value.version),
        origin: read.origin,
        audience: Audience::AnyViewer,
    };
    Ok(rendered.answer(&conditions).await)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ArticleUpdate {
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, max_length = 300, pattern = r"\S")]
    title: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, max_length = 200,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    slug: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, max_length = 60_000)]
    body: Patch<String>,
    /// All of them; `null` removes them.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Label>>, max_items = 30)]
    tags: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<bool>, nullable = false)]
    published: Patch<bool>,
}

/// Change any fields of an article, publish it or take it back (author, admin)
#[utoipa::path(put, path = "/articles/{id}", tag = "articles", operation_id = "editArticle",
    params(("id" = i64, Path), IfMatchParam),
    security(("bearer" = [])), request_body = ArticleUpdate,
    responses((status = 200, description = "The article", body = wire::Article), VersionProblems,
        WriteProblems))]
async fn edit_article(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    IfMatch(versions): IfMatch,
    Path(id): Path<i64>,
    Json(request): Json<ArticleUpdate>,
) -> Result<Response, Problem> {
    let edit = ArticleEdit {
        slug: request.slug,
        title: request.title,
        body: request.body,
        tags: request.tags,
        published: request.published,
    };
    let article = app.learning.edit_article(by, id, versions.as_deref(), edit).await?;
    let body = wire::Article::from(&article);
    Ok(written(StatusCode::OK, &body, article.version, None))
}

/// Delete an article (author, admin); its slug is free again
#[utoipa::path(delete, path = "/articles/{id}", tag = "articles", operation_id = "deleteArticle",
    params(("id" = i64, Path), IfMatchParam),
    security(("bearer" = [])),
    responses((status = 204, description = "Deleted"), VersionProblems,
        WriteProblems))]
async fn delete_article(
    State(app): State<Arc<App>>,
    SignedIn(by): SignedIn,
    IfMatch(versions): IfMatch,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    app.learning.delete_article(by, id, versions.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The tags of published articles with their numbers, the most used first; a thousand at most
#[utoipa::path(get, path = "/tags", tag = "articles", operation_id = "listTags",
    security((), ("bearer" = [])),
    responses((status = 200, description = "Every tag", body = [wire::TagCount]), ListProblems))]
async fn list_tags(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let read = app.reads.tags(viewer.via(&conditions)).await?;
    let rendered = Rendered {
        body: &read.value.body,
        version: None,
        origin: read.origin,
        audience: Audience::Everyone,
    };
    Ok(rendered.answer(&conditions).await)
}
