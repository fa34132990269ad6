//! Holes that this library had once. Each test failed before its fix.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::{
    Ack, Cache, CacheKey, Clock, KeyWriter, L2State, Loaded, Policy, PolicyOverride, Public,
    Source, Tag,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::support::{
    Database, Doc, DocKey, Redis, Tiers, built, counted, doc, eventually, stored, until,
};

#[tokio::test]
async fn a_lazy_invalidation_is_not_forgotten_when_l1_is_refilled_from_redis() {
    let redis = Redis::start().await;
    let clock = Clock::manual();
    let forty_seconds = PolicyOverride { l1: Some(Duration::from_secs(40)), ..Default::default() };
    let builder = Tiers::Both.builder(&redis).clock(clock.clone());
    let (cache, database) =
        (built(builder.policy_override("docs", forty_seconds)).await, Database::default());
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    database.write();
    assert_eq!(cache.invalidate(Tag::new("summary", 1)).await, Ack::Applied);
    clock.advance(Duration::from_secs(45)); // over for L1, young for Redis
    assert_eq!(database.read(&cache, 1).await.source, Source::L2);
    clock.advance(Duration::from_secs(25)); // past the soft TTL
    assert_eq!(database.read(&cache, 1).await.value.version, 1);
}

#[tokio::test]
async fn a_stale_value_from_redis_is_not_handed_on_while_its_refresh_loads() {
    let redis = Redis::start().await;
    let clock = Clock::manual();
    let node = || async { built(Tiers::L2.builder(&redis).clock(clock.clone())).await };
    let (a, b, database) = (node().await, node().await, Database::default());
    database.read(&a, 1).await;
    stored(&a, 1).await;
    clock.advance(Duration::from_secs(70));
    let slow = Database { delay: Duration::from_secs(2), ..database.clone() };
    assert!(slow.read(&a, 1).await.is_stale);
    until("the refresh has begun", || database.loads() == 2).await;
    database.write();
    assert_eq!(b.invalidate(doc(1)).await, Ack::Applied);
    assert_eq!(database.read(&a, 1).await.value.version, 1);
}

#[tokio::test]
async fn a_read_does_not_wait_for_a_refresh_while_redis_has_a_servable_value() {
    let redis = Redis::start().await;
    let clock = Clock::manual();
    let over_soon = PolicyOverride { l1: Some(Duration::from_secs(75)), ..Default::default() };
    let builder = Tiers::Both.builder(&redis).clock(clock.clone());
    let (cache, database) =
        (built(builder.policy_override("docs", over_soon)).await, Database::default());
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    clock.advance(Duration::from_secs(70));
    let endless = || async { std::future::pending::<Result<Doc, Infallible>>().await };
    assert!(cache.get_or_load(&DocKey(1), endless).await.expect("a hit").is_stale);
    until("the refresh has begun", || counted(&cache).loads == 2).await;
    clock.advance(Duration::from_secs(10)); // L1 forgets; Redis keeps it until 120 s
    assert_eq!(database.read(&cache, 1).await.source, Source::L2);
    assert_eq!(counted(&cache).load_errors, 0, "the refresh has not come to its end");
}

#[tokio::test]
async fn a_connection_to_a_replica_is_refused_so_that_its_promotion_shows() {
    let (mut master, replica) = (Redis::start().await, Redis::start().await);
    let port = master.port().to_string();
    replica.command::<()>(&["REPLICAOF", "127.0.0.1", &port]).await;
    let (a, database) = (Tiers::L2.cache(&master).await, Database::default());
    database.read(&a, 1).await;
    wait_for(&replica, "t:doc:detail@1:1").await;
    replica.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await; // the link breaks
    let b = Tiers::L2.builder(&replica).build().expect("valid"); // the address has moved
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(b.stats().l2, L2State::Down);
    database.write();
    assert_eq!(a.invalidate(doc(1)).await, Ack::Applied);
    master.kill();
    replica.command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    until("the promoted server is used", || b.stats().l2 == L2State::Up).await;
    assert_eq!(database.read(&b, 1).await.value.version, 1, "the revived value is another epoch's");
}

async fn wait_for(redis: &Redis, key: &str) {
    for _ in 0..1_000 {
        // A lease marker has 18 bytes.
        if redis.command::<u64>(&["STRLEN", key]).await > 18 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{key} did not arrive");
}

#[tokio::test]
async fn a_promotion_under_a_living_connection_is_noticed() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::Both.cache(&redis).await, Database::default());
    database.read(&cache, 1).await;
    redis.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    redis.command::<()>(&["REPLICAOF", "NO", "ONE"]).await; // another data set by its identity
    for _ in 0..500 {
        if database.read(&cache, 1).await.source != Source::L1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("L1 was not flushed");
}

#[tokio::test]
async fn a_demoted_redis_is_not_connected_to_in_a_storm() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
    redis.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    redis.command::<()>(&["CONFIG", "RESETSTAT"]).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        database.read(&cache, 1).await;
    }
    let info: String = redis.command(&["INFO", "stats"]).await;
    let connections =
        info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    let connections: u64 = connections.and_then(|n| n.trim().parse().ok()).expect("a number");
    assert!(connections < 20, "{connections} connections in a second");
}

#[tokio::test]
async fn a_master_that_may_not_write_is_left_by_processes_that_only_read() {
    let redis = Redis::start().await;
    let cache = Tiers::L2.cache(&redis).await;
    // Its replicas have gone over to another master, which takes the invalidations now.
    redis.command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    until("redis is left", || cache.stats().l2 == L2State::Down).await;
    tokio::time::sleep(Duration::from_millis(700)).await; // some attempts to connect
    assert_eq!(cache.stats().l2, L2State::Down);
    redis.command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    until("redis is used", || cache.stats().l2 == L2State::Up).await;
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_does_not_queue_the_next_invalidation() {
    let redis = Redis::start().await;
    let cache = Tiers::Both.cache(&redis).await;
    redis.command::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(cache.invalidate(doc(1)).await, Ack::Applied);
}

#[tokio::test]
async fn a_foreign_generation_is_removed_so_that_its_keys_are_filled_again() {
    let redis = Redis::start().await;
    for command in [["LPUSH", "t:~g:r", "x"], ["SET", "t:~g:r", "x"]] {
        redis.command::<()>(&["FLUSHALL"]).await;
        redis.command::<redis::Value>(&command).await;
        let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
        let is_filled = async || database.read(&cache, 1).await.source == Source::L2;
        eventually("it is filled", is_filled).await;
        assert_eq!(database.loads(), 2, "{command:?}");
    }
}

#[tokio::test]
async fn a_foreign_refresh_claim_does_not_keep_a_value_stale() {
    let redis = Redis::start().await;
    let clock = Clock::manual();
    let cache = built(Tiers::L2.builder(&redis).clock(clock.clone())).await;
    let database = Database::default();
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    redis.command::<i64>(&["LPUSH", "t:~r:doc:detail@1:1", "x"]).await;
    clock.advance(Duration::from_secs(70));
    let is_new = async || !database.read(&cache, 1).await.is_stale;
    eventually("it is refreshed", is_new).await;
}

#[tokio::test]
async fn a_lease_is_released_and_a_value_forgotten_after_a_script_flush_too() {
    let redis = Redis::start().await;
    let clock = Clock::manual();
    let cache = built(Tiers::L2.builder(&redis).clock(clock.clone())).await;
    let failing_after_a_flush = {
        let url = redis.url();
        move || async move {
            let client = redis::Client::open(url).expect("valid");
            let mut connection = client.get_multiplexed_async_connection().await.expect("up");
            redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.expect("flush");
            Err::<Doc, _>("the database is down")
        }
    };
    assert!(cache.get_or_load(&DocKey(1), failing_after_a_flush).await.is_err());
    let is_released = async || redis.command::<i64>(&["EXISTS", "t:doc:detail@1:1"]).await == 0;
    eventually("the lease is released", is_released).await;

    Database::default().read(&cache, 1).await;
    stored(&cache, 1).await;
    clock.advance(Duration::from_secs(70));
    redis.command::<()>(&["SCRIPT", "FLUSH"]).await;
    let skip = || async { Ok::<_, Infallible>(Loaded::uncached(Doc { id: 1, version: 7 })) };
    assert!(cache.get_or_load(&DocKey(1), skip).await.expect("hits").is_stale);
    let is_forgotten = async || cache.get(&DocKey(1)).await.is_none();
    eventually("the value is forgotten", is_forgotten).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_that_run_at_a_time_are_bounded() {
    let cache = Cache::builder().most_loads(10).build().expect("valid");
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let reads = (0..100).map(|id| {
        let (cache, running, most) = (cache.clone(), Arc::clone(&running), Arc::clone(&most));
        async move {
            let load = move || async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                running.fetch_sub(1, SeqCst);
                Ok::<_, Infallible>(Doc { id, version: 0 })
            };
            cache.get_or_load(&DocKey(id), load).await.is_ok()
        }
    });
    assert!(futures_util::future::join_all(reads).await.into_iter().all(|is_ok| is_ok));
    assert_eq!(most.load(SeqCst), 10);
}

#[tokio::test]
async fn an_overtaken_load_does_not_push_the_younger_value_out_of_l1() {
    let (cache, database) = (Cache::builder().build().expect("valid"), Database::default());
    let slow = Database { delay: Duration::from_millis(100), ..database.clone() };
    let old = tokio::spawn({
        let cache = cache.clone();
        async move { slow.read(&cache, 1).await.value.version }
    });
    until("the old load has begun", || database.loads() == 1).await;
    database.write();
    cache.invalidate(doc(1)).await;
    database.read(&cache, 1).await;
    assert_eq!(old.await.expect("no panic"), 0);
    assert_eq!(database.read(&cache, 1).await.source, Source::L1);
}

/// A value whose reading panics for some bytes.
#[derive(Debug, Serialize)]
struct Picky(u8);

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let byte = u8::deserialize(deserializer)?;
        assert!(byte != 7, "on purpose");
        Ok(Self(byte))
    }
}

struct PickyKey;

impl CacheKey for PickyKey {
    type Value = Picky;
    type Scope = Public;
    const NAMESPACE: &'static str = "docs";
    const NAME: &'static str = "picky";
    const VERSION: u16 = 1;
    fn policy() -> Policy {
        // A lease that covers an endless load must not overflow either.
        Policy::new(Duration::from_secs(60), Duration::from_secs(60)).load_timeout(Duration::MAX)
    }
    fn segments(&self, _: &mut KeyWriter) {}
}

#[tokio::test]
async fn a_value_that_panics_while_it_is_read_is_a_miss() {
    let redis = Redis::start().await;
    let cache = Tiers::L2.cache(&redis).await;
    for _ in 0..2 {
        let read = cache.get_or_load(&PickyKey, || async { Ok::<_, Infallible>(Picky(7)) }).await;
        assert_eq!(read.expect("the loader works").value.0, 7);
        // A lease marker has 18 bytes.
        let is_stored = async || redis.command::<u64>(&["STRLEN", "t:picky@1"]).await > 18;
        eventually("it is stored", is_stored).await;
    }
    assert_eq!(counted(&cache).corrupt, 1);
}

#[tokio::test]
async fn extreme_settings_neither_panic_nor_stop_the_cache() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let builder = tiers.builder(&redis).max_entry_bytes(usize::MAX).op_timeout(Duration::MAX);
        let builder = builder.most_refreshes(usize::MAX).most_loads(usize::MAX);
        let (cache, database) = (built(builder.wait_max(Duration::MAX)).await, Database::default());
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        assert!(database.read(&cache, 1).await.source.is_hit(), "{tiers:?}");
    }
    assert!(Cache::builder().prefix("p".repeat(200)).build().is_err());
}

#[tokio::test]
async fn a_restart_of_redis_is_not_counted_as_corruption() {
    let mut redis = Redis::start().await;
    let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    redis.command::<()>(&["SAVE"]).await;
    redis.kill();
    redis.restart().await;
    until("redis is used", || {
        let _ = futures_util::FutureExt::now_or_never(cache.ping_redis());
        cache.stats().l2 == L2State::Up
    })
    .await;
    let fresh = Tiers::L2.cache(&redis).await;
    assert_eq!(database.read(&fresh, 1).await.source, Source::Loader);
    assert_eq!(counted(&fresh).corrupt, 0);
}

#[tokio::test]
async fn more_names_than_a_script_should_take_are_everything() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::Both.cache(&redis).await, Database::default());
    database.read(&cache, 1).await;
    database.write();
    let others: larder::Names = (100..20_000).map(doc).collect();
    assert_eq!(cache.invalidate(others).await, Ack::Applied);
    assert_eq!(database.read(&cache, 1).await.value.version, 1);
}
