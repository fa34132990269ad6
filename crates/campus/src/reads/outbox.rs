//! How a write ends: its commit, with a row that says what it made old, and only then the cache.
//!
//! The row outlives this process. Whoever finds it undone, this server or another one, tells
//! Redis in its place: after a crash, after an outage, after a commit that had no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use larder::{Ack, BoxFuture, L2State, Names, OutboxRow, Outcome};

use super::{Ending, Reads};
use crate::store::{self, Fate, Store, Tx};

/// How long rows are kept once they are done.
pub(super) const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
const BETWEEN_CLEANINGS: Duration = Duration::from_secs(10 * 60);

/// A commit wakes everybody who listens, and nearly always its writer has told Redis long before
/// its row counts as left behind. So they wait until it does, which also makes one of many.
const GRACE: Duration = Duration::from_millis(100);
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The outbox in the database, as the cache asks for it.
pub struct Rows(pub Arc<Store>);

impl larder::Outbox for Rows {
    fn undone(
        &self,
        older_than: Duration,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, Failure>> {
        Box::pin(async move {
            let rows = self.0.undone_rows(older_than, most).await?;
            Ok(rows.into_iter().map(|row| OutboxRow { id: row.id, names: row.names }).collect())
        })
    }

    fn mark_done(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { Ok(self.0.mark_rows_done(ids).await?) })
    }
}

impl Reads {
    /// Commits a write and ends the reads that it made old. The caller may answer afterwards.
    ///
    /// Redis being away does not fail it: the cache serves none of these reads from anywhere
    /// until Redis has heard of it.
    ///
    /// # Errors
    /// The commit failed. If that is in doubt ([`store::Error::is_in_doubt`]) the reads stay
    /// uncached until the database tells what became of it.
    pub async fn commit(&self, tx: Tx, ending: Ending) -> store::Result<()> {
        let Ending { names, mut events } = ending;
        let noted = if names.is_empty() {
            None
        } else {
            let first = (!events.is_empty()).then(|| events.remove(0));
            Some(tx.note(names.encode(), first.as_ref()).await?)
        };
        tx.tell(&events).await?;
        let Some(noted) = noted else {
            tx.commit().await?;
            self.feed.wake();
            return Ok(());
        };
        let row = noted.id;
        let names = names.row(row);
        match tx.commit().await {
            Ok(()) => {
                self.crash.pass();
                self.feed.wake();
                tracing::debug!(target: "campus::cache::delete", row, "cache delete");
                if self.cache.invalidate(names).await == Ack::Queued {
                    tracing::debug!("Redis did not take an invalidation; it is queued");
                }
                Ok(())
            }
            Err(error) => {
                if error.is_in_doubt() {
                    let store = Arc::clone(&self.store);
                    let outcome = async move {
                        match store.fate_of(noted).await {
                            Fate::Committed => Outcome::Committed,
                            Fate::RolledBack => Outcome::Aborted,
                        }
                    };
                    self.cache.invalidate_in_doubt(names, outcome);
                }
                Err(error)
            }
        }
    }

    /// What a server does about the outbox beside its requests, for as long as it runs.
    pub async fn tend_outbox(&self) {
        tokio::join!(self.keep_outbox_small(), self.listen());
    }

    async fn keep_outbox_small(&self) {
        loop {
            if let Err(error) = self.clean_outbox().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the outbox only grows");
            }
            tokio::time::sleep(BETWEEN_CLEANINGS).await;
        }
    }

    /// Forgets rows that have been done for a day. Without Redis nobody marks rows done, but
    /// they must not be forgotten either: Redis may still be there, with what they made old,
    /// for a server that is started with it tomorrow.
    pub async fn clean_outbox(&self) -> store::Result<()> {
        if self.cache.stats().l2 == L2State::Off {
            self.store.fold_outbox(Names::everything().encode()).await?;
        }
        self.store.forget_rows(KEPT).await
    }

    /// Looks at the outbox as soon as the database says that there is something in it. The
    /// cache looks now and then by itself: nothing depends on this.
    async fn listen(&self) {
        loop {
            let Err(error) = self.hear().await else {
                return;
            };
            tracing::debug!(%error, "commits of others are not heard of");
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    async fn hear(&self) -> store::Result<()> {
        let Some(mut wake_ups) = self.store.wake_ups().await? else {
            return Ok(());
        };
        loop {
            wake_ups.next().await?;
            self.feed.wake();
            tokio::time::sleep(GRACE).await;
            wake_ups.skip_waiting();
            self.feed.wake();
            self.cache.wake_relay();
        }
    }
}

/// Where tests let this process end as a crash would: after a commit, before anybody hears of it.
#[derive(Debug, Clone, Default)]
pub struct Crash(Option<Arc<AtomicU32>>);

impl Crash {
    pub fn after(commits: Option<u32>) -> Self {
        Self(commits.map(|commits| Arc::new(AtomicU32::new(commits))))
    }

    fn pass(&self) {
        if self.0.as_ref().is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) == 1) {
            std::process::abort();
        }
    }
}
