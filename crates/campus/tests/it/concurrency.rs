//! Many requests at once: nobody reads the past, and a herd loads once.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use campus::config::Settings;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Redis, TestApp, on_redis, on_redis_alone};

const WRITERS: usize = 64;
const READERS: usize = 64;

/// Writers and readers on one course. Every reader notes the newest version that
/// was acknowledged before it asked, and must not get an older one.
async fn no_read_is_older_than_an_acknowledged_write(app: TestApp) {
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Before").await;
    let first = app.get(&format!("/courses/{id}")).await.json()["version"].as_i64().unwrap();
    let acknowledged = Arc::new(AtomicI64::new(first));
    let writing = Arc::new(AtomicBool::new(true));
    let readers = (0..READERS).map(|reader| {
        let (acknowledged, writing) = (Arc::clone(&acknowledged), Arc::clone(&writing));
        let path = if reader % 4 == 0 { "/courses".to_owned() } else { format!("/courses/{id}") };
        let api = (*app).clone();
        tokio::spawn(async move {
            let mut reads = 0;
            while writing.load(Ordering::SeqCst) || reads == 0 {
                let least = acknowledged.load(Ordering::SeqCst);
                let seen = api.get(&path).await.expect(200).json();
                let course = seen.get("items").map_or(&seen, |items| &items[0]);
                let version = course["version"].as_i64().unwrap();
                assert!(version >= least, "{path}: {version} after {least} was acknowledged");
                reads += 1;
            }
            reads
        })
    });
    let readers: Vec<_> = readers.collect();
    let writers = (0..WRITERS).map(|writer| {
        let (acknowledged, api, ada) = (Arc::clone(&acknowledged), (*app).clone(), ada.clone());
        tokio::spawn(async move {
            let edit = json!({"title": format!("Version {writer}")});
            let written = api.put(&format!("/courses/{id}")).by(&ada).json(edit).await;
            let version = written.expect(200).json()["version"].as_i64().unwrap();
            acknowledged.fetch_max(version, Ordering::SeqCst);
        })
    });
    for writer in join_all(writers).await {
        writer.expect("every edit is taken");
    }
    writing.store(false, Ordering::SeqCst);
    for reader in join_all(readers).await {
        reader.expect("every read is current");
    }
    let last = app.get(&format!("/courses/{id}")).await.json()["version"].as_i64().unwrap();
    assert_eq!(last, first + WRITERS as i64, "no edit was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_an_acknowledged_write_with_l1_only() {
    no_read_is_older_than_an_acknowledged_write(TestApp::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_an_acknowledged_write_with_l1_and_redis() {
    let redis = Redis::start().await;
    let app = TestApp::with(on_redis(&redis)).await.connected().await;
    no_read_is_older_than_an_acknowledged_write(app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_an_acknowledged_write_with_redis_only() {
    let redis = Redis::start().await;
    let app = TestApp::with(on_redis_alone(&redis)).await.connected().await;
    no_read_is_older_than_an_acknowledged_write(app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_herd_on_a_cold_list_loads_it_once() {
    let app = TestApp::with(Settings::default()).await;
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    for number in 0..20 {
        app.published(&ada, &format!("Course {number}")).await;
    }
    let answers = join_all((0..200).map(|_| app.get("/courses?limit=50").into_future())).await;
    for answer in &answers {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, answers[0].body);
    }
    let counters = app.counters(&root, "courses_list").await;
    assert_eq!(counters["loads"], 1, "{counters}");
    let read = counters["l1_hits"].as_i64().unwrap() + counters["misses"].as_i64().unwrap();
    assert_eq!(read, 200, "{counters}");
}
