//! The servers that run on this database, and what they hear of each other through.

use sea_orm_migration::async_trait;
use sea_orm_migration::schema::{big_integer, text};
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{ColumnDef, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0010_servers"
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
        let mut servers = Table::create();
        servers
            .table("servers")
            .col(id)
            .col(text("service"))
            .col(text("url"))
            .col(text("shares"))
            .col(big_integer("seen_at"));
        manager.create_table(servers).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
