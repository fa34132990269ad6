//! What others may put under our keys: each is a counted miss and is overwritten.

use larder::Source;

use crate::support::{Database, Redis, Tiers, built, counted};

const KEY: &str = "t:doc:detail@1:1";

async fn set(redis: &Redis, bytes: &[u8]) {
    let client = redis::Client::open(redis.url()).expect("a valid URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("redis is up");
    redis::cmd("SET").arg(KEY).arg(bytes).exec_async(&mut connection).await.expect("set");
}

async fn get(redis: &Redis) -> Vec<u8> {
    for _ in 0..500 {
        let bytes: Vec<u8> = redis.command(&["GET", KEY]).await;
        if bytes.len() > 18 {
            return bytes;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("no value was stored")
}

#[tokio::test]
async fn garbage_truncated_and_altered_bytes_are_misses_and_are_overwritten() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
    database.read(&cache, 1).await;
    let good = get(&redis).await;
    let mut flipped = good.clone();
    flipped[good.len() - 12] ^= 1;
    let mut newer_format = good.clone();
    newer_format[1] = 2;
    let bad: [&[u8]; 8] = [
        b"garbage",
        b"V",
        b"\x00\xff\xfe",
        b"{\"title\":\"json of another program\"}",
        &good[..good.len() / 2],
        &good[..good.len() - 1],
        &flipped,
        &newer_format,
    ];
    for (at, bytes) in bad.iter().enumerate() {
        set(&redis, bytes).await;
        let before = counted(&cache);
        let read = database.read(&cache, 1).await;
        assert_eq!(read.source, Source::Loader, "case {at}");
        let after = counted(&cache);
        assert_eq!(
            (after.corrupt, after.misses),
            (before.corrupt + 1, before.misses + 1),
            "case {at}"
        );
        for _ in 0..500 {
            if database.read(&cache, 1).await.source == Source::L2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        assert_eq!(database.read(&cache, 1).await.source, Source::L2, "case {at}: overwritten");
    }
}

// ChatGPT 2023-03-20, redis-rs #1252: the answer to another question.
#[tokio::test]
async fn another_keys_value_under_our_key_is_never_served() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
    database.read(&cache, 1).await;
    get(&redis).await;
    redis.command::<()>(&["COPY", KEY, "t:doc:detail@1:2"]).await;
    assert_eq!(database.read(&cache, 2).await.value.id, 2);
    redis.command::<()>(&["COPY", KEY, "other:doc:detail@1:1"]).await;
}

#[tokio::test]
async fn another_type_under_our_keys_is_replaced() {
    let redis = Redis::start().await;
    for key in [KEY, "t:~g:t:doc:1", "t:~g:r"] {
        redis.command::<()>(&["FLUSHALL"]).await;
        redis.command::<i64>(&["LPUSH", key, "x"]).await;
        let (cache, database) = (Tiers::L2.cache(&redis).await, Database::default());
        database.read(&cache, 1).await;
        assert_eq!(database.loads(), 1, "{key}");
        cache.invalidate(crate::support::doc(1)).await;
        cache.invalidate(larder::Names::everything()).await;
        database.write();
        assert_eq!(database.read(&cache, 1).await.value.version, 1, "{key}");
    }
    redis.command::<i64>(&["DEL", "t:~seq"]).await;
    redis.command::<i64>(&["LPUSH", "t:~seq", "x"]).await;
    let cache = Tiers::L2.cache(&redis).await;
    assert_eq!(cache.invalidate(crate::support::doc(1)).await, larder::Ack::Applied);
}

#[tokio::test]
async fn a_huge_foreign_value_is_a_miss() {
    let redis = Redis::start().await;
    redis.command::<i64>(&["SETRANGE", KEY, "99999999", "x"]).await;
    let builder = Tiers::L2.builder(&redis).op_timeout(std::time::Duration::from_secs(5));
    let (cache, database) = (built(builder).await, Database::default());
    assert_eq!(database.read(&cache, 1).await.source, Source::Loader);
    assert!(get(&redis).await.len() < 1000);
}
