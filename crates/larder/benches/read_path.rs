//! Hits against what they are made of: `moka` and `quick_cache` for L1, a bare GET + decode for L2.
//!
//! `make bench` runs this several times in turn and prints medians, ratios and their spread.

use std::{
    cell::Cell,
    convert::Infallible,
    hint::black_box,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use larder::{Cache, CacheKey, KeyWriter, L2State, Policy, Public, Source, Tag, Tags};
use private_servers::Redis;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

const IDS: u64 = 1_000;

/// About 1 KB.
#[derive(Clone, Serialize, Deserialize)]
struct Course {
    id: u64,
    title: String,
    description: String,
    topics: Vec<String>,
    price_cents: u64,
}

impl Course {
    fn new(id: u64) -> Self {
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
struct Ids(Cell<u64>);

impl Ids {
    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0.set(state);
        (state >> 33) % IDS
    }
}

async fn read(cache: &Cache, id: u64) -> Source {
    let load = move || async move { Ok::<_, Infallible>(Course::new(id)) };
    cache.get_or_load(&CourseKey(id), load).await.map_or(Source::Loader, |read| {
        black_box(read.value.price_cents);
        read.source
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn l1_hit(criterion: &mut Criterion) {
    let ids = Ids(Cell::new(1));
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

/// On a core of its own if one is named, as a server has; else on the benchmark's.
async fn server() -> Redis {
    let redis = Redis::start().await;
    if let Ok(core) = std::env::var("LARDER_BENCH_REDIS_CORE") {
        let (mut taskset, id) = (Command::new("taskset"), redis.process_id().to_string());
        let all_threads = taskset.args(["-a", "-c", "-p", &core, &id]).stdout(Stdio::null());
        assert!(all_threads.status().expect("taskset").success(), "core {core}");
    }
    redis
}

/// A client of its own, and on the server what the bare reads ask for.
async fn filled_connection(url: &str) -> redis::aio::MultiplexedConnection {
    let settings = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let info = redis::IntoConnectionInfo::into_connection_info(url).expect("valid");
    let client = redis::Client::open(info.set_tcp_settings(settings)).expect("valid");
    let mut connection = client.get_multiplexed_async_connection().await.expect("up");
    for id in 0..IDS {
        let bytes = rmp_serde::to_vec_named(&Course::new(id)).expect("encodes");
        redis::cmd("SET")
            .arg(format!("raw:{id}"))
            .arg(bytes)
            .exec_async(&mut connection)
            .await
            .expect("set");
    }
    for name in ["~g:k:", "~g:t:", "~g:n:", "~g:r", "~g:t:courses"] {
        for half in ["raw:0", "raw:1"] {
            let mut set = redis::cmd("SET");
            set.arg(format!("{name}{half}")).arg([7_u8; 16].as_slice());
            set.exec_async(&mut connection).await.expect("set");
        }
    }
    connection
}

/// Everything is in L2, and a pause of the machine is no outage.
async fn filled_cache(url: &str) -> Cache {
    let builder = Cache::builder().redis(url).expect("valid").without_l1();
    let cache = builder.op_timeout(Duration::from_secs(10)).build().expect("valid");
    while cache.stats().l2 != L2State::Up {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Nobody waits for a fill, so the first time round a read may find none.
    for id in 0..IDS {
        while read(&cache, id).await != Source::L2 {}
    }
    cache
}

fn l2_hit(criterion: &mut Criterion) {
    let (ids, rt) = (Ids(Cell::new(1)), runtime());
    let redis = rt.block_on(server());
    let cache = rt.block_on(filled_cache(&redis.url()));
    let loads = cache.stats().namespaces.remove(0).loads;
    let mut group = criterion.benchmark_group("l2_hit");
    group.bench_function("larder", |bench| {
        bench.to_async(&rt).iter(|| read(&cache, ids.next()));
    });
    assert_eq!(cache.stats().namespaces.remove(0).loads, loads, "only hits were measured");

    let connection = rt.block_on(filled_connection(&redis.url()));
    group.bench_function("raw_get_and_decode", |bench| {
        bench.to_async(&rt).iter(|| async {
            let (mut connection, id) = (connection.clone(), ids.next());
            let bytes: Vec<u8> = redis::cmd("GET")
                .arg(format!("raw:{id}"))
                .query_async(&mut connection)
                .await
                .expect("get");
            let course: Course = rmp_serde::from_slice(&bytes).expect("decodes");
            black_box(Arc::new(course).price_cents)
        });
    });
    // The same bytes on the wire as Larder's: what a second command costs whoever sends it.
    group.bench_function("raw_get_mget_and_decode", |bench| {
        bench.to_async(&rt).iter(|| async {
            let (mut connection, id) = (connection.clone(), ids.next());
            let mut pipeline = redis::Pipeline::with_capacity(2);
            pipeline.cmd("GETRANGE").arg(format!("raw:{id}")).arg(0).arg(1 << 20);
            let names = ["~g:k:", "~g:t:", "~g:n:", "~g:r", "~g:t:courses"];
            pipeline.cmd("MGET").arg(names.map(|name| format!("{name}raw:{}", id % 2)).as_slice());
            let (bytes, nonces): (Vec<u8>, Vec<Vec<u8>>) =
                pipeline.query_async(&mut connection).await.expect("get");
            assert_eq!(nonces.len(), 5);
            let course: Course = rmp_serde::from_slice(&bytes).expect("decodes");
            black_box(Arc::new(course).price_cents)
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
    targets = l1_hit, l2_hit
}
criterion_main!(benches);
