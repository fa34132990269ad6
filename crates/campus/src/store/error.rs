//! What can go wrong in the database, without saying which library speaks to it.

use std::fmt;

use sea_orm::{DbErr, SqlErr};

/// A failed database operation.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    Database(DbErr),
    /// The database could not be opened at all; the text says why and where.
    Open(String),
    /// A row holds something this version does not understand.
    Corrupt(String),
    /// An imported row refers to something the import does not have.
    Import(String),
}

impl Error {
    pub(super) fn open(reason: impl Into<String>) -> Self {
        Self(Kind::Open(reason.into()))
    }

    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self(Kind::Corrupt(reason.into()))
    }

    pub(super) fn import(reason: impl Into<String>) -> Self {
        Self(Kind::Import(reason.into()))
    }

    /// Whether a unique index refused the row.
    pub fn is_duplicate(&self) -> bool {
        matches!(&self.0, Kind::Database(e)
            if matches!(e.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))))
    }

    /// Whether the database could not be reached in time.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self.0,
            Kind::Open(_) | Kind::Database(DbErr::Conn(_) | DbErr::ConnectionAcquire(_))
        )
    }

    /// Whether an imported row was refused; nothing of that import was kept.
    pub fn is_import(&self) -> bool {
        matches!(self.0, Kind::Import(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Database(_) => f.write_str("the database operation failed"),
            Kind::Open(reason) => f.write_str(reason),
            Kind::Corrupt(reason) => write!(f, "unreadable row: {reason}"),
            Kind::Import(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Database(source) => Some(source),
            _ => None,
        }
    }
}

impl From<DbErr> for Error {
    fn from(source: DbErr) -> Self {
        Self(Kind::Database(source))
    }
}
