//! L2 hits against what they are made of: a bare GET + decode.
//!
//! The three take turns every few milliseconds, because the machine's speed drifts by more than they
//! differ. Prints the median of each in nanoseconds as JSON; `make bench` runs it several times.

mod course;

use std::{
    hint::black_box,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use course::{Course, IDS, Ids, read, runtime};
use larder::{Cache, L2State, Source};
use private_servers::Redis;
use redis::aio::MultiplexedConnection;

/// Reads of a turn, and turns of each.
const READS: u32 = 100;
const TURNS: usize = 50;

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
async fn filled_connection(url: &str) -> MultiplexedConnection {
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

async fn raw_get_and_decode(mut connection: MultiplexedConnection, id: u64) {
    let bytes: Vec<u8> =
        redis::cmd("GET").arg(format!("raw:{id}")).query_async(&mut connection).await.expect("get");
    let course: Course = rmp_serde::from_slice(&bytes).expect("decodes");
    black_box(Arc::new(course).price_cents);
}

/// The same bytes on the wire as Larder's: what a second command costs whoever sends it.
async fn raw_get_mget_and_decode(mut connection: MultiplexedConnection, id: u64) {
    let mut pipeline = redis::Pipeline::with_capacity(2);
    pipeline.cmd("GETRANGE").arg(format!("raw:{id}")).arg(0).arg(1 << 20);
    let names = ["~g:k:", "~g:t:", "~g:n:", "~g:r", "~g:t:courses"];
    pipeline.cmd("MGET").arg(names.map(|name| format!("{name}raw:{}", id % 2)).as_slice());
    let (bytes, nonces): (Vec<u8>, Vec<Vec<u8>>) =
        pipeline.query_async(&mut connection).await.expect("get");
    assert_eq!(nonces.len(), 5);
    let course: Course = rmp_serde::from_slice(&bytes).expect("decodes");
    black_box(Arc::new(course).price_cents);
}

/// Nanoseconds of one read, by a turn of them.
async fn turn(mut one: impl AsyncFnMut()) -> u64 {
    let since = Instant::now();
    for _ in 0..READS {
        one().await;
    }
    since.elapsed().as_nanos() as u64 / u64::from(READS)
}

fn median(mut turns: Vec<u64>) -> u64 {
    turns.sort_unstable();
    turns[turns.len() / 2]
}

async fn measure() -> serde_json::Value {
    let (ids, redis) = (Ids::new(), server().await);
    let cache = filled_cache(&redis.url()).await;
    let connection = filled_connection(&redis.url()).await;
    let [mut ours, mut bare, mut pair] = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        ours.push(turn(async || assert_eq!(read(&cache, ids.next()).await, Source::L2)).await);
        bare.push(turn(async || raw_get_and_decode(connection.clone(), ids.next()).await).await);
        pair.push(
            turn(async || raw_get_mget_and_decode(connection.clone(), ids.next()).await).await,
        );
    }
    serde_json::json!({
        "larder": median(ours),
        "raw_get_and_decode": median(bare),
        "raw_get_mget_and_decode": median(pair),
    })
}

#[expect(clippy::print_stdout, reason = "it is read by bench/compare")]
fn main() {
    println!("{}", runtime().block_on(measure()));
}
