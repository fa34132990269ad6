//! Opening the database, with errors a person can act on.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use sea_orm::sqlx::Connection as _;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use tokio::time::timeout;

use super::{Error, Result, private};

/// How long PostgreSQL may take to answer a server that starts.
const REACH: Duration = Duration::from_secs(5);

/// Which database a URL names. `Display` leaves the password out.
#[derive(Clone)]
pub enum Location {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Location {
    /// Reads `sqlite://path`, `sqlite:path`, `postgres://..` or `postgresql://..`.
    pub fn parse(url: &str) -> Result<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            // The problem does not quote the URL, which may hold a password.
            PgConnectOptions::from_str(url)
                .map_err(|problem| Error::open(format!("DATABASE_URL: {problem}")))?;
            return Ok(Self::Postgres(url.to_owned()));
        }
        let path = url
            .strip_prefix("sqlite://")
            .or_else(|| url.strip_prefix("sqlite:"))
            .ok_or_else(|| {
                Error::open("DATABASE_URL must start with sqlite://, postgres:// or postgresql://")
            })?;
        let path = path.split('?').next().unwrap_or(path);
        if path.is_empty() || path == ":memory:" {
            return Err(Error::open(
                "DATABASE_URL must name an SQLite file, for example sqlite://data/campus.db",
            ));
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }

    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL as it may be shown: of what stands before `@` only the user name, and no query.
pub fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    let query = rest.find('?');
    match rest.rfind('@') {
        // Either the password has a `?` or the query has an `@`; both may be secret.
        Some(at) if query.is_some_and(|query| query < at) => format!("{scheme}***"),
        Some(at) => {
            let user = rest[..at].split(':').next().unwrap_or("");
            let place = &rest[at + 1..query.unwrap_or(rest.len())];
            format!("{scheme}{user}:***@{place}")
        }
        None => format!("{scheme}{}", &rest[..query.unwrap_or(rest.len())]),
    }
}

/// The connections of a [`Store`](super::Store); some are the same.
pub(super) struct Connections {
    pub(super) writer: DatabaseConnection,
    pub(super) reader: DatabaseConnection,
    pub(super) probe: DatabaseConnection,
}

/// `wait` is for how long a request waits for a connection of PostgreSQL's.
pub(super) async fn open(location: &Location, wait: Duration) -> Result<Connections> {
    match location {
        Location::Sqlite(path) => {
            create(path)?;
            // The writer first: it switches the file to WAL.
            let writer = Database::connect(sqlite(path, 1)).await;
            let writer = writer.map_err(|e| refused(location, &e))?;
            let reader = Database::connect(sqlite(path, 4)).await;
            let reader = reader.map_err(|e| refused(location, &e))?;
            Ok(Connections { writer, probe: reader.clone(), reader })
        }
        Location::Postgres(url) => {
            reach(url).await?;
            let pool = Database::connect(postgres(url, 16, wait)).await;
            let pool = pool.map_err(|e| refused(location, &e))?;
            let probe = Database::connect(postgres(url, 1, wait)).await;
            let probe = probe.map_err(|e| refused(location, &e))?;
            Ok(Connections { writer: pool.clone(), reader: pool, probe })
        }
    }
}

fn postgres(url: &str, connections: u32, wait: Duration) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .connect_timeout(wait)
        .acquire_timeout(wait)
        .sqlx_logging(false);
    options
}

/// Makes one connection outside of the pool, which would only say that it waited too long.
async fn reach(url: &str) -> Result<()> {
    let options = PgConnectOptions::from_str(url).map_err(|e| Error::open(e.to_string()))?;
    let reason = match timeout(REACH, PgConnection::connect_with(&options)).await {
        Ok(Ok(connection)) => {
            // It has answered; how it hears of the end does not matter.
            let _ = connection.close().await;
            return Ok(());
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", REACH.as_secs()),
    };
    let (host, port) = (options.get_host(), options.get_port());
    Err(Error::open(format!(
        "cannot reach the database at {host}:{port}: {reason}; check that PostgreSQL runs there, \
         and host, port, user, password and database in DATABASE_URL"
    )))
}

fn sqlite(path: &std::path::Path, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
    let file = path.to_owned();
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(10))
        .idle_timeout(Duration::from_secs(600))
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| {
            sqlite
                .filename(&file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(5))
        });
    options
}

/// Creates the file and its folder, closed to others from the first moment on.
fn create(path: &std::path::Path) -> Result<()> {
    private::create_folder_of(path).and_then(|()| private::create_file(path)).map_err(|e| {
        let path = path.display();
        Error::open(format!("cannot create the database {path}: {e} (see DATABASE_URL)"))
    })
}

fn refused(location: &Location, error: &sea_orm::DbErr) -> Error {
    Error::open(format!("cannot open the database {location}: {error} (see DATABASE_URL)"))
}

#[cfg(test)]
mod tests {
    use super::{Location, without_password};

    #[test]
    fn a_shown_location_has_no_password() {
        let location = Location::parse("postgres://app:s3cret@db:5432/campus?sslmode=require");
        assert_eq!(location.unwrap().to_string(), "postgres://app:***@db:5432/campus");
    }

    #[test]
    fn what_may_be_a_part_of_a_password_is_not_shown() {
        for url in ["redis://:s3?cret@h", "h/db?password=s3@cret", "a:s3cret@h", "m://h?p=s3cret"] {
            let shown = without_password(url);
            assert!(!shown.contains("s3") && !shown.contains("cret"), "{shown}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_refused_by_name() {
        let error = Location::parse("mysql://db").unwrap_err();
        assert!(error.to_string().contains("DATABASE_URL"));
    }
}
