//! What can go wrong in the database, without saying which library speaks to it.

use std::fmt;

use sea_orm::sqlx::postgres::{PgDatabaseError, PgSeverity};
use sea_orm::{DbBackend, DbErr, RuntimeErr, SqlErr, sqlx};

use super::content::Lost;

/// A failed database operation.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    Database(DbErr),
    /// COMMIT was sent and the connection ended before its answer.
    InDoubt(DbErr),
    /// The database could not be opened at all; the text says why and where.
    Open(String),
    /// The documents cannot be reached, or not in time.
    Documents(String),
    /// The document of a course is not the one that its row names.
    Lost(Lost),
    /// A row holds something this version does not understand.
    Corrupt(String),
    /// An imported row refers to something the import does not have.
    Import(String),
}

/// What cannot be reached, or not in time: the same may work in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    Database,
    /// MongoDB, where course content is.
    Documents,
    /// The content of one course, and not for a moment: until it is replaced, or restored.
    Content,
}

impl Error {
    pub(super) fn open(reason: impl Into<String>) -> Self {
        Self(Kind::Open(reason.into()))
    }

    pub(super) fn documents(reason: impl Into<String>) -> Self {
        Self(Kind::Documents(reason.into()))
    }

    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self(Kind::Corrupt(reason.into()))
    }

    pub(super) fn import(reason: impl Into<String>) -> Self {
        Self(Kind::Import(reason.into()))
    }

    /// A COMMIT that failed. SQLite knows that it did; PostgreSQL may have lost only the answer.
    pub(super) fn at_commit(error: DbErr, backend: DbBackend) -> Self {
        match backend {
            DbBackend::Postgres if !is_refusal(&error) => Self(Kind::InDoubt(error)),
            _ => Self(Kind::Database(error)),
        }
    }

    /// Whether nobody can say yet if the write was kept.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self.0, Kind::InDoubt(_))
    }

    /// Whether a unique index refused the row.
    pub fn is_duplicate(&self) -> bool {
        matches!(&self.0, Kind::Database(e)
            if matches!(e.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))))
    }

    /// What could not be reached, if that is what went wrong.
    pub fn away(&self) -> Option<Away> {
        match &self.0 {
            Kind::Open(_) => Some(Away::Database),
            Kind::Database(error) => is_passing(error).then_some(Away::Database),
            Kind::Documents(_) => Some(Away::Documents),
            Kind::Lost(_) => Some(Away::Content),
            Kind::InDoubt(_) | Kind::Corrupt(_) | Kind::Import(_) => None,
        }
    }

    /// Whether an imported row was refused; nothing of that import was kept.
    pub fn is_import(&self) -> bool {
        matches!(self.0, Kind::Import(_))
    }
}

/// Whether PostgreSQL refused the transaction and goes on with the session. Whatever ends the
/// session, be it an error of its own, may have come after the commit.
fn is_refusal(error: &DbErr) -> bool {
    let DbErr::Query(RuntimeErr::SqlxError(error)) = error else {
        return false;
    };
    let refusal = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>());
    refusal.is_some_and(|refusal| refusal.severity() == PgSeverity::Error)
}

fn is_passing(error: &DbErr) -> bool {
    match error {
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            match error.as_ref() {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolClosed
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::WorkerCrashed => true,
                sqlx::Error::Database(error) => error.code().is_some_and(|code| may_pass(&code)),
                _ => false,
            }
        }
        _ => false,
    }
}

/// SQLite's busy (5) and locked (6) with their extended codes; of PostgreSQL's classes those
/// for a lost connection (08), a lost race (40), too few resources (53), and a server
/// that is stopped or starting (57P).
fn may_pass(code: &str) -> bool {
    match code.parse::<u32>() {
        Ok(sqlite) if code.len() < 5 => matches!(sqlite & 0xff, 5 | 6),
        _ => ["08", "40", "53", "57P"].iter().any(|class| code.starts_with(class)),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Database(_) => f.write_str("the database operation failed"),
            Kind::InDoubt(_) => f.write_str("the database did not confirm the commit"),
            Kind::Open(reason) | Kind::Documents(reason) => f.write_str(reason),
            Kind::Lost(lost) => write!(f, "{lost}"),
            Kind::Corrupt(reason) => write!(f, "unreadable row: {reason}"),
            Kind::Import(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Database(source) | Kind::InDoubt(source) => Some(source),
            _ => None,
        }
    }
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        Self(Kind::Lost(lost))
    }
}

impl From<DbErr> for Error {
    fn from(source: DbErr) -> Self {
        Self(Kind::Database(source))
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::{DbErr, RuntimeErr, sqlx};

    use super::{Away, Error, may_pass};

    #[test]
    fn a_connection_that_is_lost_or_was_never_had_may_come_back() {
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        for error in [sqlx::Error::Io(lost), sqlx::Error::PoolClosed, sqlx::Error::PoolTimedOut] {
            let error = DbErr::Query(RuntimeErr::SqlxError(std::sync::Arc::new(error)));
            assert_eq!(Error::from(error).away(), Some(Away::Database));
        }
        assert_eq!(Error::corrupt("a row").away(), None);
    }

    #[test]
    fn busy_and_stopped_databases_may_pass_and_mistakes_do_not() {
        for code in ["5", "517", "6", "57P01", "40P01", "40001", "08006", "53300"] {
            assert!(may_pass(code), "{code}");
        }
        for code in ["1", "19", "2067", "42P01", "23505", "22021", "57014"] {
            assert!(!may_pass(code), "{code}");
        }
    }
}
