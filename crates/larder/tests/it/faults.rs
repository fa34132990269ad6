//! Redis dying, hanging, filling up and coming back: no read fails, none waits beyond its budget.

use std::time::Duration;

use larder::{Ack, Cache, L2State, Source, Tag, Verdict};

use crate::support::{
    Database, Doc, DocKey, Redis, Stopwatch, Tiers, built, counted, doc, eventually, in_l1,
    redis_with_untrusted_tls, stored, until,
};

/// More than a read's Redis budget (100 ms) plus a load; what no read here may exceed.
const PATIENCE: Duration = Duration::from_secs(1);

async fn quick_read(cache: &Cache, database: &Database, id: i64) -> Source {
    let began = Stopwatch::start();
    let source = database.read(cache, id).await.source;
    assert!(began.elapsed() < PATIENCE, "a read took {:?}", began.elapsed());
    source
}

#[tokio::test]
async fn a_cache_is_usable_before_redis_is_up_and_uses_it_once_it_is() {
    let mut redis = Redis::start().await;
    redis.kill();
    let cache = Tiers::Both.hasty_builder(&redis).build().expect("redis need not be up");
    let database = Database::default();
    assert_eq!(quick_read(&cache, &database, 1).await, Source::Loader);
    assert_eq!(cache.stats().l2, L2State::Down);
    redis.restart().await;
    until("redis is used", || cache.stats().l2 == L2State::Up).await;
    quick_read(&cache, &database, 2).await;
    stored(&cache, 2).await;
}

#[tokio::test]
async fn a_hanging_redis_costs_a_read_its_budget_until_the_breaker_opens() {
    let redis = Redis::start().await;
    let (cache, database) = (built(Tiers::L2.hasty_builder(&redis)).await, Database::default());
    quick_read(&cache, &database, 1).await;
    let before = counted(&cache).l2_errors;
    redis.hang();
    for id in 0..20 {
        quick_read(&cache, &database, id).await;
    }
    assert_eq!(cache.stats().l2, L2State::Down);
    let errors = counted(&cache).l2_errors;
    assert!((1..=5).contains(&(errors - before)), "the breaker opens after five: {errors}");
    for id in 0..20 {
        quick_read(&cache, &database, id).await;
    }
    assert_eq!(counted(&cache).l2_errors, errors, "while it is open Redis is not asked");
    redis.resume();
    until("redis is used", || cache.stats().l2 == L2State::Up).await;
    let is_used = async || quick_read(&cache, &database, 77).await == Source::L2;
    eventually("redis is read again", is_used).await;
}

#[tokio::test]
async fn a_redis_that_fails_while_a_loader_runs_costs_the_fill_alone() {
    let redis = Redis::start().await;
    let cache = Tiers::Both.cache(&redis).await;
    redis.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let url = redis.url();
    let load = || async move {
        let client = redis::Client::open(url).expect("valid");
        let mut connection = client.get_multiplexed_async_connection().await.expect("up");
        let full = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).clone();
        full.exec_async(&mut connection).await.expect("set");
        Ok::<_, std::convert::Infallible>(Doc { id: 1, version: 7 })
    };
    let read = cache.get_or_load(&DocKey(1), load).await.expect("loads");
    assert_eq!((read.value.version, read.source), (7, Source::Loader));
    until("the fill is refused", || counted(&cache).fills_refused == 1).await;
    in_l1(&cache, 1).await;
    assert_eq!(redis.command::<u64>(&["EXISTS", "t:doc:detail@1:1"]).await, 0);
    assert_eq!(cache.stats().l2, L2State::Up);
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
    let (cache, database) = (built(Tiers::Both.hasty_builder(&redis)).await, Database::default());
    quick_read(&cache, &database, 1).await;
    quick_read(&cache, &database, 2).await;
    redis.kill();
    let written = database.write();
    let began = Stopwatch::start();
    assert_eq!(cache.invalidate(doc(1)).await, Ack::Queued);
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(cache.stats().pending_invalidations, 1);
    for _ in 0..3 {
        let read = database.read(&cache, 1).await;
        assert_eq!((read.value.version, read.source), (written, Source::Loader));
    }
    assert_eq!(cache.explain(&DocKey(1)).await.l1.verdict, Verdict::Pending);
    let other = cache.explain(&DocKey(2)).await.l1.verdict;
    assert!(matches!(other, Verdict::Fresh | Verdict::Unproven), "not affected: {other:?}");
    redis.restart().await;
    until("the queue is empty", || cache.stats().pending_invalidations == 0).await;
    assert_eq!(database.read(&cache, 1).await.value.version, written);
    let is_hit = async || database.read(&cache, 1).await.source.is_hit();
    eventually("it is a hit again", is_hit).await;
}

// FusionCache #613: a value read again from L2 during the removal poisons L1.
#[tokio::test]
async fn a_hanging_redis_that_wakes_up_with_the_old_value_does_not_serve_it() {
    let redis = Redis::start().await;
    for tiers in [Tiers::L2, Tiers::Both] {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (built(tiers.hasty_builder(&redis)).await, Database::default());
        let is_stored = async || quick_read(&cache.fresh(), &database, 1).await == Source::L2;
        eventually("it is in Redis", is_stored).await;
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
    let (cache, database) = (built(Tiers::Both.hasty_builder(&redis)).await, Database::default());
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
    let is_hit = async || quick_read(&cache, &database, 1).await == Source::L1;
    eventually("L1 answers again", is_hit).await;
}

#[tokio::test]
async fn l1_is_flushed_when_redis_comes_back_with_other_data() {
    let mut redis = Redis::start().await;
    let (cache, database) = (built(Tiers::Both.hasty_builder(&redis)).await, Database::default());
    quick_read(&cache, &database, 1).await;
    redis.kill();
    redis.restart().await;
    until("the new data set is noticed", || {
        let _ = futures_util::FutureExt::now_or_never(cache.ping_redis());
        cache.stats().l2 == L2State::Up
    })
    .await;
    let is_flushed = async || quick_read(&cache, &database, 1).await == Source::Loader;
    eventually("L1 is flushed", is_flushed).await;
}

#[tokio::test]
async fn a_wrong_password_is_an_outage_and_not_an_error() {
    let redis = Redis::start().await;
    redis.command::<()>(&["CONFIG", "SET", "requirepass", "secret"]).await;
    let cache = Tiers::Both.hasty_builder(&redis).build().expect("valid");
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
