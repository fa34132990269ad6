//! A deleted article stays as a row, so that no import brings it back, and frees its slug.

use sea_orm_migration::async_trait;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

const STEPS: [&str; 5] = [
    "ALTER TABLE articles ADD COLUMN deleted_at BIGINT",
    "DROP INDEX articles_slug",
    "CREATE UNIQUE INDEX articles_slug ON articles (slug) WHERE deleted_at IS NULL",
    "DROP INDEX articles_recent",
    "CREATE INDEX articles_recent ON articles (published, created_at, id) WHERE deleted_at IS NULL",
];

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0005_articles"
    }
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the expanded signature must equal the trait's, which elides it"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let database = manager.get_connection();
        for step in STEPS {
            database.execute_unprepared(step).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
