//! A lesson done names its course too, so that what was done in a course is found without a look
//! at what was done in the others, whether or not the database has counted its rows yet.
//!
//! A large table takes minutes, and servers of the version before go on writing to it: so there is
//! no transaction around all of it, and what was cut short goes on where it was. Only while
//! PostgreSQL makes the index, at the end, do they wait: made beside them it could be left invalid.

use sea_orm_migration::async_trait;
use sea_orm_migration::schema::big_integer;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, Statement};
use sea_orm_migration::sea_query::{Index, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, SchemaManagerConnection};

const TABLE: &str = "lesson_completions";
const COLUMN: &str = "course_id";

/// How many lessons done are written at once, or as many as one place has.
const BATCH: i64 = 2_000;

/// The last place of the next batch, if another batch comes after it.
const NEXT: &str = "SELECT enrollment_id FROM lesson_completions \
    WHERE enrollment_id > $1 AND course_id = 0 ORDER BY enrollment_id LIMIT 1 OFFSET $2";

const FILL: &str = "UPDATE lesson_completions SET course_id = (SELECT enrollments.course_id \
    FROM enrollments WHERE enrollments.id = lesson_completions.enrollment_id) \
    WHERE enrollment_id > $1 AND enrollment_id <= $2 AND course_id = 0";

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
        if !manager.has_column(TABLE, COLUMN).await? {
            // A server of the version before, which is being replaced, inserts without it.
            let mut table = Table::alter();
            table.table(TABLE).add_column(big_integer(COLUMN).default(0).take());
            manager.alter_table(table).await?;
        }
        fill(manager.get_connection()).await?;
        let mut index = Index::create();
        index.name("lesson_completions_course").table(TABLE).if_not_exists();
        for column in [COLUMN, "enrollment_id", "lesson_id"] {
            index.col(column);
        }
        manager.create_index(index).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

async fn fill(db: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    let backend = db.get_database_backend();
    let mut after = 0_i64;
    loop {
        let next = [after.into(), (BATCH - 1).into()];
        let next = db.query_one_raw(Statement::from_sql_and_values(backend, NEXT, next)).await?;
        let last = next.map(|row| row.try_get_by_index(0)).transpose()?;
        let batch = [after.into(), last.unwrap_or(i64::MAX).into()];
        db.execute_raw(Statement::from_sql_and_values(backend, FILL, batch)).await?;
        match last {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}
