//! A name by which this database is told from every other one.

use sea_orm_migration::async_trait;
use sea_orm_migration::schema::text;
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{ColumnDef, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0014_identity"
    }
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the expanded signature must equal the trait's, which elides it"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = ColumnDef::new("id").big_integer().not_null().primary_key().take();
        let mut identity = Table::create();
        identity.table("identity").col(id).col(text("name"));
        manager.create_table(identity).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
