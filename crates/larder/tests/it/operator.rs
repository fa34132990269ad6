//! What operators change and ask while the cache runs.

use std::{sync::Arc, time::Duration};

use larder::{Cache, Clock, L2State, Loaded, Names, Outcome, PolicyOverride, Source, Tag, Verdict};
use tokio::sync::Notify;

use crate::support::{
    Database, Doc, DocKey, Redis, Tiers, built, doc, in_l1, in_one_window, stored, until,
};

fn lives(seconds: u64) -> PolicyOverride {
    let life = Some(Duration::from_secs(seconds));
    PolicyOverride { soft: life, hard: life, ..PolicyOverride::default() }
}

#[tokio::test]
async fn a_smaller_hard_ttl_counts_for_what_is_stored_already() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (clock, database) = (Clock::manual(), Database::default());
        let cache = built(tiers.builder(&redis).clock(clock.clone())).await;
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        clock.advance(Duration::from_secs(20));
        assert!(database.read(&cache, 1).await.source.is_hit(), "{tiers:?}");
        cache.override_policy("docs", lives(10));
        let read = database.read(&cache, 1).await;
        assert_eq!(read.source, Source::Loader, "{tiers:?}: 20 s old under a TTL of 10 s");
        assert!(read.ttl() <= Duration::from_secs(11), "{tiers:?}");
    }
}

#[tokio::test]
async fn a_younger_entry_of_redis_stays_and_lives_shorter() {
    let (redis, database, clock) = (Redis::start().await, Database::default(), Clock::manual());
    let cache = built(Tiers::Both.builder(&redis).clock(clock.clone())).await;
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    clock.advance(Duration::from_secs(2));
    cache.override_policy("docs", lives(10));
    let read = database.read(&cache, 1).await;
    assert_eq!((read.source, database.loads()), (Source::L2, 1));
    assert!(read.ttl() <= Duration::from_secs(9), "{:?}", read.ttl());
}

#[tokio::test]
async fn a_namespace_that_is_turned_off_is_loaded_every_time_and_hits_again_when_it_is_on() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let database = Database::default();
        let cache = tiers.cache(&redis).await;
        database.read(&cache, 1).await;
        let off = PolicyOverride { enabled: Some(false), ..PolicyOverride::default() };
        cache.override_policy("docs", off);
        for loads in 2..5 {
            assert_eq!(database.read(&cache, 1).await.source, Source::Loader, "{tiers:?}");
            assert_eq!(database.loads(), loads, "{tiers:?}");
        }
        assert_eq!(cache.explain(&DocKey(1)).await.l1.verdict, Verdict::Off);
        cache.override_policy("docs", PolicyOverride::default());
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        assert!(database.read(&cache, 1).await.source.is_hit(), "{tiers:?}");
    }
}

#[tokio::test]
async fn a_change_of_one_namespace_leaves_the_others_alone() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::Both.cache(&redis).await;
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    cache.override_policy("others", lives(1));
    in_l1(&cache, 1).await;
    assert!(database.read(&cache, 1).await.source.is_hit());
}

#[tokio::test]
async fn an_invalidated_key_is_explained_by_the_tag_that_did_it_in_both_tiers() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::Both.cache(&redis).await;
    let absent = cache.explain(&DocKey(1)).await;
    assert_eq!((&absent.l1.verdict, &absent.l2.verdict), (&Verdict::Absent, &Verdict::Absent));
    assert_eq!((absent.value, absent.last_miss), (None, None));

    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    in_l1(&cache, 1).await;
    let fresh = cache.explain(&DocKey(1)).await;
    assert_eq!(fresh.key.as_deref(), Some("doc:detail@1:1"));
    assert_eq!(fresh.tags, ["doc:1", "docs"]);
    assert_eq!(fresh.lazy_tags, ["summary:1"]);
    assert_eq!(fresh.value.flatten().map(|doc| doc.id), Some(1));
    assert!(fresh.l2.hard_left > Some(Duration::from_secs(90)), "{:?}", fresh.l2);
    assert!(fresh.l1.soft_left < Some(Duration::from_secs(67)), "{:?}", fresh.l1);
    let miss = fresh.last_miss.expect("it was loaded");
    assert_eq!((miss.l1, miss.l2), (Verdict::Absent, Verdict::Absent));

    cache.invalidate(doc(1)).await;
    let by_tag = Verdict::Invalidated { by: "tag doc:1".to_owned() };
    let ended = cache.explain(&DocKey(1)).await;
    assert_eq!((&ended.l1.verdict, &ended.l2.verdict), (&by_tag, &by_tag));
    assert_eq!(ended.value, None);
    database.read(&cache, 1).await;
    let miss = cache.explain(&DocKey(1)).await.last_miss.expect("it was loaded");
    assert_eq!((&miss.l1, &miss.l2), (&by_tag, &by_tag));
}

#[tokio::test]
async fn an_explanation_neither_counts_nor_keeps_nor_loads() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (a, b) = (Tiers::Both.cache(&redis).await, Tiers::Both.cache(&redis).await);
    database.read(&a, 1).await;
    stored(&b, 1).await;
    let explained = b.explain(&DocKey(1)).await;
    assert_eq!((explained.l1.verdict, explained.l2.verdict), (Verdict::Absent, Verdict::Fresh));
    let counts = &b.stats().namespaces[0];
    assert_eq!((counts.l1_hits, counts.l2_hits, counts.misses, counts.loads), (0, 0, 0, 0));
}

#[tokio::test]
async fn an_expired_entry_an_outage_and_a_restart_are_told_apart() {
    let (mut redis, database, clock) = (Redis::start().await, Database::default(), Clock::manual());
    let cache = built(Tiers::Both.builder(&redis).clock(clock.clone())).await;
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    clock.advance(Duration::from_secs(200));
    let expired = cache.explain(&DocKey(1)).await;
    assert_eq!((expired.l1.verdict, expired.l2.verdict), (Verdict::Expired, Verdict::Expired));
    redis.kill();
    until("the outage is noticed", || cache.stats().l2 == L2State::Down).await;
    assert_eq!(cache.explain(&DocKey(1)).await.l2.verdict, Verdict::Unreachable);
    redis.restart().await;
    until("redis is used again", || cache.stats().l2 == L2State::Up).await;
    assert_eq!(cache.explain(&DocKey(1)).await.l2.verdict, Verdict::Absent);
}

#[tokio::test]
async fn a_change_of_a_tag_is_heard_in_the_other_process_and_other_tags_are_not() {
    let redis = Redis::start().await;
    let (a, b) = (Tiers::Both.cache(&redis).await, Tiers::Both.cache(&redis).await);
    let (settings, other) = (Tag::named("settings"), Tag::named("other"));
    let changed = in_one_window(&[&b], async || {
        let before = (b.changes(&settings), b.changes(&other));
        a.invalidate(settings.clone()).await;
        until("it is heard", || b.changes(&settings) != before.0).await;
        b.changes(&other) != before.1
    })
    .await;
    assert!(!changed, "a tag that nobody has named");
}

#[tokio::test]
async fn redis_tells_its_figures_and_passes_its_test_and_leaves_no_key() {
    let redis = Redis::start().await;
    let cache = Tiers::Both.cache(&redis).await;
    redis.command::<()>(&["SET", "somebody's", "1"]).await;
    let info = cache.redis_info().await.expect("configured").expect("up");
    assert!(info.version.starts_with(|first: char| first.is_ascii_digit()), "{info:?}");
    assert!(info.used_memory > 0 && info.commands_processed > 0, "{info:?}");
    let keys = redis.command::<u64>(&["DBSIZE"]).await;
    assert_eq!(info.keys, keys);
    let steps = cache.test_redis().await.expect("configured");
    let commands: Vec<_> = steps.iter().map(|step| step.command).collect();
    assert_eq!(commands, ["set", "get", "delete"]);
    assert!(steps.iter().all(|step| step.outcome.is_ok()), "{steps:?}");
    assert_eq!(redis.command::<u64>(&["DBSIZE"]).await, keys);
}

#[tokio::test]
async fn a_test_of_a_redis_that_is_away_fails_at_its_first_step() {
    let mut redis = Redis::start().await;
    let cache = Tiers::Both.cache(&redis).await;
    redis.kill();
    until("the outage is noticed", || cache.stats().l2 == L2State::Down).await;
    let steps = cache.test_redis().await.expect("configured");
    assert_eq!(steps.len(), 1);
    assert!(steps[0].outcome.is_err());
    assert!(cache.redis_info().await.expect("configured").is_err());
}

#[tokio::test]
async fn the_statistics_name_the_data_set_the_sequence_and_what_made_room() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = built(Tiers::Both.builder(&redis).l1_bytes(64 << 10)).await;
    cache.invalidate(doc(1)).await;
    let sequence = redis.command::<u64>(&["GET", "t:~seq"]).await;
    until("a heartbeat has told it", || cache.stats().backplane.sequence == Some(sequence)).await;
    let backplane = cache.stats().backplane;
    assert!(backplane.epoch.is_some() && backplane.lag.is_some(), "{backplane:?}");
    assert_eq!(cache.stats().invalidations, 1);
    for id in 0..1000 {
        database.read(&cache, id).await;
    }
    let l1 = cache.stats().l1;
    assert!(l1.evictions > 0 && l1.bytes <= l1.capacity, "{l1:?}");
}

#[tokio::test]
async fn the_keys_of_redis_are_those_behind_the_prefix_whatever_is_in_it() {
    let redis = Redis::start().await;
    redis.command::<()>(&["SET", "t*x:other", "1"]).await;
    redis.command::<()>(&["SET", "tttx:mine", "1"]).await;
    for n in 0..1200 {
        redis.command::<()>(&["SET", &format!("t*:{n:04}"), "1"]).await;
    }
    let cache = built(Tiers::Both.builder(&redis).prefix("t*:")).await;
    let keys = cache.redis_keys(10_000).await.expect("configured").expect("up");
    let values: Vec<_> = keys.keys.iter().filter(|key| !key.starts_with('~')).collect();
    assert_eq!((values.len(), values[0].as_str(), keys.is_cut), (1200, "0000", false));
    let few = cache.redis_keys(7).await.expect("configured").expect("up");
    assert_eq!((few.keys.len(), few.is_cut), (7, true));
}

/// The shortest and the longest life of values that bring their own.
async fn own_lives(change: PolicyOverride, soft: u64, hard: u64) -> (Duration, Duration) {
    let cache = Cache::builder().clock(Clock::manual()).build().expect("no Redis to be wrong");
    cache.override_policy("docs", change);
    let (mut shortest, mut longest) = (Duration::MAX, Duration::ZERO);
    for id in 0..200 {
        let load = move || async move {
            let own = Loaded::from(Doc { id, version: 0 });
            let own = own.ttl(Duration::from_secs(soft), Duration::from_secs(hard));
            Ok::<_, std::convert::Infallible>(own)
        };
        let ttl = cache.get_or_load(&DocKey(id), load).await.expect("loads").ttl();
        (shortest, longest) = (shortest.min(ttl), longest.max(ttl));
    }
    (shortest, longest)
}

#[tokio::test]
async fn a_soft_ttl_alone_that_an_operator_changes_caps_no_hard_ttl() {
    let soft = Some(Duration::from_secs(10));
    let change = PolicyOverride { soft, ..PolicyOverride::default() };
    let (shortest, _) = own_lives(change, 1_000, 2_000).await;
    assert!(shortest >= Duration::from_secs(1_800), "{shortest:?}");
}

#[tokio::test]
async fn a_hard_ttl_alone_that_an_operator_changes_caps_no_soft_ttl() {
    let (redis, database, clock) = (Redis::start().await, Database::default(), Clock::manual());
    let cache = built(Tiers::Both.builder(&redis).clock(clock.clone())).await;
    let hard = Some(Duration::from_secs(1_000));
    cache.override_policy("docs", PolicyOverride { hard, ..PolicyOverride::default() });
    let load = || async {
        let own = Loaded::from(Doc { id: 1, version: 0 });
        let own = own.ttl(Duration::from_secs(500), Duration::from_secs(600));
        Ok::<_, std::convert::Infallible>(own)
    };
    cache.get_or_load(&DocKey(1), load).await.expect("loads");
    stored(&cache, 1).await;
    // The key type's own soft TTL is a minute.
    clock.advance(Duration::from_secs(100));
    let read = database.read(&cache.fresh(), 1).await;
    assert_eq!((read.source, read.is_stale), (Source::L2, false));
}

#[tokio::test]
async fn jitter_stretches_a_capped_ttl_once() {
    let (shortest, longest) = own_lives(lives(100), 1_000, 1_000).await;
    assert!(shortest >= Duration::from_secs(90), "{shortest:?}");
    assert!(longest <= Duration::from_secs(110), "{longest:?}");
}

#[tokio::test]
async fn a_question_that_an_operator_may_not_ask_does_not_open_the_breaker() {
    let redis = Redis::start().await;
    let user = ["ACL", "SETUSER", "reader", "on", "nopass", "~*", "&*", "+@all", "-scan", "-ping"];
    redis.command::<()>(&user).await;
    let url = redis.url().replace("redis://", "redis://reader:any@");
    let builder = Tiers::Both.builder(&redis).redis(&url).expect("a valid URL");
    let cache = built(builder).await;
    for _ in 0..20 {
        let refused = cache.redis_keys(10).await.expect("there is a Redis");
        assert!(refused.is_err_and(|error| error.to_string().contains("NOPERM")));
        assert_eq!(cache.stats().l2, L2State::Up);
    }
}

#[tokio::test]
async fn an_invalidation_in_doubt_is_counted_like_any_other() {
    let (cache, done) = (Tiers::L1.cache(&Redis::start().await).await, Arc::new(Notify::new()));
    let ended = Arc::clone(&done);
    cache.invalidate_in_doubt(Names::from(doc(1)), async move {
        ended.notified().await;
        Outcome::Committed
    });
    assert_eq!(cache.stats().invalidations, 1);
    done.notify_one();
    cache.invalidate(doc(1)).await;
    assert_eq!(cache.stats().invalidations, 2);
}

#[tokio::test]
async fn a_search_for_keys_ends_in_a_redis_full_of_others() {
    let redis = Redis::start().await;
    let fill = "for n = 1, 400000 do redis.call('SET', 'other:' .. n, '') end";
    redis.command::<()>(&["EVAL", fill, "0"]).await;
    let cache = built(Tiers::Both.builder(&redis).op_timeout(Duration::from_secs(5))).await;
    redis.command::<()>(&["CONFIG", "RESETSTAT"]).await;
    let found = cache.redis_keys(10).await.expect("configured").expect("up");
    assert!(found.is_cut, "{found:?}");
    assert_eq!(redis.calls("scan").await, 250);
}
