//! What a read returns and which tier answers.

use std::{convert::Infallible, time::Duration};

use larder::{
    Cache, CacheKey, Clock, KeyWriter, Loaded, Policy, PolicyOverride, Public, Source, Tag, User,
};

use crate::support::{
    Database, Doc, DocKey, Redis, Tiers, built, counted, doc, eventually, filled, in_l1, stored,
};

#[tokio::test]
async fn a_value_is_loaded_once_and_then_served_from_the_nearest_tier() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        let first = database.read(&cache, 1).await;
        stored(&cache, 1).await;
        if tiers != Tiers::L2 {
            in_l1(&cache, 1).await;
        }
        database.write(); // by somebody who does not invalidate: what is there is not overwritten
        let second = database.read(&cache, 1).await;
        assert_eq!(first.value, second.value, "{tiers:?}");
        assert_eq!(first.source, Source::Loader);
        assert!(second.source.is_hit(), "{tiers:?}: {:?}", second.source);
        assert_eq!(database.loads(), 1, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_value_that_only_redis_has_fills_l1() {
    let redis = Redis::start().await;
    let (a, b) = (Tiers::Both.cache(&redis).await, Tiers::Both.cache(&redis).await);
    let database = Database::default();
    database.read(&a, 1).await;
    stored(&a, 1).await;
    assert_eq!(database.read(&b, 1).await.source, Source::L2);
    in_l1(&b, 1).await;
    assert!(database.read(&b, 1).await.source.is_hit());
    assert_eq!(database.loads(), 1);
}

#[tokio::test]
async fn a_read_without_a_loader_finds_what_is_there_and_stores_nothing() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        assert_eq!(cache.get(&DocKey(1)).await, None, "{tiers:?}");
        let value = redis.command::<u64>(&["EXISTS", "t:doc:detail@1:1"]).await;
        assert_eq!(value, 0, "{tiers:?}");
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        assert!(cache.get(&DocKey(1)).await.is_some(), "{tiers:?}");
        cache.invalidate(doc(1)).await;
        assert_eq!(cache.get(&DocKey(1)).await, None, "{tiers:?}");
    }
}

#[tokio::test]
async fn keys_in_redis_are_readable_and_all_but_the_sequence_expire() {
    let redis = Redis::start().await;
    let cache = Tiers::Both.cache(&redis).await;
    let database = Database::default();
    database.read(&cache, 42).await;
    stored(&cache, 42).await;
    cache.invalidate(Tag::named("unrelated")).await;
    let mut keys: Vec<String> = redis.command(&["KEYS", "*"]).await;
    keys.sort();
    assert_eq!(
        keys,
        [
            "t:doc:detail@1:42",
            "t:~g:k:doc:detail:42",
            "t:~g:n:docs",
            "t:~g:r",
            "t:~g:t:doc:42",
            "t:~g:t:docs",
            "t:~g:t:summary:42",
            "t:~seq"
        ]
    );
    for key in keys.iter().filter(|key| *key != "t:~seq") {
        assert!(redis.command::<i64>(&["PTTL", key]).await > 0, "{key} never expires");
    }
}

#[tokio::test]
async fn nothing_cached_is_a_hit_and_not_a_miss() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        let nothing = || async { Ok::<Option<Doc>, Infallible>(None) };
        let first = cache.find_or_load(&DocKey(1), nothing).await.expect("loads");
        stored(&cache, 1).await;
        let second = cache.find_or_load(&DocKey(1), nothing).await.expect("hits");
        assert_eq!((first.value, second.value), (None, None));
        assert!(second.source != Source::Loader, "{tiers:?}: {:?}", second.source);
    }
}

/// Values that a careless cache takes for a miss.
macro_rules! empty_value_is_a_hit {
    ($name:ident, $type:ty, $value:expr) => {
        #[tokio::test]
        async fn $name() {
            struct Key;
            impl CacheKey for Key {
                type Value = $type;
                type Scope = Public;
                const NAMESPACE: &'static str = "docs";
                const NAME: &'static str = "empty";
                const VERSION: u16 = 1;
                fn policy() -> Policy {
                    Policy::new(Duration::from_secs(60), Duration::from_secs(60))
                }
                fn segments(&self, _: &mut KeyWriter) {}
            }
            let redis = Redis::start().await;
            for tiers in Tiers::ALL {
                redis.command::<()>(&["FLUSHALL"]).await;
                let cache = tiers.cache(&redis).await;
                let load = || async { Ok::<$type, Infallible>($value) };
                cache.get_or_load(&Key, load).await.expect("loads");
                let is_kept = async || cache.explain(&Key).await.value.is_some();
                eventually("it is kept", is_kept).await;
                let again = cache.get_or_load(&Key, load).await.expect("hits");
                assert_eq!(*again.value, $value);
                assert!(again.source != Source::Loader, "{tiers:?}");
                assert_eq!(counted(&cache).loads, 1);
            }
        }
    };
}
empty_value_is_a_hit!(an_empty_list_is_a_hit, Vec<u8>, Vec::<u8>::new());
empty_value_is_a_hit!(false_is_a_hit, bool, false);
empty_value_is_a_hit!(zero_is_a_hit, u64, 0);
empty_value_is_a_hit!(null_is_a_hit, Option<u64>, None::<u64>);
empty_value_is_a_hit!(an_empty_string_is_a_hit, String, String::new());

#[tokio::test]
async fn an_uncached_value_is_delivered_and_not_stored() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        for _ in 0..2 {
            let database = database.clone();
            let load = move || async move { database.load(9).await.map(Loaded::uncached) };
            let read = cache.get_or_load(&DocKey(9), load).await.expect("loads");
            assert!(!read.source.is_hit());
        }
        assert_eq!(database.loads(), 2, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_soft_expired_value_is_served_at_once_and_refreshed_once() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let clock = Clock::manual();
        let cache = built(tiers.builder(&redis).clock(clock.clone())).await;
        let database = Database::slow(Duration::from_millis(50));
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        database.write();
        clock.advance(Duration::from_secs(67)); // soft is 60 s ± 10 %, L1's limit 60 s, hard 120 s
        if tiers == Tiers::L1 {
            continue; // its own limit of life has passed: see `staleness.rs`
        }
        let stale = database.read(&cache, 1).await;
        assert!(stale.is_stale && stale.value.version == 0, "{tiers:?}: {stale:?}");
        for _ in 0..20 {
            database.read(&cache, 1).await;
        }
        let is_new = async || {
            let read = database.read(&cache, 1).await;
            !read.is_stale && read.value.version == 1
        };
        eventually("the new value is served", is_new).await;
        assert_eq!(database.read(&cache.fresh(), 1).await.value.version, 1, "{tiers:?}");
        assert_eq!(database.loads(), 2, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_refresh_that_finds_nothing_ends_the_stale_value() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let clock = Clock::manual();
        let long_l1 = PolicyOverride { l1: Some(Duration::from_secs(120)), ..Default::default() };
        let builder = tiers.builder(&redis).clock(clock.clone());
        let cache = built(builder.policy_override("docs", long_l1)).await;
        Database::default().read(&cache, 1).await;
        stored(&cache, 1).await;
        clock.advance(Duration::from_secs(70));
        let not_to_be_kept =
            || async { Ok::<_, Infallible>(Loaded::uncached(Doc { id: 1, version: 7 })) };
        let stale = cache.get_or_load(&DocKey(1), not_to_be_kept).await.expect("hits");
        assert!(stale.is_stale, "{tiers:?}");
        let is_gone = async || cache.get(&DocKey(1)).await.is_none();
        eventually("the stale value is gone", is_gone).await;
    }
}

#[tokio::test]
async fn a_hard_expired_value_is_never_served() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let clock = Clock::manual();
        let cache = built(tiers.builder(&redis).clock(clock.clone())).await;
        let database = Database::default();
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        database.write();
        clock.advance(Duration::from_secs(133));
        assert_eq!(database.read(&cache, 1).await.value.version, 1, "{tiers:?}");
    }
}

#[tokio::test]
async fn l1_forgets_sooner_than_redis() {
    let redis = Redis::start().await;
    let clock = Clock::manual();
    let short_l1 = PolicyOverride { l1: Some(Duration::from_secs(1)), ..Default::default() };
    let builder = Tiers::Both.builder(&redis).clock(clock.clone());
    let cache = built(builder.policy_override("docs", short_l1)).await;
    let database = Database::default();
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    clock.advance(Duration::from_secs(2));
    assert_eq!(database.read(&cache, 1).await.source, Source::L2);
    assert_eq!(database.loads(), 1);
}

#[tokio::test]
async fn the_longest_life_in_l1_shortens_and_never_lengthens() {
    let redis = Redis::start().await;
    for (most, is_kept) in [(1, false), (3_600, true)] {
        let clock = Clock::manual();
        let ten_seconds =
            PolicyOverride { l1: Some(Duration::from_secs(10)), ..Default::default() };
        let builder = Tiers::L1.builder(&redis).clock(clock.clone());
        let builder = builder.policy_override("docs", ten_seconds);
        let cache = built(builder.l1_max_life(Duration::from_secs(most))).await;
        let database = Database::default();
        database.read(&cache, 1).await;
        clock.advance(Duration::from_secs(5));
        assert_eq!(database.read(&cache, 1).await.source.is_hit(), is_kept);
        clock.advance(Duration::from_secs(6));
        assert!(!database.read(&cache, 1).await.source.is_hit() || !is_kept);
    }
}

#[tokio::test]
async fn a_hard_ttl_of_zero_never_serves() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let never = PolicyOverride {
            soft: Some(Duration::ZERO),
            hard: Some(Duration::ZERO),
            ..Default::default()
        };
        let cache = built(tiers.builder(&redis).policy_override("docs", never)).await;
        let database = Database::default();
        for _ in 0..3 {
            database.read(&cache, 1).await;
        }
        assert_eq!(database.loads(), 3, "{tiers:?}");
    }
}

#[tokio::test]
async fn an_endless_ttl_does_not_overflow() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let endless = PolicyOverride {
            soft: Some(Duration::MAX),
            hard: Some(Duration::MAX),
            ..Default::default()
        };
        let cache = built(tiers.builder(&redis).policy_override("docs", endless)).await;
        let database = Database::default();
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        database.read(&cache, 1).await;
        assert_eq!(database.loads(), 1, "{tiers:?}");
    }
}

#[tokio::test]
async fn the_age_is_counted_from_the_load_in_every_tier() {
    let redis = Redis::start().await;
    let clock = Clock::manual();
    let a = built(Tiers::Both.builder(&redis).clock(clock.clone())).await;
    let b = built(Tiers::Both.builder(&redis).clock(clock.clone())).await;
    let database = Database::default();
    database.read(&a, 1).await;
    stored(&a, 1).await;
    clock.advance(Duration::from_secs(7));
    for cache in [&a, &b] {
        assert_eq!(database.read(cache, 1).await.age(), Duration::from_secs(7));
        assert_eq!(database.read(&cache.fresh(), 1).await.age(), Duration::from_secs(7));
        in_l1(cache, 1).await;
        let here = cache.explain(&DocKey(1)).await.l1.age;
        assert!(here.is_none_or(|age| age == Duration::from_secs(7)), "{here:?}");
    }
    assert_eq!(database.loads(), 1);
}

#[tokio::test]
async fn one_users_value_is_not_another_users() {
    struct Progress;
    impl CacheKey for Progress {
        type Value = i64;
        type Scope = User<i64>;
        const NAMESPACE: &'static str = "docs";
        const NAME: &'static str = "progress";
        const VERSION: u16 = 1;
        fn policy() -> Policy {
            Policy::new(Duration::from_secs(60), Duration::from_secs(60))
        }
        fn segments(&self, key: &mut KeyWriter) {
            key.push("all");
        }
    }
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let cache = tiers.cache(&redis).await;
        for user in [1, 2, 1, 2] {
            let load = move || async move { Ok::<_, Infallible>(user) };
            let read = cache.scoped(User(user)).get_or_load(&Progress, load).await.expect("loads");
            assert_eq!(*read.value, user, "{tiers:?}");
        }
    }
}

#[tokio::test]
async fn prefixes_keep_installations_apart() {
    let redis = Redis::start().await;
    let a = built(Tiers::L2.builder(&redis).prefix("a:")).await;
    let b = built(Tiers::L2.builder(&redis).prefix("b:")).await;
    let database = Database::default();
    database.read(&a, 1).await;
    database.read(&b, 1).await;
    stored(&a, 1).await;
    stored(&b, 1).await;
    a.invalidate(larder::Names::everything()).await;
    assert_eq!(database.read(&b, 1).await.source, Source::L2);
}

#[tokio::test]
async fn names_under_one_prefix_are_not_those_under_another() {
    let redis = Redis::start().await;
    for tiers in [Tiers::L2, Tiers::Both] {
        redis.command::<()>(&["FLUSHALL"]).await;
        let a = built(tiers.builder(&redis).prefix("a:")).await;
        let b = built(tiers.builder(&redis).prefix("b:")).await;
        let database = Database::default();
        for cache in [&a, &b] {
            database.read(cache, 1).await;
            stored(cache, 1).await;
        }
        let key = larder::Names::new().key(&DocKey(1)).namespace("docs");
        for names in [Tag::named("docs").into(), doc(1).into(), key] {
            a.invalidate(names).await;
            database.read(&a, 1).await;
        }
        assert_eq!(database.loads(), 5, "{tiers:?}: two at first, and one after each write of a");
        assert_eq!(database.read(&b.fresh(), 1).await.source, Source::L2, "{tiers:?}");
        if tiers == Tiers::Both {
            in_l1(&b, 1).await;
        }
    }
}

/// A document as a later release has it.
struct LaterDocKey(i64);

impl CacheKey for LaterDocKey {
    type Value = (i64, String);
    type Scope = Public;
    const NAMESPACE: &'static str = DocKey::NAMESPACE;
    const NAME: &'static str = DocKey::NAME;
    const VERSION: u16 = DocKey::VERSION + 1;
    fn policy() -> Policy {
        DocKey::policy()
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }
}

#[tokio::test]
async fn two_versions_of_a_key_share_a_redis_and_have_their_own_entries_and_one_name() {
    let redis = Redis::start().await;
    for tiers in [Tiers::L2, Tiers::Both] {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (old, new) = (tiers.cache(&redis).await, tiers.cache(&redis).await);
        let database = Database::default();
        let later = || async { Ok::<_, Infallible>((1, "later".to_owned())) };
        for round in 0..2 {
            let read = database.read(&old, 1).await;
            assert_eq!((read.value.id, read.source.is_hit()), (1, round > 0), "{tiers:?}");
            let read = new.get_or_load(&LaterDocKey(1), later).await.expect("loads");
            assert_eq!((read.value.0, read.source.is_hit()), (1, round > 0), "{tiers:?}");
            stored(&old, 1).await;
            filled(&new, &LaterDocKey(1)).await;
        }
        old.invalidate(larder::Names::new().key(&DocKey(1))).await;
        let read = new.fresh().get_or_load(&LaterDocKey(1), later).await.expect("loads");
        assert_eq!(read.source, Source::Loader, "{tiers:?}: the name has no version");
    }
}

#[tokio::test]
async fn a_disabled_cache_and_a_disabled_namespace_load_every_time() {
    let redis = Redis::start().await;
    let off = PolicyOverride { enabled: Some(false), ..Default::default() };
    for builder in [
        Tiers::Both.builder(&redis).disabled(),
        Tiers::Both.builder(&redis).policy_override("docs", off),
    ] {
        let (cache, database) = (built(builder).await, Database::default());
        database.read(&cache, 1).await;
        database.read(&cache, 1).await;
        assert_eq!(database.loads(), 2);
    }
}

#[tokio::test]
async fn every_read_is_counted_once() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        let database = Database::default();
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        for _ in 0..4 {
            database.read(&cache, 1).await;
        }
        let counts = counted(&cache);
        assert_eq!((counts.misses, counts.loads, counts.stale), (1, 1, 0), "{tiers:?}");
        assert_eq!(counts.l1_hits + counts.l2_hits, 4, "{tiers:?}");
        let only_l1 = (tiers == Tiers::L1).then_some(counts.l2_hits);
        let only_l2 = (tiers == Tiers::L2).then_some(counts.l1_hits);
        assert_eq!(only_l1.or(only_l2).unwrap_or(0), 0, "{tiers:?}");
    }
}

#[test]
fn a_cache_without_redis_needs_no_runtime_to_be_built() {
    assert!(Cache::builder().build().is_ok());
}
