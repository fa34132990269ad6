//! What is too large is delivered and not kept.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use larder::{Cache, CacheKey, KeyWriter, Policy, Public, Tag, Tags};

use crate::{
    logged::log,
    support::{Redis, Tiers, built, counted, eventually, filled, until},
};

struct Text(String, usize);

impl CacheKey for Text {
    type Value = String;
    type Scope = Public;
    const NAMESPACE: &'static str = "docs";
    const NAME: &'static str = "text";
    const VERSION: u16 = 1;
    fn policy() -> Policy {
        Policy::new(Duration::from_secs(60), Duration::from_secs(60))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(&self.0);
    }
    fn tags(&self, _: &Public, tags: &mut Tags) {
        (0..self.1).for_each(|tag| tags.add(Tag::new("t", tag)));
    }
}

async fn read(cache: &Cache, key: &Text, bytes: usize) -> bool {
    let load = move || async move { Ok::<_, Infallible>("x".repeat(bytes)) };
    let read = cache.get_or_load(key, load).await.expect("loads");
    assert_eq!(read.value.len(), bytes);
    read.source.is_hit()
}

/// The same for one that is kept.
async fn read_and_fill(cache: &Cache, key: &Text, bytes: usize) -> bool {
    let is_hit = read(cache, key, bytes).await;
    filled(cache, key).await;
    is_hit
}

#[tokio::test]
async fn a_value_over_the_size_cap_is_delivered_and_not_cached() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = built(tiers.builder(&redis).max_entry_bytes(10_000)).await;
        let (small, large) = (Text("small".into(), 0), Text("large".into(), 0));
        assert!(!read_and_fill(&cache, &small, 9_000).await);
        assert!(read(&cache, &small, 9_000).await, "{tiers:?}");
        for _ in 0..2 {
            assert!(!read(&cache, &large, 11_000).await, "{tiers:?}");
        }
        assert_eq!(counted(&cache).fills_refused, 2, "{tiers:?}");
        let is_released = async || redis.command::<i64>(&["EXISTS", "t:text@1:large"]).await == 0;
        eventually("the lease is released", is_released).await;
    }
}

#[tokio::test]
async fn a_key_over_the_length_cap_or_with_control_characters_is_loaded_and_not_cached() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let cache = tiers.cache(&redis).await;
        for key in ["k".repeat(300), "line\nbreak".into(), "nul\0".into()] {
            let key = Text(key, 0);
            assert!(!read(&cache, &key, 10).await && !read(&cache, &key, 10).await, "{tiers:?}");
        }
        assert_eq!(counted(&cache).uncacheable, 6, "{tiers:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_cached_is_said_in_the_log_once_for_each_load_and_without_its_key() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        let (logged, _guard) = log();
        let cache = built(tiers.builder(&redis).max_entry_bytes(10_000)).await;
        let (large, long) = (Text("private".into(), 0), Text("private".repeat(100), 0));
        for loads in 1..=2 {
            read(&cache, &large, 11_000).await;
            assert_eq!(logged.lines(&["WARN", "over the size cap"]), loads, "{tiers:?}");
        }
        read(&cache, &long, 10).await;
        assert_eq!(logged.lines(&["cannot be cached"]), 1, "{tiers:?}");
        let ours = logged.text();
        let mut ours = ours.lines().filter(|line| line.contains("larder"));
        assert!(!ours.any(|line| line.contains("private")), "{tiers:?}: a key is in the log");
    }
}

#[tokio::test]
async fn a_key_with_more_tags_than_an_entry_may_carry_is_not_cached() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        let (most, too_many) =
            (Text("a".into(), larder::MAX_TAGS), Text("b".into(), larder::MAX_TAGS + 1));
        assert!(
            !read_and_fill(&cache, &most, 10).await && read(&cache, &most, 10).await,
            "{tiers:?}"
        );
        assert!(
            !read(&cache, &too_many, 10).await && !read(&cache, &too_many, 10).await,
            "{tiers:?}"
        );
    }
}

#[tokio::test]
async fn l1_never_charges_more_than_its_bound() {
    let cache =
        Cache::builder().l1_bytes(1 << 20).max_entry_bytes(64 << 10).build().expect("valid");
    for round in 0..2_000_usize {
        let key = Text(format!("k{round}"), 2);
        let bytes = 100 + round * 37 % 60_000;
        let load = move || async move { Ok::<_, Infallible>("x".repeat(bytes)) };
        cache.get_or_load(&key, load).await.expect("loads");
        let l1 = cache.stats().l1;
        assert!(l1.bytes <= 1 << 20, "{l1:?} after {round}");
        assert_eq!(l1.capacity, 1 << 20);
    }
    assert!(cache.stats().l1.bytes > 1 << 19, "and it uses what it may: {:?}", cache.stats().l1);
}

#[tokio::test]
async fn an_unusable_configuration_is_an_error_that_quotes_no_secret() {
    let error = Cache::builder().redis("redis://user:hunter2@[bad").err().expect("not a URL");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(Cache::builder().redis("http://x").is_err());
    assert!(Cache::builder().l1_bytes(10).build().is_err());
}

/// Bytes under a value key in Redis, once it holds a value.
async fn stored_bytes(redis: &Redis, key: &str) -> u64 {
    let key = format!("t:text@1:{key}");
    loop {
        let bytes = redis.command::<u64>(&["STRLEN", &key]).await;
        if bytes > 18 {
            return bytes;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_large_value_is_compressed_in_redis_and_read_by_every_process() {
    let redis = Redis::start().await;
    let cache = Tiers::L2.cache(&redis).await;
    let plain = built(Tiers::L2.builder(&redis).compress_above(usize::MAX)).await;
    let (small, large) = (Text("small".into(), 0), Text("large".into(), 0));
    for (key, bytes) in [(&small, 8_000), (&large, 50_000)] {
        assert!(!read_and_fill(&cache, key, bytes).await);
        let stored = stored_bytes(&redis, &key.0).await;
        assert_eq!(stored < 8_000, bytes > 8 << 10, "{stored}");
        assert!(read(&cache, key, bytes).await && read(&plain, key, bytes).await);
    }
    let own = Text("plain".into(), 0);
    assert!(!read_and_fill(&plain, &own, 50_000).await);
    assert!(stored_bytes(&redis, &own.0).await > 50_000);
    assert!(read(&cache, &own, 50_000).await);
}

#[tokio::test]
async fn what_is_compressed_already_is_stored_as_it_is() {
    let redis = Redis::start().await;
    let cache = built(Tiers::L2.builder(&redis).compress_above(0)).await;
    let random: String = (0..20_000).map(|_| fastrand::char('\u{4e00}'..'\u{9fa5}')).collect();
    let (bytes, load) = (random.len() as u64, || async { Ok::<_, Infallible>(random) });
    cache.get_or_load(&Text("random".into(), 0), load).await.expect("loads");
    assert!(stored_bytes(&redis, "random").await > bytes);
}

#[tokio::test]
async fn a_compressed_value_over_this_readers_size_cap_is_a_counted_corrupt_miss() {
    let redis = Redis::start().await;
    let cache = Tiers::L2.cache(&redis).await;
    let small = built(Tiers::L2.builder(&redis).max_entry_bytes(10_000)).await;
    let key = Text("large".into(), 0);
    assert!(!read_and_fill(&cache, &key, 50_000).await);
    assert!(stored_bytes(&redis, "large").await < 8_000);
    assert!(!read(&small, &key, 50_000).await);
    assert_eq!(counted(&small).corrupt, 1);
}

/// A server that lets everybody in and says nothing.
#[tokio::test]
async fn an_attempt_to_connect_is_given_up_after_the_time_it_may_take() {
    let attempts = |limit: Duration| async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("redis://{}/", listener.local_addr().expect("a bound socket"));
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            let mut lines = Vec::new();
            while let Ok((line, _)) = listener.accept().await {
                lines.push(line);
                counter.fetch_add(1, Relaxed);
            }
        });
        let builder = Cache::builder().redis(&url).expect("a valid URL").connect_timeout(limit);
        (builder.build().expect("valid"), accepted)
    };
    let (_patient, few) = attempts(Duration::from_secs(60)).await;
    let (_hasty, many) = attempts(Duration::from_millis(20)).await;
    until("it has tried again and again", || many.load(Relaxed) >= 8).await;
    assert!(few.load(Relaxed) <= 2, "one for data and one to hear others");
}
