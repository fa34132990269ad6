//! The network delays, loses, cuts and reorders.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use larder::{CacheKey, KeyWriter, L2State, Policy, Public, Source};
use private_servers::{Faults, Proxy, Pushes};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{
    drill::{Drill, Setup, patient_process, process},
    flushes::{Flushes, without_flushes},
    report::{Fault, Line},
    restarts::seconds,
    support::{Redis, eventually, until},
};

/// The writer reaches Redis; the reader has the proxy between.
async fn behind(proxy: &Proxy, redis: &Redis) -> Drill {
    Setup::with(process(&redis.url()), process(&proxy.url())).begin().await
}

async fn slow_replies(delay_ms: u64, fault: Fault) -> (Drill, Proxy, Redis) {
    let redis = Redis::start().await;
    let proxy = Proxy::before(redis.port()).await;
    let mut drill = behind(&proxy, &redis).await;
    drill.fault_begins();
    let delay = Duration::from_millis(delay_ms);
    let slow = Faults { delay, jitter: delay / 10, ..Faults::default() };
    proxy.data().set(slow);
    proxy.backplane().set(slow);
    sleep(Duration::from_secs(2)).await;
    until(fault.what, || drill.answered_by(Source::Loader) > 0).await;
    (drill, proxy, redis)
}

async fn healed(drill: Drill, proxy: &Proxy, fault: Fault) -> Line {
    let l2_hits = drill.answered_by(Source::L2);
    proxy.data().heal();
    proxy.backplane().heal();
    drill.fault_ends(fault).await.note(format!("{l2_hits} reads by L2"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_answers_in_5_ms_is_used() {
    let fault = SLOW_5;
    let (drill, proxy, _redis) = slow_replies(5, fault).await;
    until("L2 answers", || drill.answered_by(Source::L2) > 0).await;
    healed(drill, &proxy, fault).await.record();
}
const SLOW_5: Fault = Fault { row: 4, what: "replies 5 ms late (± 10 %)", expected: "used" };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_answers_in_50_ms_is_used() {
    let fault = SLOW_50;
    let (drill, proxy, _redis) = slow_replies(50, fault).await;
    until("L2 answers", || drill.answered_by(Source::L2) > 0).await;
    healed(drill, &proxy, fault).await.record();
}
const SLOW_50: Fault = Fault { row: 4, what: "replies 50 ms late (± 10 %)", expected: "used" };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_answers_in_500_ms_is_given_up() {
    let fault = SLOW_500;
    let (drill, proxy, _redis) = slow_replies(500, fault).await;
    until("it is given up", || drill.reader.stats().l2 == L2State::Down).await;
    healed(drill, &proxy, fault).await.record();
}
const SLOW_500: Fault = Fault {
    row: 4,
    what: "replies 500 ms late (± 10 %)",
    expected: "given up by the breaker; a read waits for its budget at most",
};

/// A page of 4 KiB that says whose it is in each of its bytes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Page(String);

struct PageKey(u8);

impl PageKey {
    fn page(&self) -> Page {
        Page(char::from(b'a' + self.0 % 26).to_string().repeat(4096))
    }
}

impl CacheKey for PageKey {
    type Value = Page;
    type Scope = Public;
    const NAMESPACE: &'static str = "pages";
    const NAME: &'static str = "page";
    const VERSION: u16 = 1;
    fn policy() -> Policy {
        Policy::new(Duration::from_secs(60), Duration::from_secs(60))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(i64::from(self.0));
    }
}

/// Reads a page through a connection that is reset after so many bytes of the reply.
async fn read_cut(proxy: &Proxy, key: u8, bytes: usize) -> Source {
    let cache = patient_process(&proxy.url()).without_l1().build().expect("valid");
    until("redis is used", || cache.stats().l2 == L2State::Up).await;
    proxy.data().cut_after(bytes);
    let load = move || async move { Ok::<_, Infallible>(PageKey(key).page()) };
    let read = cache.get_or_load(&PageKey(key), load).await.expect("no failed read");
    assert_eq!(*read.value, PageKey(key).page(), "cut after {bytes} bytes");
    proxy.data().cut_after(usize::MAX);
    read.source
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_cut_off_at_any_byte_is_a_miss() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(redis.port()).await;
    assert_eq!(read_cut(&proxy, 1, usize::MAX).await, Source::Loader);
    let is_stored = async || read_cut(&proxy, 1, usize::MAX).await == Source::L2;
    eventually("it is in Redis", is_stored).await;
    let offsets: Vec<usize> = (0..64).chain((64..4_500).step_by(7)).collect();
    let parts = offsets.chunks(offsets.len().div_ceil(8)).map(async |part| {
        let proxy = Proxy::before(redis.port()).await;
        let mut whole = 0;
        for &bytes in part {
            whole += usize::from(read_cut(&proxy, 1, bytes).await == Source::L2);
        }
        whole
    });
    let whole: usize = futures_util::future::join_all(parts).await.into_iter().sum();
    // The last offsets lie behind the reply of some 4,300 bytes.
    assert!((1..offsets.len() / 10).contains(&whole), "{whole} of {} were whole", offsets.len());
    let cut = offsets.len() - whole;
    let line = Line { reads: offsets.len(), ..Line::of(CUT) };
    line.note(format!("{cut} replies cut off, each a miss with the right value")).record();
}
const CUT: Fault = Fault {
    row: 5,
    what: "reset at every byte of the first 64 of a 4 KiB reply, then every 7th",
    expected: "a miss; no wrong value, no panic",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_dropped_and_made_anew() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(redis.port()).await;
    let mut drill = behind(&proxy, &redis).await;
    drill.fault_begins();
    let began = Instant::now();
    proxy.data().hold();
    proxy.backplane().hold();
    until("the data connection is dropped", || proxy.data().left() > 0).await;
    let data = began.elapsed();
    until("the backplane is dropped", || proxy.backplane().left() > 0).await;
    let backplane = began.elapsed();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(drill.reader.stats().l2, L2State::Down);
    let line = healed(drill, &proxy, HALF_OPEN).await;
    line.note(format!("data connection dropped after {}", seconds(data)))
        .note(format!("backplane after {}", seconds(backplane)))
        .record();
}
const HALF_OPEN: Fault = Fault {
    row: 6,
    what: "half-open TCP (black hole)",
    expected: "dropped and connected anew; L1 stops within Δ",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_backplane_l1_stops_and_l2_goes_on() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(redis.port()).await;
    let setup = Setup::with(process(&redis.url()), process(&proxy.url()));
    let mut drill = Setup { writes: false, ..setup }.begin().await;
    let flushes = drill.reader.stats().backplane.flushes;
    drill.fault_begins();
    let began = Instant::now();
    proxy.backplane().hold();
    until("L1 stops", || !drill.reader.stats().backplane.is_fresh).await;
    let off = began.elapsed();
    let before = drill.answered_by(Source::L2);
    sleep(Duration::from_millis(700)).await;
    assert!(drill.answered_by(Source::L2) > before, "L2 is used");
    until("L2 is used", || drill.reader.stats().l2 == L2State::Up).await;
    let reader = drill.reader.clone();
    let line = healed(drill, &proxy, NO_BACKPLANE).await;
    assert_eq!(reader.stats().backplane.flushes, flushes, "nothing was missed");
    line.note(format!("L1 off after {}", seconds(off))).note("0 flushes of L1").record();
}
const NO_BACKPLANE: Fault = Fault {
    row: 7,
    what: "backplane connection only is dead, nobody writes",
    expected: "L1 off within Δ; L2 still used; no flush where the sequence is equal",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_without_a_backplane_is_not_served() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(redis.port()).await;
    let mut drill = behind(&proxy, &redis).await;
    let flushes = drill.reader.stats().backplane.flushes;
    drill.fault_begins();
    proxy.backplane().hold();
    sleep(Duration::from_secs(2)).await;
    until("L2 is used", || drill.reader.stats().l2 == L2State::Up).await;
    let reader = drill.reader.clone();
    let line = healed(drill, &proxy, NO_BACKPLANE_WRITES).await;
    let flushed = reader.stats().backplane.flushes - flushes;
    assert!(flushed >= 1, "the gap was not noticed");
    line.note(format!("{flushed} flushes of L1")).record();
}
const NO_BACKPLANE_WRITES: Fault = Fault {
    row: 7,
    what: "backplane connection only is dead, others write",
    expected: "stale for at most Δ; a flush when it is back",
};

async fn with_pushes(pushes: Pushes, fault: Fault) -> (Flushes, Line) {
    let redis = Redis::start().await;
    let proxy = Proxy::before(redis.port()).await;
    let mut drill = behind(&proxy, &redis).await;
    drill.fault_begins();
    let disturbed = async {
        proxy.backplane().set(Faults { pushes, ..Faults::default() });
        sleep(Duration::from_secs(2)).await;
    };
    let flushes = Flushes::during(disturbed, &drill.reader).await;
    let line = healed(drill, &proxy, fault).await;
    (flushes, line.note(format!("{} flushes of L1", flushes.count)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_messages_flush_l1_within_a_heartbeat() {
    let (flushes, line) = with_pushes(Pushes::Lost, LOST).await;
    assert!(flushes.count >= 2, "{flushes:?}");
    line.record();
}
const LOST: Fault =
    Fault { row: 8, what: "all messages lost", expected: "a flush with each heartbeat" };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubled_messages_change_nothing() {
    without_flushes(async || with_pushes(Pushes::Doubled, DOUBLED).await).await.record();
}
const DOUBLED: Fault = Fault { row: 8, what: "each message twice", expected: "harmless: no flush" };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_overtake_each_other_flush_l1_and_are_all_applied() {
    let (flushes, line) = with_pushes(Pushes::Swapped, SWAPPED).await;
    assert!(flushes.count >= 2, "{flushes:?}");
    line.record();
}
const SWAPPED: Fault = Fault {
    row: 8,
    what: "each second message before the first",
    expected: "a flush; all applied",
};
