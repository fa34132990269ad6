//! One load a key, whatever becomes of the one who began it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::{Cache, LoadError};
use tokio::sync::{Notify, Semaphore};

use crate::support::{
    Database, Doc, DocKey, Redis, Stopwatch, Tiers, built, counted, eventually, failed, in_l1,
    stored, until, without_a_pause,
};

/// Far less than the caches here wait for somebody else's load (20 s), and far more than any load.
const NO_WAIT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_of_a_cold_key_make_one_load() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) =
            (tiers.cache(&redis).await, Database::slow(Duration::from_millis(50)));
        let reads = spawn_reads(&cache, &database, 1000);
        for read in reads {
            assert_eq!(read.await.expect("no panic"), 0);
        }
        assert_eq!(database.loads(), 1, "{tiers:?}");
        let counts = counted(&cache);
        // Who comes when it has landed has a hit.
        assert_eq!(counts.coalesced + counts.l1_hits + counts.l2_hits, 999, "{tiers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_loads_again_what_has_just_landed() {
    let (cache, database) = (Cache::builder().build().expect("valid"), Database::default());
    for id in 0..1_000 {
        let one = |_| {
            let (cache, database) = (cache.clone(), database.clone());
            tokio::spawn(async move { database.read(&cache, id).await.value.version })
        };
        for read in (0..8).map(one).collect::<Vec<_>>() {
            read.await.expect("no panic");
        }
    }
    assert_eq!(database.loads(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_with_a_hundred_callers_each_make_one_load() {
    let redis = Redis::start().await;
    for tiers in [Tiers::L2, Tiers::Both] {
        redis.command::<()>(&["FLUSHALL"]).await;
        let database = Database::slow(Duration::from_millis(50));
        let mut reads = vec![];
        for _ in 0..3 {
            reads.extend(spawn_reads(&tiers.cache(&redis).await, &database, 100));
        }
        for read in reads {
            assert_eq!(read.await.expect("no panic"), 0);
        }
        assert_eq!(database.loads(), 1, "{tiers:?}");
    }
}

// On one thread: whoever has begun has also asked.
#[tokio::test]
async fn a_thousand_callers_of_a_key_that_redis_has_ask_redis_once() {
    let redis = Redis::start().await;
    let database = Database::default();
    let first = Tiers::Both.cache(&redis).await;
    database.read(&first, 1).await;
    stored(&first, 1).await;
    let cache = Tiers::Both.cache(&redis).await;
    redis.command::<()>(&["CONFIG", "RESETSTAT"]).await;
    redis.hang(); // so that all of them arrive before the answer
    let begun = Arc::new(AtomicUsize::new(0));
    let one = |_| {
        let (cache, database, begun) = (cache.clone(), database.clone(), Arc::clone(&begun));
        tokio::spawn(async move {
            begun.fetch_add(1, SeqCst);
            database.read(&cache, 1).await
        })
    };
    let reads: Vec<_> = (0..1000).map(one).collect();
    until("all have begun", || begun.load(SeqCst) == 1000).await;
    redis.resume();
    for read in reads {
        read.await.expect("no panic");
    }
    assert_eq!(redis.calls("getrange").await, 1);
    assert_eq!(database.loads(), 1);
}

fn spawn_reads(
    cache: &Cache,
    database: &Database,
    callers: usize,
) -> Vec<tokio::task::JoinHandle<u64>> {
    let one = |_| {
        let (cache, database) = (cache.clone(), database.clone());
        tokio::spawn(async move { database.read(&cache, 1).await.value.version })
    };
    (0..callers).map(one).collect()
}

#[tokio::test]
async fn a_cancelled_leader_does_not_fail_the_others_or_load_twice() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) =
            (tiers.cache(&redis).await, Database::slow(Duration::from_millis(100)));
        let leader = spawn_reads(&cache, &database, 1);
        until("the load has begun", || database.loads() == 1).await;
        let follower = spawn_reads(&cache, &database, 1);
        tokio::task::yield_now().await;
        leader.iter().for_each(|task| task.abort());
        for read in follower {
            assert_eq!(read.await.expect("the follower lives"), 0);
        }
        database.read(&cache, 1).await;
        assert_eq!(database.loads(), 1, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_leader_cancelled_while_it_asks_redis_leaves_the_key_to_those_who_joined() {
    let redis = Redis::start().await;
    let (cache, database) = (Tiers::Both.cache(&redis).await, Database::default());
    redis.hang();
    let leader = spawn_reads(&cache, &database, 1);
    tokio::task::yield_now().await;
    let followers = spawn_reads(&cache, &database, 100);
    tokio::task::yield_now().await;
    leader.iter().for_each(|task| task.abort());
    tokio::task::yield_now().await;
    redis.resume();
    for read in followers {
        assert_eq!(read.await.expect("a follower lives"), 0);
    }
    assert_eq!(database.loads(), 1);
}

#[tokio::test]
async fn a_load_whose_only_caller_left_is_stored_all_the_same() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        let goes_on = Arc::new(Notify::new());
        let (loading, waits) = (database.clone(), Arc::clone(&goes_on));
        let load = move || async move {
            let loaded = loading.load(1).await;
            waits.notified().await;
            loaded
        };
        tokio::select! {
            _ = cache.get_or_load(&DocKey(1), load) => panic!("it is held"),
            () = until("the load has begun", || database.loads() == 1) => {}
        }
        goes_on.notify_one();
        stored(&cache, 1).await;
        let is_hit = async || database.read(&cache, 1).await.source.is_hit();
        eventually("it is a hit", is_hit).await;
        if tiers != Tiers::L2 {
            in_l1(&cache, 1).await;
        }
        assert_eq!(database.loads(), 1, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_loader_error_passes_through_releases_the_lease_and_is_not_cached() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        let broken = || async { Err::<Doc, _>(io::Error::other("the database is down")) };
        let error = failed(cache.get_or_load(&DocKey(1), broken).await);
        assert_eq!(
            error.as_loader().map(ToString::to_string).as_deref(),
            Some("the database is down")
        );
        let began = Stopwatch::start();
        let database = Database::default();
        database.read(&cache, 1).await;
        assert_eq!(database.loads(), 1);
        assert!(began.elapsed() < NO_WAIT, "{tiers:?}: waited for a lease that was not released");
    }
}

#[tokio::test]
async fn a_panicking_loader_fails_its_callers_and_leaves_the_key_usable() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        let panics = || async {
            if true {
                panic!("on purpose")
            } else {
                Ok::<Doc, io::Error>(Doc { id: 1, version: 0 })
            }
        };
        assert!(failed(cache.get_or_load(&DocKey(1), panics).await).is_panic());
        let began = Stopwatch::start();
        Database::default().read(&cache, 1).await;
        assert!(began.elapsed() < NO_WAIT, "{tiers:?}");
    }
}

#[tokio::test]
async fn all_who_wait_for_a_load_that_fails_or_panics_get_that_and_the_next_one_loads() {
    let redis = Redis::start().await;
    for (tiers, panics) in Tiers::ALL.into_iter().flat_map(|tiers| [(tiers, false), (tiers, true)])
    {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        // After a pause of the machine nobody may join: then each loads by itself, as it should.
        let (errors, loads) = without_a_pause(async || broken_reads(&cache, panics).await).await;
        assert_eq!(loads, 1, "{tiers:?}: only the first reader's loader runs");
        assert_eq!(errors.len(), 21);
        for error in errors {
            assert_eq!(error.is_panic(), panics, "{tiers:?}");
            let text = error.as_loader().map(String::as_str);
            assert_eq!(text, (!panics).then_some("the database of reader 0 is down"), "{tiers:?}");
        }
        let database = Database::default();
        assert_eq!(database.read(&cache, 1).await.value.version, 0, "{tiers:?}");
        assert_eq!(database.loads(), 1, "{tiers:?}");
    }
}

/// What the first reader and twenty who come while it loads are told, each of whose loaders breaks
/// in words of its own, and how many of the loaders ran.
async fn broken_reads(cache: &Cache, panics: bool) -> (Vec<LoadError<String>>, usize) {
    let (begun, loads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let release = Arc::new(Semaphore::new(0));
    let read = |reader: usize| {
        let (cache, release) = (cache.clone(), Arc::clone(&release));
        let (begun, loads) = (Arc::clone(&begun), Arc::clone(&loads));
        tokio::spawn(async move {
            begun.fetch_add(1, SeqCst);
            let broken = move || async move {
                loads.fetch_add(1, SeqCst);
                let _closed = release.acquire().await;
                assert!(!panics, "on purpose");
                Err::<Doc, _>(format!("the database of reader {reader} is down"))
            };
            failed(cache.get_or_load(&DocKey(1), broken).await)
        })
    };
    let mut reads = vec![read(0)];
    until("the load has begun", || loads.load(SeqCst) == 1).await;
    reads.extend((1..=20).map(read));
    // On one thread: whoever has begun has also asked.
    until("all wait", || begun.load(SeqCst) == 21).await;
    release.close();
    let mut errors = vec![];
    for read in reads {
        errors.push(read.await.expect("the read itself does not panic"));
    }
    (errors, loads.load(SeqCst))
}

#[tokio::test]
async fn a_loader_that_never_returns_times_out_and_frees_the_key() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = built(tiers.builder(&redis)).await;
        let hangs = || async {
            std::future::pending::<()>().await;
            Ok::<Doc, io::Error>(Doc { id: 1, version: 0 })
        };
        let began = Stopwatch::start();
        assert!(failed(cache.get_or_load(&DocKey(1), hangs).await).is_timeout());
        assert!(began.elapsed() < NO_WAIT, "{tiers:?}"); // the key's load timeout is 5 s
        let began = Stopwatch::start();
        Database::default().read(&cache, 1).await;
        assert!(began.elapsed() < NO_WAIT, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_loader_that_reads_its_own_key_ends_in_a_timeout_and_not_in_a_deadlock() {
    let redis = Redis::start().await;
    let cache = Tiers::Both.cache(&redis).await;
    let inner = cache.clone();
    let recursive = move || async move {
        let never = || async { Ok::<Doc, io::Error>(Doc { id: 1, version: 0 }) };
        let read = inner.get_or_load(&DocKey(1), never).await;
        read.map(|read| (*read.value).clone()).map_err(|_| io::Error::other("inner"))
    };
    assert!(failed(cache.get_or_load(&DocKey(1), recursive).await).is_timeout());
}

#[tokio::test]
async fn the_load_of_a_dead_process_is_waited_for_no_longer_than_wait_max() {
    let redis = Redis::start().await;
    let cache = built(Tiers::L2.builder(&redis).wait_max(Duration::from_millis(200))).await;
    let database = Database::default();
    database.read(&cache, 1).await;
    stored(&cache, 1).await;
    let marker: &[u8; 18] = b"L\x01sixteen bytes id";
    let client = redis::Client::open(redis.url()).expect("a valid URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("redis is up");
    let set = redis::cmd("SET").arg("t:doc:detail@1:1").arg(marker).arg("PX").arg(60_000).clone();
    set.exec_async(&mut connection).await.expect("set");
    let (began, watch) = (Instant::now(), Stopwatch::start());
    database.read(&cache, 1).await;
    assert_eq!(database.loads(), 2);
    let (took, waited) = (began.elapsed(), watch.elapsed());
    assert!(took >= Duration::from_millis(100), "{took:?}: it did not wait for the other process");
    assert!(waited < Duration::from_secs(2), "{waited:?}, and wait_max is 200 ms");
}

#[tokio::test]
async fn callers_with_different_error_types_share_a_key() {
    let redis = Redis::start().await;
    let cache = Tiers::Both.cache(&redis).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let slow_failure = {
        let runs = Arc::clone(&runs);
        move || async move {
            runs.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err::<Doc, _>(io::Error::other("slow"))
        }
    };
    let first = tokio::spawn({
        let cache = cache.clone();
        async move { failed(cache.get_or_load(&DocKey(1), slow_failure).await).as_loader().is_some() }
    });
    until("the first load has begun", || runs.load(SeqCst) == 1).await;
    let other = || async { Err::<Doc, String>("other".into()) };
    let error = failed(cache.get_or_load(&DocKey(1), other).await);
    assert_eq!(error.as_loader().map(String::as_str), Some("other"));
    assert!(first.await.expect("no panic"));
}
