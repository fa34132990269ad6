//! One part of the protocol each, in a test that fails without it: see scripts/bugs.

use std::time::Duration;

use larder::{Names, Source, Tag};

use crate::{
    monitor::Monitor,
    support::{Database, DocKey, Redis, Tiers, doc, stored, until},
};

/// Reads while `meanwhile` happens between the database's answer and the end of the load.
async fn read_overtaken_by<F>(
    cache: &larder::Cache,
    database: &Database,
    meanwhile: impl FnOnce() -> F + Send + 'static,
) -> u64
where
    F: Future<Output = ()> + Send + 'static,
{
    let database = database.clone();
    let load = move || async move {
        let loaded = database.load(1).await;
        meanwhile().await;
        loaded
    };
    let read = cache.get_or_load(&DocKey(1), load).await.expect("it loads").value.version;
    tokio::time::sleep(Duration::from_millis(50)).await; // the fill
    read
}

#[tokio::test]
async fn the_lease_is_granted_before_the_loader_reads() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (reader, writer) = (Tiers::L2.cache(&redis).await, Tiers::L2.cache(&redis).await);
    let (written, to_invalidate) = (database.clone(), writer.clone());
    let overtaken = read_overtaken_by(&reader, &database, move || async move {
        written.write();
        to_invalidate.invalidate(Names::new().key(&DocKey(1))).await;
    })
    .await;
    assert_eq!(overtaken, 0);
    assert_eq!(database.read(&writer, 1).await.value.version, 1);
}

#[tokio::test]
async fn an_overtaken_load_leaves_no_value_under_an_invalidated_key() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (reader, writer) = (Tiers::L2.cache(&redis).await, Tiers::L2.cache(&redis).await);
    read_overtaken_by(&reader, &database, move || async move {
        writer.invalidate(Names::new().key(&DocKey(1))).await;
    })
    .await;
    let keys: Vec<String> = redis.command(&["KEYS", "t:doc*"]).await;
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test]
async fn generations_are_those_from_before_the_load() {
    let (redis, database) = (Redis::start().await, Database::default());
    let (reader, writer) = (Tiers::L2.cache(&redis).await, Tiers::L2.cache(&redis).await);
    let (written, other) = (database.clone(), writer.clone());
    read_overtaken_by(&reader, &database, move || async move {
        written.write();
        other.invalidate(Tag::named("docs")).await;
        written.read(&other, 2).await; // gives the tag another generation
    })
    .await;
    assert_eq!(database.read(&writer, 1).await.value.version, 1);
}

#[tokio::test]
async fn a_dead_value_is_replaced_by_one_load() {
    let (redis, database) = (Redis::start().await, Database::default());
    let mut nodes = Vec::new();
    for _ in 0..8 {
        nodes.push(Tiers::L2.cache(&redis).await);
    }
    for round in 0..5 {
        database.read(&nodes[0], 1).await;
        stored(&nodes[0], 1).await;
        nodes[0].invalidate(doc(1)).await;
        let before = database.loads();
        let slow = Database { delay: Duration::from_millis(300), ..database.clone() };
        let reads = nodes.iter().map(|node| slow.read(node, 1));
        futures_util::future::join_all(reads).await;
        assert_eq!(database.loads() - before, 1, "round {round}");
    }
}

#[tokio::test]
async fn redis_executes_a_look_and_an_invalidation_in_the_order_of_the_protocol() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::L2.cache(&redis).await;
    let monitor = Monitor::start(&redis);
    database.read(&cache, 1).await;
    cache.invalidate(doc(1)).await;
    let said = monitor.until("PUBLISH").await;
    let at = |command: &str| said.find(&format!("\"{command}\"")).unwrap_or(usize::MAX);
    assert!(at("GETRANGE") < at("MGET"), "the value, then its generations: {said}");
    let publish = said.lines().find(|line| line.contains("\"PUBLISH\"")).unwrap_or_default();
    assert!(publish.contains("lua]"), "only the script publishes: {publish}");
}

/// Whoever finds a value dead leaves it to the fill: one that is removed too late could be younger.
#[tokio::test]
async fn a_dead_value_is_replaced_and_never_removed_by_whoever_reads_it() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::L2.cache(&redis).await;
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    // A tag leaves the value where it is, and only its generation goes.
    cache.invalidate(doc(1)).await;
    let monitor = Monitor::start(&redis);
    assert_eq!(database.read(&cache, 1).await.source, Source::Loader);
    let said = monitor.until("\"PEXPIRE\"").await;
    assert!(said.contains("\"GETRANGE\" \"t:doc:detail@1:1\""), "{said}");
    let removes = |line: &&str| {
        ["\"UNLINK\"", "\"DEL\"", "\"GETDEL\""].iter().any(|command| line.contains(command))
            && line.contains("\"t:doc:detail@1:1\"")
    };
    assert_eq!(said.lines().find(removes), None);
}

/// A Redis that may not write proves nothing, though it answers.
#[tokio::test]
async fn a_redis_that_takes_no_writes_closes_the_window() {
    let (redis, database) = (Redis::start().await, Database::default());
    let cache = Tiers::Both.cache(&redis).await;
    database.read(&cache, 1).await;
    redis.command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    until("the window is closed", || !cache.stats().backplane.is_fresh).await;
    assert_ne!(database.read(&cache, 1).await.source, Source::L1);
}
