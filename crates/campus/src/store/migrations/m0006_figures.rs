//! What figures over many rows are counted from, without a look at the rows themselves.

use sea_orm_migration::async_trait;
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::Index;
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

const INDEXES: [(&str, &str, &[&str]); 4] = [
    ("users_live", "users", &["deleted_at", "role"]),
    ("courses_live", "courses", &["deleted_at", "status"]),
    ("enrollments_recent", "enrollments", &["enrolled_at"]),
    ("lesson_completions_recent", "lesson_completions", &["completed_at"]),
];

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_figures"
    }
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the expanded signature must equal the trait's, which elides it"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table, columns) in INDEXES {
            let mut index = Index::create();
            index.name(name).table(table);
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
