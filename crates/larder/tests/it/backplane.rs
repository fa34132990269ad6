//! What processes tell each other, and when L1 stops answering because it was told nothing.

use std::time::Duration;

use larder::{Ack, Cache, Source, Tag, Verdict};

use crate::{
    monitor::Monitor,
    support::{
        Database, DocKey, Redis, Stopwatch, Tiers, built, doc, eventually, in_l1, in_one_window,
        stored, until,
    },
};

/// Two processes whose L1 both hold key 1.
async fn two_with_a_hit(redis: &Redis, database: &Database) -> (Cache, Cache) {
    let (a, b) = (Tiers::Both.cache(redis).await, Tiers::Both.cache(redis).await);
    for cache in [&a, &b] {
        database.read(cache, 1).await;
        stored(cache, 1).await;
        in_l1(cache, 1).await;
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
        let acknowledged = Stopwatch::start();
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
    let sources = in_one_window(&[&a, &b], async || {
        database.read(&a, 1).await;
        database.read(&b, 1).await;
        let heard = || [&a, &b].map(|cache| cache.stats().backplane.messages);
        let before = heard();
        a.invalidate(doc(2)).await;
        until("both have heard it", || heard().iter().zip(before).all(|(now, was)| *now > was))
            .await;
        [database.read(&a, 1).await.source, database.read(&b, 1).await.source]
    })
    .await;
    assert_eq!(sources, [Source::L1, Source::L1]);
}

#[tokio::test]
async fn fills_are_told_to_nobody_and_a_message_is_not_sent_on() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = two_with_a_hit(&redis, &database).await;
    for id in 2..50 {
        database.read(&a, id).await;
        stored(&a, id).await;
        database.read(&b, id).await;
    }
    assert_eq!(redis.calls("publish").await, 0, "48 fills by a, 48 hits in Redis by b");
    let sent = in_one_window(&[&a, &b], async || {
        let heard = || [&a, &b].map(|cache| cache.stats().backplane.messages);
        let (before, sent) = (heard(), redis.calls("publish").await);
        a.invalidate(doc(1)).await;
        until("both have heard it", || heard().iter().zip(before).all(|(now, was)| *now > was))
            .await;
        redis.calls("publish").await - sent
    })
    .await;
    assert_eq!(sent, 1);
}

/// The stamp was made when Redis had acknowledged: what was loaded since then is younger than the
/// message, however late that comes.
#[tokio::test]
async fn ones_own_message_is_counted_and_not_applied() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = two_with_a_hit(&redis, &database).await;
    let monitor = Monitor::start(&redis);
    a.invalidate(doc(1)).await;
    let said = monitor.until("\"PUBLISH\"").await;
    let sent = said
        .lines()
        .find_map(|line| line.split_once("\"PUBLISH\" \"t:~inv:0\" \""))
        .expect("a message");
    let message = sent.1.trim_end().trim_end_matches('"').to_owned();
    for cache in [&a, &b] {
        database.read(cache, 1).await;
        stored(cache, 1).await;
        in_l1(cache, 1).await;
    }
    let heard = || [&a, &b].map(|cache| cache.stats().backplane.messages);
    let before = heard();
    let again = async || {
        redis.command::<u64>(&["PUBLISH", "t:~inv:0", &message]).await;
        heard().iter().zip(before).all(|(now, was)| *now > was)
    };
    eventually("both have heard it again", again).await;
    in_l1(&a, 1).await;
    let other = b.explain(&DocKey(1)).await.l1.verdict;
    assert_eq!(other, Verdict::Invalidated { by: "tag doc:1".to_owned() });
}

/// As the documentation says: nobody has said that the value has changed.
#[tokio::test]
async fn a_value_that_is_deleted_by_hand_is_loaded_anew_by_those_who_have_it_not_in_l1() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = two_with_a_hit(&redis, &database).await;
    redis.command::<u64>(&["DEL", "t:doc:detail@1:1"]).await;
    in_l1(&a, 1).await;
    in_l1(&b, 1).await;
    assert_eq!(database.loads(), 1);
    let written = database.write(); // by somebody who does not invalidate
    assert_eq!(database.read(&b.fresh(), 1).await.value.version, written);
    in_l1(&a, 1).await;
    let kept = a.explain(&DocKey(1)).await.value.flatten().map(|doc| doc.version);
    assert_eq!(kept, Some(0), "until its TTL");
    a.invalidate(doc(1)).await;
    assert_eq!(database.read(&a, 1).await.value.version, written);
}

#[tokio::test]
async fn a_write_costs_each_other_process_one_read_of_redis_per_key() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = two_with_a_hit(&redis, &database).await;
    let (reads, loads) = in_one_window(&[&a, &b], async || {
        let (loads, heard) = (database.loads(), b.stats().backplane.messages);
        database.write();
        a.invalidate(doc(1)).await;
        until("the other one has heard it", || b.stats().backplane.messages > heard).await;
        database.read(&a, 1).await;
        stored(&a, 1).await;
        let before = redis.calls("getrange").await;
        for _ in 0..100 {
            database.read(&b, 1).await;
        }
        (redis.calls("getrange").await - before, database.loads() - loads)
    })
    .await;
    assert_eq!((reads, loads), (1, 1));
}

#[tokio::test]
async fn foreign_messages_are_counted_and_change_nothing() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::Both.cache(&redis).await;
    database.read(&cache, 1).await;
    let long = "x".repeat(1 << 20);
    let all_are_heard = async || {
        for text in ["", "hello", "7 x y", "\u{0}\u{1}", long.as_str()] {
            redis.command::<u64>(&["PUBLISH", "t:~inv:0", text]).await;
        }
        cache.stats().backplane.foreign >= 5
    };
    eventually("all are heard", all_are_heard).await;
    in_l1(&cache, 1).await;
    assert_eq!(database.loads(), 1);
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
    redis.command::<redis::Value>(&["LPUSH", "t:~seq", "x"]).await;
    let is_healed = async || redis.command::<String>(&["TYPE", "t:~seq"]).await == "string";
    eventually("the sequence is a number again", is_healed).await;
}

#[tokio::test]
async fn l1_stops_answering_a_second_after_redis_does() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = built(Tiers::Both.hasty_builder(&redis)).await;
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
    let builder = Tiers::Both.builder(&redis).degraded_l1_life(Duration::from_secs(600));
    let cache = built(builder).await;
    database.read(&cache, 1).await;
    database.read(&cache, 2).await;
    redis.kill();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    until("the outage is noticed", || cache.stats().backplane.is_fresh).await;
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
    in_l1(&cache, 1).await;
    assert_eq!(cache.stats().backplane.flushes, flushes);
    assert_eq!(database.loads(), 1);
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
    in_l1(&b, 1).await;
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
    let cache = built(builder).await;
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    clock.advance(Duration::from_secs(5));
    let lenient = cache.max_age(Duration::from_secs(10));
    assert!(database.read(&lenient, 1).await.source.is_hit());
    let strict = cache.max_age(Duration::from_secs(1));
    assert_eq!(database.read(&strict, 1).await.source, Source::Loader);
    stored(&cache, 1).await;
    assert!(database.read(&strict, 1).await.source.is_hit());
    assert_eq!(database.read(&cache.fresh(), 1).await.age(), Duration::ZERO);
    in_l1(&cache, 1).await;
    assert_eq!(cache.explain(&DocKey(1)).await.l1.age, Some(Duration::ZERO));
}
