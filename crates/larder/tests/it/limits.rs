//! What is too large is delivered and not kept.

use std::{convert::Infallible, time::Duration};

use larder::{Cache, CacheKey, KeyWriter, Policy, Public, Tag, Tags};

use crate::support::{Redis, Tiers, built, counted};

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
    tokio::time::sleep(Duration::from_millis(10)).await;
    read.source.is_hit()
}

#[tokio::test]
async fn a_value_over_the_size_cap_is_delivered_and_not_cached() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = built(tiers.builder(&redis).max_entry_bytes(10_000)).await;
        let (small, large) = (Text("small".into(), 0), Text("large".into(), 0));
        for (key, bytes) in [(&small, 9_000), (&large, 11_000)] {
            assert!(!read(&cache, key, bytes).await);
            assert_eq!(read(&cache, key, bytes).await, bytes < 10_000, "{tiers:?}");
        }
        assert_eq!(counted(&cache).fills_refused, 2, "{tiers:?}");
        let keys: Vec<String> = redis.command(&["KEYS", "t:text@1:large"]).await;
        assert!(keys.is_empty(), "{tiers:?}: the lease is released");
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
async fn a_key_with_more_tags_than_an_entry_may_carry_is_not_cached() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        let (most, too_many) =
            (Text("a".into(), larder::MAX_TAGS), Text("b".into(), larder::MAX_TAGS + 1));
        assert!(!read(&cache, &most, 10).await && read(&cache, &most, 10).await, "{tiers:?}");
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
