//! User names are unique whatever their case.

use sea_orm_migration::async_trait;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

/// Of names that differ by case only, the oldest account keeps its own; the others get their
/// id behind theirs, which people can change.
const TELL_APART: &str = "UPDATE users SET username = username || '-' || id, version = version + 1 \
    WHERE EXISTS (SELECT 1 FROM users AS older \
    WHERE lower(older.username) = lower(users.username) AND older.id < users.id)";

/// The names are ASCII, which both databases fold alike.
const INDEX: &str = "CREATE UNIQUE INDEX users_username ON users (lower(username))";

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_user_names"
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
        for statement in [TELL_APART, "DROP INDEX users_username", INDEX] {
            database.execute_unprepared(statement).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
