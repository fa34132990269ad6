//! The database: rows with versions, and the outbox beside them. One SQL for both databases.

use std::time::Duration;

use larder::{BoxFuture, Names, Outbox, OutboxError, OutboxRow};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr,
    Statement, TransactionTrait, Value,
    sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous},
};

use crate::{check::POISON, clock};

/// The rows of one database, as one process sees them.
#[derive(Clone)]
pub(crate) struct Table {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
}

/// What one transaction has changed: keys with their new versions.
pub(crate) type Changes = Vec<(u32, u64)>;

impl Table {
    /// Connects to `sqlite://path` or `postgres://..`.
    pub(crate) async fn open(url: &str) -> Result<Self, DbErr> {
        if url.starts_with("postgres") {
            let pool = Database::connect(options(url, 8)).await?;
            return Ok(Self { reader: pool.clone(), writer: pool });
        }
        // SQLite has one writer. It comes first: it switches the file to WAL.
        let writer = Database::connect(sqlite(url, 1)).await?;
        Ok(Self { reader: Database::connect(sqlite(url, 4)).await?, writer })
    }

    pub(crate) async fn create(&self, keys: u32) -> Result<(), DbErr> {
        let serial = match self.writer.get_database_backend() {
            sea_orm::DatabaseBackend::Postgres => "BIGSERIAL PRIMARY KEY",
            _ => "INTEGER PRIMARY KEY AUTOINCREMENT",
        };
        let tables = format!(
            "CREATE TABLE items (id BIGINT PRIMARY KEY, ver BIGINT NOT NULL);
             CREATE TABLE outbox (id {serial}, names TEXT NOT NULL, at BIGINT NOT NULL)"
        );
        self.writer.execute_unprepared(&tables).await?;
        for key in 0..keys {
            run(&self.writer, "INSERT INTO items VALUES ($1, 0)", [i64::from(key).into()]).await?;
        }
        Ok(())
    }

    /// The loader.
    pub(crate) async fn version(&self, key: u32) -> Result<u64, DbErr> {
        let sql = "SELECT ver FROM items WHERE id = $1";
        let row = self.reader.query_one_raw(statement(&self.reader, sql, [i64::from(key).into()]));
        let row = row.await?.ok_or_else(|| DbErr::RecordNotFound(key.to_string()))?;
        Ok(row.try_get_by_index::<i64>(0)? as u64)
    }

    pub(crate) async fn versions(&self) -> Result<Vec<u64>, DbErr> {
        let sql = "SELECT ver FROM items ORDER BY id";
        let rows = self.reader.query_all_raw(statement(&self.reader, sql, [])).await?;
        rows.iter().map(|row| Ok(row.try_get_by_index::<i64>(0)? as u64)).collect()
    }

    /// Rows of the outbox that nobody has marked done.
    pub(crate) async fn waiting(&self) -> Result<u64, DbErr> {
        let count = statement(&self.reader, "SELECT COUNT(*) FROM outbox", []);
        let row = self.reader.query_one_raw(count).await?;
        row.map_or(Ok(0), |row| Ok(row.try_get_by_index::<i64>(0)? as u64))
    }

    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.writer.begin().await
    }
}

/// Makes the rows from `first` to before `end` one version newer, under their locks.
pub(crate) async fn advance(
    tx: &DatabaseTransaction,
    (first, end): (u32, u32),
) -> Result<Changes, DbErr> {
    let sql = "UPDATE items SET ver = ver + 1 WHERE id >= $1 AND id < $2 RETURNING id, ver";
    let between = [i64::from(first).into(), i64::from(end).into()];
    let rows = tx.query_all_raw(statement(tx, sql, between)).await?;
    let change = |row: &sea_orm::QueryResult| {
        let (id, version) = (row.try_get_by_index::<i64>(0)?, row.try_get_by_index::<i64>(1)?);
        Ok((id as u32, version as u64))
    };
    rows.iter().map(change).collect()
}

/// Gives the rows versions that nobody may ever read: this transaction is rolled back.
pub(crate) async fn poison(
    tx: &DatabaseTransaction,
    (first, end): (u32, u32),
) -> Result<(), DbErr> {
    let sql = "UPDATE items SET ver = ver + $3 WHERE id >= $1 AND id < $2";
    let poison = POISON as i64;
    run(tx, sql, [i64::from(first).into(), i64::from(end).into(), poison.into()]).await
}

/// Leaves the names with the outbox, in the transaction of the write itself.
pub(crate) async fn leave(tx: &DatabaseTransaction, names: &Names) -> Result<i64, DbErr> {
    let sql = "INSERT INTO outbox (names, at) VALUES ($1, $2) RETURNING id";
    let values = [names.encode().into(), (clock::now() as i64).into()];
    let row = tx.query_one_raw(statement(tx, sql, values)).await?;
    row.ok_or(DbErr::RecordNotInserted)?.try_get_by_index(0)
}

impl Outbox for Table {
    fn undone(
        &self,
        older_than: Duration,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, OutboxError>> {
        Box::pin(async move {
            let sql = "SELECT id, names FROM outbox WHERE at <= $1 ORDER BY id LIMIT $2";
            let before = clock::now() - clock::nanos(older_than);
            let values = [(before as i64).into(), (most as i64).into()];
            let rows = self.reader.query_all_raw(statement(&self.reader, sql, values)).await?;
            let row = |row: &sea_orm::QueryResult| {
                let (id, names) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                Ok(OutboxRow { id, names })
            };
            rows.iter().map(row).collect()
        })
    }

    fn mark_done(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<(), OutboxError>> {
        Box::pin(async move {
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            let sql = format!("DELETE FROM outbox WHERE id IN ({})", ids.join(", "));
            self.writer.execute_unprepared(&sql).await?;
            Ok(())
        })
    }
}

fn statement<const N: usize>(
    connection: &impl ConnectionTrait,
    sql: &str,
    values: [Value; N],
) -> Statement {
    Statement::from_sql_and_values(connection.get_database_backend(), sql, values)
}

async fn run<const N: usize>(
    connection: &impl ConnectionTrait,
    sql: &str,
    values: [Value; N],
) -> Result<(), DbErr> {
    connection.execute_raw(statement(connection, sql, values)).await.map(drop)
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(10))
        .sqlx_logging(false);
    options
}

fn sqlite(url: &str, connections: u32) -> ConnectOptions {
    let mut options = options(url, connections);
    options.map_sqlx_sqlite_opts(|sqlite| {
        sqlite
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What is lost with the machine does not matter here.
            .synchronous(SqliteSynchronous::Off)
            .busy_timeout(Duration::from_secs(10))
    });
    options
}
