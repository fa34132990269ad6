//! Runs one path a given number of times, for callgrind: `instructions hit 1000`.
//!
//! `bench/instructions` takes the difference of two runs, so that set-up does not count.

use std::{convert::Infallible, time::Duration};

use larder::{Cache, CacheKey, KeyWriter, L2State, Policy, Public, Tag, Tags};

struct CourseKey(u64);

impl CacheKey for CourseKey {
    type Value = String;
    type Scope = Public;
    const NAMESPACE: &'static str = "courses";
    const NAME: &'static str = "course:detail";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(Duration::from_secs(3_600), Duration::from_secs(7_200))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }
    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("course", self.0));
        tags.add(Tag::named("courses"));
    }
}

async fn read(cache: &Cache, id: u64) {
    let load = move || async move { Ok::<_, Infallible>("x".repeat(1_000)) };
    assert!(cache.get_or_load(&CourseKey(id), load).await.is_ok(), "this loader never fails");
}

async fn with_redis() -> Result<Cache, Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").map_err(|_| "REDIS_URL names the server to use")?;
    // Under callgrind everything takes fifty times as long.
    let builder = Cache::builder().redis(&url)?.without_l1().op_timeout(Duration::from_secs(10));
    let cache = builder.build()?;
    while cache.stats().l2 != L2State::Up {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(cache)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which path: hit, miss, l2_hit, fill or invalidate")?;
    let times: u64 = arguments.next().ok_or("how many times")?.parse()?;
    match path.as_str() {
        "hit" => {
            let cache = Cache::builder().build()?;
            read(&cache, 1).await;
            for _ in 0..times {
                read(&cache, 1).await;
            }
        }
        "miss" => {
            let cache = Cache::builder().build()?;
            for id in 0..times {
                read(&cache, id).await;
            }
        }
        "l2_hit" => {
            let cache = with_redis().await?;
            read(&cache, 1).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            for _ in 0..times {
                read(&cache, 1).await;
            }
        }
        "fill" => {
            let cache = with_redis().await?;
            for id in 0..times {
                read(&cache, id).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        "invalidate" => {
            let cache = with_redis().await?;
            for id in 0..times {
                cache.invalidate(Tag::new("course", id)).await;
            }
        }
        other => return Err(format!("no such path: {other}").into()),
    }
    Ok(())
}
