//! The outbox: invalidations that the database has committed and Redis may not know yet.
//!
//! A writer inserts a row in its own transaction. It then invalidates and the row is marked done;
//! if it dies in between, the relay of any process does it instead. L2 is not read after a
//! reconnect before every row of the outage is applied (the drain barrier).

use std::{
    error::Error,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{sync::Notify, time};

use crate::{
    Cache, Names,
    cache::Inner,
    invalidate::Row,
    l2::L2,
    protocol::bugs::{Bug, is_seeded},
};

/// A boxed future, as an [`Outbox`] returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the database could not be asked; logged, and tried again.
pub type OutboxError = Box<dyn Error + Send + Sync>;

/// How often the outbox is asked for rows that others have left.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// A younger row is left to its writer, who is about to apply it.
const GRACE: Duration = Duration::from_millis(100);
/// Rows read at a time. More than one page at once become one invalidation of everything.
const PAGE: usize = 1_000;
/// Open rows beyond this are not applied one by one.
const MOST_ROWS: usize = 10_000;
/// A database that takes longer is asked again.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);

/// One committed invalidation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its key in the table.
    pub id: i64,
    /// What [`Names::encode`] wrote.
    pub names: String,
}

/// A table of the application's database into which each write puts the names it changes, in its
/// own transaction.
///
/// The application inserts (`INSERT INTO outbox(names) VALUES (…)` with [`Names::encode`], before
/// COMMIT), and after COMMIT calls [`Cache::invalidate`] with [`Names::row`]. The cache reads and
/// marks. Several processes do so at the same time: a row may be applied more than once, which
/// costs misses only.
///
/// ```
/// use larder::{BoxFuture, Cache, Names, Outbox, OutboxError, OutboxRow, Tag};
/// use std::{collections::BTreeMap, sync::{Arc, Mutex}, time::Duration};
///
/// #[derive(Clone, Default)]
/// struct Table(Arc<Mutex<BTreeMap<i64, String>>>); // in real life SQL
///
/// impl Outbox for Table {
///     fn undone(&self, _: Duration, most: usize) -> BoxFuture<'_, Result<Vec<OutboxRow>, OutboxError>> {
///         Box::pin(async move {
///             let rows = self.0.lock().map_err(|_| "poisoned")?;
///             let rows = rows.iter().map(|(id, names)| OutboxRow { id: *id, names: names.clone() });
///             Ok(rows.take(most).collect())
///         })
///     }
///     fn mark_done(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<(), OutboxError>> {
///         Box::pin(async move {
///             self.0.lock().map_err(|_| "poisoned")?.retain(|id, _| !ids.contains(id));
///             Ok(())
///         })
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let table = Table::default();
/// let cache = Cache::builder().outbox(table.clone()).build()?;
/// let names = Names::new().tag(Tag::new("course", 42));
/// table.0.lock().unwrap().insert(1, names.encode()); // in the transaction of the write
/// cache.invalidate(names.row(1)).await; // after its COMMIT
/// # for _ in 0..1000 { if !table.0.lock().unwrap().is_empty() { tokio::time::sleep(Duration::from_millis(5)).await; } }
/// assert!(table.0.lock().unwrap().is_empty(), "marked done soon after");
/// # Ok(()) }
/// ```
pub trait Outbox: Send + Sync + 'static {
    /// Committed rows that are not done and at least `older_than` old, lowest id first, at most
    /// `most`.
    ///
    /// A plain SELECT: no lock, no SKIP LOCKED (a row that another process is about to apply
    /// counts too), and never `id > last` (ids become visible out of order).
    fn undone(
        &self,
        older_than: Duration,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, OutboxError>>;

    /// Marks rows done. Ids that are gone or done already are no error.
    fn mark_done(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<(), OutboxError>>;
}

/// How a write whose COMMIT got no answer ended after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The change is in the database.
    Committed,
    /// It is not, and never will be.
    Aborted,
}

impl Cache {
    /// For a write whose COMMIT got no answer. Until `outcome` resolves, and if it is
    /// [`Outcome::Committed`] until the names are invalidated, neither tier answers for `names` in
    /// this process. Other processes are told by the row in the outbox, once it is visible.
    ///
    /// `outcome` asks the database until it knows (PostgreSQL: `pg_xact_status`); it runs in a task
    /// of its own. If it panics, neither tier answers for the names again in this process.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn invalidate_in_doubt(
        &self,
        names: Names,
        outcome: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let (inner, row) = (Arc::clone(&self.inner), Row::new(names));
        inner.invalidations.asked();
        inner.stamps.soil(&row.hashes);
        inner.stamps.bump(&row.hashes);
        tokio::spawn(async move {
            let Ok(ended) = AssertUnwindSafe(outcome).catch_unwind().await else {
                // Nobody will ever know, and a COMMIT may still become visible: loads are all that is
                // safe for these names.
                tracing::error!(
                    "the outcome of a write in doubt panicked; its names bypass the cache"
                );
                return;
            };
            if ended == Outcome::Committed {
                inner.apply_or_queue(Arc::clone(&row)).await;
            }
            inner.stamps.clean(&row.hashes);
        });
    }

    /// Looks into the outbox now instead of at the next poll: for a NOTIFY of the database. Does
    /// nothing without an outbox.
    pub fn wake_relay(&self) {
        self.inner.relay.wake.notify_one();
    }
}

/// What the writers of this process have for the relay.
#[derive(Default)]
pub(crate) struct Relay {
    /// Applied and not marked yet.
    applied: Mutex<Vec<i64>>,
    wake: Notify,
}

impl Relay {
    /// A row is applied; it is marked together with others.
    pub(crate) fn applied(&self, id: i64) {
        let mut applied = self.applied.lock();
        // Beyond this the relay is cut off from the database; whoever finds the row applies it
        // once more.
        if applied.len() < MOST_ROWS {
            applied.push(id);
        }
    }

    /// Asks and marks for as long as the cache lives.
    pub(crate) fn start(inner: &Arc<Inner>, outbox: Arc<dyn Outbox>) {
        let cache = Arc::downgrade(inner);
        tokio::spawn(async move { Runner { cache, outbox }.run().await });
    }
}

struct Runner {
    cache: Weak<Inner>,
    outbox: Arc<dyn Outbox>,
}

/// Why rows stay where they are for now.
enum Stuck {
    Database(OutboxError),
    /// It says so itself.
    Redis,
}

impl Runner {
    async fn run(self) {
        let mut was_stuck = false;
        let mut connections =
            self.cache.upgrade().and_then(|inner| Some(inner.l2.as_ref()?.connections()));
        while let Some(inner) = self.cache.upgrade() {
            let stuck = self.turn(&inner).await.err();
            if let (Some(Stuck::Database(error)), false) = (&stuck, was_stuck) {
                tracing::warn!(%error, "the outbox cannot be read; its rows wait");
            }
            was_stuck = matches!(stuck, Some(Stuck::Database(_)));
            let connected = async {
                match &mut connections {
                    Some(connections) => connections.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = time::sleep(POLL_EVERY) => {}
                () = inner.relay.wake.notified() => {}
                _ = connected => {}
            }
        }
    }

    /// One turn: open a new connection if there is one, mark what our writers have applied, and
    /// apply what other writers have left.
    async fn turn(&self, inner: &Inner) -> Result<(), Stuck> {
        if let Some(undrained) = inner.l2.as_ref().and_then(L2::undrained) {
            // Rows of every age: nobody may have told this Redis of them.
            let is_skipped = is_seeded(Bug::BarrierSkips);
            while !is_skipped && self.apply(inner, Duration::ZERO).await? {}
            undrained.open();
        }
        self.mark(inner).await?;
        while self.apply(inner, GRACE).await? {}
        Ok(())
    }

    async fn mark(&self, inner: &Inner) -> Result<(), Stuck> {
        let ids = std::mem::take(&mut *inner.relay.applied.lock());
        if ids.is_empty() { Ok(()) } else { self.done(ids).await }
    }

    async fn done(&self, ids: Vec<i64>) -> Result<(), Stuck> {
        in_time(async { self.outbox.mark_done(ids).await }).await.map_err(Stuck::Database)
    }

    /// Applies one page of rows; `true` if there may be more.
    async fn apply(&self, inner: &Inner, older_than: Duration) -> Result<bool, Stuck> {
        let rows = in_time(async { self.outbox.undone(older_than, PAGE).await })
            .await
            .map_err(Stuck::Database)?;
        let may_be_more = rows.len() >= PAGE;
        let (rows, names) = if may_be_more {
            let all = in_time(async { self.outbox.undone(older_than, MOST_ROWS).await }).await;
            (all.map_err(Stuck::Database)?, Names::everything())
        } else {
            let names = together(&rows);
            (rows, names)
        };
        if rows.is_empty() {
            return Ok(false);
        }
        let row = Row::new(names);
        if let Some(l2) = &inner.l2 {
            inner.send_for_another(l2, &row).await.map_err(|_| Stuck::Redis)?;
        }
        inner.stamps.bump(&row.hashes);
        self.done(rows.into_iter().map(|row| row.id).collect()).await?;
        Ok(may_be_more)
    }
}

/// The names of all rows. A row that cannot be read may name anything.
fn together(rows: &[OutboxRow]) -> Names {
    let mut names = Names::new();
    for row in rows {
        match Names::parse(&row.names) {
            Ok(named) => names = names.and(named),
            Err(error) => {
                tracing::error!(row = row.id, %error, "everything is invalidated instead");
                return Names::everything();
            }
        }
    }
    names
}

/// An outbox that panics has failed, and is asked again: its relay must not end with it.
async fn in_time<T>(ask: impl Future<Output = Result<T, OutboxError>>) -> Result<T, OutboxError> {
    match time::timeout(DATABASE_TIMEOUT, AssertUnwindSafe(ask).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err("the outbox panicked".into()),
        Err(_) => Err("no answer from the database in time".into()),
    }
}
