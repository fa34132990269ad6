//! Redis dying, hanging, filling up and coming back: no read fails, none waits beyond its budget.

use std::time::{Duration, Instant};

use larder::{Ack, Cache, L2State, Source, Tag};

use crate::support::{
    Database, Redis, Tiers, built, counted, doc, redis_with_untrusted_tls, until,
};

/// More than a read's Redis budget (100 ms) plus a load; what no read here may exceed.
const PATIENCE: Duration = Duration::from_millis(500);

async fn quick_read(cache: &Cache, database: &Database, id: i64) -> Source {
    let began = Instant::now();
    let source = database.read(cache, id).await.source;
    assert!(began.elapsed() < PATIENCE, "a read took {:?}", began.elapsed());
    source
}

#[tokio::test]
async fn a_cache_is_usable_before_redis_is_up_and_uses_it_once_it_is() {
    let mut redis = Redis::start().await;
    redis.kill();
    let cache = Tiers::Both.builder(&redis).build().expect("redis need not be up");
    let database = Database::default();
    assert_eq!(quick_read(&cache, &database, 1).await, Source::Loader);
    assert_eq!(cache.stats().l2, L2State::Down);
    redis.restart().await;
    until("redis is used", || cache.stats().l2 == L2State::Up).await;
    quick_read(&cache, &database, 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(redis.command::<i64>(&["EXISTS", "t:doc:detail@1:2"]).await, 1);
}

#[tokio::test]
async fn a_hanging_redis_costs_a_read_its_budget_until_the_breaker_opens() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
    quick_read(&cache, &database, 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await; // its fill
    redis.hang();
    for id in 0..20 {
        quick_read(&cache, &database, id).await;
    }
    assert_eq!(cache.stats().l2, L2State::Down);
    assert_eq!(counted(&cache).l2_errors, 5, "the breaker opens after five");
    let began = Instant::now();
    for id in 0..20 {
        quick_read(&cache, &database, id).await;
    }
    assert!(began.elapsed() < Duration::from_millis(100), "an open breaker costs nothing");
    redis.resume();
    until("redis is used", || cache.stats().l2 == L2State::Up).await;
    quick_read(&cache, &database, 77).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(quick_read(&cache, &database, 77).await, Source::L2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_redis_away_a_key_is_still_loaded_once_at_a_time() {
    let mut redis = Redis::start().await;
    let (cache, database) =
        (Tiers::L2.cache(&redis).await, Database::slow(Duration::from_millis(50)));
    redis.kill();
    until("the outage is noticed", || {
        let _ = futures_util::FutureExt::now_or_never(cache.ping_redis());
        cache.stats().l2 == L2State::Down
    })
    .await;
    let reads = (0..100).map(|_| database.read(&cache, 1));
    futures_util::future::join_all(reads).await;
    assert_eq!(database.loads(), 1);
}

#[tokio::test]
async fn an_invalidation_that_cannot_reach_redis_is_queued_and_no_tier_answers_for_its_names() {
    let mut redis = Redis::start().await;
    redis.command::<()>(&["CONFIG", "SET", "save", ""]).await;
    let (cache, database) = (Tiers::Both.cache(&redis).await, Database::default());
    quick_read(&cache, &database, 1).await;
    quick_read(&cache, &database, 2).await;
    redis.kill();
    let written = database.write();
    let began = Instant::now();
    assert_eq!(cache.invalidate(doc(1)).await, Ack::Queued);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(cache.stats().pending_invalidations, 1);
    for _ in 0..3 {
        let read = database.read(&cache, 1).await;
        assert_eq!((read.value.version, read.source), (written, Source::Loader));
    }
    assert_eq!(database.read(&cache, 2).await.source, Source::L1, "other names are not affected");
    redis.restart().await;
    until("the queue is empty", || cache.stats().pending_invalidations == 0).await;
    assert_eq!(database.read(&cache, 1).await.value.version, written);
    assert!(database.read(&cache, 1).await.source.is_hit());
}

// FusionCache #613: a value read again from L2 during the removal poisons L1.
#[tokio::test]
async fn a_hanging_redis_that_wakes_up_with_the_old_value_does_not_serve_it() {
    let redis = Redis::start().await;
    for tiers in [Tiers::L2, Tiers::Both] {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        quick_read(&cache, &database, 1).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        redis.hang();
        let written = database.write();
        assert_eq!(cache.invalidate(doc(1)).await, Ack::Queued, "{tiers:?}");
        assert_eq!(database.read(&cache, 1).await.value.version, written, "{tiers:?}");
        redis.resume();
        for _ in 0..200 {
            assert_eq!(database.read(&cache, 1).await.value.version, written, "{tiers:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        until("the queue is empty", || cache.stats().pending_invalidations == 0).await;
        assert_eq!(database.read(&cache, 1).await.value.version, written, "{tiers:?}");
    }
}

#[tokio::test]
async fn too_many_queued_invalidations_become_one_of_everything() {
    let mut redis = Redis::start().await;
    let (cache, database) = (Tiers::Both.cache(&redis).await, Database::default());
    quick_read(&cache, &database, 1).await;
    redis.kill();
    assert_eq!(cache.invalidate(Tag::new("other", 0)).await, Ack::Queued);
    for other in 1..=10_000 {
        cache.invalidate(Tag::new("other", other)).await;
    }
    assert_eq!(cache.stats().pending_invalidations, 1);
    assert_eq!(database.read(&cache, 1).await.source, Source::Loader, "everything is named");
    redis.restart().await;
    until("the queue is empty", || cache.stats().pending_invalidations == 0).await;
    quick_read(&cache, &database, 1).await;
    assert_eq!(database.read(&cache, 1).await.source, Source::L1);
}

#[tokio::test]
async fn l1_is_flushed_when_redis_comes_back_with_other_data() {
    let mut redis = Redis::start().await;
    let (cache, database) = (Tiers::Both.cache(&redis).await, Database::default());
    quick_read(&cache, &database, 1).await;
    redis.kill();
    redis.restart().await;
    until("the new data set is noticed", || {
        let _ = futures_util::FutureExt::now_or_never(cache.ping_redis());
        cache.stats().l2 == L2State::Up
    })
    .await;
    for _ in 0..200 {
        if quick_read(&cache, &database, 1).await == Source::Loader {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("L1 still answers with what it had before");
}

#[tokio::test]
async fn a_wrong_password_is_an_outage_and_not_an_error() {
    let redis = Redis::start().await;
    redis.command::<()>(&["CONFIG", "SET", "requirepass", "secret"]).await;
    let cache = Tiers::Both.builder(&redis).build().expect("valid");
    let database = Database::default();
    quick_read(&cache, &database, 1).await;
    assert_eq!(cache.stats().l2, L2State::Down);
    let url = redis.url().replace("redis://", "redis://:secret@");
    let builder = Cache::builder().redis(&url).expect("valid");
    assert_eq!(built(builder).await.stats().l2, L2State::Up);
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_an_outage_and_not_a_panic() {
    let (_redis, url) = redis_with_untrusted_tls().await;
    let cache = Cache::builder().redis(&url).expect("valid").build().expect("valid");
    let database = Database::default();
    tokio::time::sleep(Duration::from_millis(600)).await; // some attempts to connect
    assert_eq!(quick_read(&cache, &database, 1).await, Source::Loader);
    assert_eq!(cache.stats().l2, L2State::Down);
}
