//! Writers that leave their invalidations in the database, and processes that apply them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::{
    Ack, BoxFuture, Cache, L2State, Names, Outbox, OutboxError, OutboxRow, Outcome, Source,
};
use parking_lot::Mutex;

use crate::support::{Database, Redis, Tiers, built, doc, until};

/// A table of invalidations, as a database would hold it.
#[derive(Clone, Default)]
struct Table {
    rows: Arc<Mutex<Vec<Row>>>,
    is_down: Arc<AtomicBool>,
}

struct Row {
    names: String,
    committed: Instant,
    is_done: bool,
}

impl Table {
    /// Commits a row and returns its id.
    fn insert(&self, names: &str) -> i64 {
        let mut rows = self.rows.lock();
        rows.push(Row { names: names.to_owned(), committed: Instant::now(), is_done: false });
        rows.len() as i64 - 1
    }

    fn open(&self) -> usize {
        self.rows.lock().iter().filter(|row| !row.is_done).count()
    }

    fn answer<T>(&self, value: T) -> Result<T, OutboxError> {
        if self.is_down.load(SeqCst) { Err("the database is down".into()) } else { Ok(value) }
    }
}

impl Outbox for Table {
    fn undone(
        &self,
        older_than: Duration,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, OutboxError>> {
        let rows = self.rows.lock();
        let undone = rows.iter().enumerate().filter(|(_, row)| !row.is_done);
        let due = undone.filter(|(_, row)| row.committed.elapsed() >= older_than);
        let found = due.map(|(id, row)| OutboxRow { id: id as i64, names: row.names.clone() });
        let found = self.answer(found.take(most).collect());
        Box::pin(async move { found })
    }

    fn mark_done(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<(), OutboxError>> {
        if !self.is_down.load(SeqCst) {
            let mut rows = self.rows.lock();
            ids.iter().for_each(|id| rows[*id as usize].is_done = true);
        }
        let done = self.answer(());
        Box::pin(async move { done })
    }
}

async fn with_outbox(redis: &Redis, table: &Table) -> Cache {
    built(Tiers::Both.builder(redis).outbox(table.clone())).await
}

fn names() -> Names {
    Names::new().tag(doc(1))
}

#[tokio::test]
async fn a_writer_marks_its_row_done() {
    let (redis, table) = (Redis::start().await, Table::default());
    let cache = with_outbox(&redis, &table).await;
    let row = table.insert(&names().encode());
    assert_eq!(cache.invalidate(names().row(row)).await, Ack::Applied);
    until("the row is done", || table.open() == 0).await;
}

#[tokio::test]
async fn without_redis_rows_are_marked_done_as_well() {
    let (redis, table) = (Redis::start().await, Table::default());
    table.insert(&names().encode()); // of an earlier process
    let cache = Tiers::L1.builder(&redis).outbox(table.clone()).build().expect("valid");
    let row = table.insert(&names().encode());
    cache.invalidate(names().row(row)).await;
    until("the rows are done", || table.open() == 0).await;
}

#[tokio::test]
async fn a_writer_that_dies_after_its_commit_is_healed_by_another_process() {
    let (redis, table, database) = (Redis::start().await, Table::default(), Database::default());
    let cache = with_outbox(&redis, &table).await;
    database.read(&cache, 1).await;
    database.write();
    table.insert(&names().encode());
    let committed = Instant::now();
    while database.read(&cache, 1).await.value.version == 0 {
        assert!(committed.elapsed() < Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(database.read(&cache.fresh(), 1).await.value.version, 1);
    until("the row is done", || table.open() == 0).await;
}

#[tokio::test]
async fn redis_is_not_read_before_the_rows_of_the_outage_are_applied() {
    let (redis, table, database) = (Redis::start().await, Table::default(), Database::default());
    let first = with_outbox(&redis, &table).await;
    database.read(&first, 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await; // the fill
    drop(first);
    database.write();
    table.insert(&names().encode()); // its writer could not reach Redis, and died
    table.is_down.store(true, SeqCst);
    let cache = Tiers::Both.builder(&redis).outbox(table.clone()).build().expect("valid");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(cache.stats().l2, L2State::Down, "nobody knows what the rows say");
    assert_eq!(database.read(&cache, 1).await.value.version, 1);
    table.is_down.store(false, SeqCst);
    until("the barrier is passed", || cache.stats().l2 == L2State::Up).await;
    assert_eq!(table.open(), 0);
    assert_eq!(database.read(&cache.fresh(), 1).await.value.version, 1);
}

#[tokio::test]
async fn a_row_that_nobody_can_read_invalidates_everything() {
    let (redis, table, database) = (Redis::start().await, Table::default(), Database::default());
    let cache = with_outbox(&redis, &table).await;
    database.read(&cache, 1).await;
    database.write();
    table.insert("x of a future version");
    until("the row is done", || table.open() == 0).await;
    assert_eq!(database.read(&cache, 1).await.value.version, 1);
}

#[tokio::test]
async fn thousands_of_rows_become_one_invalidation_of_everything() {
    let (redis, table) = (Redis::start().await, Table::default());
    let cache = with_outbox(&redis, &table).await;
    for id in 0..12_000 {
        table.insert(&Names::new().tag(doc(id)).encode());
    }
    let before = redis.calls("publish").await;
    until("the rows are done", || table.open() == 0).await;
    assert!(redis.calls("publish").await - before < 20);
    drop(cache);
}

#[tokio::test]
async fn a_write_in_doubt_is_answered_by_no_tier_until_its_outcome_is_known() {
    for (outcome, version) in [(Outcome::Committed, 1), (Outcome::Aborted, 0)] {
        let (redis, database) = (Redis::start().await, Database::default());
        let cache = Tiers::Both.cache(&redis).await;
        database.read(&cache, 1).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        let (known, learned) = tokio::sync::oneshot::channel();
        cache.invalidate_in_doubt(names(), async move { learned.await.unwrap_or(outcome) });
        for _ in 0..3 {
            assert_eq!(database.read(&cache, 1).await.source, Source::Loader);
        }
        if outcome == Outcome::Committed {
            database.write(); // the commit lands late
        }
        known.send(outcome).expect("somebody waits");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(database.read(&cache, 1).await.value.version, version);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(database.read(&cache, 1).await.source.is_hit());
    }
}

#[test]
fn names_survive_the_outbox_and_nothing_else_does() {
    let odd = larder::Tag::named("two\nlines\\of\r");
    let all = Names::new().key(&crate::support::DocKey(7)).tag(odd).namespace("docs");
    assert_eq!(Names::parse(&all.encode()), Ok(all));
    assert_eq!(Names::parse(&Names::everything().encode()), Ok(Names::everything()));
    for foreign in ["x", "k ", "k a b", "kk", "t", "é\u{301} x"] {
        assert!(Names::parse(foreign).is_err(), "{foreign}");
    }
}
