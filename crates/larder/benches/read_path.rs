//! L1 hits against `moka` and `quick_cache`.
//!
//! `make bench` runs this several times in turn and prints medians, ratios and their spread.

mod course;

use std::{hint::black_box, sync::Arc, time::Duration};

use course::{Course, IDS, Ids, read, runtime};
use criterion::{Criterion, criterion_group, criterion_main};
use larder::{Cache, Tag};

fn l1_hit(criterion: &mut Criterion) {
    let ids = Ids::new();
    let keys: Vec<String> = (0..IDS).map(|id| format!("course:{id}")).collect();
    let key = |id: u64| keys[usize::try_from(id).unwrap_or(0)].as_str();
    let mut group = criterion.benchmark_group("l1_hit");

    let rt = runtime();
    let cache = Cache::builder().build().expect("valid");
    rt.block_on(async {
        for id in 0..IDS {
            read(&cache, id).await;
        }
    });
    group.bench_function("larder", |bench| {
        bench.to_async(&rt).iter(|| read(&cache, ids.next()));
    });
    let stats = cache.stats().namespaces.remove(0);
    assert_eq!(stats.loads, IDS, "only hits were measured");

    // The same after an invalidation of something else: now every stamp is looked at.
    rt.block_on(cache.invalidate(Tag::named("unrelated")));
    group.bench_function("larder_after_a_write", |bench| {
        bench.to_async(&rt).iter(|| read(&cache, ids.next()));
    });
    assert_eq!(cache.stats().namespaces.remove(0).loads, IDS, "only hits were measured");

    let quick = quick_cache::sync::Cache::new(100_000);
    let moka = moka::sync::Cache::new(100_000);
    let moka_future = moka::future::Cache::new(100_000);
    for id in 0..IDS {
        quick.insert(key(id).to_owned(), Arc::new(Course::new(id)));
        moka.insert(key(id).to_owned(), Arc::new(Course::new(id)));
        rt.block_on(moka_future.insert(key(id).to_owned(), Arc::new(Course::new(id))));
    }
    group.bench_function("quick_cache", |bench| {
        bench.to_async(&rt).iter(|| async {
            quick.get(key(ids.next())).map(|course| black_box(course.price_cents))
        });
    });
    group.bench_function("moka_sync", |bench| {
        bench.to_async(&rt).iter(|| async {
            moka.get(key(ids.next())).map(|course| black_box(course.price_cents))
        });
    });
    group.bench_function("moka_future", |bench| {
        bench.to_async(&rt).iter(|| async {
            moka_future.get(key(ids.next())).await.map(|course| black_box(course.price_cents))
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    // Short, so that what is compared is measured within a few seconds: the machine's speed drifts,
    // and many rounds tell more than long ones.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(20)
        .without_plots();
    targets = l1_hit
}
criterion_main!(benches);
