//! The servers beside this one: services must hear of each other's writes.
//!
//! On an SQLite file the lock sees to it. Elsewhere every server writes down in the database
//! which Redis it uses, and says from time to time that it is still there.

use std::time::Duration;

use super::Failure;
use crate::config::{Config, Service};
use crate::store::Store;
use crate::store::lock::Sharing;
use crate::store::servers::Server;

/// How often a server says that it is there, and for how long it is believed.
const SAYS_SO: Duration = Duration::from_secs(5);
const BELIEVED: Duration = Duration::from_secs(20);

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
