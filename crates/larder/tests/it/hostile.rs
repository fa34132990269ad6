//! What an application may do that it should not: empty and huge names, code of its own that panics
//! or comes back into the cache, servers that are not what they should be, the end of a runtime.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use larder::{
    Ack, BoxFuture, Cache, CacheKey, KeyWriter, L2State, Names, Outbox, OutboxError, OutboxRow,
    Policy, Public, Source, Tag, Tags,
};
use serde::{Deserialize, Serialize, Serializer};
use tokio::{runtime::Runtime, sync::Notify};

use crate::{
    logged::log,
    support::{
        Database, Doc, DocKey, Redis, Stopwatch, Tiers, built, counted, doc, eventually, filled,
        in_l1, stored, until,
    },
};

/// A key with any segment and any tag.
struct Any {
    segment: &'static str,
    tag: Tag,
}

impl CacheKey for Any {
    type Value = u32;
    type Scope = Public;
    const NAMESPACE: &'static str = "";
    const NAME: &'static str = "any";
    const VERSION: u16 = 1;
    fn policy() -> Policy {
        Policy::new(Duration::from_secs(60), Duration::from_secs(120))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.segment);
    }
    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(self.tag.clone());
    }
}

async fn is_hit(cache: &Cache, key: &Any) -> bool {
    let read = cache.get_or_load(key, || async { Ok::<_, Infallible>(1) }).await.expect("loads");
    filled(cache, key).await;
    read.source.is_hit()
}

#[tokio::test]
async fn empty_segments_tags_namespaces_and_prefixes_are_names_like_any_other() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = built(tiers.builder(&redis).prefix("")).await;
        let empty = || Any { segment: "", tag: Tag::named("") };
        let named = || Any { segment: "x", tag: Tag::named("x") };
        for names in [Tag::named("").into(), Names::new().key(&empty()), Tag::new("", "").into()] {
            let is_its_own = names != Tag::new("", "").into();
            is_hit(&cache, &empty()).await;
            is_hit(&cache, &named()).await;
            assert!(is_hit(&cache, &empty()).await && is_hit(&cache, &named()).await);
            assert_eq!(cache.invalidate(names).await, Ack::Applied);
            assert!(is_hit(&cache, &named()).await, "{tiers:?}");
            assert_eq!(is_hit(&cache, &empty()).await, !is_its_own, "{tiers:?}");
        }
        cache.invalidate(Names::new().namespace("")).await;
        assert!(!is_hit(&cache, &empty()).await && !is_hit(&cache, &named()).await, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_tag_of_a_million_bytes_takes_its_own_entries_and_no_others() {
    let redis = Redis::start().await;
    let (long, other) = ("x".repeat(1_000_000), "x".repeat(999_999) + "y");
    let named: &'static str = Box::leak(long.clone().into_boxed_str());
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        for tag in [Tag::new("long", &long), Tag::named(named)] {
            let huge = || Any { segment: "huge", tag: tag.clone() };
            let alike = || Any { segment: "alike", tag: Tag::new("long", &other) };
            is_hit(&cache, &huge()).await;
            is_hit(&cache, &alike()).await;
            assert!(is_hit(&cache, &huge()).await && is_hit(&cache, &alike()).await, "{tiers:?}");
            assert_eq!(cache.invalidate(tag.clone()).await, Ack::Applied, "{tiers:?}");
            assert!(is_hit(&cache, &alike()).await && !is_hit(&cache, &huge()).await, "{tiers:?}");
            cache.invalidate(Names::everything()).await;
        }
        let names = Names::from(Tag::named(named));
        assert_eq!(Names::parse(&names.encode()), Ok(names));
    }
}

/// A value that cannot be written for Redis; L1 has nothing to do with that.
#[derive(Debug, Deserialize)]
struct Unwritable(u8);

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            7 => panic!("on purpose"),
            8 => Err(serde::ser::Error::custom("on purpose")),
            other => serializer.serialize_u8(other),
        }
    }
}

struct UnwritableKey(u8);

impl CacheKey for UnwritableKey {
    type Value = Unwritable;
    type Scope = Public;
    const NAMESPACE: &'static str = "docs";
    const NAME: &'static str = "unwritable";
    const VERSION: u16 = 1;
    fn policy() -> Policy {
        Policy::new(Duration::from_secs(60), Duration::from_secs(60))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }
    fn weigh(_: &Unwritable) -> usize {
        1
    }
}

#[tokio::test]
async fn a_value_that_panics_or_fails_while_it_is_written_leaves_no_lease() {
    let redis = Redis::start().await;
    for tiers in [Tiers::L2, Tiers::Both] {
        let (logged, _guard) = log();
        let cache = tiers.cache(&redis).await;
        for value in [7, 8] {
            let load = move || async move { Ok::<_, Infallible>(Unwritable(value)) };
            let read = cache.get_or_load(&UnwritableKey(value), load).await;
            assert_eq!(read.expect("the loader works").value.0, value);
            let key = format!("t:unwritable@1:{value}");
            let is_released = async || redis.command::<i64>(&["EXISTS", &key]).await == 0;
            eventually("the lease is released", is_released).await;
        }
        assert_eq!(counted(&cache).fills_refused, 2, "{tiers:?}");
        assert_eq!(logged.lines(&["WARN", "cannot be encoded"]), 2, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_loader_that_invalidates_its_own_key_ends_and_stores_nothing() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        let reads = (0..10).map(|_| {
            let (inner, database) = (cache.clone(), database.clone());
            let load = move || async move {
                let loaded = database.load(1).await;
                inner.invalidate(Names::new().key(&DocKey(1))).await;
                loaded
            };
            cache.get_or_load(&DocKey(1), load)
        });
        for read in futures_util::future::join_all(reads).await {
            assert_eq!(read.expect("loads").value.version, 0, "{tiers:?}");
        }
        let written = database.write();
        assert_eq!(database.read(&cache, 1).await.value.version, written, "{tiers:?}: not stored");
    }
}

/// Two key types that share a name by mistake.
struct Namesake;

impl CacheKey for Namesake {
    type Value = String;
    type Scope = Public;
    const NAMESPACE: &'static str = "docs";
    const NAME: &'static str = DocKey::NAME;
    const VERSION: u16 = DocKey::VERSION;
    fn policy() -> Policy {
        DocKey::policy()
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(1);
    }
}

#[tokio::test]
async fn two_key_types_with_one_name_never_get_each_others_values() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        let text = || async { Ok::<_, Infallible>("text".to_owned()) };
        for _ in 0..5 {
            let slow = Database { delay: Duration::from_millis(5), ..database.clone() };
            let (doc, namesake) =
                tokio::join!(slow.read(&cache, 1), cache.get_or_load(&Namesake, text));
            assert_eq!(doc.value.id, 1, "{tiers:?}");
            assert_eq!(*namesake.expect("loads").value, "text", "{tiers:?}");
        }
    }
}

#[tokio::test]
async fn a_cache_that_nobody_holds_any_more_ends_its_load_and_leaves_redis() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::Both.cache(&redis).await, Database::default());
    let goes_on = Arc::new(Notify::new());
    let (loading, waits) = (database.clone(), Arc::clone(&goes_on));
    let reading = tokio::spawn(async move {
        let load = move || async move {
            let loaded = loading.load(1).await;
            waits.notified().await;
            loaded
        };
        cache.get_or_load(&DocKey(1), load).await.expect("loads").value.version
    });
    until("the load has begun", || database.loads() == 1).await;
    reading.abort(); // and with it the only handle
    assert!(reading.await.is_err());
    goes_on.notify_one();
    let has_left = async || {
        let clients: String = redis.command(&["CLIENT", "LIST"]).await;
        clients.lines().count() == 1 // the one who asks
    };
    eventually("its connections are closed", has_left).await;
    let next = Tiers::Both.cache(&redis).await;
    assert_eq!(database.read(&next, 1).await.source, Source::L2, "it was stored");
}

/// The runtime in which the cache was built has its connections and some of its flights.
#[test]
fn when_one_of_two_runtimes_shuts_down_the_other_one_reads_and_writes_on() {
    let (builders, others) = (Runtime::new().expect("threads"), Runtime::new().expect("threads"));
    let (redis, cache) = builders.block_on(async {
        let redis = Redis::start().await;
        let cache = built(Tiers::Both.hasty_builder(&redis)).await;
        (redis, cache)
    });
    let database = Database::default();
    let begun = Arc::new(Notify::new());
    let (leader, begins) = (cache.clone(), Arc::clone(&begun));
    builders.spawn(async move {
        let endless = move || async move {
            begins.notify_one();
            std::future::pending::<Result<Doc, Infallible>>().await
        };
        leader.get_or_load(&DocKey(1), endless).await.is_ok()
    });
    others.block_on(async {
        begun.notified().await;
        let joined = tokio::spawn({
            let (cache, database) = (cache.clone(), database.clone());
            async move { database.read(&cache, 1).await.value.version }
        });
        tokio::task::yield_now().await;
        builders.shutdown_background();
        let waited = Stopwatch::start();
        assert_eq!(joined.await.expect("no panic"), 0, "its own load, or it never ends");
        until("redis is given up", || {
            let _ = futures_util::FutureExt::now_or_never(cache.ping_redis());
            cache.stats().l2 == L2State::Down
        })
        .await;
        let written = database.write();
        assert_eq!(cache.invalidate(doc(1)).await, Ack::Queued);
        assert_eq!(database.read(&cache, 1).await.value.version, written);
        assert!(waited.elapsed() < Duration::from_secs(15), "{:?}", waited.elapsed());
    });
    drop(redis);
}

/// Proxies in front of Redis that know no HELLO: the backplane needs RESP3, the values do not.
#[tokio::test]
async fn a_server_that_speaks_resp2_only_is_read_and_never_trusted_by_l1() {
    let (logged, _guard) = log();
    let mut redis = Redis::start().await;
    redis.kill();
    redis.restart_with(&["--rename-command", "HELLO", "HOLA"]).await;
    redis.wait_until_it_answers().await;
    let cache = Tiers::Both.builder(&redis).build().expect("valid");
    let database = Database::default();
    until("redis is used", || cache.stats().l2 == L2State::Up).await;
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    for _ in 0..3 {
        assert_eq!(database.read(&cache, 1).await.source, Source::L2);
    }
    let written = database.write();
    assert_eq!(cache.invalidate(doc(1)).await, Ack::Applied);
    assert_eq!(database.read(&cache, 1).await.value.version, written);
    assert!(!cache.stats().backplane.is_fresh);
    until("it is said", || logged.lines(&["WARN", "backplane", "RESP2 only"]) == 1).await;
}

#[tokio::test]
async fn a_database_number_that_the_server_does_not_have_is_an_outage() {
    let redis = Redis::start().await;
    for number in ["99", "-1", "9223372036854775807"] {
        let (logged, _guard) = log();
        let url = format!("{}{number}", redis.url());
        let cache = Cache::builder().redis(&url).expect("a number").build().expect("valid");
        let database = Database::default();
        until("it is said", || logged.lines(&["WARN", "redis is", "no such database"]) == 1).await;
        assert_eq!(database.read(&cache, 1).await.source, Source::Loader, "{number}");
        assert_eq!(cache.invalidate(doc(1)).await, Ack::Queued, "{number}");
        assert_eq!(cache.stats().l2, L2State::Down, "{number}");
    }
    for number in ["9223372036854775808", "x", "1/2"] {
        let url = format!("{}{number}", redis.url());
        assert!(Cache::builder().redis(&url).is_err(), "{number}");
    }
}

/// An outbox with a bug, for a while.
#[derive(Clone, Default)]
struct Panicking {
    asked: Arc<AtomicUsize>,
}

const PANICS: usize = 3;

impl Outbox for Panicking {
    fn undone(&self, _: Duration, _: usize) -> BoxFuture<'_, Result<Vec<OutboxRow>, OutboxError>> {
        let asked = self.asked.fetch_add(1, SeqCst);
        assert!(asked != 0, "on purpose, before there is a future");
        Box::pin(async move {
            assert!(asked >= PANICS, "on purpose");
            Ok(Vec::new())
        })
    }

    fn mark_done(&self, _: Vec<i64>) -> BoxFuture<'_, Result<(), OutboxError>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn an_outbox_that_panics_is_asked_again_like_one_that_fails() {
    let redis = Redis::start().await;
    let outbox = Panicking::default();
    let cache = Tiers::Both.builder(&redis).outbox(outbox.clone()).build().expect("valid");
    let database = Database::default();
    assert_eq!(database.read(&cache, 1).await.source, Source::Loader);
    until("redis is used after the panics", || cache.stats().l2 == L2State::Up).await;
    assert!(outbox.asked.load(SeqCst) > PANICS);
}

#[tokio::test]
async fn a_cache_that_is_told_to_load_nothing_at_a_time_loads_one_at_a_time() {
    let cache = Cache::builder().most_loads(0).most_refreshes(0).build().expect("valid");
    let database = Database::default();
    assert_eq!(database.read(&cache, 1).await.source, Source::Loader);
}

/// It has the only turn and waits for another: both end, by their timeout.
#[tokio::test]
async fn a_loader_that_waits_for_a_turn_which_it_has_itself_ends_by_its_timeout() {
    let cache = Cache::builder().most_loads(1).build().expect("valid");
    let (inner, database) = (cache.clone(), Database::default());
    let nested = database.clone();
    let load = move || async move {
        let other = move || nested.load(2);
        let read = inner.get_or_load(&DocKey(2), other).await;
        read.map(|read| (*read.value).clone()).map_err(|error| error.is_timeout())
    };
    let error = cache.get_or_load(&DocKey(1), load).await.expect_err("it cannot end well");
    assert!(error.is_timeout() || error.as_loader() == Some(&true), "{error:?}");
    assert_eq!(database.read(&cache, 3).await.source, Source::Loader, "the turn is free again");
}

#[tokio::test]
async fn the_largest_l1_that_can_be_asked_for_is_built() {
    let cache = Cache::builder().l1_bytes(u64::MAX).max_entry_bytes(0).build().expect("valid");
    let database = Database::default();
    database.read(&cache, 1).await;
    assert_eq!(database.read(&cache, 1).await.source, Source::Loader, "nothing may be kept");
    let cache = Cache::builder().l1_bytes(u64::MAX).build().expect("valid");
    database.read(&cache, 1).await;
    in_l1(&cache, 1).await;
}
