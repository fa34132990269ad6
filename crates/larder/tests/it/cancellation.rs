//! Every future of the public interface, dropped after its first poll, its second, and so on until
//! it would have ended: whoever comes later gets the right value, from one load.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use larder::{Cache, Cached};
use tokio::time::timeout;

use crate::support::{Database, Doc, DocKey, Redis, Tiers, doc};

/// Longer than any future here is polled.
const MOST_POLLS: usize = 50;
/// Load timeout and twice the budget of Redis: what a lease lasts at most.
const LEASE: Duration = Duration::from_millis(5_200);
/// A lease marker is as long as this, a value longer.
const MARKER_BYTES: usize = 18;

/// Polls a future so many times, each time that it is woken. `None` if it has not ended by then.
async fn polled<F: Future>(mut future: Pin<&mut F>, polls: usize) -> Option<F::Output> {
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Runs a case with one poll more each time, until its future ends before it is dropped. The case
/// says whether it did.
async fn after_every_poll<C: Future<Output = bool>>(case: impl Fn(usize) -> C) {
    for polls in 0..MOST_POLLS {
        if case(polls).await {
            assert!(polls > 0, "nothing was dropped");
            return;
        }
    }
    panic!("still not at its end after {MOST_POLLS} polls");
}

/// A read that must not take longer than a lease.
async fn read(cache: &Cache, database: &Database, id: i64) -> Cached<Arc<Doc>> {
    timeout(LEASE, database.read(cache, id)).await.expect("a read hangs")
}

/// Waits until Redis has the value in place of the lease, if the cache has a Redis.
async fn no_lease_is_left(tiers: Tiers, redis: &Redis, id: i64) {
    let key = format!("t:doc:detail@1:{id}");
    let filled = async {
        while redis.command::<Vec<u8>>(&["GET", &key]).await.len() <= MARKER_BYTES {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tiers != Tiers::L1 {
        timeout(LEASE, filled).await.expect("a lease is left");
    }
}

/// What must hold once the future is gone: the value, one load, no lease, and the next value after
/// the next write.
async fn all_is_well(tiers: Tiers, redis: &Redis, cache: &Cache, database: &Database, id: i64) {
    assert_eq!(read(cache, database, id).await.value, Doc { id, version: 0 }.into());
    assert_eq!(database.loads(), 1, "{tiers:?}: one load");
    no_lease_is_left(tiers, redis, id).await;
    let version = database.write();
    cache.invalidate(doc(id)).await;
    assert_eq!(read(cache, database, id).await.value.version, version, "{tiers:?}");
}

#[tokio::test]
async fn a_get_or_load_dropped_at_any_point_leaves_the_value_to_the_next() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        after_every_poll(async |polls| {
            let (database, id) = (Database::slow(Duration::from_millis(5)), polls as i64);
            let ended = polled(pin!(database.read(&cache, id)), polls).await;
            all_is_well(tiers, &redis, &cache, &database, id).await;
            ended.is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_find_or_load_dropped_at_any_point_leaves_the_value_to_the_next() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        after_every_poll(async |polls| {
            let (database, id) = (Database::slow(Duration::from_millis(5)), polls as i64);
            let loading = database.clone();
            let load = move || async move { loading.load(id).await.map(Some) };
            let ended = polled(pin!(cache.find_or_load(&DocKey(id), load)), polls).await;
            all_is_well(tiers, &redis, &cache, &database, id).await;
            ended.is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_get_dropped_at_any_point_leaves_nothing() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        after_every_poll(async |polls| {
            let (database, id) = (Database::default(), polls as i64);
            let ended = polled(pin!(cache.get(&DocKey(id))), polls).await;
            assert!(ended.as_ref().is_none_or(Option::is_none), "nothing was loaded");
            all_is_well(tiers, &redis, &cache, &database, id).await;
            ended.is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn those_who_joined_a_leader_who_goes_away_get_the_value_from_one_load() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        after_every_poll(async |polls| {
            let (database, id) = (Database::slow(Duration::from_millis(5)), polls as i64);
            let followers = [(); 3].map(|()| {
                let (cache, database) = (cache.clone(), database.clone());
                tokio::spawn(async move { read(&cache, &database, id).await.value.version })
            });
            let mut leader = Box::pin(database.read(&cache, id));
            let ended = polled(leader.as_mut(), polls).await;
            // They board only when this task gives way.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            drop(leader);
            for follower in followers {
                assert_eq!(follower.await.expect("no panic"), 0);
            }
            all_is_well(tiers, &redis, &cache, &database, id).await;
            ended.is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_read_dropped_after_an_invalidation_overtook_it_leaves_no_old_value() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        after_every_poll(async |polls| {
            let (database, id) = (Database::slow(Duration::from_millis(5)), polls as i64);
            let mut overtaken = Box::pin(database.read(&cache, id));
            let ended = polled(overtaken.as_mut(), polls).await;
            let version = database.write();
            cache.invalidate(doc(id)).await;
            drop(overtaken);
            for _ in 0..3 {
                assert_eq!(read(&cache, &database, id).await.value.version, version, "{tiers:?}");
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            assert!(database.loads() <= 2, "{tiers:?}: one before, one after the write");
            ended.is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn an_invalidation_dropped_at_any_point_is_made_all_the_same() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        after_every_poll(async |polls| {
            let (database, id) = (Database::default(), polls as i64);
            read(&cache, &database, id).await;
            no_lease_is_left(tiers, &redis, id).await;
            let version = database.write();
            let ended = polled(pin!(cache.invalidate(doc(id))), polls).await;
            let applied = async {
                while read(&cache, &database, id).await.value.version != version {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            // A future that was never polled has done nothing.
            if polls > 0 {
                timeout(LEASE, applied).await.expect("it was not applied");
                assert_eq!(database.loads(), 2, "{tiers:?}: one before, one after the write");
            }
            ended.is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_loader_goes_on_when_its_only_caller_goes_away() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        let (begun, goes_on) = (Arc::new(tokio::sync::Notify::new()), Arc::clone(&database.loads));
        let begins = Arc::clone(&begun);
        let load = move || async move {
            begins.notify_one();
            tokio::time::sleep(Duration::from_millis(20)).await;
            goes_on.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, Infallible>(Doc { id: 1, version: 0 })
        };
        tokio::select! {
            _ = cache.get_or_load(&DocKey(1), load) => panic!("it takes longer"),
            () = begun.notified() => {}
        }
        all_is_well(tiers, &redis, &cache, &database, 1).await;
    }
}
