//! Redis is full, is emptied, holds what others have put there; clocks jump.

use std::{future::Future, time::Duration};

use larder::{Clock, L2State, Source};
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep};

use crate::{
    drill::{Drill, Setup, process},
    flushes::{Flushes, without_flushes},
    report::Fault,
    support::{Redis, counted, until},
};

/// How long each of these faults goes on.
const WHILE: Duration = Duration::from_secs(2);

/// A connection of the test's own.
pub(crate) async fn admin(redis: &Redis) -> MultiplexedConnection {
    let client = redis::Client::open(redis.url()).expect("a valid URL");
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let connecting = client.get_multiplexed_async_connection_with_config(&patient);
    connecting.await.expect("redis is up")
}

/// Does something again and again for as long as the fault goes on.
async fn again_and_again<F: Future>(pause: Duration, mut something: impl FnMut() -> F) {
    let until = Instant::now() + WHILE;
    while Instant::now() < until {
        something().await;
        sleep(pause).await;
    }
}

async fn info(redis: &Redis, field: &str) -> u64 {
    let all: String = redis.command(&["INFO", "stats"]).await;
    let line = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|number| number.trim().parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_answers_reads_refuses_fills_and_takes_invalidations() {
    let redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    drill.fault_begins();
    redis.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    sleep(WHILE).await;
    assert!(drill.answered_by(Source::L2) > 0, "hits go on");
    until("the breaker is closed", || drill.reader.stats().l2 == L2State::Up).await;
    let refused = counted(&drill.reader).fills_refused;
    assert!(refused > 0);
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let line = drill.fault_ends(FULL).await;
    assert!(line.applies_invalidations(), "an invalidation needs no memory");
    line.note(format!("{refused} fills refused")).record();
}
const FULL: Fault = Fault {
    row: 9,
    what: "out of memory, noeviction",
    expected: "hits go on, fills are skipped, every invalidation is applied, breaker closed",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_storm_costs_misses_only() {
    let redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    redis.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", "6mb"]).await;
    let (mut connection, junk) = (admin(&redis).await, "x".repeat(10_000));
    drill.fault_begins();
    for _ in 0..150 {
        let mut sets = redis::pipe();
        for _ in 0..40 {
            sets.cmd("SET").arg(format!("junk:{}", fastrand::u64(..))).arg(&junk).ignore();
        }
        sets.exec_async(&mut connection).await.expect("evicting makes room");
        sleep(Duration::from_millis(10)).await;
    }
    let evicted = info(&redis, "evicted_keys").await;
    assert!(evicted > 1_000, "{evicted} keys evicted");
    let line = drill.fault_ends(EVICTION).await;
    assert!(line.applies_invalidations());
    line.note(format!("{evicted} keys evicted")).record();
}
const EVICTION: Fault =
    Fault { row: 10, what: "eviction storm: 6 MB, allkeys-lru", expected: "misses; nothing stale" };

async fn flushed_again_and_again(redis: &Redis, command: &[&str]) -> (Flushes, Drill) {
    let mut drill = Setup::on(&redis.url()).begin().await;
    drill.fault_begins();
    let flush = || redis.command::<()>(command);
    let flushing = again_and_again(Duration::from_millis(150), flush);
    (Flushes::during(flushing, &drill.reader).await, drill)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushall_is_noticed_and_costs_misses_only() {
    let redis = Redis::start().await;
    let (flushes, drill) = flushed_again_and_again(&redis, &["FLUSHALL"]).await;
    assert!(flushes.count >= 2, "the lost sequence was not noticed: {flushes:?}");
    let line = drill.fault_ends(FLUSHALL).await;
    assert!(line.applies_invalidations());
    line.note(format!("{} flushes of L1", flushes.count)).record();
}
const FLUSHALL: Fault = Fault {
    row: 14,
    what: "FLUSHALL every 150 ms",
    expected: "the missing sequence flushes L1; misses only",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_flush_is_not_noticed_by_readers_or_writers() {
    let line = without_flushes(async || {
        let redis = Redis::start().await;
        let (flushes, drill) = flushed_again_and_again(&redis, &["SCRIPT", "FLUSH"]).await;
        until("redis is used", || drill.reader.stats().l2 == L2State::Up).await;
        let line = drill.fault_ends(SCRIPT_FLUSH).await;
        assert!(line.applies_invalidations());
        (flushes, line)
    });
    line.await.record();
}
const SCRIPT_FLUSH: Fault = Fault {
    row: 14,
    what: "SCRIPT FLUSH every 150 ms",
    expected: "one more round trip; nothing else",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_type_under_any_of_our_keys_heals_itself() {
    let redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    let connection = admin(&redis).await;
    drill.fault_begins();
    again_and_again(Duration::from_millis(5), || {
        let id = drill.truth.any_id();
        let keys = [
            format!("t:doc:detail@1:{id}"),
            format!("t:~g:t:doc:{id}"),
            format!("t:~g:k:doc:detail@1:{id}"),
            "t:~g:r".to_owned(),
            "t:~g:n:docs".to_owned(),
            "t:~seq".to_owned(),
            "t:~hb".to_owned(),
        ];
        let key = &keys[fastrand::usize(..keys.len())];
        let (mut connection, mut replace) = (connection.clone(), redis::pipe());
        replace.atomic().del(key).ignore().lpush(key, "x").ignore();
        async move { replace.exec_async(&mut connection).await.expect("redis is up") }
    })
    .await;
    let line = drill.fault_ends(OTHER_TYPE).await;
    assert!(line.applies_invalidations());
    line.record();
}
const OTHER_TYPE: Fault = Fault {
    row: 15,
    what: "a list under a value, generation, sequence or heartbeat key every 5 ms",
    expected: "heals itself; misses only",
};

/// Something that no cache has written, made of what one has.
fn spoilt(mut bytes: Vec<u8>, others: Vec<u8>) -> Vec<u8> {
    let at = fastrand::usize(..bytes.len().max(1));
    match fastrand::u8(..6) {
        0 => bytes.truncate(at),
        1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << fastrand::u8(..8)),
        2 => bytes.iter_mut().skip(1).take(1).for_each(|format| *format += 1),
        3 => bytes.extend_from_slice(b"tail"),
        4 => return others,
        _ => return b"garbage".to_vec(),
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoilt_bytes_are_misses_and_are_overwritten() {
    let redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    let connection = admin(&redis).await;
    drill.fault_begins();
    redis.command::<i64>(&["SETRANGE", "t:doc:detail@1:3", "99999999", "x"]).await;
    again_and_again(Duration::from_millis(5), || {
        let (key, other) = (drill.truth.any_id(), drill.truth.any_id() + 1);
        let other = format!("t:doc:detail@1:{}", if other == key { key + 100 } else { other });
        let (key, mut connection) = (format!("t:doc:detail@1:{key}"), connection.clone());
        async move {
            let mut get = redis::pipe();
            get.cmd("GETRANGE").arg(&key).arg(0).arg(4096);
            get.cmd("GETRANGE").arg(&other).arg(0).arg(4096);
            let (bytes, others) = get.query_async(&mut connection).await.expect("redis is up");
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(spoilt(bytes, others)).arg("PX").arg(60_000);
            set.exec_async(&mut connection).await.expect("redis is up");
        }
    })
    .await;
    let corrupt = counted(&drill.reader).corrupt;
    assert!(corrupt > 0);
    drill.fault_ends(SPOILT).await.note(format!("{corrupt} counted as corrupt")).record();
}
const SPOILT: Fault = Fault {
    row: 16,
    what: "corrupt, truncated, other format, another key's, 100 MB: every 5 ms",
    expected: "a counted miss; overwritten",
};

async fn clock_jumps(is_the_writers: bool, fault: Fault) {
    let redis = Redis::start().await;
    let (writers, readers) = (Clock::manual(), Clock::manual());
    let writer = process(&redis.url()).clock(writers.clone());
    let reader = process(&redis.url()).clock(readers.clone());
    let mut drill = Setup::with(writer, reader).begin().await;
    drill.fault_begins();
    let jumps = if is_the_writers { writers } else { readers };
    jumps.advance(Duration::from_secs(3_600));
    sleep(WHILE).await;
    let line = drill.fault_ends(fault).await;
    assert!(line.applies_invalidations());
    line.record();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_an_hour_ahead_makes_nothing_stale() {
    clock_jumps(false, AHEAD).await;
}
const AHEAD: Fault = Fault {
    row: 17,
    what: "the reader's clock jumps an hour ahead",
    expected: "lives are off by the jump; nothing stale after an invalidation",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_an_hour_behind_makes_nothing_stale() {
    clock_jumps(true, BEHIND).await;
}
const BEHIND: Fault = Fault {
    row: 17,
    what: "the reader's clock is an hour behind the writer's",
    expected: "lives are off by the jump; nothing stale after an invalidation",
};
