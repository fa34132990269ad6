//! An index of the documents that are in their rows: those that MongoDB does not have yet.

use sea_orm_migration::async_trait;
use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::sea_query::{ConditionalStatement, Expr, Index};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0012_content_to_carry"
    }
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the expanded signature must equal the trait's, which elides it"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut here = Index::create();
        here.name("course_contents_here").table("course_contents").col("course_id");
        here.and_where(Expr::cust("doc <> ''"));
        manager.create_index(here).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
