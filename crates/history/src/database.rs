//! The database.

use clap::ValueEnum;
use private_servers::Postgres;
use tempfile::TempDir;

use crate::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatabaseKind {
    Sqlite,
    Postgres,
}

impl DatabaseKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// An SQLite file or a PostgreSQL cluster, gone when dropped.
pub(crate) enum Database {
    Sqlite(TempDir),
    Postgres(Postgres),
}

impl Database {
    pub(crate) fn start(kind: DatabaseKind) -> Result<Self, Failure> {
        Ok(match kind {
            DatabaseKind::Sqlite => Self::Sqlite(TempDir::new()?),
            DatabaseKind::Postgres => Self::Postgres(Postgres::start()),
        })
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => {
                format!("sqlite://{}/items.db?mode=rwc", folder.path().display())
            }
            Self::Postgres(cluster) => cluster.url(),
        }
    }
}
