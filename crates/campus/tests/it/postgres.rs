//! The same promises on PostgreSQL, which is one URL away.

use std::time::Duration;

use campus::config::Settings;
use campus::import::synthetic::{self, Size};
use campus::model::EnrollmentDraft;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Postgres, Redis, Sql, TestApp, on, on_redis, until};

#[tokio::test(flavor = "multi_thread")]
async fn courses_are_written_read_and_found_on_postgresql() {
    let cluster = Postgres::start();
    let app = TestApp::with(on(&cluster)).await;
    let (ada, sam) = (app.instructor("ada").await, app.student("sam").await);
    let id = app.published(&ada, "100% Ünïcode").await;
    app.write_content(&ada, id).await;
    let path = format!("/courses/{id}");
    let (miss, hit) = (app.get(&path).await.expect(200), app.get(&path).await.expect(200));
    assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"));
    assert_eq!(miss.body, hit.body);
    for (q, hits) in [("100%25", 1), ("%C3%9CN%C3%8FCODE", 1), ("_", 0)] {
        let list = app.get(&format!("/courses?q={q}")).await.expect(200).json();
        assert_eq!(list["total"], hits, "{q}");
    }
    app.put(&path).by(&ada).json(json!({"title": "After"})).await.expect(200);
    assert_eq!(app.get(&path).await.expect(200).json()["title"], "After");
    assert_eq!(app.get("/courses").await.json()["items"][0]["title"], "After");
    app.get(&format!("{path}/content")).by(&sam).await.refused(403);
    app.enroll(&sam, id).await.expect(201);
    app.get(&format!("{path}/content")).by(&sam).await.expect(200);
    app.put(&format!("{path}/rating")).by(&sam).json(json!({"stars": 4})).await.expect(200);
    assert_eq!(app.get(&path).await.json()["rating"], json!({"average": 4.0, "count": 1}));
    let mut same_slug = crate::support::course("Other");
    same_slug["slug"] = json!("100-n-code");
    let refused = app.post("/courses").by(&ada).json(same_slug).await.refused(409);
    assert_eq!(refused, "Slug '100-n-code' is already taken");
    app.delete(&path).by(&ada).await.expect(204);
    app.get(&path).await.refused(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_another_case_is_taken_on_postgresql_too() {
    let cluster = Postgres::start();
    let app = TestApp::with(on(&cluster)).await;
    let new = |username: &str, email: &str| {
        app.post("/auth/register").json(json!({"username": username, "email": email,
            "password": "correct horse battery", "full_name": "Nina"}))
    };
    new("Nina", "nina@example.org").await.expect(201);
    let refused = new("nINA", "other@example.org").await.refused(409);
    assert_eq!(refused, "The user name 'nINA' is already taken");
    let (one, two) = tokio::join!(new("Otto", "1@example.org"), new("otto", "2@example.org"));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_are_never_oversold_on_postgresql_by_two_servers() {
    let cluster = Postgres::start();
    let redis = Redis::start().await;
    let settings = || Settings { database_url: Some(cluster.url()), ..on_redis(&redis) };
    let first = TestApp::with(settings()).await.connected().await;
    let second = first.twin(settings()).await.connected().await;
    let ada = first.instructor("ada").await;
    let id = first.published(&ada, "Popular").await;
    let path = format!("/courses/{id}");
    first.put(&path).by(&ada).json(json!({"max_students": 20})).await.expect(200);
    let mut takers = Vec::new();
    for number in 0..100 {
        takers.push(first.student(&format!("taker{number}")).await);
    }
    let turns = takers.iter().enumerate().map(|(turn, taker)| {
        let app = if turn % 2 == 0 { &first } else { &second };
        app.enroll(taker, id)
    });
    let answers = join_all(turns).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 20);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.refused(409);
    }
    let seats = first.get(&format!("{path}/seats")).await.expect(200).json();
    assert_eq!(seats["enrolled"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_edits_on_postgresql_are_all_kept_or_refused_and_never_unseen() {
    let cluster = Postgres::start();
    let app = TestApp::with(on(&cluster)).await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Before").await;
    let path = format!("/courses/{id}");
    let before = app.get(&path).await.json()["version"].as_i64().unwrap();
    let edits = (0..64).map(|number| {
        let path = &path;
        let (app, ada) = (&app, &ada);
        async move {
            let edit = json!({"title": format!("Version {number}")});
            let written = app.put(path).by(ada).json(edit).await;
            let version = written.json()["version"].as_i64()?;
            let seen = app.get(path).await.expect(200).json()["version"].as_i64().unwrap();
            assert!(seen >= version, "{seen} after {version} was acknowledged");
            Some(version)
        }
    });
    let written: Vec<i64> = join_all(edits).await.into_iter().flatten().collect();
    assert_eq!(written.len(), 64, "editors of one course take turns");
    let last = app.get(&path).await.json()["version"].as_i64().unwrap();
    assert_eq!(last, before + written.len() as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_is_the_same_on_postgresql_as_on_sqlite() {
    let cluster = Postgres::start();
    let there = TestApp::with(on(&cluster)).await;
    there.import_demo().await;
    let here = TestApp::demo().await;
    for query in [
        "sort_by=popular&limit=100",
        "sort_by=top_rated&limit=100",
        "sort_by=recent&limit=100",
        "q=data&limit=100",
        "level=beginner&min_rating=4&limit=100",
    ] {
        let slugs = async |app: &TestApp| -> Vec<String> {
            let list = app.get(&format!("/courses?{query}")).await.expect(200).json();
            let items = list["items"].as_array().cloned().unwrap_or_default();
            items
                .iter()
                .map(|item| format!("{} {}", item["slug"], item["enrolled_count"]))
                .collect()
        };
        let expected = slugs(&here).await;
        assert!(!expected.is_empty(), "{query}");
        assert_eq!(slugs(&there).await, expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_categories_are_the_same_on_postgresql_as_on_sqlite() {
    let cluster = Postgres::start();
    let there = TestApp::with(on(&cluster)).await;
    there.import_demo().await;
    let here = TestApp::demo().await;
    let path = "/courses/categories";
    assert_eq!(there.get(path).await.expect(200).body, here.get(path).await.expect(200).body);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_reads_are_503_after_the_configured_wait_and_hits_go_on() {
    let mut cluster = Postgres::start();
    let app =
        TestApp::with(Settings { database_timeout_ms: Some("100".to_owned()), ..on(&cluster) })
            .await;
    let ada = app.instructor("ada").await;
    let (kept, other) = (app.published(&ada, "Kept").await, app.published(&ada, "Other").await);
    app.get(&format!("/courses/{kept}")).await.expect(200);
    cluster.stop();
    // Whoever waits for the pool's own five seconds is too late.
    for _ in 0..3 {
        let asked = app.get(&format!("/courses/{other}")).send();
        let answer = tokio::time::timeout(Duration::from_secs(4), asked).await;
        answer.expect("an answer").refused(503);
    }
    assert_eq!(app.get(&format!("/courses/{kept}")).await.expect(200).cache(), "HIT");
    cluster.resume();
    until("it is over", async || app.get(&format!("/courses/{other}")).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_requests_hold_every_connection_is_still_well() {
    let mut cluster = Postgres::start();
    let app = TestApp::with(on(&cluster)).await;
    let held = join_all((0..16).map(|_| app.app.store().begin())).await;
    assert!(held.iter().all(Result::is_ok), "the pool has 16 connections");
    for path in ["/health", "/health/ready"] {
        app.get(path).await.expect(200);
    }
    drop(held);
    cluster.stop();
    until("the outage is seen", async || app.get("/health/ready").await.status == 503).await;
    cluster.resume();
    until("it is over", async || app.get("/health/ready").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_counts_the_seat_that_somebody_takes_while_it_runs() {
    let cluster = Postgres::start();
    let (app, sql) = (TestApp::with(on(&cluster)).await, Sql::open(&cluster.url()).await);
    let import = async |users| {
        let tx = app.app.store().begin().await.expect("a transaction");
        let catalogue = synthetic::make(Size { courses: 3, users, seed: 1 }).catalogue;
        tx.import(&[&catalogue], app.clock.now(), &mut |_| {}).await.expect("an import");
        tx.commit().await.expect("a commit");
    };
    import(20).await;
    let sam = app.student("sam").await;
    let course = "SELECT id FROM courses WHERE max_students IS NULL OR max_students > \
                  enrolled_count ORDER BY id";
    let course: i64 = sql.column(course).await[0];
    let enrolling = app.app.store().begin().await.expect("a transaction");
    assert!(enrolling.take_seat(course).await.expect("a seat"));
    let draft = EnrollmentDraft {
        course_id: course,
        student_id: sam.id,
        payment_amount: None,
        source: "web".to_owned(),
    };
    enrolling.insert_enrollment(draft, app.clock.now()).await.expect("a place");
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let enroll = async {
        until("the import waits for the seat", async || sql.number(waits).await > 0).await;
        enrolling.commit().await.expect("a commit");
    };
    tokio::join!(import(60), enroll);
    let wrong = "SELECT COUNT(*) FROM courses c WHERE enrolled_count <> (SELECT COUNT(*) \
                 FROM enrollments e WHERE e.course_id = c.id AND e.status <> 'dropped')";
    assert_eq!(sql.number(wrong).await, 0, "seats are the rows");
}
