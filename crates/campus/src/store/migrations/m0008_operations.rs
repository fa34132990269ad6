//! What operators do: a log of it, and the rules of the cache that they have changed.

use sea_orm_migration::async_trait;
use sea_orm_migration::schema::{big_integer, big_integer_null, boolean_null, text};
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{ColumnDef, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0008_operations"
    }
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the expanded signature must equal the trait's, which elides it"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id =
            ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key().take();
        let mut log = Table::create();
        log.table("audit_log")
            .col(id)
            .col(big_integer("at"))
            .col(big_integer("actor_id"))
            .col(text("action"))
            .col(text("target"));
        manager.create_table(log).await?;
        let mut rules = Table::create();
        rules
            .table("cache_overrides")
            .col(ColumnDef::new("namespace").text().not_null().primary_key().take())
            .col(boolean_null("enabled"))
            .col(big_integer_null("soft"))
            .col(big_integer_null("hard"))
            .col(big_integer_null("l1"))
            .col(big_integer("updated_at"));
        manager.create_table(rules).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
