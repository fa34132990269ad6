//! Accounts, courses, content, enrollments and articles.

use sea_orm_migration::async_trait;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, boolean, small_integer, text, text_null,
};
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{
    ColumnDef, ConditionalStatement, Expr, ExprTrait, ForeignKey, ForeignKeyCreateStatement, Index,
    IndexCreateStatement, Table, TableCreateStatement,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_foundation"
    }
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the expanded signature must equal the trait's, which elides it"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    /// SQLite has no implicit transaction for migrations; half a schema must not stay.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        users(),
        instructor_profiles(),
        refresh_tokens(),
        courses(),
        course_ratings(),
        course_contents(),
        enrollments(),
        lesson_completions(),
        articles(),
        tags(),
        article_tags(),
    ]
}

fn id() -> ColumnDef {
    ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key().take()
}

/// The key of a one-to-one table: the id of the row it belongs to.
fn shared_id(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().primary_key().take()
}

fn reference(
    table: &'static str,
    column: &'static str,
    to: &'static str,
) -> ForeignKeyCreateStatement {
    ForeignKey::create().from(table, column).to(to, "id").take()
}

fn imported(table: &mut TableCreateStatement) -> TableCreateStatement {
    table
        .col(text_null("source"))
        .col(text_null("external_id"))
        .col(text_null("attribution"))
        .col(text_null("import_digest"))
        .take()
}

fn users() -> TableCreateStatement {
    let mut table = Table::create();
    table
        .table("users")
        .col(id())
        .col(text("username"))
        .col(text_null("email"))
        .col(text_null("password_hash"))
        .col(text("full_name"))
        .col(text("role"))
        .col(text_null("bio"))
        .col(big_integer("version"))
        .col(big_integer("created_at"))
        .col(big_integer_null("deleted_at"));
    imported(&mut table)
}

fn instructor_profiles() -> TableCreateStatement {
    Table::create()
        .table("instructor_profiles")
        .col(shared_id("user_id"))
        .col(text_null("headline"))
        .col(text_null("bio"))
        .col(text("expertise"))
        .foreign_key(&mut reference("instructor_profiles", "user_id", "users"))
        .take()
}

fn refresh_tokens() -> TableCreateStatement {
    Table::create()
        .table("refresh_tokens")
        .col(id())
        .col(text("token_hash"))
        .col(big_integer("user_id"))
        .col(text("family"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("revoked_at"))
        .foreign_key(&mut reference("refresh_tokens", "user_id", "users"))
        .take()
}

fn courses() -> TableCreateStatement {
    let mut table = Table::create();
    table
        .table("courses")
        .col(id())
        .col(text("slug"))
        .col(text("title"))
        .col(text("description"))
        .col(text("category"))
        .col(text("category_key"))
        .col(text("level"))
        .col(big_integer("price_cents"))
        .col(text("status"))
        .col(big_integer("instructor_id"))
        .col(big_integer_null("max_students"))
        .col(big_integer("enrolled_count"))
        .col(big_integer("rating_sum"))
        .col(big_integer("rating_count"))
        .col(big_integer("rating_score"))
        .col(text("search_text"))
        .col(big_integer_null("published_at"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .col(big_integer_null("deleted_at"))
        .col(big_integer("version"))
        .foreign_key(&mut reference("courses", "instructor_id", "users"));
    imported(&mut table)
}

fn course_ratings() -> TableCreateStatement {
    Table::create()
        .table("course_ratings")
        .col(big_integer("course_id"))
        .col(big_integer("user_id"))
        .col(small_integer("stars"))
        .primary_key(Index::create().col("course_id").col("user_id"))
        .foreign_key(&mut reference("course_ratings", "course_id", "courses"))
        .foreign_key(&mut reference("course_ratings", "user_id", "users"))
        .take()
}

fn course_contents() -> TableCreateStatement {
    Table::create()
        .table("course_contents")
        .col(shared_id("course_id"))
        .col(big_integer("version"))
        .col(text("doc"))
        .col(text("outline"))
        .col(big_integer("updated_at"))
        .col(big_integer_null("deleted_at"))
        .foreign_key(&mut reference("course_contents", "course_id", "courses"))
        .take()
}

fn enrollments() -> TableCreateStatement {
    Table::create()
        .table("enrollments")
        .col(id())
        .col(big_integer("student_id"))
        .col(big_integer("course_id"))
        .col(text("status"))
        .col(big_integer_null("payment_cents"))
        .col(text_null("payment_status"))
        .col(text("enrollment_source"))
        .col(big_integer("enrolled_at"))
        .col(big_integer_null("started_at"))
        .col(big_integer_null("completed_at"))
        .col(big_integer_null("dropped_at"))
        .col(big_integer_null("last_accessed_at"))
        .col(big_integer_null("last_lesson_id"))
        .col(big_integer("time_spent_minutes"))
        .col(big_integer("version"))
        .foreign_key(&mut reference("enrollments", "student_id", "users"))
        .foreign_key(&mut reference("enrollments", "course_id", "courses"))
        .take()
}

fn lesson_completions() -> TableCreateStatement {
    Table::create()
        .table("lesson_completions")
        .col(big_integer("enrollment_id"))
        .col(big_integer("lesson_id"))
        .col(big_integer("module_id"))
        .col(big_integer("completed_at"))
        .primary_key(Index::create().col("enrollment_id").col("lesson_id"))
        .foreign_key(&mut reference("lesson_completions", "enrollment_id", "enrollments"))
        .take()
}

fn articles() -> TableCreateStatement {
    let mut table = Table::create();
    table
        .table("articles")
        .col(id())
        .col(text("slug"))
        .col(text("title"))
        .col(text("body"))
        .col(big_integer_null("author_id"))
        .col(boolean("published"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .col(big_integer("version"))
        .foreign_key(&mut reference("articles", "author_id", "users"));
    imported(&mut table)
}

fn tags() -> TableCreateStatement {
    Table::create().table("tags").col(id()).col(text("name")).take()
}

fn article_tags() -> TableCreateStatement {
    Table::create()
        .table("article_tags")
        .col(big_integer("article_id"))
        .col(big_integer("tag_id"))
        .primary_key(Index::create().col("article_id").col("tag_id"))
        .foreign_key(&mut reference("article_tags", "article_id", "articles"))
        .foreign_key(&mut reference("article_tags", "tag_id", "tags"))
        .take()
}

fn index(
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for &column in columns {
        index.col(column);
    }
    index.take()
}

fn unique(
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
) -> IndexCreateStatement {
    index(name, table, columns).unique().take()
}

fn indexes() -> Vec<IndexCreateStatement> {
    let live = || Expr::col("deleted_at").is_null();
    vec![
        unique("users_username", "users", &["username"]),
        unique("users_email", "users", &["email"]),
        unique("users_origin", "users", &["source", "external_id"]),
        unique("refresh_tokens_hash", "refresh_tokens", &["token_hash"]),
        index("refresh_tokens_family", "refresh_tokens", &["family"]),
        index("refresh_tokens_user", "refresh_tokens", &["user_id"]),
        // A deleted course frees its slug.
        unique("courses_slug", "courses", &["slug"]).and_where(live()).take(),
        unique("courses_origin", "courses", &["source", "external_id"]),
        // Each order of the catalogue is read straight from an index, newest or best first.
        index("courses_recent", "courses", &["status", "published_at", "id"]),
        index("courses_popular", "courses", &["status", "enrolled_count", "id"]),
        index("courses_top_rated", "courses", &["status", "rating_score", "id"]),
        index("courses_category", "courses", &["status", "category_key", "published_at", "id"]),
        index("courses_instructor", "courses", &["instructor_id", "id"]),
        index("course_ratings_user", "course_ratings", &["user_id"]),
        // One live place per student and course, whatever two requests do at once.
        unique("enrollments_live", "enrollments", &["student_id", "course_id"])
            .and_where(Expr::col("status").ne("dropped"))
            .take(),
        // The one above cannot answer a query whose status is a parameter.
        index("enrollments_pair", "enrollments", &["student_id", "course_id"]),
        index("enrollments_student", "enrollments", &["student_id", "id"]),
        index("enrollments_course", "enrollments", &["course_id", "id"]),
        unique("articles_slug", "articles", &["slug"]),
        unique("articles_origin", "articles", &["source", "external_id"]),
        index("articles_recent", "articles", &["published", "created_at", "id"]),
        index("articles_author", "articles", &["author_id"]),
        unique("tags_name", "tags", &["name"]),
        index("article_tags_tag", "article_tags", &["tag_id"]),
    ]
}
