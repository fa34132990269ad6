//! The database: one [`Store`] over SQLite or PostgreSQL, and the SQL of every table; with the
//! feature `mongo` also the documents in MongoDB.
//!
//! Only this folder names the database libraries. Reads are methods of [`Store`];
//! writes happen in a [`Tx`], so that the caller decides what belongs together.

mod articles;
mod catalogue;
mod certificates;
mod connect;
mod content;
mod courses;
mod differences;
#[cfg(feature = "mongo")]
mod documents;
mod enrollments;
mod error;
mod events;
mod figures;
mod identity;
pub mod lock;
mod migrations;
mod operations;
mod outbox;
#[cfg(test)]
mod plans;
mod private;
mod progress;
pub mod servers;
mod tables;
mod tokens;
mod users;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

pub use self::catalogue::{Counts, Imported, ImportedIds};
use connect::Connections;
pub use connect::{Location, without_password};
pub use content::{ContentStore, Document, Fetched, Lost, StoredContent, ToEdit};
pub use differences::{Brought, Comparison, Difference, How};
#[cfg(feature = "mongo")]
pub use documents::Documents;
pub use enrollments::Ended;
pub use error::{Away, Error};
pub use events::{EventPage, Replay};
pub use outbox::{Fate, Noted, UndoneRow, WakeUps};
pub use tokens::Rotation;
pub use users::Credentials;

pub type Result<T> = std::result::Result<T, Error>;

const MIGRATION_ATTEMPTS: u32 = 4;

/// How long commands wait for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// A handle to the database; clones share the same connections.
#[derive(Debug, Clone)]
pub struct Store {
    /// SQLite: one connection, because SQLite has one writer anyway and a queue
    /// in front of it beats `SQLITE_BUSY`. PostgreSQL: the same pool as `reader`.
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    /// What health probes ask through. PostgreSQL: a connection of their own, because
    /// requests that hold the whole pool are no reason to call the database down.
    /// SQLite: the same as `reader`.
    probe: DatabaseConnection,
    location: Location,
    /// Where the documents of courses are kept.
    content: ContentStore,
    statements: Arc<AtomicU64>,
}

impl Store {
    /// Opens the database named by a `sqlite:` or `postgres:` URL, creating an SQLite file.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_waiting(url, PATIENCE).await
    }

    /// The same, with requests that wait so long for a connection of PostgreSQL's.
    pub async fn connect_waiting(url: &str, wait: Duration) -> Result<Self> {
        let location = Location::parse(url)?;
        let Connections { mut writer, mut reader, probe } = connect::open(&location, wait).await?;
        let statements = Arc::new(AtomicU64::new(0));
        for connection in [&mut writer, &mut reader] {
            let count = Arc::clone(&statements);
            connection.set_metric_callback(move |sent| {
                // Every server looks into the outbox all the time, whatever it is asked for.
                if !sent.statement.sql.contains("\"outbox\"") {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(Self { writer, reader, probe, location, content: ContentStore::Sql, statements })
    }

    /// How many statements were sent to the database, but for those about the outbox and for
    /// health probes.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Brings the schema up to date and tells how many steps that took.
    ///
    /// Tried again when it fails: of two servers that start on one empty
    /// PostgreSQL at once, one finds the tables made while it was making them.
    pub async fn migrate(&self) -> Result<usize> {
        let mut attempts = 1;
        loop {
            match self.migrate_once().await {
                Err(_) if attempts < MIGRATION_ATTEMPTS => attempts += 1,
                result => return result,
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn migrate_once(&self) -> Result<usize> {
        let pending = migrations::Migrator::get_pending_migrations(&self.writer).await?.len();
        if pending > 0 {
            // Two lines a step would be the first thing that a newcomer sees.
            let silent = NoSubscriber::default();
            migrations::Migrator::up(&self.writer, None).with_subscriber(silent).await?;
            tracing::info!(steps = pending, "the schema is up to date");
        }
        Ok(pending)
    }

    /// Where the database is, without secrets.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The SQLite file, if that is what this is.
    pub fn file(&self) -> Option<&PathBuf> {
        self.location.file()
    }

    /// Starts a write transaction. Dropping it without [`Tx::commit`] undoes it.
    ///
    /// SQLite takes the write lock at once: a transaction that reads first and
    /// upgrades later fails without waiting when another one wrote in between.
    pub async fn begin(&self) -> Result<Tx> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(Tx(self.writer.begin_with_options(options).await?, self.content.clone()))
    }

    /// One cheap round trip, for health checks.
    pub async fn ping(&self) -> Result<()> {
        let backend = self.probe.get_database_backend();
        let statement = Statement::from_string(backend, "SELECT 1");
        self.probe.query_one_raw(statement).await?;
        Ok(())
    }

    /// Closes the connections; SQLite folds its write-ahead log into the file.
    pub async fn close(&self) -> Result<()> {
        self.probe.close_by_ref().await?;
        self.reader.close_by_ref().await?;
        self.writer.close_by_ref().await?;
        Ok(())
    }
}

/// A write transaction, and where the documents are that it may need.
#[derive(Debug)]
pub struct Tx(DatabaseTransaction, ContentStore);

impl Tx {
    /// Keeps everything, without a word to the cache: what a cached read shows is committed
    /// by [`crate::reads::Reads::commit`].
    ///
    /// # Errors
    /// [`Error::is_in_doubt`] if the database may have kept it all the same.
    pub async fn commit(self) -> Result<()> {
        let backend = self.0.get_database_backend();
        self.0.commit().await.map_err(|error| Error::at_commit(error, backend))
    }
}
