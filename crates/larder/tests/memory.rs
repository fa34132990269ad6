//! What a hit allocates (nothing), and whether L1's charge is what an entry really takes.
//!
//! A binary of its own, with one test, since it counts every allocation of the process.

use std::{alloc::System, convert::Infallible, time::Duration};

use larder::{Cache, CacheKey, KeyWriter, Policy, Public, Source, Tag, Tags};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Key<V> {
    id: u64,
    of: std::marker::PhantomData<fn() -> V>,
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> CacheKey for Key<V> {
    type Value = V;
    type Scope = Public;
    const NAMESPACE: &'static str = "memory";
    const NAME: &'static str = "course:detail";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(Duration::from_secs(3_600), Duration::from_secs(7_200))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.id);
    }
    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("course", self.id));
        tags.add(Tag::named("courses"));
    }
}

async fn read<V>(cache: &Cache, id: u64, make: fn(u64) -> V) -> Source
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let key = Key { id, of: std::marker::PhantomData };
    let load = move || async move { Ok::<_, Infallible>(make(id)) };
    cache.get_or_load(&key, load).await.expect("loads").source
}

#[derive(Serialize, Deserialize)]
struct Course {
    id: u64,
    title: String,
    description: String,
    price: Option<u32>,
    topics: Vec<String>,
    lessons: Vec<Lesson>,
}

#[derive(Serialize, Deserialize)]
struct Lesson {
    id: u64,
    title: String,
    minutes: u32,
}

fn course(id: u64) -> Course {
    Course {
        id,
        title: format!("Course number {id}"),
        description: "x".repeat(600),
        price: Some(4_900),
        topics: ["rust", "axum", "redis"].map(str::to_owned).to_vec(),
        lessons: (0..8)
            .map(|id| Lesson { id, title: format!("Lesson {id}"), minutes: 5 })
            .collect(),
    }
}

async fn a_hit_allocates_nothing() {
    let cache = Cache::builder().build().expect("valid");
    for id in 0..100 {
        read(&cache, id, course).await;
        assert_eq!(read(&cache, id, course).await, Source::L1);
    }
    let region = Region::new(ALLOCATOR);
    for id in 0..100 {
        assert_eq!(read(&cache, id, course).await, Source::L1);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "100 hits allocated");
}

/// Resident bytes of this process: what the allocator really took from the system.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4_096.0
}

async fn the_charge_is_within_a_fifth_of_what_is_allocated<V>(what: &str, make: fn(u64) -> V)
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    const CHARGED: u64 = 40 << 20;
    let cache = Cache::builder().l1_bytes(1 << 30).build().expect("valid");
    let before = resident();
    let mut id = 0;
    while cache.stats().l1.bytes < CHARGED {
        read(&cache, id, make).await;
        id += 1;
    }
    let ratio = cache.stats().l1.bytes as f64 / (resident() - before);
    assert!((0.8..=1.2).contains(&ratio), "{what}: charged {ratio:.2} of what {id} entries take");
    // Not given back to the allocator, where the next measurement would find it for nothing.
    std::mem::forget(cache);
}

#[tokio::test]
async fn a_hit_allocates_nothing_and_an_entry_is_charged_what_it_takes() {
    a_hit_allocates_nothing().await;
    the_charge_is_within_a_fifth_of_what_is_allocated("a number", |id| id).await;
    the_charge_is_within_a_fifth_of_what_is_allocated("a short text", |id| id.to_string()).await;
    the_charge_is_within_a_fifth_of_what_is_allocated("a page", |_| "x".repeat(1_000)).await;
    the_charge_is_within_a_fifth_of_what_is_allocated("numbers", |id| vec![id; 200]).await;
    the_charge_is_within_a_fifth_of_what_is_allocated("texts", |id| {
        (0..20).map(|n| format!("text {n} of {id}")).collect::<Vec<_>>()
    })
    .await;
    the_charge_is_within_a_fifth_of_what_is_allocated("a course", course).await;
    the_charge_is_within_a_fifth_of_what_is_allocated("courses", |id| {
        (0..20).map(|n| course(id + n)).collect::<Vec<_>>()
    })
    .await;
}
