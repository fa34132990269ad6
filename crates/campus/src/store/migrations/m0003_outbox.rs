//! What writes made old, committed with them.

use sea_orm_migration::async_trait;
use sea_orm_migration::schema::{big_integer, big_integer_null, text, text_null};
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{
    ColumnDef, ConditionalStatement, Expr, ExprTrait, Index, Table,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_outbox"
    }
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the expanded signature must equal the trait's, which elides it"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Ids are never given twice: whoever marks a row done must not mean another one.
        let id =
            ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key().take();
        let mut table = Table::create();
        table
            .table("outbox")
            .col(id)
            .col(big_integer("at"))
            .col(big_integer_null("not_before"))
            .col(text("names"))
            .col(text_null("event"))
            .col(big_integer_null("done_at"));
        manager.create_table(table).await?;
        let mut undone = Index::create();
        undone.name("outbox_undone").table("outbox").col("id");
        undone.and_where(Expr::col("done_at").is_null());
        manager.create_index(undone).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
