//! Tags, namespaces and everything; and how little that costs.

use std::{convert::Infallible, time::Duration};

use futures_util::FutureExt;
use larder::{
    Ack, CacheKey, Clock, KeyWriter, Names, Policy, PolicyOverride, Public, Source, Tag, Tags,
};

use crate::{
    monitor::Monitor,
    support::{
        Database, Redis, Tiers, built, doc, eventually, filled, stored, until, without_a_pause,
    },
};

/// A key whose tags are letters: `Letters("xy")` carries x and y.
struct Letters(&'static str);

impl CacheKey for Letters {
    type Value = u32;
    type Scope = Public;
    const NAMESPACE: &'static str = "docs";
    const NAME: &'static str = "letters";
    const VERSION: u16 = 1;
    fn policy() -> Policy {
        Policy::new(Duration::from_secs(60), Duration::from_secs(120))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }
    fn tags(&self, _: &Public, tags: &mut Tags) {
        self.0.chars().for_each(|letter| tags.add(Tag::new("letter", letter.to_string())));
    }
}

async fn is_hit(cache: &larder::Cache, letters: &'static str) -> bool {
    let load = || async { Ok::<_, Infallible>(1) };
    let read = cache.get_or_load(&Letters(letters), load).await.expect("loads").source.is_hit();
    filled(cache, &Letters(letters)).await;
    read
}

#[tokio::test]
async fn a_tag_takes_its_own_entries_and_no_others() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        for letters in ["xy", "yz", "xz"] {
            assert!(!is_hit(&cache, letters).await);
        }
        cache.invalidate(Tag::new("letter", "x")).await;
        assert!(is_hit(&cache, "yz").await, "{tiers:?}");
        assert!(!is_hit(&cache, "xy").await && !is_hit(&cache, "xz").await, "{tiers:?}");
        assert!(is_hit(&cache, "xy").await, "{tiers:?}: an entry made after the removal is served");
    }
}

#[tokio::test]
async fn an_unknown_tag_affects_nothing() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        is_hit(&cache, "x").await;
        assert_eq!(cache.invalidate(Tag::new("letter", "unknown")).await, Ack::Applied);
        assert_eq!(cache.invalidate(Names::new()).await, Ack::Applied);
        assert!(is_hit(&cache, "x").await, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_namespace_and_everything_can_be_cleared() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        for names in [Names::new().namespace("docs"), Names::everything()] {
            is_hit(&cache, "x").await;
            assert!(is_hit(&cache, "x").await);
            cache.invalidate(Names::new().namespace("others")).await;
            assert!(is_hit(&cache, "x").await, "{tiers:?}");
            cache.invalidate(names).await;
            assert!(!is_hit(&cache, "x").await, "{tiers:?}");
        }
    }
}

#[tokio::test]
async fn an_invalidated_negative_entry_is_looked_up_again() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        let missing = || async { Ok::<Option<crate::support::Doc>, Infallible>(None) };
        cache.find_or_load(&crate::support::DocKey(5), missing).await.expect("loads");
        cache.invalidate(doc(5)).await;
        let there =
            || async { Ok::<_, Infallible>(Some(crate::support::Doc { id: 5, version: 1 })) };
        let read = cache.find_or_load(&crate::support::DocKey(5), there).await.expect("loads");
        assert!(read.value.is_some(), "{tiers:?}");
    }
}

// Laravel #24603, lada-cache #124: the cost of a tag grows with its entries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_with_ten_thousand_entries_is_invalidated_in_a_constant_number_of_commands() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
    for ids in (0..10_000).collect::<Vec<i64>>().chunks(100) {
        let reads = ids.iter().map(|&id| database.read(&cache, id));
        futures_util::future::join_all(reads).await;
    }
    // A read does not wait for its fill. A lease marker has 18 bytes.
    let count = "local n = 0 for _, key in ipairs(redis.call('KEYS', 't:doc:detail@1:*')) do \
        if redis.call('STRLEN', key) > 18 then n = n + 1 end end return n";
    let are_filled = async || redis.command::<u64>(&["EVAL", count, "0"]).await == 10_000;
    eventually("all are filled", are_filled).await;
    let said = without_a_pause(async || {
        let monitor = Monitor::start(&redis);
        cache.invalidate(Tag::named("docs")).await;
        monitor.until("\"PUBLISH\"").await
    })
    .await;
    let calls = |command: &str| said.matches(&format!("lua] \"{command}\"")).count();
    let is_invalidation = |line: &&str| line.contains("\"EVALSHA\"") && line.contains("t:~seq");
    let scripts = said.lines().filter(is_invalidation).count();
    assert_eq!((scripts, calls("UNLINK")), (1, 1), "{said}");
    for slow in ["SCAN", "KEYS", "DEL", "SMEMBERS"] {
        assert!(!said.contains(&format!("\"{slow}\"")), "{said}");
    }
    database.write();
    for id in [0, 4_999, 9_999] {
        assert_eq!(database.read(&cache, id).await.value.version, 1);
    }
}

#[tokio::test]
async fn a_lazy_tag_counts_only_after_the_soft_ttl() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let clock = Clock::manual();
        let long_l1 = PolicyOverride { l1: Some(Duration::from_secs(120)), ..Default::default() };
        let builder = tiers.builder(&redis).clock(clock.clone()).policy_override("docs", long_l1);
        let (cache, database) = (built(builder).await, Database::default());
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        database.write();
        cache.invalidate(Tag::new("summary", 1)).await;
        assert_eq!(database.read(&cache, 1).await.value.version, 0, "{tiers:?}: young enough");
        clock.advance(Duration::from_secs(70));
        assert_eq!(database.read(&cache, 1).await.value.version, 1, "{tiers:?}: not served stale");
    }
}

#[tokio::test]
async fn a_lost_generation_is_a_miss_and_never_revives_an_entry() {
    let redis = Redis::start().await;
    for name in ["t:~g:t:doc:1", "t:~g:k:doc:detail:1", "t:~g:n:docs", "t:~g:r"] {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        assert_eq!(database.read(&cache, 1).await.source, Source::L2);
        redis.command::<()>(&["DEL", name]).await;
        assert_eq!(database.read(&cache, 1).await.source, Source::Loader, "{name}");
    }
}

#[tokio::test]
async fn the_bookkeeping_of_tags_does_not_outlive_the_entries() {
    let redis = Redis::start().await;
    let short = PolicyOverride {
        soft: Some(Duration::from_millis(50)),
        hard: Some(Duration::from_millis(100)),
        ..Default::default()
    };
    let cache = built(Tiers::L2.builder(&redis).policy_override("docs", short)).await;
    let database = Database::default();
    for id in 0..100 {
        database.read(&cache, id).await;
    }
    cache.invalidate(Tag::named("docs")).await;
    // Generations were made for the key type's own 30 s of negative life.
    let lives: Vec<i64> = {
        let mut lives = vec![];
        for key in redis.command::<Vec<String>>(&["KEYS", "t:~g:*"]).await {
            lives.push(redis.command(&["PTTL", &key]).await);
        }
        lives
    };
    assert!(lives.iter().all(|&ms| ms > 0 && ms <= 60_000), "{lives:?}");
}

#[tokio::test]
async fn one_invalidation_takes_many_names_in_one_script() {
    let redis = Redis::start().await;
    let cache = Tiers::Both.cache(&redis).await;
    let scripts = without_a_pause(async || {
        let before = redis.calls("evalsha").await;
        let names: Names = (0..50).map(doc).collect();
        assert_eq!(cache.invalidate(names.key(&crate::support::DocKey(1))).await, Ack::Applied);
        redis.calls("evalsha").await - before
    })
    .await;
    assert_eq!(scripts, 1);
}

#[tokio::test]
async fn a_cancelled_invalidation_is_applied_all_the_same() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::Both.cache(&redis).await, Database::default());
    database.read(&cache, 1).await;
    database.write();
    assert_eq!(cache.invalidate(doc(1)).now_or_never(), None, "dropped at its first await");
    let is_seen = async || database.read(&cache, 1).await.value.version == 1;
    eventually("the write is seen", is_seen).await;
    until("nothing is pending", || cache.stats().pending_invalidations == 0).await;
}
