//! The holes of other caches: an old value stored or served after it was invalidated.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use larder::{Ack, Cache, Clock, Names, PolicyOverride, Tag};
use tokio::sync::Notify;

use crate::support::{Database, Doc, DocKey, Redis, Tiers, built, counted, doc, stored, until};

/// A read that has seen the database and is held there.
struct HeldRead {
    release: Arc<Notify>,
    task: tokio::task::JoinHandle<u64>,
}

impl HeldRead {
    async fn begin(cache: &Cache, database: &Database) -> Self {
        let (release, held) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let loads_before = database.loads();
        let (cache, db) = (cache.clone(), database.clone());
        let (release_in, held_in) = (Arc::clone(&release), Arc::clone(&held));
        let task = tokio::spawn(async move {
            let load = move || async move {
                let loaded = db.load(1).await;
                held_in.notify_one();
                release_in.notified().await;
                loaded
            };
            cache.get_or_load(&DocKey(1), load).await.expect("loads").value.version
        });
        held.notified().await;
        assert_eq!(database.loads(), loads_before + 1);
        Self { release, task }
    }

    async fn finish(self) -> u64 {
        self.release.notify_one();
        self.task.await.expect("no panic")
    }
}

/// Every way to name the entry that is being loaded.
fn names() -> [Names; 5] {
    [
        Names::new().key(&DocKey(1)),
        doc(1).into(),
        Tag::named("docs").into(),
        Names::new().namespace("docs"),
        Names::everything(),
    ]
}

// FusionCache #535 #625, Guava #1881, lettuce #3481: an invalidation during the load is lost.
#[tokio::test]
async fn the_stale_set_race_a_load_overtaken_by_an_invalidation_is_not_stored() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        for names in names() {
            redis.command::<()>(&["FLUSHALL"]).await;
            let (cache, database) = (tiers.cache(&redis).await, Database::default());
            let held = HeldRead::begin(&cache, &database).await;
            let written = database.write();
            assert_eq!(cache.invalidate(names.clone()).await, Ack::Applied);
            held.finish().await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            let next = database.read(&cache, 1).await.value.version;
            assert_eq!(next, written, "{tiers:?}, {names:?}");
        }
    }
}

#[tokio::test]
async fn the_stale_set_race_across_nodes_leaves_nothing_old_in_redis() {
    let redis = Redis::start().await;
    for names in names() {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (reader, writer) = (Tiers::L2.cache(&redis).await, Tiers::L2.cache(&redis).await);
        let database = Database::default();
        let held = HeldRead::begin(&reader, &database).await;
        let written = database.write();
        writer.invalidate(names.clone()).await;
        held.finish().await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        for node in [&writer, &reader] {
            assert_eq!(database.read(node, 1).await.value.version, written, "{names:?}");
        }
    }
}

// A generation that came back as it was would revive what its loss had ended.
#[tokio::test]
async fn an_invalidated_value_stays_dead_when_others_with_its_tag_are_read() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    let written = database.write();
    cache.invalidate(Tag::named("docs")).await;
    database.read(&cache, 2).await; // the tag has a generation again
    assert_eq!(database.read(&cache, 1).await.value.version, written);
}

// rueidisaside: the lease of a later fill looks like that of an earlier one.
#[tokio::test]
async fn the_aba_variant_an_old_load_cannot_fill_under_the_lease_of_a_younger_one() {
    let redis = Redis::start().await;
    let (a, b) = (Tiers::L2.cache(&redis).await, Tiers::L2.cache(&redis).await);
    let database = Database::default();
    let old = HeldRead::begin(&a, &database).await;
    database.write();
    b.invalidate(doc(1)).await;
    let young = HeldRead::begin(&b, &database).await; // the key holds a lease again
    assert_eq!(old.finish().await, 0);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(young.finish().await, 1);
    tokio::time::sleep(Duration::from_millis(30)).await;
    let fresh_node = Tiers::L2.cache(&redis).await;
    assert_eq!(database.read(&fresh_node, 1).await.value.version, 1);
    until("the old fill is refused", || counted(&a).fills_refused == 1).await;
}

#[tokio::test]
async fn a_flight_opened_before_an_invalidation_is_not_joined_after_it() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        for names in names() {
            redis.command::<()>(&["FLUSHALL"]).await;
            let (cache, database) = (tiers.cache(&redis).await, Database::default());
            let old = HeldRead::begin(&cache, &database).await;
            let written = database.write();
            cache.invalidate(names.clone()).await;
            let after = database.read(&cache, 1).await;
            assert_eq!(after.value.version, written, "{tiers:?}, {names:?}");
            assert_eq!(old.finish().await, 0, "a read that began before may be old");
        }
    }
}

#[tokio::test]
async fn a_reader_that_joined_before_the_invalidation_takes_a_younger_flight() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::Both.cache(&redis).await, Database::default());
    let old = HeldRead::begin(&cache, &database).await;
    let joined = tokio::spawn({
        let (cache, database) = (cache.clone(), database.clone());
        async move { database.read(&cache, 1).await.value.version }
    });
    tokio::task::yield_now().await;
    database.write();
    cache.invalidate(doc(1)).await;
    old.finish().await;
    assert_eq!(joined.await.expect("no panic"), 1);
}

// FusionCache #628: the removal of a tag loses against a background refresh.
#[tokio::test]
async fn a_refresh_overtaken_by_an_invalidation_is_not_stored() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let clock = Clock::manual();
        let long_l1 = PolicyOverride { l1: Some(Duration::from_secs(120)), ..Default::default() };
        let builder = tiers.builder(&redis).clock(clock.clone()).policy_override("docs", long_l1);
        let (cache, database) = (built(builder).await, Database::default());
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        clock.advance(Duration::from_secs(70));
        let slow = Database { delay: Duration::from_millis(60), ..database.clone() };
        assert!(slow.read(&cache, 1).await.is_stale, "{tiers:?}");
        until("the refresh has begun", || database.loads() == 2).await;
        let written = database.write();
        cache.invalidate(Tag::named("docs")).await;
        tokio::time::sleep(Duration::from_millis(120)).await;
        assert_eq!(database.read(&cache, 1).await.value.version, written, "{tiers:?}");
    }
}

// FusionCache #648: after a clear, fail-safe brings the expired value back.
#[tokio::test]
async fn an_invalidated_value_is_not_served_when_its_loader_fails() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        database.read(&cache, 1).await;
        cache.invalidate(Names::everything()).await;
        let broken = || async { Err::<Doc, _>("the database is down") };
        assert!(cache.get_or_load(&DocKey(1), broken).await.is_err(), "{tiers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_that_began_after_a_write_was_acknowledged_is_older() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        let acknowledged = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let writer = tokio::spawn({
            let (cache, database, acknowledged) =
                (cache.clone(), database.clone(), Arc::clone(&acknowledged));
            async move {
                for round in 0..300 {
                    let written = database.write();
                    let names = &names()[round % 5];
                    assert_eq!(cache.invalidate(names.clone()).await, Ack::Applied);
                    acknowledged.store(written, SeqCst);
                    tokio::task::yield_now().await;
                }
            }
        });
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let (cache, database, acknowledged) =
                    (cache.clone(), database.clone(), Arc::clone(&acknowledged));
                tokio::spawn(async move {
                    while acknowledged.load(SeqCst) < 300 {
                        let least = acknowledged.load(SeqCst);
                        let seen = database.read(&cache, 1).await.value.version;
                        assert!(
                            seen >= least,
                            "{tiers:?}: read {seen} after {least} was acknowledged"
                        );
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        writer.await.expect("the writer ends");
        for reader in readers {
            reader.await.expect("no stale read");
        }
    }
}
