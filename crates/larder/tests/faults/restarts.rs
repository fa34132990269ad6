//! Redis dies, hangs, is demoted, fails over.

use std::time::Duration;

use larder::{Ack, L2State, Source};
use private_servers::Proxy;
use tokio::time::sleep;

use crate::{
    drill::{DELTA, Drill, Setup},
    report::Fault,
    support::{Redis, until},
};

/// Seconds that the reader's L2 took to be given up after the fault began.
pub(crate) async fn l2_is_off(drill: &Drill) -> Duration {
    let began = std::time::Instant::now();
    until("both processes go without Redis", || {
        [&drill.writer, &drill.reader].iter().all(|cache| cache.stats().l2 == L2State::Down)
    })
    .await;
    began.elapsed()
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_that_restarts_empty_costs_misses_only() {
    let mut redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    let flushes = drill.reader.stats().backplane.flushes;
    drill.fault_begins();
    redis.kill();
    let off = l2_is_off(&drill).await;
    sleep(Duration::from_secs(2)).await;
    redis.restart().await;
    let reader = drill.reader.clone();
    let line = drill.fault_ends(RESTART_EMPTY).await;
    let flushed = reader.stats().backplane.flushes - flushes;
    assert!((1..=3).contains(&flushed), "{flushed} flushes");
    line.note(format!("off after {}", seconds(off)))
        .note(format!("{flushed} flushes of L1"))
        .record();
}
const RESTART_EMPTY: Fault =
    Fault { row: 1, what: "kill -9, restart empty", expected: "misses only; L1 is flushed" };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_an_old_snapshot_brings_back_is_not_served() {
    let mut redis = Redis::start().await;
    let mut drill = Setup { writes: false, ..Setup::on(&redis.url()) }.begin().await;
    redis.command::<()>(&["SAVE"]).await;
    for id in drill.truth.ids() {
        assert_eq!(drill.truth.write(&drill.writer, id).await, Ack::Applied);
    }
    sleep(DELTA).await; // from here on a read of the revived value is beyond every bound
    drill.fault_begins();
    redis.kill();
    l2_is_off(&drill).await;
    redis.restart().await;
    let revived: u64 = redis.command(&["EXISTS", "t:doc:detail@1:1"]).await;
    assert_eq!(revived, 1, "the snapshot has it");
    sleep(Duration::from_millis(500)).await;
    let line = drill.fault_ends(RESTART_OLD).await;
    line.note("0 reads of a revived value").record();
}
const RESTART_OLD: Fault = Fault {
    row: 2,
    what: "kill -9, restart from an old RDB",
    expected: "0 reads of a revived value",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_for_five_seconds_costs_a_read_its_budget_at_most() {
    let redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    drill.fault_begins();
    redis.hang();
    let off = l2_is_off(&drill).await;
    sleep(Duration::from_secs(5).saturating_sub(off)).await;
    redis.resume();
    let line = drill.fault_ends(HANG).await;
    line.note(format!("off after {}", seconds(off))).record();
}
const HANG: Fault = Fault {
    row: 3,
    what: "SIGSTOP for 5 s, SIGCONT",
    expected: "L1 stops within Δ; nothing stale after SIGCONT",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_redis_is_left_and_no_invalidation_is_lost() {
    let redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    drill.fault_begins();
    redis.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let off = l2_is_off(&drill).await;
    sleep(Duration::from_secs(1)).await;
    redis.command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    let (truth, writer) = (drill.truth.clone(), drill.writer.clone());
    let line = drill.fault_ends(DEMOTED).await;
    until("every row is applied", || truth.outbox.open() == 0).await;
    // Another process may have applied them; the writer finds that out by itself.
    until("the writer owes nothing", || writer.stats().pending_invalidations == 0).await;
    line.note(format!("off after {}", seconds(off))).record();
}
const DEMOTED: Fault = Fault {
    row: 11,
    what: "READONLY after a demotion",
    expected: "left at once; invalidations are retried, none is lost",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_loses_acknowledged_invalidations_revives_nothing() {
    let (mut master, replica) = (Redis::start().await, Redis::start().await);
    let replication = Proxy::before(master.port()).await;
    let address = Proxy::before(master.port()).await;
    let port = replication.port().to_string();
    replica.command::<()>(&["REPLICAOF", "127.0.0.1", &port]).await;
    let setup = Setup { writes: false, ..Setup::on(&address.url()) };
    let mut drill = setup.begin().await;
    let copied = || async { replica.command::<u64>(&["STRLEN", "t:doc:detail@1:1"]).await };
    for _ in 0..1_000 {
        if copied().await > 18 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    replication.data().hold();
    for id in drill.truth.ids() {
        assert_eq!(drill.truth.write(&drill.writer, id).await, Ack::Applied);
    }
    sleep(DELTA).await; // from here on a read of what the replica has is beyond every bound
    drill.fault_begins();
    master.kill();
    l2_is_off(&drill).await;
    replica.command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    assert!(copied().await > 18, "the replica has the old value");
    address.lead_to(replica.port());
    sleep(Duration::from_millis(500)).await;
    drill.fault_ends(FAILOVER).await.note("0 reads of a revived value").record();
}
const FAILOVER: Fault = Fault {
    row: 12,
    what: "failover that loses acknowledged invalidations",
    expected: "another epoch: misses; nothing stale",
};

/// The side of a split brain that must stop: its replicas have gone over to a new master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_may_not_write_is_used_by_neither_tier() {
    let redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    drill.fault_begins();
    redis.command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let off = l2_is_off(&drill).await;
    assert!(!is_answered_by_a_cache(&drill).await, "L1 or L2 still answers");
    sleep(Duration::from_millis(500)).await;
    redis.command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    let line = drill.fault_ends(SPLIT_BRAIN).await;
    line.note(format!("L2 off after {}", seconds(off))).record();
}
const SPLIT_BRAIN: Fault =
    Fault { row: 13, what: "split brain: NOREPLICAS", expected: "L1 and L2 off within 1 s + Δ" };

/// Whether a tier answers once Δ has passed.
async fn is_answered_by_a_cache(drill: &Drill) -> bool {
    sleep(DELTA).await;
    for cache in [&drill.writer, &drill.reader] {
        let read = drill.truth.read(cache, 1).await.expect("loads");
        if matches!(read.source, Source::L1 | Source::L2) {
            return true;
        }
    }
    false
}
