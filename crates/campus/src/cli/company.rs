//! The servers beside this one: services must hear of each other's writes.
//!
//! On an SQLite file the lock sees to it. Elsewhere every server writes down in the database
//! which Redis it uses, and says from time to time that it is still there.

use std::time::Duration;

use super::Failure;
use crate::config::{Config, Service};
use crate::reads::{Holds, Reads, RedisState};
use crate::store::Store;
use crate::store::lock::Sharing;
use crate::store::servers::Server;

/// How often a server says that it is there, and for how long it is believed.
const SAYS_SO: Duration = Duration::from_secs(5);
const BELIEVED: Duration = Duration::from_secs(20);

/// How long Redis may take to be connected before a server starts without having looked.
const REDIS_PATIENCE: Duration = Duration::from_millis(500);

/// How often a server looks whose answers Redis holds. Whatever ends everything that is cached, as
/// a large import does, ends the name too: it is missing for so long at most.
const LOOKS: Duration = Duration::from_secs(5);

/// How long the database may take to hear that a server ends.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn sharing(config: &Config) -> Sharing {
    config.redis.as_ref().map_or(Sharing::Nobody, |redis| redis.sharing())
}

/// Joins the servers of a database and answers the number of this one.
///
/// # Errors
/// A service would not hear of the writes of another server, or that one not of its.
pub(super) async fn join(config: &Config, store: &Store, url: &str) -> Result<i64, Failure> {
    let (service, shares) = (config.service, sharing(config).to_string());
    let server =
        Server { service: service.name().to_owned(), url: url.to_owned(), shares: shares.clone() };
    // Written down before it looks: of two that start at once each sees the other, or one does.
    let id = store.add_server(server).await?;
    let others = store.servers_beside(id, BELIEVED).await?;
    let all = Service::All.name();
    let services = |other: &&Server| service != Service::All || other.service != all;
    let Some(other) = others.iter().filter(services).find(|other| other.shares != shares) else {
        return Ok(id);
    };
    leave(store, id).await;
    let Server { service, url, shares: theirs } = other;
    Err(format!(
        "CAMPUS_ONLY: the server at {url} (CAMPUS_ONLY={service}) uses {theirs}, and this one is \
         to use {shares}; services on one database need the same REDIS_URL and REDIS_KEY_PREFIX \
         (a server that was killed is forgotten after {} s)",
        BELIEVED.as_secs()
    )
    .into())
}

/// For a command that no server may run beside. On an SQLite file the lock sees to it.
///
/// # Errors
/// A server has been heard of.
pub(super) async fn nobody_runs(store: &Store) -> Result<(), Failure> {
    // The number of no server: they are counted from 1.
    let servers = store.servers_beside(0, BELIEVED).await?;
    let Some(server) = servers.first() else {
        return Ok(());
    };
    Err(format!(
        "the server at {} uses this database; stop it first (a server that was killed is \
         forgotten after {} s)",
        server.url,
        BELIEVED.as_secs()
    )
    .into())
}

/// Leaves them. A database that is away does not keep a server from ending: it is forgotten.
pub(super) async fn leave(store: &Store, id: i64) {
    let left = tokio::time::timeout(PATIENCE, store.remove_server(id)).await;
    if !matches!(left, Ok(Ok(()))) {
        tracing::debug!("the database was not told that this server ended");
    }
}

/// Says that this server is there, for as long as it is.
pub(super) async fn stay(store: &Store, id: i64) {
    loop {
        tokio::time::sleep(SAYS_SO).await;
        if let Err(error) = store.server_runs(id).await {
            tracing::debug!(%error, "the database was not told that this server runs");
        }
    }
}

/// Looks whether Redis holds answers of another database, before anybody is answered from it.
/// The database of a whole server may have been replaced: it ends what is there. Two services on
/// two databases were started by mistake. Answers the name of this database.
///
/// # Errors
/// A service finds answers of another database.
pub(super) async fn meet(config: &Config, reads: &Reads) -> Result<String, Failure> {
    let ours = reads.database_name().await?;
    let connected = async {
        while reads.stats().redis == RedisState::Down {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(REDIS_PATIENCE, connected).await;
    if reads.whose(&ours).await == Holds::Ours {
        return Ok(ours);
    }
    let shares = sharing(config);
    if config.service == Service::All {
        tracing::warn!(
            "{shares} held the answers of another database; they are ended. Servers on two \
             databases need a REDIS_KEY_PREFIX each"
        );
        reads.take_over().await;
        if reads.whose(&ours).await == Holds::Ours {
            return Ok(ours);
        }
        return Err(format!(
            "{shares} holds the answers of another database and does not take it that they are \
             old: start again, or choose another REDIS_KEY_PREFIX"
        )
        .into());
    }
    Err(format!(
        "CAMPUS_ONLY: {shares} holds the answers of another database; services of one installation \
         need the same DATABASE_URL, two installations a REDIS_KEY_PREFIX each (if the database was \
         replaced: `make redis-clear`)"
    )
    .into())
}

/// Goes on looking: a server on another database may start later, or have found Redis away.
pub(super) async fn watch(reads: &Reads, ours: &str) {
    let mut before = Holds::Ours;
    loop {
        let now = reads.whose(ours).await;
        if now == Holds::Others && before == Holds::Ours {
            tracing::error!(
                "a server on another database uses the same Redis and REDIS_KEY_PREFIX: each may \
                 serve what the other has cached"
            );
        }
        before = now;
        tokio::time::sleep(LOOKS).await;
    }
}
