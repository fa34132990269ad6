//! Figures: what they count, who sees which, and that no write makes them be counted again before
//! their time.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Bytes;
use campus::clock::Clock;
use campus::config::Settings;
use campus::model::{Role, Timestamp};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Answer, Person, Postgres, Redis, Sql, TestApp, content, on_both, on_redis, on_redis_alone,
    until, with_sql,
};

/// 2026-03-01T09:30:00Z
const START: Timestamp = Timestamp(1_772_357_400_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer than any soft life of figures with its jitter, and shorter than any hard one.
const SOFT: Duration = Duration::from_secs(70);

const PLATFORM: &str = "/api/v3/analytics/platform";
const STATS: &str = "/api/v3/system/stats";

/// Two teachers with a course of three lessons each; sam is in both, eve in none.
struct School {
    app: TestApp,
    ada: Person,
    bob: Person,
    sam: Person,
    eve: Person,
    root: Person,
    course: i64,
    other: i64,
}

impl School {
    async fn with(settings: Settings) -> Self {
        let app = TestApp::with_settings_and_clock(settings, Clock::manual(START)).await;
        Self::on(app).await
    }

    async fn on(app: TestApp) -> Self {
        let (ada, bob) = (app.instructor("ada").await, app.instructor("bob").await);
        let (sam, eve) = (app.student("sam").await, app.student("eve").await);
        let root = app.admin().await;
        let course = app.published(&ada, "=Mine").await;
        let other = app.published(&bob, "Other").await;
        for (teacher, id) in [(&ada, course), (&bob, other)] {
            app.write_content(teacher, id).await;
            app.enroll(&sam, id).await.expect(201);
        }
        Self { app, ada, bob, sam, eve, root, course, other }
    }

    /// Time goes by, and everybody signs in again.
    fn later(&mut self, by: Duration) {
        self.app.app.advance(by);
        let Self { app, ada, bob, sam, eve, root, .. } = self;
        let roles = [
            (ada, Role::Instructor),
            (bob, Role::Instructor),
            (sam, Role::Student),
            (eve, Role::Student),
            (root, Role::Admin),
        ];
        for (person, role) in roles {
            person.token = app.token(person.id, role);
        }
    }

    async fn lesson(&self, nth: usize) -> i64 {
        self.app.lessons(&self.ada, self.course).await[nth]
    }
}

fn of_course(id: i64) -> String {
    format!("/api/v3/analytics/courses/{id}")
}

fn of_student(id: i64) -> String {
    format!("/api/v3/analytics/students/{id}")
}

on_both!(
    empty,
    an_empty_platform_is_all_zeros_on_sqlite,
    an_empty_platform_is_all_zeros_on_postgresql
);

async fn empty(app: TestApp) {
    let root = app.admin().await;
    let draft = app.draft(&root, "Nothing yet").await;
    let figures = app.get(&of_course(draft)).by(&root).await.expect(200).json();
    for count in ["enrolled", "active_7d", "completed", "dropped"] {
        assert_eq!(figures[count], 0, "{figures}");
    }
    for rate in ["completion_rate", "average_progress", "average_time"] {
        assert_eq!(figures[rate], 0.0, "{figures}");
    }
    assert_eq!(figures["distribution"], json!([0, 0, 0, 0, 0, 0]));
    assert_eq!(figures["lesson_completions"], json!([]));
    assert_eq!(figures["rating"], json!({"average": null, "count": 0}));
    let student = app.get(&of_student(root.id)).by(&root).await.expect(200).json();
    assert_eq!(student["risk"], json!({"score": 0, "level": "low", "reasons": []}));
    assert_eq!((&student["courses"], &student["dropped"]), (&json!([]), &json!(0)));
    assert_eq!(student["completions_per_day"].as_array().map(Vec::len), Some(30));
    let platform = app.get(PLATFORM).by(&root).await.expect(200).json();
    assert_eq!(platform["users"], json!({"student": 0, "instructor": 0, "admin": 1}));
    assert_eq!(platform["courses"], json!({"draft": 1, "published": 0, "archived": 0}));
    let none = json!({"last_24h": 0, "last_7d": 0, "last_30d": 0});
    assert_eq!((&platform["enrollments"], &platform["completions"]), (&none, &none));
    assert_eq!(platform["top_courses"], json!([]));
    let stats = app.get(STATS).by(&root).await.expect(200).json();
    for (what, count) in [("users", 1), ("courses", 1), ("enrollments", 0), ("completions", 0)] {
        assert_eq!(stats[what], count, "{stats}");
    }
}

/// A month of learning. Everything that can be asked for, by whoever may.
async fn story(school: &mut School) -> Vec<(String, Bytes)> {
    let course = school.course;
    let lessons = school.app.lessons(&school.ada, course).await;
    let dan = school.app.student("dan").await;
    let place = school.app.enroll(&dan, course).await.expect(201).id();
    school.app.complete(&dan, course, lessons[0]).await.expect(200);
    school.app.delete(&format!("/enrollments/{place}")).by(&dan).await.expect(200);
    school.later(DAY * 20);
    school.app.enroll(&school.eve, course).await.expect(201);
    for lesson in &lessons {
        school.app.complete(&school.eve, course, *lesson).await.expect(200);
    }
    let stars = json!({"stars": 4});
    school
        .app
        .put(&format!("/courses/{course}/rating"))
        .by(&school.eve)
        .json(stars)
        .await
        .expect(200);
    school.later(DAY * 3 + DAY / 2);
    school.app.complete(&school.sam, course, lessons[1]).await.expect(200);
    let own =
        school.app.get("/enrollments/my-enrollments").by(&school.sam).await.expect(200).json();
    let places = own["items"].as_array().cloned().unwrap_or_default();
    let place = places.iter().find(|place| place["course_id"] == course).expect("sam's place");
    let report = json!({"time_spent_minutes": 50});
    let path = format!("/enrollments/{}/progress", place["id"]);
    school.app.patch(&path).by(&school.sam).json(report).await.expect(200);
    school.later(DAY * 5);
    let asked = [
        (of_course(course), &school.ada),
        (of_course(school.other), &school.bob),
        (format!("{}?format=csv", of_course(course)), &school.ada),
        (of_student(school.sam.id), &school.sam),
        (of_student(school.sam.id), &school.ada),
        (of_student(school.sam.id), &school.bob),
        (of_student(school.eve.id), &school.root),
        (of_student(dan.id), &school.root),
        (PLATFORM.to_owned(), &school.root),
        (STATS.to_owned(), &school.root),
    ];
    let mut seen = Vec::new();
    for (path, by) in asked {
        let body = school.app.get(&path).by(by).await.expect(200).body;
        seen.push((path, body));
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_give_the_same_bytes() {
    let cluster = Postgres::start();
    let database_url = Some(cluster.url());
    let mut there = School::with(Settings { database_url, ..Settings::default() }).await;
    let mut here = School::with(Settings::default()).await;
    let (there, here) = (story(&mut there).await, story(&mut here).await);
    for (one, other) in here.iter().zip(&there) {
        assert_eq!(one, other);
    }
    assert_eq!(here.len(), there.len());
}

#[tokio::test]
async fn the_figures_count_what_was_done() {
    let mut school = School::with(Settings::default()).await;
    let lessons = school.app.lessons(&school.ada, school.course).await;
    let seen = story(&mut school).await;
    let figures: Value = serde_json::from_slice(&seen[0].1).unwrap();
    let expected = json!({
        "course_id": school.course,
        "title": "=Mine",
        "enrolled": 2,
        "active_7d": 1,
        "completed": 1,
        "dropped": 1,
        "completion_rate": 50.0,
        "average_progress": 66.67,
        "distribution": [0, 0, 1, 0, 0, 1],
        "lesson_completions": figures["lesson_completions"],
        "average_time": 25.0,
        "rating": {"average": 4.0, "count": 1},
        "generated_at": "2026-03-29T21:30:00Z",
    });
    assert_eq!(figures, expected);
    let by_lesson = figures["lesson_completions"].as_array().cloned().unwrap_or_default();
    let by_lesson: Vec<_> =
        by_lesson.iter().map(|l| (&l["lesson_id"], &l["completions"])).collect();
    let lesson = |nth: usize| json!(lessons[nth]);
    let expected = [(lesson(0), json!(1)), (lesson(1), json!(2)), (lesson(2), json!(1))];
    assert_eq!(by_lesson, expected.each_ref().map(|(lesson, count)| (lesson, count)));
    let table = String::from_utf8(seen[2].1.to_vec()).unwrap();
    let expected = format!(
        "figure,lesson_id,value\ncourse_id,,{}\ntitle,,'=Mine\nenrolled,,2\nactive_7d,,1\n\
         completed,,1\ndropped,,1\ncompletion_rate,,50\naverage_progress,,66.67\n\
         average_time,,25\nrating_average,,4\nrating_count,,1\n\
         generated_at,,2026-03-29T21:30:00Z\nprogress_0,,0\nprogress_1_25,,0\n\
         progress_26_50,,1\nprogress_51_75,,0\nprogress_76_99,,0\nprogress_100,,1\n\
         lesson_completions,{},1\nlesson_completions,{},2\nlesson_completions,{},1\n",
        school.course, lessons[0], lessons[1], lessons[2]
    );
    assert_eq!(table, expected);
    let platform: Value = serde_json::from_slice(&seen[8].1).unwrap();
    assert_eq!(platform["users"], json!({"student": 3, "instructor": 2, "admin": 1}));
    assert_eq!(platform["enrollments"], json!({"last_24h": 0, "last_7d": 0, "last_30d": 4}));
    let completions = &platform["completions"];
    assert_eq!((&completions["last_24h"], &completions["last_30d"]), (&json!(0), &json!(5)));
    assert_eq!(platform["top_courses"][0]["id"], school.course);
    assert_eq!(platform["top_courses"][0]["enrolled_count"], 2);
}

#[tokio::test]
async fn a_student_who_stays_away_is_at_risk_and_an_instructor_sees_only_their_own_part() {
    let mut school = School::with(Settings::default()).await;
    let seen = story(&mut school).await;
    let read = |nth: usize| -> Value { serde_json::from_slice(&seen[nth].1).unwrap() };
    let [all, adas, bobs, eve, dan] = [3, 4, 5, 6, 7].map(read);
    let courses = |figures: &Value| -> Vec<i64> {
        let courses = figures["courses"].as_array().cloned().unwrap_or_default();
        courses.iter().filter_map(|course| course["course"]["id"].as_i64()).collect()
    };
    assert_eq!(courses(&all), [school.course, school.other]);
    assert_eq!((courses(&adas), courses(&bobs)), (vec![school.course], vec![school.other]));
    // Ada's course was opened five days ago, bob's never in the 28.5 days since the enrollment.
    let reason = |figures: &Value, part: &str| {
        let reasons = figures["risk"]["reasons"].as_array().cloned().unwrap_or_default();
        let reason = reasons.iter().find(|reason| reason["part"] == part).cloned();
        reason.unwrap_or_default()["points"].clone()
    };
    assert_eq!(reason(&adas, "inactivity"), 4.44);
    assert_eq!(
        (reason(&all, "inactivity"), reason(&bobs, "inactivity")),
        (json!(4.44), json!(40.0))
    );
    let day = |figures: &Value, nth: usize| figures["completions_per_day"][nth].clone();
    assert_eq!(day(&adas, 24), json!({"date": "2026-03-24", "completions": 1}));
    assert_eq!(adas["active_hours"][21], 1);
    assert_eq!(adas["risk"]["level"], "low");
    assert_eq!(eve["risk"], json!({"score": 0, "level": "low", "reasons": []}));
    let expected = json!({"score": 20, "level": "low", "reasons": [
        {"part": "drops", "points": 20.0, "detail": "1 of 1 enrollments were dropped"}]});
    assert_eq!((&dan["risk"], &dan["dropped"]), (&expected, &json!(1)));
}

on_both!(
    edited,
    lessons_that_an_edit_removed_do_not_count_on_sqlite,
    lessons_that_an_edit_removed_do_not_count_on_postgresql
);

async fn edited(app: TestApp) {
    let school = School::on(app).await;
    let (app, ada, course) = (&school.app, &school.ada, school.course);
    let path = format!("/courses/{course}/content");
    let before = app.lessons(ada, course).await;
    for lesson in &before[..2] {
        app.complete(&school.sam, course, *lesson).await.expect(200);
    }
    let seen = async || {
        let answer =
            app.get(&of_course(course)).by(&school.root).header("cache-control", "no-cache");
        let figures = answer.await.expect(200).json();
        let lessons = figures["lesson_completions"].as_array().cloned().unwrap_or_default();
        let counts: Vec<i64> = lessons.iter().filter_map(|l| l["completions"].as_i64()).collect();
        (figures["average_progress"].as_f64().unwrap(), figures["distribution"].clone(), counts)
    };
    assert_eq!(seen().await, (66.67, json!([0, 0, 0, 1, 0, 0]), vec![1, 1, 0]));
    let module = app.get(&path).by(ada).await.expect(200).json()["modules"][0]["id"].clone();
    app.delete(&format!("{path}/modules/{module}/lessons/{}", before[0])).by(ada).await.expect(204);
    assert_eq!(seen().await, (50.0, json!([0, 0, 1, 0, 0, 0]), vec![1, 0]));
    // New lessons throughout: more are gone than there are.
    app.put(&path)
        .by(ada)
        .json(json!({"modules": [{"title": "New", "lessons": [{"title": "1"}]}]}))
        .await
        .expect(200);
    assert_eq!(seen().await, (0.0, json!([1, 0, 0, 0, 0, 0]), vec![0]));
    app.delete(&path).by(ada).await.expect(204);
    assert_eq!(seen().await, (0.0, json!([1, 0, 0, 0, 0, 0]), vec![]));
    let student = app.get(&of_student(school.sam.id)).by(&school.sam).await.expect(200).json();
    assert_eq!(student["courses"][0]["progress_percent"], 0.0);
    app.delete(&format!("/courses/{course}")).by(ada).await.expect(204);
    app.get(&of_course(course)).by(&school.root).await.refused(404);
}

#[tokio::test]
async fn figures_are_shown_to_those_whom_they_concern_whoever_came_first() {
    let school = School::with(Settings::default()).await;
    let draft = school.app.draft(&school.ada, "Draft").await;
    let School { app, ada, bob, sam, eve, root, course, .. } = &school;
    // Anonymous, enrolled, another student, owner, another instructor, admin.
    let viewers = [None, Some(sam), Some(eve), Some(ada), Some(bob), Some(root)];
    let rows = [
        (of_course(*course), [401, 403, 403, 200, 403, 200]),
        (of_course(draft), [401, 404, 404, 200, 404, 200]),
        (of_course(424_242), [401, 404, 404, 404, 404, 404]),
        (of_student(sam.id), [401, 200, 403, 200, 200, 200]),
        (of_student(eve.id), [401, 403, 200, 403, 403, 200]),
        (of_student(424_242), [401, 403, 403, 404, 404, 404]),
        (PLATFORM.to_owned(), [401, 403, 403, 403, 403, 200]),
        (STATS.to_owned(), [401, 403, 403, 403, 403, 200]),
    ];
    // Cold, warm, and in the other order.
    for round in 0..3 {
        for (path, expected) in &rows {
            let mut seen: Vec<(usize, Answer)> = Vec::new();
            for nth in 0..viewers.len() {
                let nth = if round == 2 { viewers.len() - 1 - nth } else { nth };
                let request = app.get(path);
                let answer = match viewers[nth] {
                    Some(person) => request.by(person).await,
                    None => request.await,
                };
                assert_eq!(
                    answer.status,
                    expected[nth],
                    "{path} for viewer {nth}: {}",
                    answer.text()
                );
                seen.push((nth, answer));
            }
            for (nth, answer) in seen.iter().filter(|(_, answer)| answer.status != 200) {
                assert!(answer.etag().is_empty(), "{path} for viewer {nth}");
            }
        }
    }
    let personal = app.get(&of_student(sam.id)).by(sam).await.expect(200);
    assert_eq!(personal.header("cache-control"), "private, no-store");
    let table = app.get(&format!("{}?format=csv", of_course(*course))).by(ada).await.expect(200);
    assert_eq!(table.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        (table.cache(), table.header("vary")),
        ("HIT", "Accept, Authorization, Accept-Encoding")
    );
    let same = app.get(&format!("{}?format=csv", of_course(*course))).by(ada);
    same.header("if-none-match", table.etag()).await.expect(304);
    for shared in [&of_course(*course), PLATFORM, STATS] {
        let answer = app.get(shared).by(root).await.expect(200);
        assert_eq!(
            answer.header("cache-control"),
            "private, max-age=0, must-revalidate",
            "{shared}"
        );
    }
    let anew = app.get(PLATFORM).by(root).header("cache-control", "no-cache").await.expect(200);
    assert_eq!((anew.cache(), anew.header("cache-control")), ("BYPASS", "private, no-store"));
}

#[tokio::test]
async fn an_archived_course_forbids_its_figures_to_the_enrolled_and_hides_them_from_others() {
    let school = School::with(Settings::default()).await;
    school.app.set_status(&school.ada, school.course, "archived").await.expect(200);
    let path = of_course(school.course);
    school.app.get(&path).by(&school.sam).await.refused(403);
    school.app.get(&path).by(&school.eve).await.refused(404);
    school.app.get(&path).by(&school.ada).await.expect(200);
}

on_both!(
    wrong,
    ids_and_formats_that_make_no_sense_are_refused_on_sqlite,
    ids_and_formats_that_make_no_sense_are_refused_on_postgresql
);

async fn wrong(app: TestApp) {
    let root = app.admin().await;
    let draft = app.draft(&root, "Draft").await;
    for id in [i64::MIN, -1, 0, i64::MAX] {
        for path in [of_course(id), of_student(id)] {
            for _ in 0..2 {
                app.get(&path).by(&root).await.refused(404);
            }
        }
    }
    for id in ["9223372036854775808", "one", "1.0", "%00", "1%20OR%201=1"] {
        for kind in ["courses", "students"] {
            app.get(&format!("/api/v3/analytics/{kind}/{id}")).by(&root).await.refused(422);
        }
    }
    for query in ["format=xml", "format=", "formats=csv", "format=csv&format=json"] {
        app.get(&format!("{}?{query}", of_course(draft))).by(&root).await.refused(422);
    }
    app.post(PLATFORM).by(&root).await.refused(405);
}

#[tokio::test]
async fn however_much_is_learned_figures_are_counted_once_in_their_soft_life() {
    let mut school = School::with(Settings::default()).await;
    let paths = [of_course(school.course), of_student(school.sam.id), PLATFORM.to_owned()];
    let lessons = school.app.lessons(&school.ada, school.course).await;
    let mut before = Vec::new();
    for path in &paths {
        before.push(school.app.get(path).by(&school.root).await.expect(200).body);
    }
    let loads = async |school: &School| {
        school.app.counters(&school.root, "analytics").await["loads"].as_u64().unwrap()
    };
    assert_eq!(loads(&school).await, 3);
    for _ in 0..10 {
        for lesson in &lessons[..2] {
            school.app.complete(&school.sam, school.course, *lesson).await.expect(200);
            for (path, before) in paths.iter().zip(&before) {
                let answer = school.app.get(path).by(&school.root).await.expect(200);
                assert_eq!((answer.cache(), &answer.body), ("HIT", before), "{path}");
            }
            let path = format!("/courses/{}/lessons/{lesson}/complete", school.course);
            school.app.delete(&path).by(&school.sam).await.expect(200);
        }
        school.app.app.advance(Duration::from_secs(4));
    }
    assert_eq!(loads(&school).await, 3, "forty writes later");
    school.app.complete(&school.sam, school.course, lessons[0]).await.expect(200);
    school.later(SOFT);
    for path in &paths {
        let many = (0..16).map(|_| school.app.get(path).by(&school.root).send());
        for answer in join_all(many).await {
            let text = answer.expect(200).text();
            assert!(text.contains("2026-03-01T09:31:50Z"), "counted after the last write: {text}");
        }
        assert_eq!(school.app.get(path).by(&school.root).await.cache(), "HIT", "{path}");
    }
    assert_eq!(loads(&school).await, 6, "once each");
}

#[tokio::test]
async fn what_nobody_changed_is_served_past_its_soft_life_and_counted_again_behind_it() {
    let mut school = School::with(Settings::default()).await;
    let path = of_course(school.course);
    let first = school.app.get(&path).by(&school.ada).await.expect(200);
    school.later(SOFT);
    let second = school.app.get(&path).by(&school.ada).await.expect(200);
    assert_eq!((second.cache(), &second.body), ("STALE", &first.body));
    until("it is counted again", async || {
        let answer = school.app.get(&path).by(&school.ada).await.expect(200);
        answer.cache() == "HIT" && answer.text().contains("2026-03-01T09:31:10Z")
    })
    .await;
}

#[tokio::test]
async fn two_servers_count_once_between_them() {
    let redis = Redis::start().await;
    let app = TestApp::with_settings_and_clock(on_redis(&redis), Clock::manual(START)).await;
    let mut here = School::on(app.connected().await).await;
    let there = here.app.twin(on_redis(&redis)).await.connected().await;
    let (path, lesson) = (of_course(here.course), here.lesson(0).await);
    let before = here.app.get(&path).by(&here.root).await.expect(200).body;
    assert_eq!(there.get(&path).by(&here.root).await.expect(200).body, before);
    here.app.complete(&here.sam, here.course, lesson).await.expect(200);
    for server in [&here.app, &there] {
        let answer = server.get(&path).by(&here.root).await.expect(200);
        assert_eq!((answer.cache(), &answer.body), ("HIT", &before));
    }
    here.later(SOFT);
    there.app.advance(SOFT);
    let mut counted = before.clone();
    until("the other server has counted the lesson", async || {
        counted = there.get(&path).by(&here.root).await.expect(200).body;
        counted != before
    })
    .await;
    assert_eq!(here.app.get(&path).by(&here.root).await.expect(200).body, counted);
    let mut loads = 0;
    for server in [&here.app, &there] {
        loads += server.counters(&here.root, "analytics").await["loads"].as_u64().unwrap_or(0);
    }
    assert_eq!(loads, 2);
}

#[tokio::test]
async fn figures_that_cannot_be_counted_are_an_error_and_never_cached() {
    let school = School::with(Settings::default()).await;
    let sql = Sql::file(&school.app.folder.path().join("campus.db")).await;
    let outline = "SELECT outline FROM course_contents ORDER BY course_id";
    let whole: Vec<String> = sql.column(outline).await;
    sql.run("UPDATE course_contents SET outline = '['").await;
    let paths = [of_course(school.course), of_student(school.sam.id)];
    for path in &paths {
        for _ in 0..2 {
            school.app.get(path).by(&school.root).await.refused(500);
        }
    }
    sql.run(&format!("UPDATE course_contents SET outline = '{}'", whole[0])).await;
    for path in &paths {
        assert_eq!(school.app.get(path).by(&school.root).await.expect(200).cache(), "MISS");
        assert_eq!(school.app.get(path).by(&school.root).await.expect(200).cache(), "HIT");
    }
    assert_eq!(school.app.counters(&school.root, "analytics").await["load_errors"], 4);
}

/// The cached figures, by name.
fn reads(school: &School) -> [(&'static str, String); 5] {
    [
        ("course", of_course(school.course)),
        ("other course", of_course(school.other)),
        ("sam", of_student(school.sam.id)),
        ("eve", of_student(school.eve.id)),
        ("platform", PLATFORM.to_owned()),
    ]
}

/// The figures that are counted for this read, or are not there any more.
async fn missed(school: &School) -> BTreeSet<&'static str> {
    let mut missed = BTreeSet::new();
    for (name, path) in reads(school) {
        let answer = school.app.get(&path).by(&school.root).await;
        if answer.status != 200 || !["HIT", "STALE"].contains(&answer.cache()) {
            missed.insert(name);
        }
    }
    missed
}

/// Redis is filled behind the answer, so a hit may take a moment to come.
async fn prime(school: &School) {
    until("every read is a hit", async || {
        let mut is_primed = true;
        for (_, path) in reads(school) {
            let answer = school.app.get(&path).by(&school.root).await;
            is_primed &= answer.status == 404 || answer.cache() == "HIT";
        }
        is_primed
    })
    .await;
}

/// What a write ends at once, what it makes be counted once its soft life is over, and what there
/// is no more.
struct Row {
    name: &'static str,
    at_once: &'static [&'static str],
    in_time: &'static [&'static str],
    gone: &'static [&'static str],
}

impl Row {
    async fn check(&self, school: &mut School, write: impl AsyncFnOnce(&School)) {
        prime(school).await;
        write(school).await;
        let name = self.name;
        let expected: BTreeSet<_> = self.at_once.iter().chain(self.gone).copied().collect();
        assert_eq!(missed(school).await, expected, "{name}, at once");
        prime(school).await;
        school.later(SOFT);
        let expected: BTreeSet<_> = self.in_time.iter().chain(self.gone).copied().collect();
        assert_eq!(missed(school).await, expected, "{name}, in time");
        prime(school).await;
    }
}

const fn row(
    name: &'static str,
    at_once: &'static [&'static str],
    in_time: &'static [&'static str],
) -> Row {
    Row { name, at_once, in_time, gone: &[] }
}

async fn what_writes_end(school: &mut School) {
    what_learning_ends(school).await;
    what_teaching_ends(school).await;
    what_deleting_ends(school).await;
}

async fn what_learning_ends(school: &mut School) {
    let course = school.course;
    let lesson = school.lesson(0).await;
    row("O12", &[], &["course", "sam", "platform"])
        .check(school, async |s| {
            s.app.complete(&s.sam, s.course, lesson).await.expect(200);
        })
        .await;
    let mut place = 0;
    row("O11", &["eve"], &["course", "platform"])
        .check(school, async |s| place = s.app.enroll(&s.eve, s.course).await.expect(201).id())
        .await;
    row("O9", &["course"], &[])
        .check(school, async |s| {
            let stars = s.app.put(&format!("/courses/{course}/rating")).by(&s.eve);
            stars.json(json!({"stars": 5})).await.expect(200);
        })
        .await;
    row("O13", &["eve"], &["course", "platform"])
        .check(school, async |s| {
            s.app.delete(&format!("/enrollments/{place}")).by(&s.eve).await.expect(200);
        })
        .await;
    row("O1", &[], &["platform"])
        .check(school, async |s| {
            let nina = json!({"username": "nina", "email": "nina@example.org",
                "password": "correct horse battery", "full_name": "Nina"});
            s.app.post("/auth/register").json(nina).await.expect(201);
        })
        .await;
}

async fn what_teaching_ends(school: &mut School) {
    let path = format!("/courses/{}", school.course);
    row("O6", &["course"], &[])
        .check(school, async |s| {
            s.app.put(&path).by(&s.ada).json(json!({"title": "New"})).await.expect(200);
        })
        .await;
    row("O7", &["course"], &["platform"])
        .check(school, async |s| {
            s.app.set_status(&s.ada, s.course, "archived").await.expect(200);
        })
        .await;
    row("O10", &[], &["course"])
        .check(school, async |s| {
            s.app.put(&format!("{path}/content")).by(&s.ada).json(content()).await.expect(200);
        })
        .await;
}

async fn what_deleting_ends(school: &mut School) {
    Row { gone: &["course"], ..row("O8", &[], &["platform"]) }
        .check(school, async |s| {
            s.app.delete(&format!("/courses/{}", s.course)).by(&s.ada).await.expect(204);
        })
        .await;
    school.app.enroll(&school.eve, school.other).await.expect(201);
    Row { gone: &["course", "eve"], ..row("O3", &[], &["other course", "platform"]) }
        .check(school, async |s| {
            s.app.delete(&format!("/users/{}", s.eve.id)).by(&s.root).await.expect(204);
        })
        .await;
}

#[tokio::test]
async fn every_operation_ends_its_figures_at_once_or_in_time_and_no_others() {
    let mut school = School::with(Settings::default()).await;
    what_writes_end(&mut school).await;
    for settings in [on_redis, on_redis_alone] {
        let redis = Redis::start().await;
        let app = TestApp::with_settings_and_clock(settings(&redis), Clock::manual(START)).await;
        what_writes_end(&mut School::on(app.connected().await).await).await;
    }
}

with_sql!(
    many_places,
    a_student_who_enrolled_and_dropped_seventy_thousand_times_has_figures_on_sqlite,
    a_student_who_enrolled_and_dropped_seventy_thousand_times_has_figures_on_postgresql
);

async fn many_places(app: TestApp, sql: Sql) {
    let ada = app.instructor("ada").await;
    let course = app.published(&ada, "Rust").await;
    let sam = app.student("sam").await;
    let (now, id) = (app.clock.now().0, sam.id);
    sql.run(&format!(
        "INSERT INTO enrollments (student_id, course_id, status, enrollment_source, enrolled_at, \
         dropped_at, time_spent_minutes, version) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70000) \
         SELECT {id}, {course}, 'dropped', 'web', {now}, {now}, 0, 1 FROM n"
    ))
    .await;
    let figures = app.get(&of_student(sam.id)).by(&sam).await.expect(200).json();
    assert!(figures["risk"]["score"].is_number(), "{figures}");
}
