//! A look into the database past the application.

use std::path::Path;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement, TryGetable};

pub(crate) struct Sql(DatabaseConnection);

impl Sql {
    pub(crate) async fn open(url: &str) -> Self {
        Self(Database::connect(url).await.expect("a database"))
    }

    /// The SQLite file of a server that runs in this folder.
    pub(crate) async fn file(path: &Path) -> Self {
        Self::open(&format!("sqlite://{}", path.display())).await
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.0.execute_unprepared(sql).await.expect(sql);
    }

    /// The first column of every row.
    pub(crate) async fn column<T: TryGetable>(&self, sql: &str) -> Vec<T> {
        let statement = Statement::from_string(self.0.get_database_backend(), sql);
        let rows = self.0.query_all_raw(statement).await.expect(sql);
        rows.iter().map(|row| row.try_get_by_index(0).expect(sql)).collect()
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.column(sql).await[0]
    }

    pub(crate) async fn rows(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM outbox").await
    }

    /// Those that name what a write made old; the others are further events of the same write.
    pub(crate) async fn naming_rows(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM outbox WHERE names <> ''").await
    }

    pub(crate) async fn undone(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM outbox WHERE done_at IS NULL").await
    }
}
