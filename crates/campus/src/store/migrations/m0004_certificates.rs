//! Certificates: at most one for an enrollment.

use sea_orm_migration::async_trait;
use sea_orm_migration::schema::{big_integer, text};
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{ColumnDef, ForeignKey, Index, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_certificates"
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
        let mut enrollment = ForeignKey::create();
        enrollment.from("certificates", "enrollment_id").to("enrollments", "id");
        let mut table = Table::create();
        table
            .table("certificates")
            .col(id)
            .col(big_integer("enrollment_id"))
            .col(text("code"))
            .col(big_integer("issued_at"))
            .foreign_key(&mut enrollment);
        manager.create_table(table).await?;
        for column in ["enrollment_id", "code"] {
            let mut unique = Index::create();
            unique.name(format!("certificates_{column}")).table("certificates").col(column);
            unique.unique();
            manager.create_index(unique).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
