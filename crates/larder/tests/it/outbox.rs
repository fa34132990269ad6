//! Writers that leave their invalidations in the database, and processes that apply them.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use larder::{Ack, Cache, L2State, Names, Outcome};
use tokio::sync::oneshot;

use crate::{
    outbox_table::Table,
    support::{Database, Redis, Tiers, built, doc, stored, until},
};

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
async fn redis_is_not_read_before_the_rows_of_the_outage_are_applied() {
    let (redis, table, database) = (Redis::start().await, Table::default(), Database::default());
    let first = with_outbox(&redis, &table).await;
    database.read(&first, 1).await;
    stored(&first, 1).await;
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
async fn what_was_loaded_while_a_commit_was_in_doubt_is_not_kept() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let (cache, database) =
            (tiers.cache(&redis).await, Database::slow(Duration::from_millis(300)));
        let (known, outcome) = oneshot::channel();
        let outcome = async { outcome.await.unwrap_or(Outcome::Aborted) };
        cache.invalidate_in_doubt(names(), outcome);
        let reading = tokio::spawn({
            let (cache, database) = (cache.clone(), database.clone());
            async move { database.read(&cache, 1).await.value.version }
        });
        until("the old version is read", || database.loads() == 1).await;
        let written = database.write();
        let _ = known.send(Outcome::Committed);
        assert_eq!(reading.await.expect("no panic"), 0, "it began before the COMMIT");
        assert_eq!(database.read(&cache, 1).await.value.version, written, "{tiers:?}");
        cache.invalidate(names()).await; // the next tiers begin with nothing
    }
}

#[tokio::test]
async fn names_whose_outcome_panics_are_answered_by_no_tier() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        database.read(&cache, 1).await;
        let written = database.write();
        cache.invalidate_in_doubt(names(), async { panic!("a bug of the application") });
        assert_eq!(database.read(&cache, 1).await.value.version, written, "{tiers:?}");
        // Another server of the database commits later than anybody knows.
        let late = database.write();
        assert_eq!(database.read(&cache, 1).await.value.version, late, "{tiers:?}");
    }
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
