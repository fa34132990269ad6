//! What the commands share that write to a database which may have a server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;
use crate::reads::Reads;
use crate::store::lock::{self, Claim, DatabaseLock, Sharing};
use crate::store::{self, Location};

/// How long Redis may take to hear of a change.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);

pub(super) const REDIS_AWAY: &str = "warning: Redis (REDIS_URL) did not answer; the next server \
that reaches it removes what it has cached of the changed rows";

/// Why a command may not write now.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "the database {database} is in use by {holders}; a server would go on serving what it has \
         cached; stop it first"
    )]
    Busy { database: Location, holders: lock::Holders },
    #[error("cannot open the database {database}: its lock {} cannot be written", path.display())]
    File { database: Location, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Takes the lock of an SQLite file for itself: a running server would not hear of the change.
/// PostgreSQL has no such lock, and its servers' L1 may lag.
pub(super) fn lock(config: &Config, command: &str) -> Result<Option<DatabaseLock>, LockError> {
    let database = Location::parse(&config.database_url.0)?;
    let Some(file) = database.file() else {
        return Ok(None);
    };
    let failed =
        |source| LockError::File { database: database.clone(), path: lock::path(file), source };
    match lock::claim(file, &Sharing::Nobody).map_err(failed)? {
        Claim::Granted(mut lock) => {
            lock.announce(command).map_err(failed)?;
            Ok(Some(lock))
        }
        Claim::HeldBy(holders) => Err(LockError::Busy { database, holders }),
    }
}

/// Whether a cached answer can still show what was before the change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CacheState {
    Current,
    /// Redis did not answer.
    MayBeOld,
}

/// Waits until Redis has heard of every change.
pub(super) async fn redis_told(reads: &Reads) -> CacheState {
    match reads.invalidations_told(REDIS_PATIENCE).await {
        0 => CacheState::Current,
        _ => CacheState::MayBeOld,
    }
}
