//! Every viewer at every GET of the API, whoever was there before.
//!
//! Each ordered pair of viewers begins with an empty cache: the first one asks for everything,
//! then the second one does. Each must get the status that the table says, the body that a server
//! without a cache gives, and nothing that is marked for others.

use std::collections::{BTreeMap, BTreeSet};

use campus::clock::Clock;
use campus::config::Settings;
use campus::model::Timestamp;
use serde_json::{Value, json};

use crate::support::{Answer, Person, Redis, TestApp, course, on_redis, on_redis_alone};

const START: Timestamp = Timestamp(1_800_000_000_000_000);

/// In the order of the table's columns.
const VIEWERS: [&str; 6] =
    ["anonymous", "a student", "the enrolled", "the owner", "another instructor", "an admin"];

const ALL: [u16; 6] = [200; 6];
const ADMIN: [u16; 6] = [401, 403, 403, 403, 403, 200];
const SIGNED_IN: [u16; 6] = [401, 200, 200, 200, 200, 200];

/// Described, but a stream that does not end: who hears what there is tested where events are.
const STREAMS: [&str; 1] = ["/events"];

/// What stands where, in the order in which it was made.
struct World {
    app: TestApp,
    people: [Option<Person>; 6],
    open: i64,
    draft: i64,
    archived: i64,
    lesson: i64,
    archived_lesson: i64,
    enrollment: i64,
    certificate: i64,
    code: String,
    article: i64,
    unpublished: i64,
    _redis: Option<Redis>,
}

/// A path of the document, what it is asked for, and the status for each viewer.
struct Row {
    template: &'static str,
    path: String,
    statuses: [u16; 6],
}

/// A text that only some of the viewers may ever be sent.
struct Mark {
    text: String,
    seen_by: [bool; 6],
}

/// A course whose title and lessons name its status, and its first lesson.
async fn marked(app: &TestApp, owner: &Person, what: &str) -> (i64, i64) {
    let id = app.draft(owner, &format!("A course {what}")).await;
    let lesson = json!({"title": "One", "duration_minutes": 5, "body": format!("LESSON-{what}")});
    let content = json!({"modules": [{"title": "M", "lessons": [lesson]}]});
    app.put(&format!("/courses/{id}/content")).by(owner).json(content).await.expect(200);
    let lessons = app.lessons(owner, id).await;
    (id, lessons[0])
}

impl World {
    async fn start(settings: Settings, redis: Option<Redis>) -> Self {
        // Figures and risks change with the time; here there is none.
        let app = TestApp::with_settings_and_clock(settings, Clock::manual(START)).await;
        let app = if redis.is_some() { app.connected().await } else { app };
        let (eve, sam) = (app.student("eve").await, app.student("sam").await);
        let (ada, bob) = (app.instructor("ada").await, app.instructor("bob").await);
        let root = app.admin().await;
        for (person, name) in [(&eve, "eve"), (&sam, "sam"), (&root, "admin")] {
            let bio = json!({"bio": format!("BIO-{name}")});
            app.put(&format!("/users/{}", person.id)).by(person).json(bio).await.expect(200);
        }
        let (draft, _) = marked(&app, &ada, "DRAFT").await;
        let (open, lesson) = marked(&app, &ada, "OPEN").await;
        let (archived, archived_lesson) = marked(&app, &ada, "ARCHIVED").await;
        for id in [open, archived] {
            app.set_status(&ada, id, "published").await.expect(200);
        }
        let enrollment = app.enroll(&sam, open).await.expect(201).id();
        app.enroll(&sam, archived).await.expect(201);
        app.set_status(&ada, archived, "archived").await.expect(200);
        app.complete(&sam, open, lesson).await.expect(200);
        let certificates = app.get("/certificates/me").by(&sam).await.expect(200).json();
        let certificate = &certificates["items"][0];
        let (code, certificate) = (certificate["code"].clone(), certificate["id"].clone());
        let article = app.article(&ada, "Caching at large").await;
        let unpublished =
            json!({"title": "Later", "body": "ARTICLE-UNPUBLISHED", "tags": ["TAGGED"]});
        let unpublished = app.post("/articles").by(&ada).json(unpublished).await.expect(201).id();
        // Bob has a draft as well, so that lists of one's own differ from each other.
        app.post("/courses").by(&bob).json(course("A course OF-BOB")).await.expect(201);
        Self {
            people: [None, Some(eve), Some(sam), Some(ada), Some(bob), Some(root)],
            open,
            draft,
            archived,
            lesson,
            archived_lesson,
            enrollment,
            certificate: certificate.as_i64().expect("an id"),
            code: code.as_str().expect("a code").to_owned(),
            article,
            unpublished,
            app,
            _redis: redis,
        }
    }

    fn id(&self, viewer: usize) -> i64 {
        self.people[viewer].as_ref().map_or(0, |person| person.id)
    }

    async fn get(&self, app: &TestApp, viewer: usize, path: &str) -> Answer {
        match &self.people[viewer] {
            Some(person) => app.get(path).by(person).await,
            None => app.get(path).await,
        }
    }

    async fn empty_the_cache(&self) {
        let root = self.people[5].as_ref().expect("the admin");
        let cleared = self.app.delete("/cache?confirm=all").by(root).await;
        assert!((200..300).contains(&cleared.status), "{}", cleared.text());
    }

    /// Anonymous, a student, the enrolled, the owner, another instructor, an admin.
    fn rows(&self) -> Vec<Row> {
        let mut rows = self.of_courses();
        rows.extend(self.of_people());
        rows.extend(self.of_articles());
        rows.extend(self.of_operators());
        rows
    }

    fn of_courses(&self) -> Vec<Row> {
        let (open, draft, archived) = (self.open, self.draft, self.archived);
        let hidden = [404, 404, 404, 200, 404, 200];
        let past = [404, 404, 200, 200, 404, 200];
        let read = [401, 403, 200, 200, 403, 200];
        let nobodys = [401, 404, 404, 200, 404, 200];
        let taught = [401, 403, 403, 200, 403, 200];
        let kept = [401, 404, 200, 200, 404, 200];
        let (by_id, content) = ("/courses/{id}", "/courses/{id}/content");
        let (by_slug, lesson) =
            ("/courses/slug/{slug}", "/courses/{id}/content/lessons/{lesson_id}");
        let (seats, roster) = ("/courses/{id}/seats", "/courses/{id}/enrollments");
        let (progress, figures) = ("/courses/{id}/progress", "/api/v3/analytics/courses/{id}");
        let place = |id: i64, lesson: i64| format!("/courses/{id}/content/lessons/{lesson}");
        vec![
            row("/courses", "/courses", ALL),
            row("/courses", "/courses?q=course", ALL),
            row("/courses", "/courses?sort_by=popular&level=beginner", ALL),
            row("/courses/categories", "/courses/categories", ALL),
            row("/courses/my-courses", "/courses/my-courses", [401, 403, 403, 200, 200, 200]),
            row(by_id, format!("/courses/{open}"), ALL),
            row(by_id, format!("/courses/{draft}"), hidden),
            row(by_id, format!("/courses/{archived}"), past),
            row(by_id, "/courses/999999", [404; 6]),
            row(by_slug, "/courses/slug/a-course-open", ALL),
            row(by_slug, "/courses/slug/a-course-draft", hidden),
            row(by_slug, "/courses/slug/a-course-archived", past),
            row(content, format!("/courses/{open}/content"), read),
            row(content, format!("/courses/{draft}/content"), nobodys),
            row(content, format!("/courses/{archived}/content"), kept),
            row(lesson, place(open, self.lesson), read),
            row(lesson, place(archived, self.archived_lesson), kept),
            row(seats, format!("/courses/{open}/seats"), ALL),
            row(seats, format!("/courses/{draft}/seats"), [404; 6]),
            row(roster, format!("/courses/{open}/enrollments"), taught),
            row(roster, format!("/courses/{open}/enrollments?format=csv"), taught),
            row(roster, format!("/courses/{draft}/enrollments"), nobodys),
            row(progress, format!("/courses/{open}/progress"), [401, 403, 200, 403, 403, 403]),
            row(figures, format!("/api/v3/analytics/courses/{open}"), taught),
            row(figures, format!("/api/v3/analytics/courses/{open}?format=csv"), taught),
            row(figures, format!("/api/v3/analytics/courses/{draft}"), nobodys),
        ]
    }

    fn of_people(&self) -> Vec<Row> {
        let (eve, sam, ada, root) = (self.id(1), self.id(2), self.id(3), self.id(5));
        let involved = [401, 404, 200, 200, 404, 200];
        let (user, enrollment) = ("/users/{id}", "/enrollments/{id}");
        let (certificate, verify) = ("/certificates/{id}", "/certificates/verify/{code}");
        let student = "/api/v3/analytics/students/{id}";
        vec![
            row("/auth/me", "/auth/me", SIGNED_IN),
            row(user, format!("/users/{ada}"), ALL),
            row(user, format!("/users/{sam}"), SIGNED_IN),
            row(user, format!("/users/{root}"), SIGNED_IN),
            row(user, "/users/999999", [401, 404, 404, 404, 404, 404]),
            row("/users/me/dashboard", "/users/me/dashboard", SIGNED_IN),
            row("/users/me/session", "/users/me/session", SIGNED_IN),
            row("/instructors/{id}", format!("/instructors/{ada}"), ALL),
            row("/instructors/{id}", format!("/instructors/{sam}"), [404; 6]),
            row("/enrollments/my-enrollments", "/enrollments/my-enrollments", SIGNED_IN),
            row(enrollment, format!("/enrollments/{}", self.enrollment), involved),
            row("/certificates/me", "/certificates/me", SIGNED_IN),
            row(certificate, format!("/certificates/{}", self.certificate), involved),
            row(verify, "/certificates/verify/AAAAAAAAAAAAAAAAAAAAAAAAAA", ALL),
            row(
                student,
                format!("/api/v3/analytics/students/{sam}"),
                [401, 403, 200, 200, 403, 200],
            ),
            row(
                student,
                format!("/api/v3/analytics/students/{eve}"),
                [401, 200, 403, 403, 403, 200],
            ),
        ]
    }

    fn of_articles(&self) -> Vec<Row> {
        let by_id = "/articles/{id}";
        vec![
            row("/articles", "/articles", ALL),
            row(by_id, format!("/articles/{}", self.article), ALL),
            row(by_id, format!("/articles/{}", self.unpublished), [404, 404, 404, 200, 404, 200]),
            row("/tags", "/tags", ALL),
        ]
    }

    fn of_operators(&self) -> Vec<Row> {
        // There is nothing to tell of a Redis that is not configured.
        let redis_stats = match self._redis {
            Some(_) => ADMIN,
            None => [401, 403, 403, 403, 403, 404],
        };
        let entries = "/cache/entries";
        let content = format!("/cache/entries?key=course:content@1:{}", self.open);
        let (detailed, stats) = ("/api/v3/system/health/detailed", "/api/v3/system/redis/stats");
        vec![
            row("/health", "/health", ALL),
            row("/health/live", "/health/live", ALL),
            row("/health/ready", "/health/ready", ALL),
            row("/health/redis", "/health/redis", ALL),
            row("/cache/audit", "/cache/audit", ADMIN),
            row("/cache/stats", "/cache/stats", ADMIN),
            row("/cache/definitions", "/cache/definitions", ADMIN),
            row(entries, format!("/cache/entries?key=course:detail@1:{}", self.open), ADMIN),
            row(entries, content, ADMIN),
            row(detailed, detailed, ADMIN),
            row(stats, stats, redis_stats),
            row("/api/v3/system/stats", "/api/v3/system/stats", ADMIN),
            row("/api/v3/analytics/platform", "/api/v3/analytics/platform", ADMIN),
        ]
    }

    fn marks(&self) -> Vec<Mark> {
        let of = |text: &str, seen_by: [u8; 6]| Mark {
            text: text.to_owned(),
            seen_by: seen_by.map(|seen| seen == 1),
        };
        let learners = [0, 0, 1, 1, 0, 1];
        let mut marks = vec![
            of("course DRAFT", [0, 0, 0, 1, 0, 1]),
            of("LESSON-DRAFT", [0, 0, 0, 1, 0, 1]),
            of("LESSON-OPEN", learners),
            of("course ARCHIVED", learners),
            of("LESSON-ARCHIVED", learners),
            of("course OF-BOB", [0, 0, 0, 0, 1, 1]),
            of("ARTICLE-UNPUBLISHED", [0, 0, 0, 1, 0, 1]),
            of("tagged", [0, 0, 0, 1, 0, 1]),
            of("BIO-sam", [0, 1, 1, 1, 1, 1]),
            of("BIO-eve", [0, 1, 0, 0, 0, 0]),
            of("BIO-admin", [0, 1, 1, 1, 1, 1]),
            of(&self.code, learners),
            of("nobody's", [0; 6]),
        ];
        for (viewer, name) in ["eve", "sam", "ada", "bob", "admin"].into_iter().enumerate() {
            let mut own = [0; 6];
            own[viewer + 1] = 1;
            marks.push(of(&format!("{name}@example.org"), own));
        }
        marks
    }
}

fn row(template: &'static str, path: impl Into<String>, statuses: [u16; 6]) -> Row {
    Row { template, path: path.into(), statuses }
}

impl Row {
    /// Whether each answer says how the server is at that moment.
    fn is_of_the_moment(&self) -> bool {
        let operating = ["/health", "/cache/", "/api/v3/system/health", "/api/v3/system/redis"];
        operating.iter().any(|start| self.path.starts_with(start))
    }

    /// What is wrong with an answer: its status, its headers, what it shows.
    fn faults(&self, viewer: usize, answer: &Answer, marks: &[Mark]) -> Vec<String> {
        let (mut faults, text) = (Vec::new(), answer.text());
        if answer.status != self.statuses[viewer] {
            faults.push(format!("{} instead of {}", answer.status, self.statuses[viewer]));
        }
        let others = marks.iter().filter(|mark| !mark.seen_by[viewer]);
        let shown = others.filter(|mark| text.contains(&mark.text));
        faults.extend(shown.map(|mark| format!("it shows {}", mark.text)));
        let stored = answer.header("cache-control");
        if self.statuses[0] != 200 && stored.contains("public") {
            faults.push(format!("Cache-Control: {stored}"));
        }
        if answer.status >= 400 && !answer.etag().is_empty() {
            faults.push("a refusal with an entity tag".to_owned());
        }
        faults
    }
}

/// The answer without what tells the time.
fn timeless(answer: &Answer) -> String {
    let text = answer.text();
    let Ok(mut json) = serde_json::from_str::<Value>(&text) else {
        let lines = text.lines().filter(|line| !line.starts_with("generated_at"));
        return lines.collect::<Vec<&str>>().join("\n");
    };
    if let Some(fields) = json.as_object_mut() {
        fields.remove("generated_at");
    }
    json.to_string()
}

async fn everybody_in_every_order(world: World) {
    let plain = Settings { cache_enabled: Some("false".to_owned()), ..Settings::default() };
    let plain = world.app.twin(plain).await;
    let (rows, marks) = (world.rows(), world.marks());
    let mut expected = BTreeMap::new();
    let mut shown = BTreeSet::new();
    for row in &rows {
        for viewer in 0..VIEWERS.len() {
            let answer = world.get(&plain, viewer, &row.path).await;
            let text = timeless(&answer);
            let seen = marks.iter().filter(|mark| text.contains(&mark.text));
            shown.extend(seen.map(|mark| (mark.text.clone(), viewer)));
            expected.insert((&row.path, viewer), text);
        }
    }
    // A mark that nobody is ever shown would prove nothing.
    for mark in marks.iter().filter(|mark| mark.seen_by.contains(&true)) {
        let seen = (0..VIEWERS.len()).any(|viewer| shown.contains(&(mark.text.clone(), viewer)));
        assert!(seen, "nobody is shown {}", mark.text);
    }
    let (mut hits, mut faults) = (0, BTreeSet::new());
    for (first, second) in pairs() {
        world.empty_the_cache().await;
        for (viewer, row) in
            [first, second].into_iter().flat_map(|v| rows.iter().map(move |r| (v, r)))
        {
            let answer = world.get(&world.app, viewer, &row.path).await;
            hits += usize::from(answer.cache() == "HIT");
            let mut found = row.faults(viewer, &answer, &marks);
            let expected = &expected[&(&row.path, viewer)];
            if !row.is_of_the_moment() && &timeless(&answer) != expected {
                found.push(format!("{} instead of {expected}", answer.text()));
            }
            let (who, before) = (VIEWERS[viewer], VIEWERS[first]);
            let told = |fault| format!("{} for {who} after {before}: {fault}", row.path);
            faults.extend(found.into_iter().map(told));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(hits > 36 * 6, "the cache was hardly used: {hits} hits");
}

/// Each viewer before each, also before oneself.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..VIEWERS.len()).flat_map(|first| (0..VIEWERS.len()).map(move |second| (first, second)))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_of_visits_shows_anybody_what_is_others_with_l1() {
    everybody_in_every_order(World::start(Settings::default(), None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_of_visits_shows_anybody_what_is_others_with_redis() {
    let redis = Redis::start().await;
    everybody_in_every_order(World::start(on_redis(&redis), Some(redis)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_of_visits_shows_anybody_what_is_others_with_redis_alone() {
    let redis = Redis::start().await;
    everybody_in_every_order(World::start(on_redis_alone(&redis), Some(redis)).await).await;
}

#[tokio::test]
async fn every_get_of_the_document_has_a_row() {
    let world = World::start(Settings::default(), None).await;
    let api = world.app.get("/openapi.json").await.expect(200).json();
    let paths = api["paths"].as_object().expect("paths").iter();
    let described: BTreeSet<&str> = paths
        .filter(|(_, item)| item.get("get").is_some())
        .map(|(path, _)| path.as_str())
        .filter(|path| !STREAMS.contains(path))
        .collect();
    let tried: BTreeSet<&str> = world.rows().iter().map(|row| row.template).collect();
    assert_eq!(described, tried, "a GET without a row, or a row without a GET");
}
