//! Between soft and hard TTL: what is served, who refreshes it, and what becomes of a refresh that
//! fails.

use std::{convert::Infallible, sync::Arc, time::Duration};

use larder::{Cache, Clock, Loaded, PolicyOverride, Source};
use tokio::sync::Notify;

use crate::support::{
    Database, Doc, DocKey, Redis, Tiers, built, counted, eventually, in_l1, in_one_window, stored,
    until,
};

/// A node whose L1 keeps what it has for as long as Redis does.
async fn node(tiers: Tiers, redis: &Redis, clock: &Clock) -> Cache {
    let as_long = PolicyOverride { l1: Some(Duration::from_secs(120)), ..Default::default() };
    built(tiers.builder(redis).clock(clock.clone()).policy_override("docs", as_long)).await
}

/// A node that has document 1 in its tiers, 70 s old: past its soft TTL (60 s ± 10 %) and not its
/// hard one (120 s ± 10 %).
async fn with_a_stale_value(tiers: Tiers, redis: &Redis, database: &Database) -> (Cache, Clock) {
    redis.command::<()>(&["FLUSHALL"]).await;
    let clock = Clock::manual();
    let cache = node(tiers, redis, &clock).await;
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    clock.advance(Duration::from_secs(70));
    (cache, clock)
}

/// Reads with a loader that sees the database and then waits to be released.
async fn read_held(cache: &Cache, database: &Database, release: &Arc<Notify>) -> (u64, bool) {
    let (loading, release) = (database.clone(), Arc::clone(release));
    let load = move || async move {
        let loaded = loading.load(1).await;
        release.notified().await;
        loaded
    };
    let read = cache.get_or_load(&DocKey(1), load).await.expect("a hit");
    (read.value.version, read.is_stale)
}

/// Waits until a read gets this version, and not as a stale one.
async fn is_served(cache: &Cache, database: &Database, version: u64) {
    let is_new = async || {
        let read = database.read(cache, 1).await;
        read.value.version == version && !read.is_stale
    };
    eventually("the new value is served", is_new).await;
}

#[tokio::test]
async fn a_refresh_that_fails_keeps_the_stale_value_until_its_hard_ttl_and_no_longer() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let database = Database::default();
        let (cache, clock) = with_a_stale_value(tiers, &redis, &database).await;
        let broken = || async { Err::<Doc, _>("the database is down") };
        for _ in 0..3 {
            let read = cache.get_or_load(&DocKey(1), broken).await.expect("what is there");
            assert!(read.is_stale && read.value.version == 0, "{tiers:?}: {read:?}");
        }
        until("a refresh has failed", || counted(&cache).load_errors >= 1).await;
        let read = cache.get_or_load(&DocKey(1), broken).await.expect("it is kept");
        assert!(read.is_stale, "{tiers:?}: {read:?}");
        clock.advance(Duration::from_secs(65)); // past the hard TTL
        let error = cache.get_or_load(&DocKey(1), broken).await.expect_err("nothing to serve");
        assert_eq!(error.as_loader(), Some(&"the database is down"), "{tiers:?}");
        database.write();
        is_served(&cache, &database, 1).await;
    }
}

#[tokio::test]
async fn a_refresh_stores_in_every_tier_what_it_loads_once() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let database = Database::default();
        let (cache, _) = with_a_stale_value(tiers, &redis, &database).await;
        let (written, release) = (database.write(), Arc::new(Notify::new()));
        let (version, is_stale) = read_held(&cache, &database, &release).await;
        assert!(is_stale && version == 0, "{tiers:?}: served before the load has ended");
        until("the refresh has begun", || database.loads() == 2).await;
        for _ in 0..20 {
            assert_eq!(database.read(&cache, 1).await.value.version, 0, "{tiers:?}");
        }
        release.notify_one();
        is_served(&cache, &database, written).await;
        if tiers != Tiers::L1 {
            let read = database.read(&cache.fresh(), 1).await;
            assert_eq!((read.source, read.value.version), (Source::L2, written), "{tiers:?}");
        }
        if tiers != Tiers::L2 {
            in_l1(&cache, 1).await;
        }
        assert_eq!(database.loads(), 2, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_refresh_goes_on_when_the_read_that_began_it_goes_away() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let database = Database::default();
        let (cache, _) = with_a_stale_value(tiers, &redis, &database).await;
        let (written, release) = (database.write(), Arc::new(Notify::new()));
        let reading = tokio::spawn({
            let (cache, database, release) = (cache.clone(), database.clone(), release.clone());
            async move {
                read_held(&cache, &database, &release).await;
                std::future::pending::<()>().await;
            }
        });
        until("the refresh has begun", || database.loads() == 2).await;
        reading.abort();
        assert!(reading.await.is_err_and(|error| error.is_cancelled()));
        release.notify_one();
        is_served(&cache, &database, written).await;
        assert_eq!(database.loads(), 2, "{tiers:?}");
    }
}

#[tokio::test]
async fn while_a_refresh_loads_a_read_takes_the_old_value_and_a_fresh_read_a_new_one() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let database = Database::default();
        let (cache, _) = with_a_stale_value(tiers, &redis, &database).await;
        let release = Arc::new(Notify::new());
        read_held(&cache, &database, &release).await;
        until("the refresh has begun", || database.loads() == 2).await;
        let written = database.write(); // by somebody who does not invalidate
        assert_eq!(database.read(&cache, 1).await.value.version, 0, "{tiers:?}");
        let fresh = database.read(&cache.fresh(), 1).await;
        assert_eq!((fresh.value.version, fresh.source), (written, Source::Loader), "{tiers:?}");
        assert_eq!(counted(&cache).load_errors, 0, "the refresh has not ended");
    }
}

#[tokio::test]
async fn a_read_without_a_loader_returns_a_stale_value_as_stale_and_refreshes_nothing() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let database = Database::default();
        let (cache, clock) = with_a_stale_value(tiers, &redis, &database).await;
        for _ in 0..3 {
            let read = cache.get(&DocKey(1)).await.expect("what is there");
            assert!(read.is_stale, "{tiers:?}: {read:?}");
        }
        assert_eq!(database.loads(), 1, "{tiers:?}");
        clock.advance(Duration::from_secs(65)); // past the hard TTL
        assert_eq!(cache.get(&DocKey(1)).await, None, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_stale_hit_is_counted_as_a_hit_and_as_stale_and_its_refresh_as_no_miss() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let database = Database::default();
        let (cache, _) = with_a_stale_value(tiers, &redis, &database).await;
        database.read(&cache, 1).await;
        let counts = counted(&cache);
        assert_eq!((counts.l1_hits + counts.l2_hits, counts.stale), (1, 1), "{tiers:?}");
        until("it is refreshed", || counted(&cache).loads == 2).await;
        assert_eq!(counted(&cache).misses, 1, "{tiers:?}");
    }
}

#[tokio::test]
async fn what_one_process_refreshes_is_told_to_nobody_and_taken_from_redis_by_the_next() {
    let (redis, clock) = (Redis::start().await, Clock::manual());
    let a = node(Tiers::Both, &redis, &clock).await;
    let (b, database) = (node(Tiers::Both, &redis, &clock).await, Database::default());
    for cache in [&a, &b] {
        database.read(cache, 1).await;
        stored(cache, 1).await;
    }
    clock.advance(Duration::from_secs(70));
    let written = database.write();
    is_served(&a, &database, written).await;
    let is_in_redis = async || database.read(&a.fresh(), 1).await.source == Source::L2;
    eventually("it is in Redis", is_in_redis).await;
    assert_eq!(redis.calls("publish").await, 0);
    is_served(&b, &database, written).await;
    assert_eq!(database.loads(), 2, "one at first, and one for the expiry");
}

/// Redis is not asked for what L1 may serve.
#[tokio::test]
async fn a_stale_value_in_l1_does_not_wait_for_a_redis_that_hangs() {
    let (redis, clock) = (Redis::start().await, Clock::manual());
    let (cache, database) = (node(Tiers::Both, &redis, &clock).await, Database::default());
    let served = in_one_window(&[&cache], async || {
        database.read(&cache.fresh(), 1).await;
        stored(&cache, 1).await;
        clock.advance(Duration::from_secs(70));
        redis.hang();
        let read = database.read(&cache, 1).await;
        redis.resume();
        (read.source, read.is_stale)
    })
    .await;
    assert_eq!(served, (Source::L1, true));
}

#[tokio::test]
async fn a_value_that_brings_its_own_ttl_lives_by_it_and_the_next_one_by_the_policy() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (clock, database) = (Clock::manual(), Database::default());
        let cache = node(tiers, &redis, &clock).await;
        let short = || async {
            let own = Loaded::from(Doc { id: 1, version: 7 });
            Ok::<_, Infallible>(own.ttl(Duration::from_secs(5), Duration::from_secs(10)))
        };
        let own = cache.get_or_load(&DocKey(1), short).await.expect("loads");
        assert!(own.ttl() <= Duration::from_secs(11), "{tiers:?}: {:?}", own.ttl());
        stored(&cache, 1).await;
        assert!(database.read(&cache, 2).await.ttl() > Duration::from_secs(100), "{tiers:?}");
        clock.advance(Duration::from_secs(12));
        let next = database.read(&cache, 1).await;
        assert_eq!((next.source, next.value.version), (Source::Loader, 0), "{tiers:?}");
        assert!(next.ttl() > Duration::from_secs(100), "{tiers:?}: {:?}", next.ttl());
    }
}
