//! The database fails or is slow, callers go away, and a hot key expires.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Poll,
    time::{Duration, Instant},
};

use larder::{Ack, Cache, Clock, Names, Outcome, PolicyOverride, Source};
use parking_lot::Mutex;
use private_servers::{Faults, Proxy};
use tokio::time::sleep;

use crate::{
    drill::{PATIENCE, patient_process},
    report::{Fault, Line, Spread},
    support::{
        Database, Doc, DocKey, Redis, Stopwatch, Tiers, built, doc, eventually, stored, until,
    },
    truth::Truth,
};

/// Polls a future so many times, each time that it wakes up, and drops it. Whether it had ended.
async fn ends_within<F: Future>(polls: usize, future: F) -> bool {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Where a read is cancelled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cancelled {
    Cold,
    StoredInRedis,
    LeasedByAnother,
    Fresh,
    Invalidation,
}

/// Cancels at the n-th await, n = 1 to 8 (a call has fewer), several times each, and says how often
/// that was before the call's end: a busy machine may answer before anything is awaited. After each, both processes read the newest version, and Redis is
/// filled: nothing is left behind.
async fn cancelled_everywhere(how: Cancelled, a: &Cache, b: &Cache) -> (usize, usize) {
    let (mut cancelled, mut calls) = (0, 0);
    while calls < 40 || (cancelled == 0 && calls < 1_000) {
        let polls = calls % 8 + 1;
        calls += 1;
        let truth = Truth::of(1);
        let heard = || b.stats().backplane.messages + b.stats().backplane.flushes;
        let before = heard();
        a.invalidate(Names::everything()).await;
        until("the other process has heard it", || heard() > before).await;
        if !matches!(how, Cancelled::Cold | Cancelled::LeasedByAnother) {
            truth.read(b, 0).await.expect("loads");
            stored(b, 0).await;
        }
        let other = (how == Cancelled::LeasedByAnother).then(|| {
            let (truth, b) = (truth.clone(), b.clone());
            tokio::spawn(async move { truth.read(&b, 0).await.is_ok() })
        });
        let ended = match how {
            Cancelled::Fresh => ends_within(polls, truth.read(&a.fresh(), 0)).await,
            Cancelled::Invalidation => {
                let row = truth.commit(0);
                ends_within(polls, a.invalidate(Names::from(doc(0)).row(row))).await
            }
            _ => ends_within(polls, truth.read(a, 0)).await,
        };
        if how == Cancelled::Invalidation {
            let is_heard = async || {
                let read = truth.read(b, 0).await.expect("no failed read");
                read.value.version == truth.newest(0)
            };
            eventually("it goes on without its caller", is_heard).await;
        }
        let began = Stopwatch::start();
        for cache in [a, b] {
            let read = truth.read(cache, 0).await.expect("no failed read");
            assert_eq!(read.value.version, truth.newest(0), "{how:?} after {polls} polls");
        }
        assert!(began.elapsed() < PATIENCE, "{how:?} after {polls} polls");
        let most = if how == Cancelled::Invalidation { 2 } else { 1 };
        assert!(truth.loads() <= most, "{how:?} after {polls} polls: {} loads", truth.loads());
        while truth.read(&b.fresh(), 0).await.expect("loads").source != Source::L2 {
            assert!(began.elapsed() < PATIENCE, "{how:?} after {polls} polls: not filled");
            sleep(Duration::from_millis(2)).await;
        }
        if let Some(other) = other {
            assert!(other.await.expect("no panic"));
        }
        cancelled += usize::from(!ended);
    }
    (cancelled, calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_cancelled_at_any_await_leaves_nothing_behind() {
    let redis = Redis::start().await;
    let a = built(patient_process(&redis.url())).await;
    let b = built(patient_process(&redis.url())).await;
    let mut line = Line::of(CANCELLED);
    for how in [
        Cancelled::Cold,
        Cancelled::StoredInRedis,
        Cancelled::LeasedByAnother,
        Cancelled::Fresh,
        Cancelled::Invalidation,
    ] {
        let (cancelled, calls) = cancelled_everywhere(how, &a, &b).await;
        assert!(cancelled > 0, "{how:?} was never cancelled");
        line = line.note(format!("{how:?}: {cancelled} of {calls} cancelled"));
    }
    line.record();
}
const CANCELLED: Fault = Fault {
    row: 25,
    what: "call cancelled at every await",
    expected: "no lease, no flight, no old value left; one load",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_down_hits_go_on_and_misses_fail_as_it_fails() {
    let redis = Redis::start().await;
    let clock = Clock::manual();
    let cache = built(patient_process(&redis.url()).clock(clock.clone())).await;
    let truth = Truth::of(4);
    for id in 0..3 {
        truth.read(&cache, id).await.expect("loads");
        stored(&cache, id).await;
    }
    let down = async |id| cache.get_or_load(&DocKey(id), || async { Err::<Doc, _>("down") }).await;
    let mut latencies = vec![];
    for _ in 0..200 {
        let began = Instant::now();
        assert!(down(0).await.expect("a hit").source.is_hit());
        latencies.push(began.elapsed());
    }
    let fresh = cache.fresh();
    let in_redis = fresh.get_or_load(&DocKey(0), || async { Err::<Doc, _>("down") });
    assert_eq!(in_redis.await.expect("a hit").source, Source::L2);
    let miss = down(3).await.expect_err("nothing has it");
    assert_eq!(miss.as_loader(), Some(&"down"), "the loader's own error");
    clock.advance(Duration::from_secs(70)); // past the soft TTL, before the hard one
    for _ in 0..3 {
        assert!(down(1).await.expect("a hit on what is merely old").is_stale);
        sleep(Duration::from_millis(150)).await; // its refresh fails
    }
    assert_eq!(cache.invalidate(doc(2)).await, Ack::Applied);
    assert!(down(2).await.is_err(), "what was invalidated is never served");
    assert_eq!(truth.read(&cache, 3).await.expect("it is up again").source, Source::Loader);
    let line = Line { reads: 200, spread: Some(Spread::of(latencies)), ..Line::of(DATABASE_DOWN) };
    line.note("misses fail with the loader's error").record();
}
const DATABASE_DOWN: Fault = Fault {
    row: 26,
    what: "database down (a loader that fails)",
    expected: "hits, also soft-expired ones; never what was invalidated",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_slows_misses_only() {
    let redis = Redis::start().await;
    let (cache, truth) = (built(patient_process(&redis.url())).await, Truth::of(1));
    truth.read(&cache, 0).await.expect("loads");
    stored(&cache, 0).await;
    let slow = Database::slow(Duration::from_millis(800));
    let miss = tokio::spawn({
        let (cache, slow) = (cache.clone(), slow.clone());
        async move { slow.read(&cache, 7).await.source }
    });
    until("the slow load has begun", || slow.loads() == 1).await;
    let mut latencies = vec![];
    while !miss.is_finished() {
        let began = Instant::now();
        assert!(truth.read(&cache, 0).await.expect("a hit").source.is_hit());
        latencies.push(began.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(miss.await.expect("no panic"), Source::Loader);
    let spread = Some(Spread::of(latencies));
    Line { spread, ..Line::of(DATABASE_SLOW) }.note("the miss took its load of 800 ms").record();
}
const DATABASE_SLOW: Fault =
    Fault { row: 26, what: "database slow (a loader of 800 ms)", expected: "hits do not wait" };

#[tokio::test]
async fn a_write_in_doubt_is_answered_by_no_tier_until_its_outcome_is_known() {
    for (outcome, version) in [(Outcome::Committed, 1), (Outcome::Aborted, 0)] {
        let (redis, database) = (Redis::start().await, Database::default());
        let cache = Tiers::Both.cache(&redis).await;
        database.read(&cache, 1).await;
        stored(&cache, 1).await;
        let (known, learned) = tokio::sync::oneshot::channel();
        let outcome_known = async move { learned.await.unwrap_or(outcome) };
        cache.invalidate_in_doubt(doc(1).into(), outcome_known);
        for _ in 0..3 {
            assert_eq!(database.read(&cache, 1).await.source, Source::Loader);
        }
        if outcome == Outcome::Committed {
            database.write(); // the commit lands late
        }
        known.send(outcome).expect("somebody waits");
        let is_hit = async || {
            let read = database.read(&cache, 1).await;
            assert!(read.value.version == version, "{outcome:?}: {read:?}");
            read.source.is_hit()
        };
        eventually("it is kept again", is_hit).await;
    }
    Line::of(IN_DOUBT).note("loaded until the outcome was known, cached again after it").record();
}
const IN_DOUBT: Fault = Fault {
    row: 27,
    what: "COMMIT with an unknown outcome",
    expected: "neither tier answers until the outcome is known",
};

#[tokio::test]
async fn a_refresh_that_another_process_has_just_made_is_not_made_again() {
    let (redis, clock, truth) = (Redis::start().await, Clock::manual(), Truth::of(1));
    let proxy = Proxy::before(redis.port()).await;
    let process = |url: &str| patient_process(url).without_l1().clock(clock.clone());
    let (near, far) = (built(process(&redis.url())).await, built(process(&proxy.url())).await);
    for cache in [&near, &far] {
        truth.read(cache, 0).await.expect("loads");
        stored(cache, 0).await;
    }
    clock.advance(Duration::from_secs(70)); // past the soft TTL
    proxy.data().set(Faults { delay: Duration::from_millis(300), ..Faults::default() });
    let late = truth.read(&far, 0); // sees the old value and learns of it late
    let refreshed = async {
        sleep(Duration::from_millis(100)).await;
        truth.read(&near, 0).await
    };
    let (late, refreshed) = tokio::join!(late, refreshed);
    assert!(late.expect("a hit").is_stale && refreshed.expect("a hit").is_stale);
    sleep(Duration::from_millis(900)).await;
    assert_eq!(truth.loads(), 2, "one at first, and one for the expiry");
    let claim: u64 = redis.command(&["EXISTS", "t:~r:doc:detail@1:0"]).await;
    assert_eq!(claim, 0, "the late claim is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_key_that_expires_is_loaded_once() {
    const EXPIRIES: usize = 5;
    let (redis, clock, truth) = (Redis::start().await, Clock::manual(), Truth::of(1));
    let (is_over, latencies) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(vec![])));
    let mut readers = vec![];
    for _ in 0..3 {
        // As long in L1 as in Redis, so that the soft TTL alone brings anybody to look.
        let life = PolicyOverride { l1: Some(Duration::from_secs(120)), ..Default::default() };
        let builder = patient_process(&redis.url()).clock(clock.clone());
        let cache = built(builder.policy_override("docs", life)).await;
        truth.read(&cache, 0).await.expect("loads");
        stored(&cache, 0).await;
        for _ in 0..4 {
            let (cache, truth) = (cache.clone(), truth.clone());
            let (is_over, latencies) = (Arc::clone(&is_over), Arc::clone(&latencies));
            readers.push(tokio::spawn(async move {
                let mut pace = tokio::time::interval(Duration::from_millis(12));
                while !is_over.load(SeqCst) {
                    pace.tick().await;
                    let began = Instant::now();
                    truth.read(&cache, 0).await.expect("no failed read");
                    latencies.lock().push(began.elapsed());
                }
            }));
        }
    }
    for expiry in 1..=EXPIRIES {
        sleep(Duration::from_millis(100)).await;
        clock.advance(Duration::from_secs(70)); // past the soft TTL of 60 s ± 10 %
        until("the refresh is loaded", || truth.loads() > expiry).await;
        for _ in 0..4 {
            sleep(Duration::from_millis(100)).await;
            clock.advance(Duration::from_millis(150)); // time for every process to look again
        }
    }
    is_over.store(true, SeqCst);
    for reader in readers {
        reader.await.expect("no panic");
    }
    assert_eq!(truth.loads(), 1 + EXPIRIES, "one at first, and one for each expiry");
    let latencies = std::mem::take(&mut *latencies.lock());
    let (reads, loads) = (latencies.len(), Some(truth.loads()));
    let line = Line { reads, loads, spread: Some(Spread::of(latencies)), ..Line::of(EXPIRY) };
    line.note(format!("{EXPIRIES} expiries")).record();
}
const EXPIRY: Fault = Fault {
    row: 30,
    what: "a hot key expires at 1,000 reads/s over 3 processes",
    expected: "1 load for each expiry; nobody waits for it",
};
