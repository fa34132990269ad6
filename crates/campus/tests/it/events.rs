//! Live events: who hears of what, in which order, from when on and until when.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use campus::config::Settings;
use campus::learning::{ListenRequest, Told};
use campus::model::{Event, EventKind, Role, Topic};
use campus::token::TokenKey;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Answer, Asked, Heard, Listener, Person, Postgres, Redis, SECRET, School, Server, Sql, TestApp,
    on, on_both, on_redis, until, with_sql,
};

fn listen(app: &TestApp, topics: &str) -> Asked {
    app.get(&format!("/events?topics={topics}"))
}

/// An answer that is no stream.
async fn answer(asked: Asked) -> Answer {
    let answer = tokio::time::timeout(Duration::from_secs(30), asked.send()).await;
    answer.expect("it is refused")
}

fn kinds(heard: &[Heard]) -> Vec<&str> {
    heard.iter().map(|heard| heard.event.as_str()).collect()
}

impl School {
    fn topic(&self) -> String {
        format!("course:{}", self.course)
    }

    /// An edit, which makes one event.
    async fn rename(&self, title: &str) {
        let path = format!("/courses/{}", self.course);
        self.app.put(&path).by(&self.ada).json(json!({ "title": title })).await.expect(200);
    }
}

on_both!(
    everything,
    each_listener_hears_what_is_theirs_in_order_on_sqlite,
    each_listener_hears_what_is_theirs_in_order_on_postgresql
);

async fn everything(app: TestApp) {
    let school = School::on(app).await;
    let (app, topic) = (&school.app, school.topic());
    let (tim, _) = school.enrolled("tim").await;
    let mut ada = listen(app, &topic).by(&school.ada).listen().await;
    let mut root = listen(app, &format!("platform,{topic}")).by(&school.root).listen().await;
    let mut fellow = listen(app, &format!("me,{topic}")).by(&tim).listen().await;
    let sam = app.student("sam").await;
    let mut own = listen(app, "me").by(&sam).listen().await;
    let lesson = all_kinds_of_writes(&school, &sam).await;

    let learned = ["lesson_completed", "platform_update"];
    let all = [
        &["course_updated", "enrolled"][..],
        &learned,
        &["platform_update"; 2],
        &learned,
        &learned,
        &learned,
        &["certificate_issued", "enrolled", "dropped", "content_updated"],
        &["course_archived", "course_published", "course_deleted"],
    ]
    .concat();
    let without = |kind: &str| all.iter().copied().filter(|other| *other != kind).collect();
    let without_platform: Vec<&str> = without("platform_update");
    let by_root = root.until("course_deleted").await;
    assert_eq!(kinds(&by_root), all);
    assert_eq!(kinds(&ada.until("course_deleted").await), without_platform);
    let common = fellow.until("course_deleted").await;
    let of_the_course = |kind: &&str| kind.starts_with("course_") || kind.starts_with("content_");
    let expected: Vec<&str> = all.iter().copied().filter(of_the_course).collect();
    assert_eq!(kinds(&common), expected);
    let by_sam = own.until("certificate_issued").await;
    let [enrolled, lessons @ .., _] = &kinds(&by_sam)[..] else { panic!("{by_sam:?}") };
    assert_eq!((*enrolled, lessons), ("enrolled", &["lesson_completed"; 4][..]));

    let ids: BTreeSet<i64> = by_root.iter().filter_map(|heard| heard.id).collect();
    assert_eq!(ids.len(), by_root.len(), "no two events have one id");
    assert!(by_root.is_sorted_by_key(|heard| heard.id));
    says_only(
        &common[0],
        json!({"course_id": school.course, "user_id": null, "lesson_id": null,
        "progress_percent": null}),
    );
    let done = json!({"course_id": school.course, "user_id": sam.id, "lesson_id": lesson,
        "progress_percent": 33.33});
    says_only(&by_root[2], done.clone());
    says_only(&by_root[3], done);
    says_only(
        &by_root[12],
        json!({"course_id": school.course, "user_id": sam.id,
        "lesson_id": null, "progress_percent": null}),
    );
}

/// Ids and a time, and nothing that a person has written.
#[track_caller]
fn says_only(heard: &Heard, mut expected: Value) {
    let at = &heard.data["generated_at"];
    assert!(at.as_str().is_some_and(|at| at.ends_with('Z')), "{heard:?}");
    expected["event"] = json!(heard.event);
    expected["generated_at"] = at.clone();
    assert_eq!(heard.data, expected);
}

/// Makes every event that there is of a course, and answers the first lesson.
async fn all_kinds_of_writes(school: &School, sam: &Person) -> i64 {
    let (app, course) = (&school.app, school.course);
    school.rename("Rust 🚀").await;
    let id = app.enroll(sam, course).await.expect(201).id();
    let lessons = app.lessons(&school.ada, course).await;
    app.complete(sam, course, lessons[0]).await.expect(200);
    app.complete(sam, course, lessons[0]).await.expect(200);
    let undo = format!("/courses/{course}/lessons/{}/complete", lessons[0]);
    app.delete(&undo).by(sam).await.expect(200);
    let time = json!({"time_spent_minutes": 5});
    app.patch(&format!("/enrollments/{id}/progress")).by(sam).json(time).await.expect(200);
    for lesson in &lessons {
        app.complete(sam, course, *lesson).await.expect(200);
    }
    let (_, place) = school.enrolled("eve").await;
    app.delete(&format!("/enrollments/{place}")).by(&school.root).await.expect(200);
    app.write_content(&school.ada, course).await;
    app.set_status(&school.ada, course, "archived").await.expect(200);
    app.set_status(&school.ada, course, "published").await.expect(200);
    app.delete(&format!("/courses/{course}")).by(&school.ada).await.expect(204);
    lessons[0]
}

on_both!(
    permissions,
    a_topic_is_heard_by_those_who_may_and_refused_to_others_on_sqlite,
    a_topic_is_heard_by_those_who_may_and_refused_to_others_on_postgresql
);

async fn permissions(app: TestApp) {
    let school = School::on(app).await;
    let app = &school.app;
    let draft = app.draft(&school.ada, "Draft").await;
    let archived = app.published(&school.ada, "Archived").await;
    let (sam, _) = school.enrolled("sam").await;
    app.enroll(&sam, archived).await.expect(201);
    app.set_status(&school.ada, archived, "archived").await.expect(200);
    let (eve, bob) = (app.student("eve").await, app.instructor("bob").await);
    let topics = [
        "me".to_owned(),
        "platform".to_owned(),
        school.topic(),
        format!("course:{draft}"),
        format!("course:{archived}"),
        "course:424242".to_owned(),
    ];
    for (viewer, statuses) in [
        (&school.root, [200, 200, 200, 200, 200, 404]),
        (&school.ada, [200, 403, 200, 200, 200, 404]),
        (&bob, [200, 403, 403, 404, 404, 404]),
        (&sam, [200, 403, 200, 404, 200, 404]),
        (&eve, [200, 403, 403, 404, 404, 404]),
    ] {
        for (topic, status) in topics.iter().zip(statuses) {
            let asked = listen(app, topic).by(viewer);
            if status == 200 {
                asked.listen().await;
            } else {
                answer(asked).await.refused(status);
                // One topic that is not theirs among others.
                answer(listen(app, &format!("me,{topic}")).by(viewer)).await.refused(status);
            }
        }
    }
    for topic in &topics {
        answer(listen(app, topic)).await.refused(401);
    }
    // What the token says counts less than what the database says.
    let token = app.token(eve.id, Role::Admin);
    answer(listen(app, "platform").bearer(&token)).await.refused(403);
    answer(listen(app, "me").bearer(&app.token(424_242, Role::Admin))).await.refused(401);
}

#[tokio::test]
async fn an_unknown_topic_and_a_token_in_the_address_are_refused() {
    let app = TestApp::start().await;
    let (sam, bad) = (app.student("sam").await, app.token(1, Role::Admin));
    for query in ["", "?topics=", "?topics=users", "?topics=me,", "?topics=course:x", "?topics=*"] {
        let refused = answer(app.get(&format!("/events{query}")).by(&sam)).await.refused(422);
        assert!(refused.contains("topics"), "{query}: {refused}");
    }
    let many: Vec<String> = (0..17).map(|id| format!("course:{id}")).collect();
    answer(listen(&app, &many.join(",")).by(&sam)).await.refused(422);
    for name in ["token", "access_token", "authorization"] {
        let path = format!("/events?topics=me&{name}={bad}");
        answer(app.get(&path)).await.refused(401);
        let refused = answer(app.get(&path).by(&sam)).await.refused(422);
        assert!(refused.contains(name) && !refused.contains(&bad), "{refused}");
    }
}

#[tokio::test]
async fn a_stream_is_neither_kept_nor_compressed_nor_held_back() {
    let app = TestApp::start().await;
    let sam = app.student("sam").await;
    let stream = listen(&app, "me").by(&sam).header("accept-encoding", "gzip, br");
    let stream = stream.header("x-request-id", "mine-1").listen().await;
    let header = |name: &str| stream.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!(header("cache-control"), Some("private, no-store, no-transform"));
    assert_eq!(header("content-encoding"), None);
    assert_eq!(header("x-accel-buffering"), Some("no"));
    assert_eq!(header("x-request-id"), Some("mine-1"));
    assert_eq!(header("x-content-type-options"), Some("nosniff"));
}

async fn what_was_missed_is_repeated(app: TestApp, sql: Sql) {
    let school = School::on(app).await;
    let (app, topic) = (&school.app, school.topic());
    // Everything before counts as older than the overlap.
    sql.run("UPDATE outbox SET at = at - 20000000").await;
    let mut stream = listen(app, &topic).by(&school.ada).listen().await;
    assert!(stream.began.is_some());
    school.rename("One").await;
    school.rename("Two").await;
    let one = stream.next().await.expect("an event");
    let two = stream.next().await.expect("an event");
    drop(stream);
    school.rename("Three").await;
    school.rename("Four").await;

    let again = |id: String| listen(app, &topic).by(&school.ada).header("last-event-id", id);
    let mut stream = again(two.id.unwrap_or(0).to_string()).listen().await;
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(stream.next().await.expect("an event"));
    }
    assert_eq!(heard[..2], [one, two], "repeated, because others may have become visible late");
    assert!(heard.is_sorted_by_key(|heard| heard.id), "{heard:?}");
    assert_eq!(sql.number("SELECT MAX(id) FROM outbox").await, heard[3].id.unwrap_or(0));
    school.rename("Five").await;
    // What was being read while the stream began may come once more.
    while stream.next().await.expect("an event").id <= heard[3].id {}

    // From where a stream began, too: it had told nothing yet.
    let began = listen(app, &topic).by(&school.ada).listen().await.began;
    school.rename("Six").await;
    let mut stream = again(began.unwrap_or(0).to_string()).listen().await;
    while stream.next().await.expect("an event").id <= began {}
}

async fn an_id_that_is_gone_is_reset(app: TestApp, sql: Sql) {
    let school = School::on(app).await;
    let (app, topic) = (&school.app, school.topic());
    let again = |id: &str| listen(app, &topic).by(&school.ada).header("last-event-id", id);
    let newest = sql.number("SELECT MAX(id) FROM outbox").await;
    for unknown in ["999999", "0", "-1", "abc", "9223372036854775807", "99999999999999999999"] {
        let mut stream = again(unknown).listen().await;
        let reset = stream.next().await.expect("an event");
        assert_eq!((reset.event.as_str(), reset.id), ("reset", Some(newest)), "{unknown}");
    }
    let mut stream = again("999999").listen().await;
    school.rename("After").await;
    let heard = stream.until("course_updated").await;
    assert_eq!(kinds(&heard), ["reset", "course_updated"]);
    // Another one of that age may have been deleted.
    let day = 24 * 60 * 60 * 1_000_000_i64;
    let old = sql.number("SELECT MIN(id) FROM outbox").await;
    sql.run(&format!("UPDATE outbox SET at = at - {day} WHERE id = {old}")).await;
    let mut stream = again(&old.to_string()).listen().await;
    assert_eq!(stream.next().await.expect("an event").event, "reset");
    // More than anybody would wait for.
    many_events(&sql, school.course, 10_001).await;
    let mut stream = again(&newest.to_string()).listen().await;
    assert_eq!(stream.next().await.expect("an event").event, "reset");
}

/// Puts events into the outbox at once, as many writes would one by one.
async fn many_events(sql: &Sql, course: i64, count: u32) {
    let event = serde_json::to_string(&Event::of_course(EventKind::CourseUpdated, course));
    let event = event.expect("JSON");
    sql.run(&format!(
        "INSERT INTO outbox (at, names, event, done_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         SELECT newest.at, '', '{event}', newest.at FROM n, (SELECT MAX(at) AS at FROM outbox) newest"
    ))
    .await;
}

async fn who_is_too_slow_is_told_to_read_again(app: TestApp, sql: Sql) {
    let school = School::on(app).await;
    let (app, topic) = (&school.app, school.topic());
    let mut quick = listen(app, &topic).by(&school.ada).listen().await;
    let access = app.app.learning.identify(&school.ada.token).expect("a token");
    let topics = vec![Topic::Course(school.course)];
    let from = Ipv4Addr::LOCALHOST.into();
    let request = ListenRequest { topics, last_id: None, from };
    let mut slow = app.app.learning.listen(access, request).await.expect("it listens");
    many_events(&sql, school.course, 3_000).await;
    // The last one is out when the quick one has it, or has been told that it is too slow itself.
    school.rename("Last").await;
    let last = sql.number("SELECT MAX(id) FROM outbox").await;
    while quick.next().await.expect("an event").id != Some(last) {}
    let (mut events, mut resets) = (0, 0);
    loop {
        match slow.next().await.expect("the stream goes on") {
            Told::Begin { .. } => {}
            Told::Reset { .. } => resets += 1,
            Told::Event(happened) => {
                assert_eq!(resets, 1, "first of all it hears that events are missing");
                events += 1;
                if happened.id == last {
                    break;
                }
            }
        }
    }
    assert!(events <= 1_024, "{events}");
}

with_sql!(
    what_was_missed_is_repeated,
    what_was_missed_is_repeated_with_an_overlap_on_sqlite,
    what_was_missed_is_repeated_with_an_overlap_on_postgresql
);
with_sql!(
    an_id_that_is_gone_is_reset,
    who_comes_with_an_id_that_is_gone_is_told_to_read_again_on_sqlite,
    who_comes_with_an_id_that_is_gone_is_told_to_read_again_on_postgresql
);
with_sql!(
    who_is_too_slow_is_told_to_read_again,
    who_is_too_slow_is_told_to_read_again_on_sqlite,
    who_is_too_slow_is_told_to_read_again_on_postgresql
);

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_commit_was_overtaken_is_heard_once_by_all() {
    let cluster = Postgres::start();
    let school = School::on(TestApp::with(on(&cluster)).await).await;
    let (app, course) = (&school.app, school.course);
    let mut stream = listen(app, &school.topic()).by(&school.ada).listen().await;
    let slow = app.app.store().begin().await.expect("a transaction");
    let content = Event::of_course(EventKind::ContentUpdated, course);
    slow.tell(&[content]).await.expect("a row");
    school.rename("First").await;
    let first = stream.next().await.expect("an event");
    assert_eq!(first.event, "course_updated");
    slow.commit().await.expect("a commit");
    let late = stream.next().await.expect("an event");
    assert_eq!(late.event, "content_updated");
    assert!(late.id < first.id, "it has the lower id");
    school.rename("Second").await;
    assert_eq!(stream.next().await.expect("an event").event, "course_updated");
    // Also by one who has got the higher id and comes again.
    let last = first.id.unwrap_or(0).to_string();
    let again = listen(app, &school.topic()).by(&school.ada).header("last-event-id", last);
    let mut again = again.listen().await;
    while again.next().await.expect("an event").id != late.id {}
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_wait_for_a_database_that_is_away_and_miss_nothing() {
    let mut cluster = Postgres::start();
    let school = School::on(TestApp::with(on(&cluster)).await).await;
    let mut stream = listen(&school.app, &school.topic()).by(&school.ada).listen().await;
    school.rename("Before").await;
    cluster.stop();
    let app = &school.app;
    until("it is away", async || app.get("/health/ready").await.status == 503).await;
    answer(listen(app, "me").by(&school.root)).await.refused(503);
    cluster.resume();
    until("it is back", async || app.get("/health/ready").await.status == 200).await;
    school.rename("After").await;
    let (before, after) = (stream.next().await, stream.next().await);
    assert!(before.is_some() && after.is_some(), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_postgresql_share_their_events() {
    let cluster = Postgres::start();
    let redis = Redis::start().await;
    let settings = || Settings { database_url: Some(cluster.url()), ..on_redis(&redis) };
    let school = School::on(TestApp::with(settings()).await.connected().await).await;
    let other = school.app.twin(settings()).await.connected().await;
    let topic = school.topic();
    let mut here = listen(&school.app, &topic).by(&school.ada).listen().await;
    let mut there = listen(&other, &topic).by(&school.ada).listen().await;
    school.rename("Here").await;
    let heard = there.next().await.expect("an event");
    assert_eq!(here.next().await.expect("an event"), heard, "the same, with the same id");
    drop((here, there));
    let sam = other.student("sam").await;
    other.enroll(&sam, school.course).await.expect(201);
    // Who was told by one server goes on with the other.
    let last = heard.id.unwrap_or(0).to_string();
    for app in [&school.app, &other] {
        let again = listen(app, &topic).by(&school.ada).header("last-event-id", last.clone());
        let heard = again.listen().await.until("enrolled").await;
        assert_eq!(heard.last().map(|heard| &heard.data["user_id"]), Some(&json!(sam.id)));
    }
}

#[tokio::test]
async fn a_person_has_a_few_streams_and_others_have_theirs() {
    let app = TestApp::start().await;
    let (sam, eve) = (app.student("sam").await, app.student("eve").await);
    let mut streams: Vec<Listener> = Vec::new();
    for _ in 0..8 {
        streams.push(listen(&app, "me").by(&sam).listen().await);
    }
    let refused = answer(listen(&app, "me").by(&sam)).await;
    assert_eq!(refused.header("retry-after"), "15");
    refused.refused(429);
    listen(&app, "me").by(&eve).listen().await;
    streams.pop();
    until("the place is free again", async || {
        let asked = listen(&app, "me").by(&sam).send();
        // A stream that begins does not end by itself.
        tokio::time::timeout(Duration::from_millis(200), asked).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let app = TestApp::start().await;
    let sam = app.student("sam").await;
    let short = TokenKey::new(SECRET.as_bytes(), Duration::from_secs(3));
    let principal = campus::model::Principal { id: sam.id, role: Role::Student };
    let token = short.sign(principal, app.clock.now());
    let mut stream = listen(&app, "me").bearer(&token).listen().await;
    assert_eq!(stream.next().await, None);
    answer(listen(&app, "me").bearer(&token)).await.refused(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_topic_is_no_longer_ones_own() {
    let school = School::on(TestApp::start().await).await;
    let app = &school.app;
    let (sam, place) = school.enrolled("sam").await;
    let (eve, _) = school.enrolled("eve").await;
    let mut droppers = listen(app, &format!("me,{}", school.topic())).by(&sam).listen().await;
    let mut teachers = listen(app, &school.topic()).by(&school.ada).listen().await;
    let mut deleted = listen(app, "me").by(&eve).listen().await;
    let mut admins = listen(app, "platform").by(&school.root).listen().await;
    app.delete(&format!("/enrollments/{place}")).by(&sam).await.expect(200);
    assert_eq!(kinds(&droppers.until("dropped").await), ["dropped"]);
    assert_eq!(droppers.next().await, None);
    let role = format!("/users/{}/role", school.ada.id);
    app.patch(&role).by(&school.root).json(json!({"role": "student"})).await.expect(200);
    app.delete(&format!("/users/{}", eve.id)).by(&school.root).await.expect(204);
    assert_eq!(kinds(&teachers.until("dropped").await), ["dropped"]);
    assert_eq!(teachers.next().await, None);
    assert_eq!(deleted.next().await, None);
    let lesson = app.lessons(&school.root, school.course).await[0];
    let (tim, _) = school.enrolled("tim").await;
    app.complete(&tim, school.course, lesson).await.expect(200);
    admins.until("platform_update").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_streams_and_does_not_wait_for_them() {
    let folder = TempDir::new().expect("a temporary folder");
    let password = "a password of the tests";
    let variables = [("CAMPUS_SEED", "none"), ("CAMPUS_ADMIN_PASSWORD", password)];
    let server = Server::start(folder.path(), &variables).await;
    let login = json!({"email": "admin@campus.local", "password": password});
    let session = server.api.post("/auth/login").json(login).await.expect(200).json();
    let token = session["access_token"].as_str().expect("a token");
    let mut stream = server.api.get("/events?topics=me,platform").bearer(token).listen().await;
    server.terminate();
    assert_eq!(stream.next().await, None);
    let ended = server.ended();
    let complaints = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{complaints}");
    assert!(!complaints.contains("did not end in time"), "{complaints}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_admins_do_to_the_cache_is_told_to_admins() {
    let school = School::on(TestApp::start().await).await;
    let (app, root) = (&school.app, &school.root);
    let mut platform = listen(app, "platform").by(root).listen().await;
    let mut course = listen(app, &school.topic()).by(&school.ada).listen().await;
    let clear = async |path: &str| {
        let answer = app.delete(path).by(root).await;
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
    };
    clear("/cache/namespaces/courses").await;
    clear(&format!("/cache/courses/{}", school.course)).await;
    clear("/cache?confirm=all").await;
    let off = app.patch("/cache/definitions/courses").by(root).json(json!({"enabled": false}));
    off.await.expect(200);
    let heard = platform.until("definitions_changed").await;
    let clears = ["cache_cleared"; 3];
    assert_eq!(kinds(&heard), [&clears[..], &["definitions_changed"]].concat());
    assert_eq!(heard[1].data["course_id"], school.course);
    assert_eq!(kinds(&course.until("cache_cleared").await), ["cache_cleared"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_with_many_accounts_does_not_take_the_places_of_others() {
    let trusted_proxies = Some("127.0.0.0/8".to_owned());
    let app = TestApp::with(Settings { trusted_proxies, ..Settings::default() }).await;
    let from = |person: &Person, address: &str| {
        listen(&app, "me").by(person).header("x-forwarded-for", address)
    };
    let mut streams = Vec::new();
    for number in 0..25 {
        let person = app.student(&format!("crowd{number}")).await;
        for _ in 0..8 {
            streams.push(from(&person, "198.51.100.7").listen().await);
        }
    }
    let sam = app.student("sam").await;
    let refused = answer(from(&sam, "198.51.100.7")).await;
    assert!(!refused.header("retry-after").is_empty());
    let detail = refused.refused(429);
    assert_eq!(detail, "200 event streams are open from your address, try again later");
    from(&sam, "198.51.100.8").listen().await;
    drop(streams.split_off(100));
    until("a place is free again", async || {
        let asked = from(&sam, "198.51.100.7").send();
        tokio::time::timeout(Duration::from_millis(200), asked).await.is_err()
    })
    .await;
}
