//! What all benchmarks read.

use std::{cell::Cell, convert::Infallible, hint::black_box, time::Duration};

use larder::{Cache, CacheKey, KeyWriter, Policy, Public, Source, Tag, Tags};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

pub(crate) const IDS: u64 = 1_000;

/// About 1 KB.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Course {
    id: u64,
    title: String,
    description: String,
    topics: Vec<String>,
    pub(crate) price_cents: u64,
}

impl Course {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            title: format!("Course number {id}"),
            description: "Routing, extractors, a pool, a cache in front of the database. "
                .repeat(12),
            topics: ["rust", "axum", "redis", "postgres", "caching"].map(str::to_owned).to_vec(),
            price_cents: 4_900,
        }
    }
}

struct CourseKey(u64);

impl CacheKey for CourseKey {
    type Value = Course;
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

/// Ids in an order that no prefetcher guesses.
pub(crate) struct Ids(Cell<u64>);

impl Ids {
    pub(crate) fn new() -> Self {
        Self(Cell::new(1))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0.set(state);
        (state >> 33) % IDS
    }
}

pub(crate) async fn read(cache: &Cache, id: u64) -> Source {
    let load = move || async move { Ok::<_, Infallible>(Course::new(id)) };
    cache.get_or_load(&CourseKey(id), load).await.map_or(Source::Loader, |read| {
        black_box(read.value.price_cents);
        read.source
    })
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
