//! A lesson done names its course too, so that what was done in a course is found without a look
//! at what was done in the others, whether or not the database has counted its rows yet.

use sea_orm_migration::async_trait;
use sea_orm_migration::schema::big_integer;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::sea_query::{Index, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

const FILL: &str = "UPDATE lesson_completions SET course_id = (SELECT enrollments.course_id \
    FROM enrollments WHERE enrollments.id = lesson_completions.enrollment_id)";

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0013_completions_by_course"
    }
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the expanded signature must equal the trait's, which elides it"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A server of the version before, which is being replaced, inserts without it.
        let column = big_integer("course_id").default(0).take();
        let mut table = Table::alter();
        table.table("lesson_completions").add_column(column);
        manager.alter_table(table).await?;
        manager.get_connection().execute_unprepared(FILL).await?;
        let mut index = Index::create();
        index.name("lesson_completions_course").table("lesson_completions");
        for column in ["course_id", "enrollment_id", "lesson_id"] {
            index.col(column);
        }
        manager.create_index(index).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
