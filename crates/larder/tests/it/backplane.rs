//! What processes tell each other, and when L1 stops answering because it was told nothing.

use std::time::{Duration, Instant};

use larder::{Ack, Cache, Source, Tag};

use crate::support::{Database, Redis, Tiers, doc, until};

/// Two processes whose L1 both hold key 1.
async fn two_with_a_hit(redis: &Redis, database: &Database) -> (Cache, Cache) {
    let (a, b) = (Tiers::Both.cache(redis).await, Tiers::Both.cache(redis).await);
    for cache in [&a, &b] {
        database.read(cache, 1).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(database.read(cache, 1).await.source, Source::L1);
    }
    (a, b)
}

#[tokio::test]
async fn a_write_is_seen_by_the_l1_of_another_process_at_once() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = two_with_a_hit(&redis, &database).await;
    for version in 1..=50 {
        database.write();
        assert_eq!(a.invalidate(doc(1)).await, Ack::Applied);
        let acknowledged = Instant::now();
        while database.read(&b, 1).await.value.version != version {
            assert!(acknowledged.elapsed() < Duration::from_secs(1), "beyond the window");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn other_keys_stay_in_l1_when_a_message_arrives() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = two_with_a_hit(&redis, &database).await;
    a.invalidate(doc(2)).await;
    until("the message has arrived", || b.stats().backplane.messages == 1).await;
    assert_eq!(database.read(&b, 1).await.source, Source::L1);
    until("the own message has arrived", || a.stats().backplane.messages == 1).await;
    // It only counts.
    assert_eq!(database.read(&a, 1).await.source, Source::L1);
}

#[tokio::test]
async fn a_write_costs_each_other_process_one_read_of_redis_per_key() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = two_with_a_hit(&redis, &database).await;
    database.write();
    a.invalidate(doc(1)).await;
    database.read(&a, 1).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let before = redis.calls("getrange").await;
    for _ in 0..100 {
        database.read(&b, 1).await;
    }
    assert_eq!(redis.calls("getrange").await - before, 1);
    assert_eq!(database.loads(), 2);
}

#[tokio::test]
async fn foreign_messages_are_counted_and_change_nothing() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::Both.cache(&redis).await;
    database.read(&cache, 1).await;
    let long = "x".repeat(1 << 20);
    for text in ["", "hello", "7 x y", "\u{0}\u{1}", long.as_str()] {
        redis.command::<u64>(&["PUBLISH", "t:~inv:0", text]).await;
    }
    until("all are heard", || cache.stats().backplane.foreign == 5).await;
    assert_eq!(database.read(&cache, 1).await.source, Source::L1);
}

#[tokio::test]
async fn a_forged_sequence_costs_a_flush_and_nothing_else() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::Both.cache(&redis).await;
    database.read(&cache, 1).await;
    let flushes = cache.stats().backplane.flushes;
    let forged = format!("{} {:032x} {:032x}", u64::MAX, 1, 2);
    redis.command::<u64>(&["PUBLISH", "t:~inv:0", &forged]).await;
    until("the gap is noticed", || cache.stats().backplane.flushes > flushes).await;
    database.write();
    cache.invalidate(doc(1)).await;
    assert_eq!(database.read(&cache, 1).await.value.version, 1);
    until("in step again", || cache.stats().backplane.is_fresh).await;
}

#[tokio::test]
async fn a_lost_sequence_flushes_l1_within_a_heartbeat() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::Both.cache(&redis).await;
    for lose in [&["DEL", "t:~seq"][..], &["SET", "t:~seq", "x"], &["SET", "t:~seq", "1"]] {
        database.read(&cache, 1).await;
        let flushes = cache.stats().backplane.flushes;
        redis.command::<redis::Value>(lose).await;
        until("L1 is flushed", || cache.stats().backplane.flushes > flushes).await;
        until("the window is open", || cache.stats().backplane.is_fresh).await;
    }
    redis.command::<()>(&["DEL", "t:~seq"]).await;
    redis.command::<u64>(&["LPUSH", "t:~seq", "x"]).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(redis.command::<String>(&["TYPE", "t:~seq"]).await, "string");
}

#[tokio::test]
async fn l1_stops_answering_a_second_after_redis_does() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::Both.cache(&redis).await;
    database.read(&cache, 1).await;
    redis.hang();
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    for _ in 0..20 {
        assert_eq!(database.read(&cache, 1).await.source, Source::Loader);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    redis.resume();
    until("the window opens again", || cache.stats().backplane.is_fresh).await;
}

#[tokio::test]
async fn a_single_process_may_keep_l1_through_an_outage_if_told_so() {
    let (mut redis, database) = (Redis::start().await, Database::default());
    let builder = Tiers::Both.builder(&redis).degraded_l1_life(Duration::from_secs(60));
    let cache = crate::support::built(builder).await;
    database.read(&cache, 1).await;
    database.read(&cache, 2).await;
    redis.kill();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(database.read(&cache, 1).await.source, Source::L1);
    database.write();
    assert_eq!(cache.invalidate(doc(2)).await, Ack::Queued);
    assert_eq!(database.read(&cache, 2).await.value.version, 1, "its own writes count");
    assert_eq!(database.read(&cache, 1).await.source, Source::L1);
}

#[tokio::test]
async fn a_connection_that_comes_back_to_the_same_sequence_flushes_nothing() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::Both.cache(&redis).await;
    database.read(&cache, 1).await;
    let flushes = cache.stats().backplane.flushes;
    redis.command::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    until("the window is open", || cache.stats().backplane.is_fresh).await;
    assert_eq!(cache.stats().backplane.flushes, flushes);
    assert_eq!(database.read(&cache, 1).await.source, Source::L1);
}

#[tokio::test]
async fn what_was_missed_while_the_backplane_was_away_flushes_l1() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = two_with_a_hit(&redis, &database).await;
    let flushes = b.stats().backplane.flushes;
    redis.command::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    database.write();
    a.invalidate(Tag::named("docs")).await;
    a.invalidate(doc(1)).await;
    until("the gap is noticed", || b.stats().backplane.flushes > flushes).await;
    assert_eq!(database.read(&b, 1).await.value.version, 1);
}

#[tokio::test]
async fn a_fresh_read_asks_redis_and_sees_what_l1_has_not_heard_of() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = two_with_a_hit(&redis, &database).await;
    assert_eq!(database.read(&b.fresh(), 1).await.source, Source::L2);
    for version in 1..=20 {
        database.write();
        a.invalidate(doc(1)).await;
        assert_eq!(database.read(&b.fresh(), 1).await.value.version, version);
    }
}

#[tokio::test]
async fn a_fresh_read_joins_no_older_load() {
    let (redis, database) = (Redis::start().await, Database::slow(Duration::from_millis(150)));
    let cache = Tiers::L1.cache(&redis).await;
    let older = tokio::spawn({
        let (cache, database) = (cache.clone(), database.clone());
        async move { database.read(&cache, 1).await.value.version }
    });
    until("the older load has begun", || database.loads() == 1).await;
    database.write(); // by somebody who does not invalidate
    assert_eq!(database.read(&cache.fresh(), 1).await.value.version, 1);
    assert_eq!(older.await.expect("it ends"), 0);
}

#[tokio::test]
async fn a_read_with_a_max_age_replaces_what_is_older_in_both_tiers() {
    let (redis, database) = (Redis::start().await, Database::default());
    let clock = larder::Clock::manual();
    let builder = Tiers::Both.builder(&redis).clock(clock.clone());
    let cache = crate::support::built(builder).await;
    database.read(&cache, 1).await;
    tokio::time::sleep(Duration::from_millis(30)).await; // the fill
    clock.advance(Duration::from_secs(5));
    let lenient = cache.max_age(Duration::from_secs(10));
    assert_eq!(database.read(&lenient, 1).await.source, Source::L1);
    let strict = cache.max_age(Duration::from_secs(1));
    assert_eq!(database.read(&strict, 1).await.source, Source::Loader);
    assert_eq!(database.read(&strict, 1).await.source, Source::L1);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(database.read(&cache.fresh(), 1).await.age(), Duration::ZERO);
}
